"""Slots: who runs when. That the paths do not depend on it stands in tests/physics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.models.potential import Evaluation
from alflow.samplers.nemd import NemdSettings
from alflow.samplers.replicas import Replica
from alflow.samplers.slots import Slots

CELL_A = 1000.0
GATE = Gate(energy=Limit(0.5))


class Timetable:
    """Lone atoms of which the ensemble is sure until their time has come.

    The length of an atom's cell tells which one it is. It counts the evaluations with forces of
    all members, which are those at checks.
    """

    n_members, cutoff_A, elements = 2, 3.0, (13,)
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, checks):
        self.left = list(checks)
        self.together = []

    def evaluate(self, batch, pairs, *, forces="mean"):
        self.together.append((forces, batch.n_systems))
        energies = torch.zeros(2, batch.n_systems, dtype=torch.float64)
        members = torch.zeros(2, batch.n_atoms, 3, dtype=torch.float64)
        if forces != "members":
            return Evaluation(energies, members[0])
        for system, length_A in enumerate(batch.cells[:, 0, 0].tolist()):
            number = round(length_A - CELL_A)
            energies[1, system] = 2.0 if self.left[number] == 0 else 0.0
            self.left[number] -= 1
        return Evaluation(energies, None, members)

    def fingerprint(self, batch, pairs):
        return torch.zeros(batch.n_systems, 1, dtype=torch.float64)


def run(checks, slots, n_checks=6, check_every=3, extra=0):
    """Trajectories of atoms flagged after so many checks, and the slots they ran in."""
    options = NemdSettings(
        timestep_fs=1.0,
        duration_ps=(n_checks * check_every + extra) / 1000,
        temperature_K={"start": 300, "end": 300},
        check_every=check_every,
        slots=slots,
    )
    starts = [
        Structure(
            np.array([13], np.uint8),
            np.zeros((1, 3)),
            np.eye(3) * (CELL_A + number),
            np.ones(3, bool),
        )
        for number in range(len(checks))
    ]
    replicas = [Replica.draw(start, k, options) for k, start in enumerate(starts)]
    potential = Timetable(checks)
    engine = Engine(potential, Motion(1.0, 0.002))
    running = Slots(options, potential, GATE, engine, replicas)
    running.run()
    return [replica.trajectory() for replica in replicas], running, potential


@settings(max_examples=25, deadline=None)
@given(
    checks=st.lists(st.integers(0, 8), min_size=1, max_size=12),
    slots=st.integers(1, 14),
    extra=st.integers(0, 2),
)
def test_every_start_runs_for_its_own_time_whatever_the_slots(checks, slots, extra):
    found, running, _ = run(checks, slots, extra=extra)
    last = 18 + extra
    for trajectory, survived in zip(found, checks, strict=True):
        is_flagged = survived <= 6
        assert trajectory.n_steps == (survived * 3 if is_flagged else last)
        assert trajectory.stop_reason is (
            StopReason.FLAGGED if is_flagged else StopReason.FINISHED
        )
        assert len(trajectory.trace["time_fs"]) == min(survived, 6) + 1
    assert running.n_replica_steps == sum(trajectory.n_steps for trajectory in found)
    assert running.n_steps >= running.n_replica_steps / min(slots, len(checks))


def test_a_free_slot_is_filled_at_once():
    _, running, potential = run([1, 4, 2, 3, 0, 2, 1, 0, 0, 1], slots=2)
    assert running.busy == 1.0
    assert running.n_steps == 7 * 3
    assert max(count for _, count in potential.together) == 2


def test_a_static_batch_is_less_busy():
    checks = [1, 4, 2, 3, 0, 2, 1, 0, 0, 3]
    _, running, _ = run(checks, slots=10)
    assert running.busy == pytest.approx(sum(checks) / 4 / 10)


def test_a_replica_that_ends_between_checks_is_replaced_at_the_next_one():
    """One ends after 19 steps, the other after 3, 6, ...: the third waits for a check."""
    found, running, potential = run([9, 2, 3, 1], slots=2, extra=1)
    assert [trajectory.n_steps for trajectory in found] == [19, 6, 9, 3]
    # all members are asked once at each start and at each check of each replica, never besides
    at_checks = sum(count for forces, count in potential.together if forces == "members")
    assert at_checks == sum(1 + trajectory.n_steps // 3 for trajectory in found)
    assert running.n_steps == 19


def test_nothing_to_run_is_nothing_to_do():
    assert run([0, 0, 0], slots=2)[1].busy == 1.0
