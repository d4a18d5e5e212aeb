"""What earlier iterations taught about the spread."""

from dataclasses import replace

import pytest

from alflow.core.sampling import Decision, Gate, Limit, Spread, Verdict
from alflow.core.tasks import Outcome
from alflow.store.past import N_FLAGGED, N_TRAJECTORIES, past_iterations


def _flagged(row, structure, energy_eV, position, key):
    """The trajectory with one flagged frame, seen with this spread of the energy."""
    spread = Spread(energy_eV, 0.0, 0.0, 1.0)
    frame = replace(row.trajectory.frames[0], structure=structure, spread=spread)
    trajectory = replace(row.trajectory, seed=position, frames=(frame,))
    return replace(row, trajectory=trajectory, task_key=key, position=position)


def test_excess_is_over_the_first_limits_and_only_of_frames_unknown_by_now(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    world.store.end_iteration(0, {"n_labelled": 8})
    first = Gate(energy=Limit(0.2, 0.0))
    tasks = [
        world.task("sample", f"i1/r{k}/0", 1, settings={"gate": gate.to_json()})
        for k, gate in enumerate((first, first.scaled(0.5)))
    ]
    world.store.begin_iteration(1, "sample", tasks[:1])
    world.store.finish_task(world.attempt("sample"), Outcome({}))
    world.store.publish(tasks[1:], phase="sample")
    world.store.finish_task(world.attempt("sample"), Outcome({}))
    keys = [task.spec.key for task in tasks]
    # twice its limit; waited and known by now; the same two of the tighter round
    seen = [(0.4, keys[0]), (0.15, keys[0]), (0.15, keys[1]), (0.09, keys[1])]
    (row, _) = world.trajectories("")
    rows = [
        _flagged(row, structure, energy_eV, position, key)
        for position, (structure, (energy_eV, key)) in enumerate(
            zip(world.frames, seen, strict=True)
        )
    ]
    verdicts = {one.hash: Verdict(Decision.OVER_BUDGET, "") for one in world.frames}
    world.store.record_selection(1, 0, rows, verdicts, [])
    world.store.end_iteration(1, {N_TRAJECTORIES: 4, N_FLAGGED: 4})
    (past,) = past_iterations(world.store)
    assert past.excess.tolist() == pytest.approx([2.0, 0.75])
