"""Uncertainty-driven dynamics: the replicas of `nemd` under a bias."""

from collections.abc import Sequence

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, Trajectory
from alflow.core.structures import Structure
from alflow.md.bias import Bias, BiasedPotential
from alflow.md.neighbours import FindPairs
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Potential
from alflow.samplers.nemd_run import NemdSampler
from alflow.samplers.udd import UddSettings


class UddSampler:
    """Runs replicas as `NemdSampler` does, with the bias added to the mean forces.

    Spreads, and with them gate, frames and trace, are those of the ensemble without the bias.
    """

    def __init__(
        self, settings: UddSettings, find_pairs: FindPairs = neighbour_pairs
    ) -> None:
        """Keep the settings; `find_pairs` finds pairs from scratch."""
        self._settings = settings
        self._dynamics = NemdSampler(settings, find_pairs)

    def sample(
        self, starts: Sequence[Structure], potential: Potential, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Run one trajectory from each start; see `NemdSampler.sample`.

        Raises:
            SettingsError: As there, and if neither the settings nor the gate have a width.
        """
        biased = BiasedPotential(potential, bias_of(self._settings, gate))
        return self._dynamics.sample(starts, biased, gate, seed)


def bias_of(settings: UddSettings, gate: Gate) -> Bias:
    """The bias, its width taken from the gate where the settings have none.

    Raises:
        SettingsError: If the gate has no limit on the energy spread either.
    """
    if settings.bias_width_meV is not None:
        return Bias(settings.bias_height_eV, settings.bias_width_meV / 1000)
    if gate.energy is None:
        raise SettingsError(
            "sample.bias_width_meV is left to the gate, which has no limit on the energy spread",
            consequence="there is no telling where the bias should pull most",
            next_step="set sample.bias_width_meV, or acquire.energy_spread_meV",
        )
    return Bias(settings.bias_height_eV, gate.energy.base)
