import json

import numpy as np
import pytest

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.samplers.nemd import NemdSettings

NEVER = Gate()
ALWAYS = Gate(force_max=Limit(1e-9))


def settings(**changes):
    return NemdSettings.model_validate(
        {
            "timestep_fs": 2.0,
            "duration_ps": 0.08,
            "temperature_K": {"start": [50, 300], "end": [50, 300]},
            "check_every": 4,
            **changes,
        }
    )


@pytest.fixture
def ensemble(potentials):
    return potentials.PairPotential((0.10, 0.12), (2.6, 2.6), 4.5)


def reasons(trajectories):
    return [trajectory.stop_reason for trajectory in trajectories]


def test_a_confident_ensemble_finishes(potentials, crystal):
    confident = potentials.PairPotential((0.1, 0.1), (2.6, 2.6), 4.5)
    found = settings().create().sample([crystal(1), crystal(2)], confident, ALWAYS, 1)
    assert reasons(found) == [StopReason.FINISHED] * 2
    assert [(t.n_steps, t.time_fs) for t in found] == [(40, 80.0)] * 2


@pytest.mark.parametrize(("grace_fs", "step"), [(0.0, 0), (1.0, 4), (24.0, 12), (25.0, 16)])
def test_a_disagreeing_ensemble_is_flagged_at_the_first_check_after_the_grace(
    ensemble, crystal, grace_fs, step
):
    gate = Gate(force_max=Limit(1e-9), grace_fs=grace_fs)
    (found,) = settings().create().sample([crystal(1)], ensemble, gate, 1)
    assert found.stop_reason is StopReason.FLAGGED
    assert found.n_steps == step
    frame = found.frames[-1]
    assert (frame.step, frame.reason, frame.measure) == (step, "flagged", "force_max")
    assert frame.spread.force_max > 1e-9
    assert frame.fingerprint.shape == (4,)
    if step == 0:
        assert frame.structure == found.start


def test_the_spread_of_a_frame_is_that_of_its_structure(ensemble, crystal):
    """What is recorded can be computed again from what is recorded."""
    gate = Gate(force_max=Limit(1e-9), grace_fs=30.0)
    (found,) = settings().create().sample([crystal(1)], ensemble, gate, 1)
    frame = found.frames[-1]
    batch = Batch.from_structures([frame.structure])
    again = ensemble.evaluate(batch, neighbour_pairs(batch, 4.5), forces="members")
    assert frame.spread.energy == pytest.approx(
        float(again.energy_spread()[0]) / 2, rel=1e-5
    )
    assert frame.spread.force_max == pytest.approx(
        float(again.force_spread().max()), rel=1e-5
    )
    assert frame.spread.force_mean == pytest.approx(
        float(again.force_spread().mean()), rel=1e-5
    )
    assert frame.spread.force_scale == pytest.approx(
        float(again.forces.norm(dim=-1).mean()), rel=1e-5
    )


def test_each_replica_that_gets_there_brings_one_audit_frame(ensemble, crystal):
    found = settings().create().sample([crystal(1)] * 12, ensemble, NEVER, 3)
    frames = [frame for trajectory in found for frame in trajectory.frames]
    assert [frame.reason for frame in frames] == ["audit"] * 12
    assert all(0 < frame.step <= 40 and frame.step % 4 == 0 for frame in frames)
    assert len({frame.step for frame in frames}) > 3
    assert all(frame.measure == "" for frame in frames)


def test_a_frame_is_not_both_flagged_and_audit(ensemble, crystal):
    gate = Gate(force_max=Limit(1e-9), grace_fs=30.0)
    for trajectory in settings().create().sample([crystal(1)] * 12, ensemble, gate, 3):
        steps = [frame.step for frame in trajectory.frames]
        assert len(set(steps)) == len(steps)
        assert [frame.reason for frame in trajectory.frames].count("flagged") == 1


def test_fused_atoms_are_too_close_and_not_flagged(ensemble, crystal):
    fused = Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [0.4, 0, 0]]))
    same_place = Structure(np.array([13, 13], np.uint8), np.zeros((2, 3)))
    found = settings().create().sample([fused, crystal(1), same_place], ensemble, ALWAYS, 1)
    assert reasons(found) == [
        StopReason.TOO_CLOSE,
        StopReason.FLAGGED,
        StopReason.TOO_CLOSE,
    ]
    assert found[0].frames == ()
    assert found[0].n_steps == 0


def test_molecules_are_not_rejected(potentials):
    hydrogen = Structure(np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0.74, 0, 0]]))
    water = Structure(
        np.array([8, 1, 1], np.uint8), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    )
    weak = potentials.PairPotential((1e-9, 1e-9), (0.5, 0.5), 4.0)
    cold = settings(
        timestep_fs=0.5, duration_ps=0.01, temperature_K={"start": 10, "end": 10}
    )
    found = cold.create().sample([hydrogen, water], weak, NEVER, 1)
    assert reasons(found) == [StopReason.FINISHED] * 2


def test_an_energy_that_is_not_a_number_ends_one_replica(potentials, crystal):
    broken = potentials.BrokenPotential(system=1, after=6)
    found = settings().create().sample([crystal(1)] * 3, broken, NEVER, 1)
    assert reasons(found) == [
        StopReason.FINISHED,
        StopReason.NOT_FINITE,
        StopReason.FINISHED,
    ]
    assert found[1].n_steps == 6
    assert json.loads(json.dumps(found[1].trace, allow_nan=False)) == found[1].trace


def test_a_runaway_is_too_hot(potentials, crystal):
    found = (
        settings().create().sample([crystal(1)], potentials.ExplodingPotential(), ALWAYS, 1)
    )
    assert reasons(found) == [StopReason.TOO_HOT]


def test_heat_beyond_the_limit_is_too_hot(potentials, crystal):
    strained = crystal(1, 3.6, disorder_A=0.3)
    limits = {"temperature_limit_factor": 1.0, "temperature_margin_K": 200.0}
    stiff = potentials.PairPotential((0.2,), (2.8,), 4.5)
    (found,) = settings(**limits).create().sample([strained], stiff, NEVER, 1)
    assert found.stop_reason is StopReason.TOO_HOT
    assert 0 < found.n_steps < 40


def test_the_trace_is_short_and_even(ensemble, crystal):
    run = settings(duration_ps=0.3, check_every=1).create()
    (found,) = run.sample([crystal(1)], ensemble, Gate(), 1)
    lengths = {name: len(column) for name, column in found.trace.items()}
    assert set(lengths) == {"time_fs", "temperature_K", "energy_spread", "force_spread_max"}
    assert len(set(lengths.values())) == 1
    assert 25 <= lengths["time_fs"] <= 50
    assert found.trace["time_fs"] == sorted(set(found.trace["time_fs"]))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(ensemble, crystal):
    starts = [crystal(1), crystal(1, 4.3)]
    sampler = settings(density_g_per_cm3={"end": [2.0, 3.0]}).create()
    one, again, other = (
        sampler.sample(starts, ensemble, NEVER, seed) for seed in (1, 1, 2)
    )
    for k in range(2):
        assert one[k].trace == again[k].trace
        assert one[k].frames[0].structure == again[k].frames[0].structure
        assert one[k].schedule != other[k].schedule


def test_a_density_is_for_periodic_structures_alone(ensemble, crystal):
    molecule = Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [2.9, 0, 0]]))
    run = settings(density_g_per_cm3={"start": [2.0, 2.1], "end": [2.0, 3.0]}).create()
    open_one, box = run.sample([molecule, crystal(1)], ensemble, NEVER, 1)
    assert "density_start_g_per_cm3" not in open_one.schedule
    assert 2.0 <= box.schedule["density_start_g_per_cm3"] <= 2.1
    assert open_one.frames[0].structure.cell is None


def test_charge_and_multiplicity_are_kept(ensemble):
    ion = Structure(
        np.array([13, 13], np.uint8),
        np.array([[0, 0, 0], [2.9, 0, 0]]),
        charge=1,
        multiplicity=2,
    )
    (found,) = settings().create().sample([ion], ensemble, ALWAYS, 1)
    structure = found.frames[0].structure
    assert (structure.charge, structure.multiplicity) == (1, 2)


def test_unknown_elements_are_refused_by_name(ensemble, crystal):
    ensemble.elements = (1, 8)
    with pytest.raises(SettingsError, match=r"start 0 \(Al4\) has Al.*only H, O"):
        settings().create().sample([crystal(1)], ensemble, NEVER, 1)


def test_no_starts_give_no_trajectories(ensemble):
    assert settings().create().sample([], ensemble, NEVER, 1) == []


def test_without_a_thermostat_energy_is_conserved(potentials, crystal):
    cold = settings(friction_per_ps=0.0, temperature_K={"start": 0, "end": 0})
    perfect = crystal(1, disorder_A=0.0)
    quiet = potentials.PairPotential((0.1, 0.1), (2.6, 2.6), 4.5)
    (found,) = cold.create().sample([perfect], quiet, NEVER, 1)
    assert max(found.trace["temperature_K"]) < 1e-9


def leaving(distance_A, pbc=None):
    """A pair and an atom so far away from it, in a wide box or in none."""
    return Structure(
        np.array([13, 13, 13], np.uint8),
        np.array([[0, 0, 0], [2.9, 0, 0], [2.9 + distance_A, 0, 0]]),
        None if pbc is None else np.eye(3) * 40.0,
        np.zeros(3, bool) if pbc is None else np.array(pbc),
    )


def test_a_replica_that_falls_apart_has_escaped(potentials):
    weak = potentials.PairPotential((1e-4, 1e-4), (2.6, 2.6), 4.5)
    hot = settings(temperature_K={"start": 2000, "end": 2000}, friction_per_ps=0.0)

    def run(start, run=hot):
        return run.create().sample([start] * 8, weak, NEVER, 2)

    for start in (leaving(4.4), leaving(4.4, (True, True, False))):
        found = run(start)
        assert set(reasons(found)) == {StopReason.ESCAPED, StopReason.FINISHED}
        steps = {t.n_steps for t in found if t.stop_reason is StopReason.ESCAPED}
        assert all(step > 0 and step % 4 == 0 for step in steps)
        free = hot.model_copy(update={"stop_escaped": False})
        assert reasons(run(start, free)) == [StopReason.FINISHED] * 8
    # neither what is periodic nor what was in pieces at the start
    for start in (leaving(4.4, (True, True, True)), leaving(20.0)):
        assert reasons(run(start)) == [StopReason.FINISHED] * 8


def test_a_density_beyond_reason_collapses_the_cell(potentials, crystal):
    weak = potentials.PairPotential((1e-6, 1e-6), (1.0, 1.0), 4.5)
    crushed = settings(
        density_g_per_cm3={"end": 12}, minimum_distance_factor=0.0, timestep_fs=1.0
    )
    (found,) = crushed.create().sample([crystal(1)], weak, ALWAYS, 1)
    assert found.stop_reason is StopReason.COLLAPSED
    assert found.frames == ()
    last = found.start.n_atoms * 4 / 3 * np.pi * 1.21**3
    assert 0 < found.n_steps < 80
    assert last < found.start.volume_A3


def test_every_reason_is_counted_as_physical_or_not():
    physical = {reason for reason in StopReason if not reason.is_unphysical}
    assert physical == {StopReason.FLAGGED, StopReason.FINISHED}
