"""The Gupta potential against finite differences, symmetry and published properties."""

import itertools

import numpy as np
import pytest
import torch

from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.core.units import GPA_PER_EV_PER_ANGSTROM3
from alflow.models.gupta import GuptaPotential
from alflow.models.gupta_parameters import CLERI_ROSATO, GuptaParameters
from alflow.models.potential import Batch, Evaluation, Pairs

A0_A = 4.05
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def all_pairs(batch: Batch, cutoff_A: float) -> Pairs:
    """Every ordered pair within the cutoff, by trying all images."""
    rows = []
    for system in range(batch.n_systems):
        members = torch.nonzero(batch.system_idx == system).flatten()
        cell, pbc = batch.cells[system].numpy(), batch.pbc[system].numpy()
        reach = [0, 0, 0]
        if pbc.any():
            heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
            reach = np.where(pbc, np.ceil(cutoff_A / heights) + 1, 0).astype(int)
        positions = batch.positions[members].numpy()
        for shift in itertools.product(*[range(-n, n + 1) for n in reach]):
            d = positions[None] + np.array(shift) @ cell - positions[:, None]
            near = np.linalg.norm(d, axis=-1) < cutoff_A
            if not any(shift):
                np.fill_diagonal(near, val=False)
            rows += [
                (int(members[i]), int(members[j]), *shift) for i, j in np.argwhere(near)
            ]
    table = torch.tensor(sorted(rows), dtype=torch.float64).reshape(-1, 5)
    return Pairs(table[:, 0].long(), table[:, 1].long(), table[:, 2:])


def evaluate(
    potential: GuptaPotential, *structures: Structure, forces="mean"
) -> Evaluation:
    batch = Batch.from_structures(list(structures))
    return potential.evaluate(batch, all_pairs(batch, potential.cutoff_A), forces=forces)


def energy(potential: GuptaPotential, structure: Structure) -> float:
    return float(evaluate(potential, structure, forces="none").energies[0, 0])


def fcc(a0_A: float = A0_A, strain=None, number: int = 13) -> Structure:
    cell = a0_A * np.eye(3) @ (np.eye(3) + (np.zeros((3, 3)) if strain is None else strain))
    return Structure(np.full(4, number, np.uint8), FCC @ cell, cell, np.ones(3, bool))


def cluster(seed: int = 0, numbers=(13,) * 7) -> Structure:
    rng = np.random.default_rng(seed)
    corners = np.array(list(itertools.product(range(2), repeat=3)))[: len(numbers)]
    positions = corners * 2.7 + rng.normal(0, 0.2, (len(numbers), 3))
    return Structure(np.array(numbers, np.uint8), positions)


@pytest.fixture(scope="module")
def aluminium() -> GuptaPotential:
    return GuptaPotential.published("Al")


@pytest.fixture(scope="module")
def box() -> Structure:
    rng = np.random.default_rng(5)
    cell = np.array([[6.3, 0.2, 0], [0.4, 5.9, 0.3], [-0.2, 0.1, 6.6]])
    grid = np.array(list(itertools.product([0.1, 0.6], repeat=3)))
    positions = (grid + rng.uniform(-0.06, 0.06, grid.shape)) @ cell
    return Structure(np.full(8, 13, np.uint8), positions, cell, np.ones(3, bool))


def elastic(potential: GuptaPotential, strain: np.ndarray) -> float:
    """Second derivative of the energy density by the size of the strain [GPa]."""
    step, volume = 2e-3, A0_A**3
    three = [energy(potential, fcc(strain=k * step * strain)) for k in (-1, 0, 1)]
    return (
        (three[0] - 2 * three[1] + three[2]) / step**2 / volume * GPA_PER_EV_PER_ANGSTROM3
    )


@pytest.mark.physics
def test_aluminium_has_its_published_properties(aluminium):
    assert energy(aluminium, fcc()) / 4 == pytest.approx(-3.339, abs=1e-3)
    lattice = np.linspace(4.0, 4.1, 11)
    fit = np.polyfit(lattice - A0_A, [energy(aluminium, fcc(a)) for a in lattice], 4)
    roots = np.roots(np.polyder(fit))
    assert np.abs(roots[np.abs(roots.imag) < 1e-9].real).min() < 2e-3
    c11 = elastic(aluminium, np.diag([1.0, 0, 0]))
    tetragonal = elastic(aluminium, np.diag([1.0, -1.0, 0]))
    c12 = c11 - tetragonal / 2
    c44 = elastic(aluminium, np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]]))
    assert c11 == pytest.approx(95.0, abs=0.5)
    assert c12 == pytest.approx(74.4, abs=0.5)
    assert c44 == pytest.approx(37.2, abs=0.5)


@pytest.mark.physics
@pytest.mark.parametrize(
    ("symbol", "number", "cohesive_eV"),
    [
        ("Ni", 28, 4.435),
        ("Cu", 29, 3.544),
        ("Rh", 45, 5.752),
        ("Pd", 46, 3.936),
        ("Ag", 47, 2.960),
        ("Ir", 77, 6.93),
        ("Pt", 78, 5.853),
        ("Au", 79, 3.779),
    ],
)
def test_published_metals_are_bound_and_at_rest_at_their_lattice_constant(
    symbol, number, cohesive_eV
):
    potential = GuptaPotential.published(symbol)
    a0_A = CLERI_ROSATO[symbol].r0_A * 2**0.5
    structure = fcc(a0_A, number=number)
    assert energy(potential, structure) / 4 == pytest.approx(-cohesive_eV, rel=1e-3)
    batch = Batch.from_structures([structure])
    stress = potential.stresses(batch, all_pairs(batch, potential.cutoff_A))[0]
    assert float(stress.abs().max()) * GPA_PER_EV_PER_ANGSTROM3 < 0.5


@pytest.mark.parametrize("kind", ["cluster", "box", "alloy"])
def test_forces_are_the_slope_of_the_energy(aluminium, box, kind):
    potential, structure = aluminium, box
    if kind == "cluster":
        structure = cluster()
    if kind == "alloy":
        potential = GuptaPotential.published("Cu", "Au")
        structure = cluster(numbers=(29, 79, 79, 29, 29, 79))
    forces = evaluate(potential, structure).forces
    assert forces is not None
    step = 1e-4
    for atom, axis in [(0, 0), (3, 1), (5, 2)]:
        ends = []
        for sign in (1, -1):
            moved = structure.positions.copy()
            moved[atom, axis] += sign * step
            ends.append(
                energy(
                    potential,
                    Structure(structure.numbers, moved, structure.cell, structure.pbc),
                )
            )
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(forces[atom, axis]) == pytest.approx(-slope, abs=2e-7)


def test_forces_do_not_jump_where_the_switch_ends(aluminium):
    def pull(distance_A: float) -> float:
        pair = Structure(
            np.array([13, 13], np.uint8), np.array([[0.0, 0, 0], [distance_A, 0, 0]])
        )
        forces = evaluate(aluminium, pair).forces
        assert forces is not None
        return float(forces[0, 0])

    end = aluminium.cutoff_A
    assert pull(end - 1e-6) == pytest.approx(0, abs=1e-6)
    assert pull(end + 1e-3) == 0


def test_stress_is_the_slope_of_the_energy_with_strain(aluminium, box):
    batch = Batch.from_structures([box])
    stress = aluminium.stresses(batch, all_pairs(batch, aluminium.cutoff_A))[0]
    assert torch.allclose(stress, stress.T)
    step = 1e-5
    for row, column in [(0, 0), (1, 2)]:
        ends = []
        for sign in (1, -1):
            change = np.eye(3)
            change[row, column] += sign * step
            ends.append(
                energy(
                    aluminium,
                    Structure(
                        box.numbers, box.positions @ change, box.cell @ change, box.pbc
                    ),
                )
            )
        slope = (ends[0] - ends[1]) / (2 * step) / box.volume_A3
        assert float(stress[row, column]) == pytest.approx(slope, abs=1e-6)


def test_energy_ignores_rotation_shift_and_order(aluminium):
    structure = cluster()
    angle = 0.7
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    order = np.random.default_rng(1).permutation(structure.n_atoms)
    moved = Structure(structure.numbers[order], structure.positions[order] @ turn.T + 3.0)
    here, there = evaluate(aluminium, structure), evaluate(aluminium, moved)
    assert float(there.energies) == pytest.approx(float(here.energies), abs=1e-7)
    assert here.forces is not None
    assert there.forces is not None
    turned = here.forces.numpy()[order] @ turn.T
    assert np.abs(there.forces.numpy() - turned).max() < 1e-6


def test_a_system_does_not_feel_the_rest_of_its_batch(aluminium, box):
    others = [cluster(1), box, cluster(2, (13,) * 5)]
    together = evaluate(aluminium, *others, forces="members")
    alone = evaluate(aluminium, box, forces="members")
    assert float(together.energies[0, 1]) == float(alone.energies[0, 0])
    assert together.forces is not None
    assert torch.equal(together.forces[7:15], alone.forces)
    assert torch.equal(together.member_forces[0], together.forces)


def test_repeated_cells_have_the_same_energy_and_fingerprint_per_atom(aluminium):
    small = fcc()
    cell = small.cell @ np.diag([2.0, 1, 1])
    double = Structure(
        np.full(8, 13, np.uint8),
        np.concatenate([small.positions, small.positions + np.array([A0_A, 0, 0])]),
        cell,
        np.ones(3, bool),
    )
    batch = Batch.from_structures([small, double])
    pairs = all_pairs(batch, aluminium.cutoff_A)
    energies = aluminium.evaluate(batch, pairs, forces="none").energies[0]
    assert float(energies[1]) == pytest.approx(2 * float(energies[0]), rel=1e-12)
    prints = aluminium.fingerprint(batch, pairs)
    assert torch.allclose(prints[0], prints[1])
    assert prints.shape == (2, 16)


def test_lone_atoms_have_no_energy_and_no_force(aluminium):
    lone = Structure(np.array([13], np.uint8), np.zeros((1, 3)))
    result = evaluate(aluminium, lone)
    assert float(result.energies) == 0
    assert torch.equal(result.forces, torch.zeros(1, 3, dtype=torch.float64))


def test_own_parameters_and_unknown_elements():
    own = GuptaParameters(repulsion_eV=0.1, hopping_eV=1.2, p=10, q=2.5, r0_A=3.0)
    potential = GuptaPotential({"Mg": own})
    assert potential.elements == (12,)
    with pytest.raises(SettingsError, match="no parameters for Al; it knows Mg"):
        energy(potential, cluster())
    with pytest.raises(SettingsError, match="for Fe"):
        GuptaPotential.published("Fe")
    with pytest.raises(SettingsError, match="at least one"):
        GuptaPotential({})
