"""Samplers that drive ASE: frames of a driver, judged as they come."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from alflow import registry
from alflow.core.elements import SYMBOLS
from alflow.core.errors import PluginError
from alflow.core.sampling import Gate, StopReason, Trajectory
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure, lowest_multiplicity
from alflow.md.neighbours import FindPairs
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Potential
from alflow.samplers.ase import AseSettings
from alflow.samplers.judging import Judge, Path, check_elements

if TYPE_CHECKING:
    from ase import Atoms

    from alflow.md.ase_calculator import EnsembleCalculator

Driver = Callable[..., Iterator["Atoms"]]
"""Called with atoms, a random generator, and the options by name."""


class AseSampler:
    """Runs a driver from each start.

    Frame 0 is the start. The random generator of start k follows from `child_seed(seed, k)`, and
    its calculator is its own: what a driver does with them does not depend on the other starts.
    """

    def __init__(
        self, settings: AseSettings, find_pairs: FindPairs = neighbour_pairs
    ) -> None:
        """Keep the settings; `find_pairs` finds pairs from scratch."""
        self._settings = settings
        self._find_pairs = find_pairs

    def sample(
        self, starts: Sequence[Structure], potential: Potential, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Run the driver from each start, one after the other.

        Raises:
            PluginError: If the driver cannot be imported, or yields what is no frame.
            SettingsError: If the potential does not know an element of a start.
        """
        check_elements(starts, potential)
        driver: Driver = registry.find("ase_samplers", self._settings.driver)
        judge = Judge(self._settings, potential, gate, self._find_pairs)
        return [
            self._path(start, potential, judge, driver, child_seed(seed, k))
            for k, start in enumerate(starts)
        ]

    def _path(
        self,
        start: Structure,
        potential: Potential,
        judge: Judge,
        driver: Driver,
        seed: int,
    ) -> Trajectory:
        path = Path(start, seed, judge)
        stream = np.random.Generator(np.random.PCG64(seed))
        atoms = self._atoms(start, potential)
        calculator: EnsembleCalculator = atoms.calc
        frames = driver(atoms, stream, **self._settings.options)
        driven = islice(frames, self._settings.frames)
        for step, (structure, temperature_K) in enumerate(
            chain([(start, 0.0)], (self._read(one, start, potential) for one in driven))
        ):
            if structure is None:
                path.stop(StopReason.NOT_FINITE)
                break
            (judged,) = judge.look([structure])
            if step < self._settings.grace_frames:
                judged = replace(judged, measure=None)
            is_flagged = path.take(judged, temperature_K)
            if judged.stopped is not None:
                path.stop(judged.stopped)
            if is_flagged or judged.stopped is not None:
                break
        path.spend(calculator.n_evaluations)
        return path.trajectory({})

    def _atoms(self, start: Structure, potential: Potential) -> "Atoms":
        from ase import Atoms

        from alflow.md.ase_calculator import EnsembleCalculator

        atoms = Atoms(
            start.numbers,
            start.positions,
            cell=start.cell,
            pbc=start.pbc,
            info={"charge": start.charge, "multiplicity": start.multiplicity},
        )
        atoms.calc = EnsembleCalculator(
            potential, forces="mean", find_pairs=self._find_pairs
        )
        return atoms

    def _read(
        self, frame: Any, start: Structure, potential: Potential
    ) -> tuple[Structure | None, float]:
        """What a driver yielded, and its temperature [K]; None if a coordinate is not a number.

        The charge is that of the start; the multiplicity, too, unless the elements are others.
        """
        from ase import Atoms

        name = f"driver {self._settings.driver!r} of sampler 'ase'"
        if not isinstance(frame, Atoms):
            raise PluginError(f"{name} yielded {type(frame).__name__}, not ase.Atoms")
        unknown = sorted(set(frame.numbers.tolist()) - set(potential.elements))
        if unknown:
            raise PluginError(
                f"{name} yielded atoms of {', '.join(SYMBOLS[z] for z in unknown)}, which the "
                "potential does not know"
            )
        positions = np.array(frame.positions, np.float64)
        cell = np.array(frame.cell[:], np.float64) if frame.pbc.any() else None
        if not (np.isfinite(positions).all() and (cell is None or np.isfinite(cell).all())):
            return None, 0.0
        numbers = frame.numbers.astype(np.uint8)
        is_same = np.array_equal(np.sort(numbers), np.sort(start.numbers))
        charge, multiplicity = start.charge, start.multiplicity
        if not is_same:
            multiplicity = lowest_multiplicity(numbers, charge)
        pbc = np.array(frame.pbc, bool)
        structure = Structure(numbers, positions, cell, pbc, charge, multiplicity)
        return structure, float(frame.info.get("temperature_K", 0.0))
