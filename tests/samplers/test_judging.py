import numpy as np
import pytest

from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.structures import Structure
from alflow.samplers.judging import Judge, Path, moved
from alflow.samplers.relaxation import relaxed
from alflow.samplers.settings import SamplerSettings

SETTINGS = SamplerSettings(kind="any")


@pytest.fixture
def ensemble(potentials):
    return potentials.PairPotential((0.10, 0.12), (2.6, 2.6), 4.5)


def dimer(length_A):
    return Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [length_A, 0, 0]]))


def test_frames_are_judged_in_parts_alike(ensemble, monkeypatch):
    frames = [dimer(1.4 + 0.1 * k) for k in range(9)]
    judge = Judge(SETTINGS, ensemble, Gate(energy=Limit(0.005)))
    whole = judge.look(frames)
    assert ensemble.n_evaluations["members"] == 1
    monkeypatch.setattr("alflow.samplers.judging.MOST_ATOMS_TOGETHER", 5)
    parts = judge.look(frames)
    assert ensemble.n_evaluations["members"] == 6
    assert [one.structure for one in parts] == frames
    for one, other in zip(whole, parts, strict=True):
        assert (one.stopped, one.spread, one.measure) == (
            other.stopped,
            other.spread,
            other.measure,
        )
    # 1.45 Å is the limit for aluminium
    assert [one.stopped for one in whole] == [StopReason.TOO_CLOSE] + [None] * 8
    assert {one.measure for one in whole} == {None, "energy"}
    assert judge.look([]) == []


def test_the_fingerprint_is_that_of_the_frame_alone(ensemble):
    judge = Judge(SETTINGS, ensemble, Gate(energy=Limit(1e-9)))
    together = judge.look([dimer(2.0 + 0.3 * k) for k in range(4)])
    known = Judge(SETTINGS, ensemble, Gate())
    for judged in together:
        frame = judge.frame(judged, step=1)
        (alone,) = known.look([judged.structure])
        assert alone.fingerprint is None
        assert np.array_equal(frame.fingerprint, known.frame(alone, step=1).fingerprint)


def test_a_frame_without_sense_does_not_come_back(ensemble):
    judge = Judge(SETTINGS, ensemble, Gate())
    (fused,) = judge.look([dimer(0.5)])
    with pytest.raises(ValueError, match="does not come back"):
        judge.frame(fused, step=0)


def test_a_collapsed_cell_makes_no_sense(ensemble):
    crowded = Structure(
        np.full(2, 13, np.uint8),
        np.array([[0, 0, 0], [1.3, 1.3, 0]]),
        np.array([[2.6, 0, 0], [0, 2.6, 0], [0, 0, 2.0]]),
        np.ones(3, bool),
    )
    judge = Judge(SETTINGS, ensemble, Gate())
    assert judge.look([crowded])[0].stopped is StopReason.COLLAPSED


def test_the_audit_frame_is_drawn_evenly_but_never_the_start(ensemble):
    judge = Judge(SETTINGS, ensemble, Gate())
    judged = judge.look([dimer(2.5 + 0.1 * k) for k in range(5)])
    steps = []
    for seed in range(400):
        path = Path(judged[0].structure, seed, judge)
        assert not any(path.take(one) for one in judged)
        steps += [frame.step for frame in path.trajectory({}).frames]
    counts = np.bincount(steps, minlength=5)
    assert counts[0] == 0
    assert counts[1:] == pytest.approx([100] * 4, abs=35)


def test_a_path_without_any_frame_that_makes_sense_says_why(ensemble):
    judge = Judge(SETTINGS, ensemble, Gate())
    path = Path(dimer(0.5), 1, judge)
    for judged in judge.look([dimer(0.5), dimer(0.4)]):
        path.take(judged)
    found = path.trajectory({"a": 1.0})
    assert (found.stop_reason, found.n_steps) == (StopReason.TOO_CLOSE, 1)
    assert found.schedule == {"a": 1.0, "n_unphysical_frames": 2.0, "n_evaluations": 2.0}
    assert found.trace["step"] == []
    path = Path(dimer(2.5), 1, judge)
    path.stop(StopReason.NOT_FINITE)
    assert path.trajectory({}).stop_reason is StopReason.NOT_FINITE


def test_positions_that_are_not_numbers_make_no_structure():
    start = dimer(2.5)
    assert moved(start, np.array([[0, 0, np.nan], [1, 0, 0]])) is None
    assert moved(start, np.array([[0, 0, 1.0], [1, 0, 0]])) is not None


def test_a_relaxation_ends_at_rest_or_where_its_steps_end(ensemble):
    options = {"largest_force_eV_per_A": 1e-4, "most_steps": 100}
    end = relaxed(dimer(3.1), ensemble, **options)
    assert 0 < end.n_steps < 100
    assert end.force_eV_per_A <= 1e-4
    ends = [relaxed(dimer(x), ensemble, **options).structure for x in (2.7, 3.1)]
    lengths = [np.linalg.norm(np.subtract(*one.positions)) for one in ends]
    assert lengths[0] == pytest.approx(lengths[1], abs=2e-3)
    assert 2.6 < lengths[0] < 2.92
    short = relaxed(dimer(3.1), ensemble, largest_force_eV_per_A=1e-4, most_steps=2)
    assert short.n_steps == 2
    held = relaxed(dimer(3.1), ensemble, fixed=[0, 1], **options)
    assert (held.n_steps, held.structure) == (0, dimer(3.1))


def test_a_relaxation_into_an_overlap_is_not_sound(potentials):
    options = {"largest_force_eV_per_A": 1e-3, "most_steps": 60}
    small = potentials.PairPotential((0.1,), (1.4,), 4.5)
    end = relaxed(dimer(2.0), small, **options)
    assert np.linalg.norm(np.subtract(*end.structure.positions)) < 0.75 * 2 * 1.21
    assert not end.is_sound
    # what overlapped before is not its fault
    assert relaxed(dimer(1.7), small, **options).is_sound
    assert relaxed(dimer(2.0), small, **options | {"most_steps": 0}).is_sound


def test_a_relaxation_that_meets_what_is_no_number_has_no_end(potentials):
    broken = potentials.PairPotential((float("nan"),), (2.6,), 4.5)
    end = relaxed(dimer(3.1), broken, largest_force_eV_per_A=0.01, most_steps=9)
    assert (end.structure, end.n_steps) == (None, 0)
