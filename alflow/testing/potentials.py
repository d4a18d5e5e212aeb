"""The contract of a potential, as tests that a plug-in inherits.

    class TestMine(PotentialTests):
        elements = ("H", "O")

        def make_potential(self):
            return MyPotential(...)

Give it in float64 where it can be: tolerances are then tight.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Evaluation, Forces, Pairs, Potential
from alflow.testing.samples import a_structure, must, numbers_of

_CLOSE = {torch.float64: 1e-7, torch.float32: 2e-3}
_STEP_A = {torch.float64: 1e-4, torch.float32: 1e-2}
_SLOPE = {torch.float64: 1e-5, torch.float32: 5e-2}
"""How far forces and finite differences may be apart, by the size of the forces."""
_VIEW_A = 1.0
"""How much longer than its cutoff the lists are that a potential must cope with [Å]."""


class PotentialTests:
    """What must hold for every potential; inherit it and give `elements` and `make_potential`.

    Attributes:
        elements: Chemical symbols that the potential knows; at least one.
        members_differ: Whether members of an ensemble must disagree.
    """

    elements: ClassVar[Sequence[str]] = ()
    members_differ: ClassVar[bool] = True

    def make_potential(self) -> Potential:
        """The potential to test."""
        raise NotImplementedError("give make_potential() in the class that inherits")

    def evaluate(
        self,
        structures: Sequence[Structure],
        *,
        forces: Forces = "members",
        beyond_A: float = 0.0,
    ) -> Evaluation:
        """What it says about structures, evaluated as one batch."""
        potential = self.make_potential()
        batch, pairs = self._batch(potential, structures, beyond_A)
        return potential.evaluate(batch, pairs, forces=forces)

    def fingerprints(self, structures: Sequence[Structure]) -> Tensor:
        """Descriptors of whole structures."""
        potential = self.make_potential()
        return potential.fingerprint(*self._batch(potential, structures, 0.0))

    def test_it_tells_what_it_is(self) -> None:
        """The attributes of the protocol are there and make sense."""
        potential = self.make_potential()
        must(
            isinstance(potential, Potential), "it lacks an attribute or method of Potential"
        )
        must(potential.n_members >= 1, f"n_members is {potential.n_members}")
        must(0 < potential.cutoff_A < np.inf, f"cutoff_A is {potential.cutoff_A}")
        must(potential.dtype in _CLOSE, f"dtype is {potential.dtype}")
        missing = set(numbers_of(self.elements)) - set(potential.elements)
        must(self.elements and not missing, f"it does not know {missing} or none are named")

    def test_results_have_their_shapes(self) -> None:
        """Energies of all members in float64; forces as far as they are asked for."""
        structures = self._samples()
        n_atoms = sum(structure.n_atoms for structure in structures)
        members = self.make_potential().n_members
        none, mean, each = (
            self.evaluate(structures, forces=how) for how in ("none", "mean", "members")
        )
        for found in (none, mean, each):
            shape = tuple(found.energies.shape)
            must(shape == (members, len(structures)), f"energies have the shape {shape}")
            must(found.energies.dtype == torch.float64, "energies are not in float64")
            must(found.energies.isfinite().all(), "an energy is not finite")
        must(none.forces is None and none.member_forces is None, "unasked forces")
        if mean.forces is None or each.member_forces is None:
            raise AssertionError("forces that were asked for are None")
        must(tuple(mean.forces.shape) == (n_atoms, 3), "mean forces have a wrong shape")
        shape = tuple(each.member_forces.shape)
        must(shape == (members, n_atoms, 3), f"forces of members have the shape {shape}")
        self._same(
            mean.forces, each.member_forces.mean(0), "mean forces, forces of members"
        )
        self._same(none.energies, each.energies, "energies with and without forces")

    def test_a_second_evaluation_gives_the_same_bits(self) -> None:
        """Nothing random, nothing kept from one call to the next."""
        potential, structures = self.make_potential(), self._samples()
        batch, pairs = self._batch(potential, structures, 0.0)
        first, second = (
            potential.evaluate(batch, pairs, forces="members") for _ in range(2)
        )
        same = torch.equal(first.energies, second.energies)
        must(same, "the same batch has other energies the second time")
        same = torch.equal(forces_of(first), forces_of(second))
        must(same, "the same batch has other forces the second time")

    def test_a_shift_changes_nothing(self) -> None:
        """Invariance under translation."""
        structures = self._samples()
        moved = [
            replace(s, positions=s.positions + np.array([1.7, -2.3, 0.9]))
            for s in structures
        ]
        self._same_results(structures, moved, "shifted")

    def test_forces_turn_with_the_structure(self) -> None:
        """Invariance of energies and equivariance of forces under rotation."""
        rotation = np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        structures = self._samples()
        turned = [
            replace(
                s,
                positions=s.positions @ rotation,
                cell=None if s.cell is None else s.cell @ rotation,
            )
            for s in structures
        ]
        before, after = self.evaluate(structures), self.evaluate(turned)
        self._same(before.energies, after.energies, "energies of turned structures")
        matrix = torch.tensor(rotation, dtype=forces_of(before).dtype)
        matrix = matrix.to(forces_of(before).device)
        self._same(
            forces_of(before) @ matrix, forces_of(after), "forces of turned structures"
        )

    def test_the_order_of_atoms_does_not_matter(self) -> None:
        """Equal atoms are the same; forces follow their atoms."""
        structure = self._molecule()
        order = np.random.default_rng(4).permutation(structure.n_atoms)
        mixed = Structure(structure.numbers[order], structure.positions[order])
        before, after = self.evaluate([structure]), self.evaluate([mixed])
        self._same(before.energies, after.energies, "energies in another order")
        where = torch.tensor(order, device=forces_of(before).device)
        self._same(forces_of(before)[:, where], forces_of(after), "forces in another order")

    def test_forces_are_minus_the_slope_of_the_energy(self) -> None:
        """Every component of every member, against central differences."""
        dtype = self.make_potential().dtype
        step = _STEP_A[dtype]
        for structure in (self._molecule(), self._crystal()):
            found = forces_of(self.evaluate([structure])).double().cpu()
            moved = [
                replace(structure, positions=structure.positions + sign * shift)
                for shift in _unit_shifts(structure.n_atoms, step)
                for sign in (1, -1)
            ]
            energies = self.evaluate(moved, forces="none").energies.cpu()
            slopes = (energies[:, 0::2] - energies[:, 1::2]) / (2 * step)
            wanted = -slopes.reshape(len(slopes), -1, 3)
            off = float((found - wanted).abs().max())
            limit = _SLOPE[dtype] * max(1.0, float(wanted.abs().max()))
            must(off < limit, f"forces and slopes are up to {off:.3g} eV/Å apart")

    def test_images_are_the_same_atoms(self) -> None:
        """An atom moved by a cell vector, and a cell doubled: the same crystal."""
        crystal = self._crystal()
        cell = _cell(crystal)
        hop = crystal.positions.copy()
        hop[0] += cell[0] - cell[2]
        self._same_results([crystal], [replace(crystal, positions=hop)], "in another cell")
        doubled = Structure(
            np.tile(crystal.numbers, 2),
            np.vstack([crystal.positions, crystal.positions + cell[1]]),
            cell * np.array([[1.0], [2.0], [1.0]]),
            np.ones(3, bool),
        )
        once, twice = self.evaluate([crystal]), self.evaluate([doubled])
        self._same(2 * once.energies, twice.energies, "energies of one cell and of two")
        self._same(forces_of(once).repeat(1, 2, 1), forces_of(twice), "forces in two cells")

    def test_company_in_the_batch_does_not_matter(self) -> None:
        """A structure alone, and among others."""
        structures = self._samples()
        together = self.evaluate(structures)
        start = 0
        for k, structure in enumerate(structures):
            alone, end = self.evaluate([structure]), start + structure.n_atoms
            self._same(alone.energies[:, 0], together.energies[:, k], "energies in company")
            self._same(
                forces_of(alone), forces_of(together)[:, start:end], "forces in company"
            )
            start = end

    def test_a_list_that_reaches_too_far_changes_nothing(self) -> None:
        """Lists have a skin: pairs beyond the cutoff are there and must not count."""
        structures = self._samples()
        short, long = self.evaluate(structures), self.evaluate(structures, beyond_A=_VIEW_A)
        self._same(short.energies, long.energies, "energies with a longer list")
        self._same(forces_of(short), forces_of(long), "forces with a longer list")

    def test_what_is_far_apart_adds_up(self) -> None:
        """Size consistency: two molecules beyond the cutoff, as one system."""
        one, other = self._molecule(), a_structure(self.elements, 5, seed=6)
        reach = self.make_potential().cutoff_A
        far = np.array([np.ptp(one.positions[:, 0]) + 3 * reach + 20.0, 0, 0])
        both = Structure(
            np.concatenate([one.numbers, other.numbers]),
            np.vstack([one.positions, other.positions + far]),
        )
        apart, joined = self.evaluate([one, other]), self.evaluate([both])
        self._same(apart.energies.sum(1), joined.energies[:, 0], "energies of the two")
        self._same(forces_of(apart), forces_of(joined), "forces on the two")

    def test_an_atom_alone_feels_nothing(self) -> None:
        """No neighbours: a finite energy, forces of zero."""
        alone = self.evaluate([a_structure(self.elements, 1)])
        must(alone.energies.isfinite().all(), "the energy of an atom alone is not finite")
        must((forces_of(alone) == 0).all(), "an atom alone has a force on it")

    def test_members_have_their_own_energies(self) -> None:
        """An ensemble of clones would always be sure of itself."""
        found = self.evaluate([self._molecule()])
        if found.energies.shape[0] == 1:
            must(float(found.energy_spread()[0]) == 0, "one member has a spread")
        elif self.members_differ:
            values = found.energies[:, 0].tolist()
            must(len(set(values)) == len(values), "two members have the same energy")
            must(found.force_spread().max() > 0, "members have no spread of forces")

    def test_an_unknown_element_is_refused(self) -> None:
        """A SettingsError, not a number."""
        known = set(self.make_potential().elements)
        strange = next(z for z in range(1, len(SYMBOLS)) if z not in known)
        molecule = self._molecule()
        numbers = molecule.numbers.copy()
        numbers[0] = strange
        try:
            self.evaluate([replace(molecule, numbers=numbers)])
        except SettingsError:
            return
        raise AssertionError(f"it has an energy for {SYMBOLS[strange]}, which is unknown")

    def test_a_position_that_is_no_number_gives_no_number(self) -> None:
        """NaN positions: NaN energies and forces of that system, and of no other."""
        potential, good = self.make_potential(), self._molecule()
        batch, _ = self._batch(potential, [good, good, good], 0.0)
        positions = batch.positions.clone()
        positions[good.n_atoms + 1, 2] = torch.nan
        broken = replace(batch, positions=positions)
        found = potential.evaluate(
            broken, neighbour_pairs(broken, potential.cutoff_A), forces="members"
        )
        must(found.energies[:, 1].isnan().all(), "a NaN position has an energy")
        inside = slice(good.n_atoms, 2 * good.n_atoms)
        must(forces_of(found)[:, inside].isnan().any(), "a NaN position has forces")
        whole = self.evaluate([good])
        for k in (0, 2):
            self._same(whole.energies[:, 0], found.energies[:, k], "energies beside a NaN")
        last = forces_of(found)[:, 2 * good.n_atoms :]
        self._same(forces_of(whole), last, "forces beside a NaN")

    def test_fingerprints_tell_structures_apart_and_nothing_else(self) -> None:
        """One row for each system; the same for what is the same; of no size of its own."""
        molecule, crystal = self._molecule(), self._crystal()
        cell = _cell(crystal)
        doubled = Structure(
            np.tile(crystal.numbers, 2),
            np.vstack([crystal.positions, crystal.positions + cell[0]]),
            cell * np.array([[2.0], [1.0], [1.0]]),
            np.ones(3, bool),
        )
        moved = replace(molecule, positions=molecule.positions[:, [1, 2, 0]] + 0.7)
        rows = self.fingerprints([molecule, moved, crystal, doubled])
        must(rows.dim() == 2 and len(rows) == 4, "not one row for each system")  # noqa: PLR2004
        must(rows.isfinite().all(), "a fingerprint is not finite")
        self._same(rows[0], rows[1], "fingerprints of a molecule that was turned")
        self._same(rows[2], rows[3], "fingerprints of a cell and of two")
        other = self.fingerprints([a_structure(self.elements, 7, seed=9)])
        far = float((rows[0] - other[0]).abs().max())
        must(far > 0, "different structures have the same fingerprint")

    def _molecule(self) -> Structure:
        return a_structure(self.elements, 7, seed=1)

    def _crystal(self) -> Structure:
        return a_structure(self.elements, 8, pbc=(True, True, True), seed=2)

    def _samples(self) -> list[Structure]:
        """A molecule, crystals dense and small, a slab, an atom."""
        return [
            self._molecule(),
            self._crystal(),
            a_structure(self.elements, 6, pbc=(True, True, False), seed=3),
            a_structure(self.elements, 1, seed=4),
            a_structure(self.elements, 2, pbc=(True, True, True), seed=5),
        ]

    @staticmethod
    def _batch(
        potential: Potential, structures: Sequence[Structure], beyond_A: float
    ) -> tuple[Batch, Pairs]:
        batch = Batch.from_structures(
            list(structures), dtype=torch.float64, device=potential.device
        )
        if potential.dtype == torch.float32:
            batch = replace(
                batch, positions=batch.positions.float(), cells=batch.cells.float()
            )
        return batch, neighbour_pairs(batch, potential.cutoff_A + beyond_A)

    def _same_results(
        self, before: Sequence[Structure], after: Sequence[Structure], how: str
    ) -> None:
        first, second = self.evaluate(before), self.evaluate(after)
        self._same(first.energies, second.energies, f"energies {how}")
        self._same(forces_of(first), forces_of(second), f"forces {how}")

    def _same(self, first: Tensor, second: Tensor, what: str) -> None:
        close = _CLOSE[self.make_potential().dtype]
        limit = close * max(1.0, float(first.abs().max()) if first.numel() else 0.0)
        off = float((first - second).abs().max())
        must(off <= limit, f"{what}: {off:.3g} apart, at most {limit:.3g} is allowed")


def forces_of(found: Evaluation) -> Tensor:
    """Forces of all members, which were asked for.

    Raises:
        AssertionError: If they are not there.
    """
    if found.member_forces is None:
        raise AssertionError("forces of the members were asked for and are None")
    return found.member_forces


def _cell(structure: Structure) -> np.ndarray:
    if structure.cell is None:
        raise AssertionError("the sample crystal has no cell")
    return np.asarray(structure.cell)


def _unit_shifts(n_atoms: int, step: float) -> np.ndarray:
    return np.asarray(step * np.eye(3 * n_atoms).reshape(-1, n_atoms, 3))
