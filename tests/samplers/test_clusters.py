import numpy as np
import pytest
from ase.build import molecule
from pydantic import ValidationError

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.samplers.clusters import ClustersSettings
from alflow.samplers.clusters_run import cut_clusters

NEVER = Gate()
ALWAYS = Gate(energy=Limit(1e-12))


def settings(**changes):
    return ClustersSettings.model_validate(
        {
            "timestep_fs": 0.5,
            "duration_ps": 0.02,
            "temperature_K": {"start": [200, 300], "end": [200, 300]},
            "check_every": 10,
            "stop_factor": 1e12,
            **changes,
        }
    )


def run(ensemble, starts, gate=NEVER, seed=1, **changes):
    return settings(**changes).create().sample(starts, ensemble, gate, seed)


@pytest.fixture
def ensemble(springs):
    """Bonds of one Å that the members do not quite agree about; it sees 5 Å far."""
    return springs((30.0, 31.0), (1.0, 1.0), 1.2, cutoff_A=5.0)


def box(n=2, spacing_A=3.6, seed=0, **more):
    """n³ water molecules in a cubic cell."""
    water = molecule("H2O")
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    shift = np.random.default_rng(seed).uniform(0, spacing_A, 3)
    positions = np.concatenate(
        [water.positions + spacing_A * point + shift for point in grid]
    )
    cell_A = n * spacing_A
    return Structure(
        np.tile(water.numbers, n**3).astype(np.uint8),
        positions % cell_A,
        np.eye(3) * cell_A,
        np.ones(3, bool),
        **more,
    )


def test_flagged_dimers_come_back_from_a_box(ensemble):
    (found,) = run(ensemble, [box()], ALWAYS, frames=100)
    assert found.stop_reason is StopReason.FLAGGED
    assert (found.n_steps, found.time_fs) == (40, 20.0)
    # four at the start and at each of four checks
    assert [frame.step for frame in found.frames] == sorted([0, 10, 20, 30, 40] * 4)
    for frame in found.frames:
        assert frame.structure.formula == "H4O2"
        assert (frame.structure.cell, frame.structure.multiplicity) == (None, 1)
        assert frame.time_fs == frame.step * 0.5
        assert 200 <= frame.temperature_K <= 300
        assert (frame.reason, frame.measure) == ("flagged", "energy")
    # the start repeats itself, what has moved does not
    assert len({frame.structure for frame in found.frames[4:]}) == 16


def test_a_cluster_is_judged_as_a_free_one(ensemble):
    (found,) = run(ensemble, [box()], ALWAYS)
    for frame in found.frames:
        batch = Batch.from_structures([frame.structure])
        again = ensemble.evaluate(batch, neighbour_pairs(batch, 5.0), forces="members")
        assert frame.spread.energy == pytest.approx(
            float(again.energy_spread()[0]) / np.sqrt(6), rel=1e-6
        )
        pairs = neighbour_pairs(batch, 5.0)
        assert np.array_equal(frame.fingerprint, ensemble.fingerprint(batch, pairs)[0])


def test_a_replica_ends_when_it_has_brought_enough(ensemble):
    (found,) = run(ensemble, [box()], ALWAYS, frames=5)
    assert (found.n_steps, len(found.frames)) == (10, 8)
    assert found.stop_reason is StopReason.FLAGGED


def test_a_box_that_is_lost_ends(ensemble):
    """Its spread is beyond the factor as soon as its bonds are stretched."""
    gate = Gate(energy=Limit(1e-5))
    (found,) = run(ensemble, [box()], gate, stop_factor=1.0, frames=100)
    (free,) = run(ensemble, [box()], gate, frames=100)
    assert found.stop_reason is StopReason.FLAGGED
    assert found.n_steps < free.n_steps == 40


def test_the_grace_holds(ensemble):
    gate = Gate(energy=Limit(1e-12), grace_fs=6.0)
    (found,) = run(ensemble, [box()], gate, frames=100)
    assert {frame.step for frame in found.frames} == {20, 30, 40}


def test_one_cluster_comes_back_for_the_audit(ensemble):
    found = run(ensemble, [box(seed=k) for k in range(8)])
    assert {t.stop_reason for t in found} == {StopReason.FINISHED}
    frames = [frame for t in found for frame in t.frames]
    assert [(frame.reason, frame.measure) for frame in frames] == [("audit", "")] * 8
    assert len({frame.step for frame in frames}) > 1
    assert all(frame.structure.n_atoms == 6 for frame in frames)


def same(one, other):
    return (
        (one.seed, one.schedule, one.trace) == (other.seed, other.schedule, other.trace)
        and (one.n_steps, one.stop_reason) == (other.n_steps, other.stop_reason)
        and [f.structure for f in one.frames] == [f.structure for f in other.frames]
        and [f.spread for f in one.frames] == [f.spread for f in other.frames]
    )


@pytest.mark.parametrize("slots", [1, 2])
def test_a_path_depends_neither_on_the_company_nor_on_the_slots(ensemble, slots):
    gate = Gate(energy=Limit(3e-4))
    starts = [box(seed=k) for k in range(3)]
    together = run(ensemble, starts, gate, frames=2)
    assert any(t.frames for t in together)
    assert all(map(same, run(ensemble, starts, gate, frames=2, slots=slots), together))
    assert all(map(same, run(ensemble, starts[:2], gate, frames=2), together))


def test_more_neighbours_make_larger_clusters_up_to_their_limit():
    start, stream = box(3), np.random.default_rng(0)
    sizes = {
        cluster.n_atoms
        for cluster in cut_clusters(
            start, 5.0, settings(cuts=27, neighbours=(0, 3)), stream
        )
    }
    assert sizes == {3, 6, 9, 12}
    limited = settings(cuts=27, neighbours=(5, 5), largest_atoms=11)
    assert {c.n_atoms for c in cut_clusters(start, 5.0, limited, stream)} == {9}
    # out of reach there is nobody
    assert {c.n_atoms for c in cut_clusters(start, 1.5, limited, stream)} == {3}


def test_a_dimer_is_a_molecule_and_its_nearest_neighbour():
    start = box(3)
    for dimer in cut_clusters(start, 5.0, settings(cuts=27), np.random.default_rng(1)):
        oxygens = dimer.positions[dimer.numbers == 8]
        assert np.linalg.norm(oxygens[1] - oxygens[0]) == pytest.approx(3.6, abs=1e-6)
        for first in (0, 3):
            bonds = dimer.positions[first + 1 : first + 3] - dimer.positions[first]
            assert np.linalg.norm(bonds, axis=1) == pytest.approx(0.969, abs=1e-3)
    assert np.abs(dimer.positions.mean(axis=0)).max() < 1e-7


def test_a_drop_of_molecules_is_cut_too(ensemble):
    free = box()
    drop = Structure(free.numbers, box(seed=0).positions)
    whole = Structure(
        free.numbers,
        np.concatenate(
            [molecule("H2O").positions + 3.6 * np.array([k, 0, 0]) for k in range(8)]
        ),
    )
    assert drop.cell is None
    (found,) = run(ensemble, [whole], ALWAYS, stop_escaped=False)
    assert {frame.structure.n_atoms for frame in found.frames} == {6}


def test_what_makes_no_sense_is_never_flagged(springs):
    """Two members: NaN where a bond is long, which the box as a whole soon has."""
    broken = springs((30.0, 31.0), (1.0, 1.0), 1.3, cutoff_A=5.0, broken_beyond=0.99)
    (found,) = run(broken, [box()], ALWAYS, frames=100)
    assert found.stop_reason is StopReason.NOT_FINITE
    assert all(frame.spread.is_finite for frame in found.frames)


def test_networks_ions_and_giants_are_refused(ensemble, crystal):
    with pytest.raises(SettingsError, match=r"start 1 \(Al4\) is a network of bonds"):
        run(ensemble, [box(), crystal(1)])
    with pytest.raises(SettingsError, match="charge 1 and multiplicity 2"):
        run(ensemble, [box(charge=1, multiplicity=2)])
    with pytest.raises(SettingsError, match="no molecule with less than 3 atoms"):
        run(ensemble, [box()], largest_atoms=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbours": [2, 1]}, "neighbours"),
        ({"neighbours": [-1, 1]}, "neighbours"),
        ({"bond_factor": 0.9}, "bond_factor"),
        ({"kind": "nemd"}, "kind"),
        ({"duration_ps": 0}, "duration_ps"),
    ],
)
def test_senseless_settings_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)
