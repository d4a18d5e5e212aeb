"""Arms of a mixture: who gets the tasks, whatever the yields are and however they change."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.loop.bandit import Evidence, assign, weigh
from alflow.store.yields import MILLION, ArmYield

NAMES = st.text("abcdefgh-_019", min_size=1, max_size=6)
AMOUNTS = st.floats(0.0, 1e6)
EVIDENCE = st.dictionaries(
    NAMES, st.builds(Evidence, AMOUNTS, AMOUNTS), min_size=1, max_size=6
)
SEEDS = st.lists(st.integers(0, 2**63 - 1), min_size=6, max_size=30, unique=True)


def played(rates, n_iterations, *, memory=0.5, n_tasks=16, million=0.05, seed=0):
    """Shares of tasks by iteration where arms yield what `rates(iteration)` says."""
    stream = np.random.default_rng(seed)
    past, shares = [], []
    for iteration in range(n_iterations):
        truth = rates(iteration)
        seeds = stream.integers(2**62, size=n_tasks).tolist()
        share = Counter(assign(weigh(past, sorted(truth), memory), seeds))
        shares.append(share)
        past.append(
            [
                ArmYield(
                    iteration,
                    name,
                    n_accepted=float(stream.poisson(truth[name] * million * n)),
                    atom_steps=million * n * MILLION,
                )
                for name, n in share.items()
            ]
        )
    return shares


@settings(max_examples=40)
@given(EVIDENCE, SEEDS)
def test_every_task_has_an_arm_and_every_arm_a_task(evidence, seeds):
    found = assign(evidence, seeds)
    assert len(found) == len(seeds)
    assert set(found) == set(evidence)


@settings(max_examples=40)
@given(EVIDENCE, SEEDS)
def test_the_same_knowledge_gives_the_same_round(evidence, seeds):
    backwards = dict(reversed(evidence.items()))
    assert assign(evidence, seeds) == assign(backwards, seeds)


@settings(max_examples=40)
@given(EVIDENCE, SEEDS, st.floats(1e-3, 1e3))
def test_no_unit_of_cost_is_better_than_another(evidence, seeds, factor):
    known = [one for one in evidence.values() if one.cost > 1e-3]
    if len(known) < len(evidence):
        return
    scaled = {
        name: Evidence(one.n_accepted, one.cost * factor) for name, one in evidence.items()
    }
    assert assign(scaled, seeds) == assign(evidence, seeds)


def test_what_is_not_known_is_tried_evenly():
    found = Counter(assign({"a": Evidence(), "b": Evidence()}, range(400)))
    assert 160 < found["a"] < 240


@pytest.mark.parametrize(("memory", "factor"), [(0.0, 2.5), (0.5, 5.0), (1.0, 6.0)])
def test_the_better_arm_gets_most(memory, factor):
    shares = played(lambda _: {"dull": 4.0, "rich": 40.0}, 12, memory=memory)
    late = sum(shares[4:], Counter())
    assert late["rich"] > factor * late["dull"]
    assert all(share["dull"] >= 1 for share in shares)


def test_arms_that_bring_in_nothing_share_evenly():
    late = sum(played(lambda _: {"a": 0.0, "b": 0.0}, 40), Counter())
    assert 0.35 < late["a"] / late.total() < 0.65


def test_tasks_follow_when_yields_change():
    def rates(iteration):
        return {"a": 40.0, "b": 4.0} if iteration < 10 else {"a": 4.0, "b": 40.0}

    forgetful, faithful = (played(rates, 16, memory=m) for m in (0.5, 1.0))
    assert forgetful[9]["a"] > forgetful[9]["b"]
    late, never = (sum(run[13:], Counter()) for run in (forgetful, faithful))
    assert late["b"] > 3 * late["a"]
    assert late["b"] > never["b"], "what is never forgotten is in the way"


def test_older_iterations_count_less():
    past = [
        [ArmYield(1, "a", n_accepted=8.0, atom_steps=4e6)],
        [],
        [ArmYield(3, "a", n_accepted=1.0, atom_steps=2e6), ArmYield(3, "gone")],
    ]
    found = weigh(past, ["a", "new"], 0.5)
    assert found == {"a": Evidence(1.0 + 2.0, 2.0 + 1.0), "new": Evidence()}
    assert found["a"].rate == 1.0
    assert found["new"].rate is None
    assert weigh(past, ["a"], 0.0)["a"] == Evidence(1.0, 2.0)


def test_a_new_arm_is_tried_as_often_as_the_average_one():
    evidence = {"old": Evidence(100.0, 10.0), "worse": Evidence(2.0, 10.0)}
    found = Counter(assign({**evidence, "new": Evidence()}, range(600)))
    assert found["new"] > 50 * max(1, found["worse"] - 1)
