"""Coexistence: that halves are joined well, and that phases are told apart."""

import numpy as np
import pytest

from alflow.models.gupta import GuptaPotential
from alflow.validation.lattices import Crystal
from alflow.validation.melting import MeltingSettings
from alflow.validation.melting_run import _structure, crystalline_share, joined

CRYSTAL = Crystal("Al", "fcc", 16.6)


def box(repeats=(3, 3, 4), noise=0.0, seed=0):
    atoms = CRYSTAL.conventional().repeat(repeats)
    rng = np.random.default_rng(seed)
    atoms.positions += rng.normal(0, noise, atoms.positions.shape)
    return _structure(atoms)


def test_halves_are_on_top_of_each_other():
    solid, liquid = box(), box((3, 3, 5))
    both = joined(solid, liquid, np.random.default_rng(1), CRYSTAL.lattice_A)
    assert both.n_atoms == solid.n_atoms + liquid.n_atoms
    assert both.cell[2, 2] == pytest.approx(9 * CRYSTAL.lattice_A + 1.0)
    assert both.cell[:2] == pytest.approx(solid.cell[:2])
    apart = np.linalg.norm(
        both.positions[: solid.n_atoms, None] - both.positions[None, solid.n_atoms :],
        axis=2,
    )
    assert apart.min() > 2.2
    heights = both.positions[:, 2]
    assert heights[: solid.n_atoms].max() < heights[solid.n_atoms :].min()


def test_phases_are_told_apart():
    hot, molten = box((4, 4, 6), 0.15), box((4, 4, 6), 1.5, seed=1)
    edge = CRYSTAL.lattice_A
    assert crystalline_share(hot.positions, hot, edge) == 1.0
    assert crystalline_share(molten.positions, molten, edge) == 0.0
    both = joined(hot, molten, np.random.default_rng(1), edge)
    assert 0.35 < crystalline_share(both.positions, both, edge) < 0.65
    # a drift of the whole box changes nothing
    assert crystalline_share(hot.positions + 0.7, hot, edge) == 1.0


@pytest.mark.parametrize(("temperature_K", "words"), [(400.0, ""), (30_000.0, "melting: ")])
def test_a_short_run_ends_with_a_point_or_a_note(temperature_K, words):
    settings = MeltingSettings(
        element="Al",
        temperature_K=temperature_K,
        crystal_density_g_per_cm3=2.6,
        melt_density_g_per_cm3=2.4,
        width=3,
        length=4,
        preparation_ps=0.1,
        equilibration_ps=0.02,
        duration_ps=0.4,
    )
    result = settings.create().run(GuptaPotential.published("Al"), 3)
    if words:
        assert words in result.notes[0]
    else:
        assert result.notes or {one.name for one in result.properties} == {
            "melting/temperature",
            "melting/pressure",
            "melting/crystalline_share",
        }
