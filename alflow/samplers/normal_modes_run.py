"""Displacements along normal modes: relax, differentiate, displace, judge."""

from collections.abc import Sequence

import numpy as np

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, StopReason, Trajectory
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.md.neighbours import FindPairs
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Potential
from alflow.samplers.judging import Judge, Path, check_elements, moved
from alflow.samplers.modes import Modes, hessian, normal_modes
from alflow.samplers.normal_modes import NormalModesSettings
from alflow.samplers.relaxation import relaxed


class NormalModesSampler:
    """Draws structures about the minimum that each start relaxes to.

    Frame 0 is the start, relaxed if it is to be. The Hessian of one start is one evaluation of all
    its displaced copies; starts come one after the other, so that none depends on the others.
    """

    def __init__(
        self, settings: NormalModesSettings, find_pairs: FindPairs = neighbour_pairs
    ) -> None:
        """Keep the settings; `find_pairs` finds pairs from scratch."""
        self._settings = settings
        self._find_pairs = find_pairs

    def sample(
        self, starts: Sequence[Structure], potential: Potential, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Draw and judge displaced structures of each start.

        Start k draws from the streams of `child_seed(seed, k)` and nothing else.

        Raises:
            SettingsError: If the potential does not know an element, or a start is too large.
        """
        check_elements(starts, potential)
        for k, start in enumerate(starts):
            if start.n_atoms > self._settings.largest_atoms:
                raise SettingsError(
                    f"start {k} ({start.formula}) has {start.n_atoms} atoms, more than "
                    f"sample.largest_atoms, {self._settings.largest_atoms}",
                    consequence="its Hessian would take "
                    f"{6 * start.n_atoms} evaluations of all its atoms",
                    next_step="raise sample.largest_atoms, or build smaller structures",
                )
        judge = Judge(self._settings, potential, gate, self._find_pairs)
        return [
            self._path(start, potential, judge, child_seed(seed, k))
            for k, start in enumerate(starts)
        ]

    def _path(
        self, start: Structure, potential: Potential, judge: Judge, seed: int
    ) -> Trajectory:
        stream = np.random.Generator(np.random.PCG64(seed))
        temperature_K = float(stream.uniform(*self._settings.temperature_K))
        schedule = {"temperature_K": temperature_K}
        path = Path(start, seed, judge)
        centre = self._centre(start, potential, path, schedule)
        if centre is None:
            path.stop(StopReason.NOT_FINITE)
            return path.trajectory(schedule)
        (first,) = judge.look([centre])
        path.take(first)
        if first.stopped is not None:
            return path.trajectory(schedule)
        modes = self._modes(centre, potential)
        path.spend(6 * centre.n_atoms)
        if modes is None:
            path.stop(StopReason.NOT_FINITE)
            return path.trajectory(schedule)
        n_soft = int((modes.wavenumbers_per_cm < self._settings.softest_per_cm).sum())
        schedule |= {"n_modes": float(len(modes.stiffness)), "n_soft_modes": float(n_soft)}
        for judged in judge.look(self._displaced(centre, modes, stream, temperature_K)):
            path.take(judged, temperature_K)
        return path.trajectory(schedule)

    def _centre(
        self,
        start: Structure,
        potential: Potential,
        path: Path,
        schedule: dict[str, float],
    ) -> Structure | None:
        """What is displaced; None if the relaxation met something that is not a number."""
        settings = self._settings
        if not settings.relax:
            return start
        end = relaxed(
            start,
            potential,
            largest_force_eV_per_A=settings.relax_force_eV_per_A,
            most_steps=settings.relax_steps,
            find_pairs=self._find_pairs,
        )
        path.spend(end.n_steps + 1)
        schedule["n_relaxation_steps"] = float(end.n_steps)
        if end.structure is not None:
            schedule["relaxed_force_eV_per_A"] = end.force_eV_per_A
            schedule["is_relaxed"] = float(end.is_sound)
        return end.structure if end.is_sound or end.structure is None else start

    def _modes(self, centre: Structure, potential: Potential) -> Modes | None:
        """Modes about a structure; None if a force is not a number."""
        second = hessian(
            centre,
            potential,
            step_A=self._settings.hessian_step_A,
            find_pairs=self._find_pairs,
        )
        return normal_modes(centre, second) if np.isfinite(second).all() else None

    def _displaced(
        self,
        centre: Structure,
        modes: Modes,
        stream: np.random.Generator,
        temperature_K: float,
    ) -> list[Structure]:
        """Displaced structures; none of what cannot vibrate."""
        if not len(modes.stiffness):
            return []
        draws = (
            modes.draw(stream, temperature_K, self._settings.softest_per_cm)
            for _ in range(self._settings.frames)
        )
        frames = (moved(centre, centre.positions + draw) for draw in draws)
        return [frame for frame in frames if frame is not None]
