"""Scans of rotatable bonds: relax, turn, drop clashes, judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, StopReason, Trajectory
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.md.neighbours import FindPairs
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Potential
from alflow.samplers.dihedrals import Dihedral, bonded, rotatable_bonds
from alflow.samplers.judging import Judge, Judged, Path, check_elements, moved
from alflow.samplers.relaxation import relaxed
from alflow.samplers.torsions import TorsionsSettings

_TRIES = 20
"""Number of draws for a random frame without a clash."""


@dataclass(frozen=True, eq=False, slots=True)
class _Turned:
    """A frame, and the dihedrals that were turned for it; no structure if it clashes."""

    structure: Structure | None
    dihedrals: Sequence[Dihedral]


class TorsionsSampler:
    """Turns the rotatable bonds of each start.

    Frame 0 is the start, relaxed if it is to be; then come the scans, one bond after the other, and
    the random frames. Frames that clash count as frames that make no sense.
    """

    def __init__(
        self, settings: TorsionsSettings, find_pairs: FindPairs = neighbour_pairs
    ) -> None:
        """Keep the settings; `find_pairs` finds pairs from scratch."""
        self._settings = settings
        self._find_pairs = find_pairs

    def sample(
        self, starts: Sequence[Structure], potential: Potential, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Turn and judge frames of each start.

        Start k draws from the streams of `child_seed(seed, k)` and nothing else.

        Raises:
            SettingsError: If the potential does not know an element, a start is periodic, or no
                start has a bond that turns.
        """
        check_elements(starts, potential)
        for k, start in enumerate(starts):
            if start.is_periodic:
                raise SettingsError(
                    f"start {k} ({start.formula}) is periodic; torsions turns free molecules",
                    next_step="use the builder molecules",
                )
        factor = self._settings.bond_factor
        if starts and not any(rotatable_bonds(start, factor) for start in starts):
            raise SettingsError(
                f"none of the {len(starts)} starts has a rotatable bond: "
                f"{', '.join(sorted({start.formula for start in starts}))}",
                consequence="there is nothing to turn",
                next_step="use sample.kind normal_modes for rigid molecules",
            )
        judge = Judge(self._settings, potential, gate, self._find_pairs)
        return [
            self._path(start, potential, judge, child_seed(seed, k))
            for k, start in enumerate(starts)
        ]

    def _path(
        self, start: Structure, potential: Potential, judge: Judge, seed: int
    ) -> Trajectory:
        settings = self._settings
        stream = np.random.Generator(np.random.PCG64(seed))
        path = Path(start, seed, judge)
        centre: Structure | None = start
        if settings.relax:
            centre = self._relaxed(path, start, potential, settings.relax_steps)
        if centre is None:
            path.stop(StopReason.NOT_FINITE)
            return path.trajectory({})
        (first,) = judge.look([centre])
        path.take(first)
        if first.stopped is not None:
            return path.trajectory({})
        dihedrals = rotatable_bonds(centre, settings.bond_factor)
        frames = [*self._scans(centre, dihedrals, stream)]
        frames += self._random_ones(centre, dihedrals, stream)
        for judged in self._judged(path, frames, potential, judge):
            path.take(judged)
        n_clashes = sum(frame.structure is None for frame in frames)
        return path.trajectory(
            {"n_rotatable_bonds": float(len(dihedrals)), "n_clashes": float(n_clashes)}
        )

    def _scans(
        self, centre: Structure, dihedrals: list[Dihedral], stream: np.random.Generator
    ) -> Iterator[_Turned]:
        n_scanned = min(self._settings.scanned_bonds, len(dihedrals))
        chosen = sorted(stream.choice(len(dihedrals), n_scanned, replace=False).tolist())
        for number in chosen:
            dihedral = dihedrals[number]
            for step in range(1, self._settings.grid):
                by_deg = 360.0 * step / self._settings.grid
                yield self._turned(centre, {dihedral: by_deg})

    def _random_ones(
        self, centre: Structure, dihedrals: list[Dihedral], stream: np.random.Generator
    ) -> Iterator[_Turned]:
        for _ in range(self._settings.random_frames if dihedrals else 0):
            frame = _Turned(None, dihedrals)
            for _ in range(_TRIES):
                angles = stream.uniform(0.0, 360.0, len(dihedrals)).tolist()
                frame = self._turned(centre, dict(zip(dihedrals, angles, strict=True)))
                if frame.structure is not None:
                    break
            yield frame

    def _turned(self, centre: Structure, angles: dict[Dihedral, float]) -> _Turned:
        positions = np.array(centre.positions)
        for dihedral, by_deg in angles.items():
            positions = dihedral.turned(positions, by_deg)
        before, after = (
            bonded(centre, where, self._settings.bond_factor)
            for where in (centre.positions, positions)
        )
        is_clash = bool((before != after).any())
        return _Turned(None if is_clash else moved(centre, positions), tuple(angles))

    def _judged(
        self, path: Path, frames: list[_Turned], potential: Potential, judge: Judge
    ) -> Iterator[Judged | StopReason]:
        """What there is to say about each frame, in order; why there is none."""
        reasons: list[StopReason | None] = []
        structures = []
        for frame in frames:
            structure = frame.structure
            reasons.append(StopReason.TOO_CLOSE if structure is None else None)
            if structure is not None and self._settings.relax_frames:
                held = sorted({atom for d in frame.dihedrals for atom in d.atoms})
                steps = self._settings.relax_frame_steps
                structure = self._relaxed(path, structure, potential, steps, held)
                reasons[-1] = StopReason.NOT_FINITE if structure is None else None
            if structure is not None:
                structures.append(structure)
        looks = iter(judge.look(structures))
        for reason in reasons:
            yield next(looks) if reason is None else reason

    def _relaxed(
        self,
        path: Path,
        structure: Structure,
        potential: Potential,
        most_steps: int,
        held: Sequence[int] = (),
    ) -> Structure | None:
        end = relaxed(
            structure,
            potential,
            largest_force_eV_per_A=self._settings.relax_force_eV_per_A,
            most_steps=most_steps,
            fixed=held,
            find_pairs=self._find_pairs,
        )
        path.spend(end.n_steps + 1)
        if end.structure is None:
            return None
        before, after = (
            bonded(structure, one.positions, self._settings.bond_factor)
            for one in (structure, end.structure)
        )
        is_believed = end.is_sound and np.array_equal(before, after)
        return end.structure if is_believed else structure
