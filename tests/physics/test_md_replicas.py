"""A replica's path is its own: schedule, cell and bits do not depend on the company."""

import numpy as np
import pytest

from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.md.schedule import Program
from alflow.models.ani.ensemble import fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.samplers.nemd import NemdSettings
from alflow.samplers.nemd_run import NemdSampler

pytestmark = pytest.mark.physics
SETTINGS = {
    "timestep_fs": 2.0,
    "duration_ps": 0.2,
    "temperature_K": {"start": [50, 600], "end": [50, 1000], "amplitude": [0, 500]},
    "density_g_per_cm3": {"end": [2.3, 2.9], "amplitude": [0, 0.2]},
    "check_every": 5,
}


@pytest.fixture
def potential(potentials):
    return potentials.PairPotential((0.10, 0.11, 0.09), (2.6, 2.62, 2.58), 4.5)


def same(one, other):
    """Whether two trajectories are equal to the last bit."""
    return (
        one.seed == other.seed
        and one.schedule == other.schedule
        and (one.n_steps, one.stop_reason) == (other.n_steps, other.stop_reason)
        and one.trace == other.trace
        and len(one.frames) == len(other.frames)
        and all(
            a.structure == b.structure
            and a.spread == b.spread
            and np.array_equal(a.fingerprint, b.fingerprint)
            for a, b in zip(one.frames, other.frames, strict=True)
        )
    )


def test_bits_do_not_depend_on_the_company(potential, crystal):
    starts = [
        crystal(2, seed=0),
        crystal(1, seed=1),
        crystal(2, 4.2, seed=2),
        crystal(1, 4.4),
    ]
    sampler = NemdSettings.model_validate(SETTINGS).create()
    gate = Gate(force_max=Limit(0.3), grace_fs=60.0)
    together = sampler.sample(starts, potential, gate, 11)
    assert len({trajectory.n_steps for trajectory in together}) > 1, "all stop at once"
    for count in (1, 2, 3):
        fewer = sampler.sample(starts[:count], potential, gate, 11)
        assert all(same(*pair) for pair in zip(fewer, together, strict=False))


def test_bits_do_not_depend_on_when_others_stop(potential, crystal):
    """The first replicas are fused or not; the last one does not notice."""
    fused = Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [0.5, 0, 0]]))
    alive = Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [3.0, 0, 0]]))
    sampler = NemdSettings.model_validate(SETTINGS).create()
    runs = [
        sampler.sample([first, second, crystal(2)], potential, Gate(), 5)
        for first in (fused, alive)
        for second in (fused, alive)
    ]
    assert runs[0][0].stop_reason is StopReason.TOO_CLOSE
    assert runs[3][0].stop_reason is StopReason.FINISHED
    assert all(same(run[2], runs[0][2]) for run in runs)


def mixed_starts(crystal):
    """Starts that end for every reason, at once, late, at checks and in between."""
    fused = Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [0.5, 0, 0]]))
    fusing = Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [1.6, 0, 0]]))
    return [
        crystal(2, seed=0),
        fused,
        crystal(1, seed=1),
        fusing,
        crystal(1, 4.4),
        crystal(2, 4.2, seed=2),
        fused,
        crystal(1, 4.3, seed=5),
    ]


@pytest.mark.parametrize("check_every", [5, 7])
def test_bits_do_not_depend_on_the_number_of_slots(potential, crystal, check_every):
    """100 steps: the last is a check of the one and not of the other."""
    changes = {"check_every": check_every}
    gate = Gate(force_max=Limit(0.15), grace_fs=60.0)
    starts = mixed_starts(crystal)
    runs = {
        slots: NemdSettings.model_validate({**SETTINGS, **changes, "slots": slots})
        .create()
        .sample(starts, potential, gate, 11)
        for slots in (1, 3, len(starts))
    }
    together = runs.pop(len(starts))
    assert {t.stop_reason for t in together} == {
        StopReason.FLAGGED,
        StopReason.FINISHED,
        StopReason.TOO_CLOSE,
        StopReason.TOO_HOT,
    }
    assert len({t.n_steps for t in together}) > 3
    assert [t.start for t in together] == starts
    for run in runs.values():
        assert all(same(*pair) for pair in zip(run, together, strict=True))


def test_bits_of_an_ani_ensemble_do_not_depend_on_the_slots(crystal):
    shape = AniSettings(
        members=3, hidden=(24, 16), radial_cutoff_A=4.5, angular_cutoff_A=3.5
    )
    ensemble = fresh_ensemble(shape, [13], 1)
    starts = [crystal(1, 4.0 + 0.05 * k, seed=k) for k in range(5)]
    runs = [
        NemdSettings.model_validate({**SETTINGS, "duration_ps": 0.06, "slots": slots})
        .create()
        .sample(starts, ensemble, Gate(), 3)
        for slots in (1, 2, 5)
    ]
    for run in runs[:2]:
        assert all(same(*pair) for pair in zip(run, runs[2], strict=True))


def test_each_replica_has_a_stream_of_its_own(potential, crystal):
    sampler = NemdSettings.model_validate(SETTINGS).create()
    found = sampler.sample([crystal(1)] * 3, potential, Gate(), 5)
    assert [trajectory.seed for trajectory in found] == [child_seed(5, k) for k in range(3)]
    starts = {trajectory.schedule["temperature_start_K"] for trajectory in found}
    assert len(starts) == 3


def test_density_follows_its_program(potential, crystal):
    sampler = NemdSampler(NemdSettings.model_validate(SETTINGS))
    for trajectory in sampler.sample([crystal(2)] * 6, potential, Gate(), 3):
        schedule = trajectory.schedule
        program = Program(
            *(
                schedule[f"density_{name}_g_per_cm3"]
                for name in ("start", "end", "amplitude")
            ),
            schedule["density_period_fs"],
            schedule["duration_fs"],
        )
        assert program.start == pytest.approx(crystal(2).density_g_per_cm3)
        (frame,) = trajectory.frames
        assert frame.structure.density_g_per_cm3 == pytest.approx(
            program.at(frame.time_fs), rel=1e-8
        )
        # a cell that only grows or shrinks keeps its shape
        assert frame.structure.cell == pytest.approx(np.eye(3) * frame.structure.cell[0, 0])


def test_a_density_ramp_is_exact_at_every_step(potential, crystal):
    """Atoms ride on the cell; structures are rounded in the eighth digit."""
    ramp = {
        **SETTINGS,
        "temperature_K": {"start": 0, "end": 0},
        "friction_per_ps": 0.0,
        "density_g_per_cm3": {"start": 2.6, "end": 2.9},
        "check_every": 1,
        "duration_ps": 0.04,
    }
    sampler = NemdSettings.model_validate(ramp).create()
    perfect = crystal(1, disorder_A=0.0)
    found = sampler.sample([perfect] * 40, potential, Gate(), 3)
    frames = [frame for trajectory in found for frame in trajectory.frames]
    assert {frame.step for frame in frames} > {1, 20}, "the end was not looked at"
    for frame in frames:
        expected = 2.6 + 0.3 * frame.step / 20
        structure = frame.structure
        assert structure.density_g_per_cm3 == pytest.approx(expected, rel=1e-8)
        scaled = structure.positions @ np.linalg.inv(structure.cell)
        assert scaled == pytest.approx(perfect.positions / 4.1, abs=1e-8)


def test_the_target_temperature_follows_its_program(potential, crystal):
    sampler = NemdSampler(NemdSettings.model_validate(SETTINGS))
    for trajectory in sampler.sample([crystal(1)] * 6, potential, Gate(), 3):
        schedule = trajectory.schedule
        program = Program(
            *(schedule[f"temperature_{name}_K"] for name in ("start", "end", "amplitude")),
            schedule["temperature_period_fs"],
            schedule["duration_fs"],
        )
        (frame,) = trajectory.frames
        assert frame.temperature_K == program.at(frame.time_fs)
