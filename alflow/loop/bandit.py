"""Which arm of a mixture each sample task runs: more tasks for those that bring in more.

What an arm brings in are flagged frames that were chosen and labelled; what it costs are
atom-steps, not seconds, since a campaign that is killed and resumed must end like one that was
not. Accepted frames are taken for events that come at a constant rate, their number for a draw
from a Poisson distribution. With the conjugate prior, the rate of an arm with a accepted frames
for the cost c follows the gamma distribution

    shape 1 + a,  mean (1 + a) / (1 / m + c),   m = (1 + all accepted) / (all cost)

The prior is worth one frame and has about the mean of all arms, so that no unit of cost is better
than another. A task goes to the arm with the largest of one draw for each (Thompson sampling):
arms that are certainly worse are rarely drawn, arms that are little known sometimes. The ensemble
learns and yields fall, so that an iteration counts less with every later one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alflow.config.campaign import CampaignSettings
from alflow.core.seeds import child_seed
from alflow.samplers.mixture import MixtureSettings
from alflow.store.views import IterationProgress
from alflow.store.yields import MILLION, ArmYield, arm_yields, rate_text


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about an arm, older iterations discounted.

    Attributes:
        n_accepted: Accepted frames.
        cost: Million atom-steps.
    """

    n_accepted: float = 0.0
    cost: float = 0.0

    @property
    def rate(self) -> float | None:
        """Accepted frames for every million atom-steps; None if the arm was never tried."""
        return self.n_accepted / self.cost if self.cost else None


def arms_of(
    settings: CampaignSettings, keys: Sequence[str], past: Iterable[IterationProgress]
) -> list[str]:
    """The arm of each sample task of a round; none of any if there is no mixture.

    Args:
        settings: The campaign's settings.
        keys: Keys of the tasks.
        past: The iterations so far; those that have ended count.
    """
    if not isinstance(settings.sample, MixtureSettings):
        return []
    evidence = _evidence(settings.sample, past)
    return assign(evidence, [child_seed(settings.seed, key) for key in keys])


def why(
    settings: CampaignSettings, arms: Sequence[str], past: Iterable[IterationProgress]
) -> str:
    """The tasks of a round by arm with the yields that they follow from; empty without arms."""
    if not isinstance(settings.sample, MixtureSettings):
        return ""
    evidence, shares = _evidence(settings.sample, past), Counter(arms)
    parts = []
    for name in sorted(shares):
        rate = evidence[name].rate
        known = "no yield known" if rate is None else rate_text(rate)
        parts.append(f"{name} {shares[name]} ({known})")
    return f"tasks (accepted frames per million atom-steps): {', '.join(parts)}"


def _evidence(
    mixture: MixtureSettings, past: Iterable[IterationProgress]
) -> dict[str, Evidence]:
    yields = [arm_yields(one.number, one.stats) for one in past if one.ended]
    return weigh(yields, list(mixture.arms), mixture.memory)


def weigh(
    past: Sequence[Sequence[ArmYield]], names: Sequence[str], memory: float
) -> dict[str, Evidence]:
    """What is known about each arm.

    Args:
        past: Yields of the iterations so far, oldest first.
        names: Names of the arms that there are now.
        memory: How much an iteration counts beside the next one, 0 to 1.
    """
    accepted, cost = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for age, yields in enumerate(reversed(past)):
        for one in yields:
            if one.arm in accepted:
                accepted[one.arm] += memory**age * one.n_accepted
                cost[one.arm] += memory**age * one.atom_steps / MILLION
    return {name: Evidence(accepted[name], cost[name]) for name in names}


def assign(evidence: Mapping[str, Evidence], seeds: Sequence[int]) -> list[str]:
    """The arm of each task of a round: each arm once, then whichever wins a draw.

    Args:
        evidence: What is known, by arm. Its order does not matter.
        seeds: Seed of each task.
    """
    names = sorted(evidence)
    first = names[: len(seeds)]
    return first + [_draw(evidence, names, seed) for seed in seeds[len(first) :]]


def _draw(evidence: Mapping[str, Evidence], names: Sequence[str], seed: int) -> str:
    """The arm with the largest draw; each arm has a stream of its own."""
    all_accepted = sum(one.n_accepted for one in evidence.values())
    all_cost = sum(one.cost for one in evidence.values())
    prior_cost = all_cost / (1 + all_accepted) if all_cost else 1.0

    def drawn(name: str) -> float:
        known = evidence[name]
        stream = np.random.Generator(np.random.PCG64(child_seed(seed, f"arm/{name}")))
        return float(stream.gamma(1 + known.n_accepted) / (prior_cost + known.cost))

    return max(names, key=drawn)
