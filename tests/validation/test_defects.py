"""Defects: against counts of broken bonds."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from alflow.core.units import JOULE_PER_M2_PER_EV_PER_ANGSTROM2
from alflow.models.gupta import GuptaPotential
from alflow.validation.defects import area_A2, slab, with_fault, with_vacancy
from alflow.validation.lattices import Crystal
from alflow.validation.stacking_fault import StackingFaultSettings
from alflow.validation.surface import SurfaceSettings
from alflow.validation.vacancy import VacancySettings

pytestmark = pytest.mark.physics
DEPTHS, LENGTH_A = (0.45, 0.50, 0.61), 2.8
LATTICE_A = LENGTH_A * 2**0.5
COMMON = {"element": "Al", "volume_A3": LATTICE_A**3 / 4}
CRYSTAL = Crystal("Al", "fcc", LATTICE_A**3 / 4)


@pytest.fixture
def ensemble(bonded):
    return bonded.Bonded(DEPTHS, (1.6, 2.0, 2.7), LENGTH_A)


def test_a_vacancy_of_bonds_costs_six_of_them(ensemble):
    found, gained = VacancySettings(**COMMON).create().run(ensemble, 1).properties
    assert found.members == pytest.approx([6 * depth for depth in DEPTHS], rel=1e-3)
    assert found.value == pytest.approx(6 * np.mean(DEPTHS), rel=1e-3)
    assert gained.value == pytest.approx(0, abs=1e-3)


def test_a_vacancy_of_gupta_aluminium_relaxes(values):
    found = values(
        VacancySettings(element="Al", sites=32)
        .create()
        .run(GuptaPotential.published("Al"), 1)
    )
    assert 0.3 < found["vacancy/formation_energy"] < 1.2
    assert found["vacancy/relaxation_energy"] > 0.005


@pytest.mark.parametrize(
    ("facet", "broken", "area"),
    [("100", 4, 1 / 2), ("110", 6, 0.5**0.5), ("111", 3, 3**0.5 / 4)],
)
def test_surfaces_of_bonds_cost_what_is_broken(ensemble, facet, broken, area):
    """Per atom of the outermost plane; (110) breaks five there and one below."""
    suite = SurfaceSettings(**COMMON, facets=(facet,), thickness_A=9.0).create()
    (found,) = suite.run(ensemble, 1).properties
    per_bond = broken / 2 / (area * LATTICE_A**2) * JOULE_PER_M2_PER_EV_PER_ANGSTROM2
    assert found.name == f"surface_{facet}/energy"
    assert found.members == pytest.approx([depth * per_bond for depth in DEPTHS], rel=1e-3)


def test_a_fault_of_bonds_costs_nothing(ensemble):
    (found,) = (
        StackingFaultSettings(**COMMON, layers=6).create().run(ensemble, 1).properties
    )
    assert found.value == pytest.approx(0, abs=0.05)


def test_a_fault_makes_two_planes_of_hcp():
    """Each atom keeps twelve neighbours; in two planes none of them is opposite to another."""
    fault = with_fault(CRYSTAL, 9, 0.0)
    i, vectors = neighbor_list("iD", fault, LENGTH_A * 1.1)
    assert np.bincount(i).tolist() == [12] * 9
    kinds = []
    for atom in range(9):
        mine = vectors[i == atom]
        sums = np.linalg.norm(mine[:, None] + mine[None], axis=2)
        kinds.append("fcc" if (sums < 1e-6).sum() == 12 else "hcp")
    assert kinds.count("hcp") == 2
    assert fault.get_volume() == pytest.approx(9 * CRYSTAL.volume_A3)


def test_a_slab_has_its_thickness_area_and_vacuum():
    found = slab(CRYSTAL, "111", 12.0, 15.0)
    height = np.ptp(found.positions[:, 2])
    per_atom = 3**0.5 / 4 * LATTICE_A**2
    assert height >= 12.0
    assert found.cell[2, 2] - height == pytest.approx(15.0)
    assert found.pbc.all()
    n_outermost = np.sum(found.positions[:, 2] > found.positions[:, 2].max() - 0.1)
    assert area_A2(found) == pytest.approx(n_outermost * per_atom)


def test_a_vacancy_is_one_atom():
    assert len(with_vacancy(CRYSTAL, 100)) == 107
