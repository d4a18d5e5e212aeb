import json

import numpy as np
import pytest
from pydantic import ValidationError

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.samplers.normal_modes import NormalModesSettings

NEVER = Gate()
ALWAYS = Gate(energy=Limit(1e-12), grace_fs=1000.0)


def settings(**changes):
    return NormalModesSettings.model_validate({"frames": 6, **changes})


def triangle(stretch=1.1, seed=0):
    positions = np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.866, 0]]) * stretch
    noise = np.random.default_rng(seed).normal(size=(3, 3)) * 0.02
    return Structure(np.array([8, 1, 1], np.uint8), positions + noise)


@pytest.fixture
def ensemble(springs):
    """Three atoms rest at the corners of a triangle of one Å."""
    return springs((30.0, 31.0, 29.0), (1.0, 1.01, 0.99), 1.6)


def run(ensemble, starts, gate=NEVER, seed=1, **changes):
    return settings(**changes).create().sample(starts, ensemble, gate, seed)


def test_displaced_frames_that_the_gate_flags_come_back(ensemble):
    (found,) = run(ensemble, [triangle()], ALWAYS)
    assert found.stop_reason is StopReason.FLAGGED
    assert (found.n_steps, found.time_fs) == (6, 0.0)
    assert [frame.step for frame in found.frames] == list(range(7))
    assert {frame.reason for frame in found.frames} == {"flagged"}
    assert {frame.measure for frame in found.frames} == {"energy"}
    assert {f.temperature_K for f in found.frames[1:]} == {found.schedule["temperature_K"]}
    assert 100 <= found.schedule["temperature_K"] <= 1500
    assert found.schedule["n_modes"] == 3
    assert len({frame.structure for frame in found.frames}) == 7
    assert [len(column) for column in found.trace.values()] == [7] * 4


def test_one_frame_is_drawn_for_the_audit_whatever_its_spread(ensemble):
    found = run(ensemble, [triangle()] * 40)
    assert {t.stop_reason for t in found} == {StopReason.FINISHED}
    frames = [frame for t in found for frame in t.frames]
    assert [(frame.reason, frame.measure) for frame in frames] == [("audit", "")] * 40
    assert {frame.step for frame in frames} == {1, 2, 3, 4, 5, 6}


def test_the_start_is_relaxed_unless_told_otherwise(ensemble):
    start = triangle(1.2)
    (relaxed,) = run(ensemble, [start], ALWAYS)
    first = relaxed.frames[0].structure
    assert relaxed.start == start
    assert 0 < relaxed.schedule["n_relaxation_steps"] < 100
    assert relaxed.schedule["relaxed_force_eV_per_A"] <= 0.02
    bonds = np.linalg.norm(first.positions[1:] - first.positions[0], axis=1)
    assert bonds == pytest.approx([1.0, 1.0], abs=1e-3)
    # each step and the start, six copies of each of three atoms, frames and the one displaced
    n_steps = relaxed.schedule["n_relaxation_steps"]
    assert relaxed.schedule["n_evaluations"] == n_steps + 1 + 18 + 7
    (as_it_is,) = run(ensemble, [start], ALWAYS, relax=False)
    assert as_it_is.frames[0].structure == start
    assert "n_relaxation_steps" not in as_it_is.schedule
    assert as_it_is.schedule["n_evaluations"] == 18 + 7


def test_the_spread_of_a_frame_is_that_of_its_structure(ensemble):
    (found,) = run(ensemble, [triangle()], ALWAYS)
    for frame in found.frames:
        batch = Batch.from_structures([frame.structure])
        again = ensemble.evaluate(batch, neighbour_pairs(batch, 1.6), forces="members")
        energy = float(again.energy_spread()[0]) / np.sqrt(3)
        assert frame.spread.energy == pytest.approx(energy, rel=1e-6)
        assert frame.spread.force_max == pytest.approx(
            float(again.force_spread().max()), rel=1e-5
        )
        assert frame.fingerprint.shape == (1,)


def same(one, other):
    return (
        one.seed == other.seed
        and one.schedule == other.schedule
        and one.trace == other.trace
        and [f.structure for f in one.frames] == [f.structure for f in other.frames]
        and [f.spread for f in one.frames] == [f.spread for f in other.frames]
    )


def test_a_path_does_not_depend_on_the_company(ensemble, crystal):
    starts = [triangle(seed=k) for k in range(3)]
    gate = Gate(energy=Limit(0.01))
    together = run(ensemble, starts, gate)
    assert [t.seed for t in together] == [child_seed(1, k) for k in range(3)]
    assert len({t.schedule["temperature_K"] for t in together}) == 3
    for count in (1, 2):
        assert all(map(same, run(ensemble, starts[:count], gate), together))
    others = run(ensemble, [triangle(1.0, 9), triangle(1.0, 8), starts[2]], gate)
    assert same(others[2], together[2])


def test_crystals_are_displaced_in_their_cells(potentials, crystal):
    ensemble = potentials.PairPotential((0.10, 0.12), (2.6, 2.6), 4.5)
    (found,) = run(ensemble, [crystal(1)], ALWAYS, temperature_K=300)
    assert found.schedule["n_modes"] == 9
    frame = found.frames[-1]
    assert np.array_equal(frame.structure.cell, found.start.cell)
    way = frame.structure.positions - found.frames[0].structure.positions
    assert 0.02 < np.abs(way).max() < 1.0


def test_what_makes_no_sense_is_never_flagged(springs, ensemble):
    fused = Structure(np.array([8, 1], np.uint8), np.array([[0, 0, 0], [0.3, 0, 0]]))
    (found,) = run(ensemble, [fused], ALWAYS, relax=False)
    assert found.stop_reason is StopReason.TOO_CLOSE
    assert (found.frames, found.n_steps) == ((), 0)
    broken = springs((30.0, 31.0), (1.0, 1.01), 1.6, broken_beyond=1.05)
    (found,) = run(broken, [triangle(1.0)], ALWAYS, temperature_K=1500, frames=30)
    assert 0 < len(found.frames) - 1 < 30
    n_broken = found.schedule["n_unphysical_frames"]
    assert (found.n_steps, len(found.frames) - 1 + n_broken) == (30, 30)
    assert found.stop_reason is StopReason.FLAGGED
    nothing = springs((30.0, 31.0), (1.0, 1.01), 1.6, broken_beyond=0.5)
    (found,) = run(nothing, [triangle(1.0)], ALWAYS)
    assert found.stop_reason is StopReason.NOT_FINITE
    assert found.frames == ()


def test_a_lone_atom_has_nothing_to_displace(ensemble):
    atom = Structure(np.array([8], np.uint8), np.zeros((1, 3)))
    (found,) = run(ensemble, [atom])
    assert (found.stop_reason, found.n_steps) == (StopReason.FINISHED, 0)


def test_charge_and_multiplicity_are_kept(ensemble):
    plain = triangle()
    ion = Structure(plain.numbers, plain.positions, charge=1, multiplicity=2)
    (found,) = run(ensemble, [ion], ALWAYS)
    assert {(f.structure.charge, f.structure.multiplicity) for f in found.frames} == {
        (1, 2)
    }


def test_large_and_unknown_starts_are_refused_by_name(ensemble, crystal):
    with pytest.raises(SettingsError, match=r"start 1 \(Al32\) has 32 atoms"):
        run(ensemble, [triangle(), crystal(2)], largest_atoms=20)
    ensemble.elements = (1, 6)
    with pytest.raises(SettingsError, match=r"start 0 \(H2O\) has O.*only H, C"):
        run(ensemble, [triangle()])
    assert run(ensemble, []) == []


def test_a_trajectory_is_json(ensemble):
    (found,) = run(ensemble, [triangle()], ALWAYS, frames=200)
    json.dumps([dict(found.schedule), dict(found.trace)])
    assert len(found.trace["step"]) <= 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature_K": [600, 50]}, "upside down"),
        ({"temperature_K": 0}, "not above 0"),
        ({"frames": 0}, "frames"),
        ({"duration_ps": 1.0}, "duration_ps"),
        ({"kind": "nemd"}, "kind"),
    ],
)
def test_senseless_settings_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_settings_survive_json():
    full = settings(temperature_K=300)
    assert full.temperature_K == (300.0, 300.0)
    assert NormalModesSettings.model_validate_json(full.model_dump_json()) == full
