"""Failed attempts as the store remembers them: history, quarantine, hosts."""

import pytest

from alflow.core.errors import StoreError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import Outcome
from alflow.store import counting, faults
from alflow.store import transaction as transactions
from alflow.store.listings import listing
from alflow.store.narrowing import Filters
from alflow.store.views import progress, status

LOST = Failure(FailureKind.LOST, "its worker is gone")
CRASH = Failure(FailureKind.CRASH, "SIGSEGV", {"transient": True})


@pytest.fixture
def clock(monkeypatch):
    """The time that transactions see, moved by hand."""
    now = [1e9]
    for module in (transactions, faults, "alflow.store.session", "alflow.store.store"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.utc_now", lambda: now[0], raising=False)
    return now


def troubles(world, now=1e9):
    with world.store.read() as connection:
        return faults.troubles(connection, now)


def test_failed_attempts_are_remembered_with_their_hosts(world):
    world.bootstrap()
    first = world.attempt("label")
    world.store.requeue(first, LOST, charged=False, host="n1")
    second = world.store.start_attempt(first.task_id)
    world.store.requeue(second, CRASH, charged=False, host="n2")
    third = world.store.start_attempt(first.task_id)
    world.store.requeue(third, LOST, charged=False)
    found = world.store.faults(first.task_id)
    assert [(one.number, one.kind, one.host, one.is_transient) for one in found] == [
        (1, FailureKind.LOST, "n1", False),
        (2, FailureKind.CRASH, "n2", True),
        (3, FailureKind.LOST, None, False),
    ]
    assert troubles(world).n_lost == 1, "an attempt that nobody took is no fault"


def test_a_task_in_quarantine_is_shown_and_can_be_released(world):
    world.bootstrap()
    ref = world.attempt("label")
    items = progress(world.store).labels["pending"]
    world.store.fail_task(ref, LOST, "n1")
    n_failed = progress(world.store).labels["failed"]
    assert n_failed > 0
    assert [one.id for one in troubles(world).quarantined] == [ref.task_id]
    [row] = [one for one in listing(world.store, "tasks") if one["id"] == ref.task_id]
    assert (row["state"], row["quarantined"], row["charged"]) == ("failed", True, 0)
    assert [one["id"] for one in listing(world.store, "quarantine")] == [ref.task_id]
    assert any(event["kind"] == "task-quarantined" for event in status(world.store).events)
    assert status(world.store).troubles.quarantined[0].key == row["key"]

    world.store.set_state("failed", "no labels")
    world.store.release_task(ref.task_id)
    assert progress(world.store).state == "running"
    assert progress(world.store).labels == {"pending": items, "ok": 0, "failed": 0}
    assert world.store.faults(ref.task_id) == (), "what was before is not counted"
    assert troubles(world).quarantined == ()
    with world.store.read() as connection:
        assert counting.drift(connection) == {}
    again = world.store.start_attempt(ref.task_id)
    assert again.number == 2
    with pytest.raises(StoreError, match="it is leased"):
        world.store.release_task(ref.task_id)
    with pytest.raises(StoreError, match="not in this campaign"):
        world.store.release_task(4711)


def test_a_failure_that_is_an_answer_is_no_quarantine(world):
    world.bootstrap()
    ref = world.attempt("label")
    world.store.fail_task(ref, Failure(FailureKind.NOT_CONVERGED, "no luck"), "n1")
    assert troubles(world).quarantined == ()
    assert listing(world.store, "quarantine") == []
    [row] = listing(world.store, "tasks", Filters(state="failed"))
    assert (row["quarantined"], row["charged"]) == (False, 1)


def test_a_campaign_that_ended_well_stays_ended(world):
    world.bootstrap()
    ref = world.attempt("label")
    world.store.fail_task(ref, LOST, "n1")
    world.store.set_state("finished", "the budget is spent")
    world.store.release_task(ref.task_id)
    assert progress(world.store).state == "finished"


def test_a_task_that_waits_is_counted(world):
    world.bootstrap()
    ref = world.attempt("label")
    world.store.requeue(ref, CRASH, charged=False, not_before=2e9, host="n1")
    found = troubles(world)
    assert (found.n_waiting, found.next_try) == (1, 2e9)
    assert troubles(world, now=3e9).n_waiting == 0
    [row] = [one for one in listing(world.store, "tasks") if one["id"] == ref.task_id]
    assert row["not_before"] == 2e9


def fail_on(world, clock, task, host, *, gap_s=60.0, kind=FailureKind.LOST, **details):
    clock[0] += gap_s
    ref = world.store.start_attempt(task)
    world.store.requeue(ref, Failure(kind, "gone", details), charged=False, host=host)


def test_a_host_on_which_tasks_fail_one_after_the_other_is_left_out(world, clock):
    world.bootstrap()
    first, second = (task.id for task in world.store.queued({"label": 2}))
    world.store.publish([world.task("sample", "1/0")])
    third = world.store.queued({"sample": 1})[0].id
    fail_on(world, clock, first, "bad")
    fail_on(world, clock, first, "bad")
    fail_on(world, clock, second, "bad")
    assert world.store.excluded_hosts() == (), "two tasks are not enough"
    fail_on(world, clock, third, "bad", kind=FailureKind.RESOURCE)
    [found] = world.store.excluded_hosts()
    assert (found.host, found.tasks) == ("bad", (first, second, third))
    clock[0] += faults.EXCLUDED_S + 1
    assert world.store.excluded_hosts() == (), "it is given another chance"


def test_the_end_of_a_block_is_one_fault_of_its_host(world, clock):
    world.bootstrap()
    world.store.publish([world.task("sample", f"1/{k}") for k in range(4)])
    for task in world.store.queued({"sample": 4, "label": 4}):
        fail_on(world, clock, task.id, "good", gap_s=1.0)
    assert world.store.excluded_hosts() == ()


@pytest.mark.parametrize(
    ("kind", "why"),
    [(FailureKind.LOST, "yielded"), (FailureKind.RESOURCE, "own_limit")],
)
def test_an_end_in_time_or_at_a_limit_of_its_own_is_no_fault_of_a_host(
    world, clock, kind, why
):
    world.bootstrap()
    world.store.publish([world.task("sample", f"1/{k}") for k in range(4)])
    for task in world.store.queued({"sample": 4}):
        fail_on(world, clock, task.id, "good", kind=kind, **{why: True})
    assert world.store.excluded_hosts() == ()


def test_a_success_clears_a_host(world, clock):
    world.bootstrap()
    world.store.publish([world.task("sample", f"1/{k}") for k in range(4)])
    *bad, good = (task.id for task in world.store.queued({"sample": 4}))
    for task in bad[:2]:
        fail_on(world, clock, task, "n1")
    clock[0] += 60
    done = world.store.start_attempt(good)
    world.store.finish_task(done, Outcome({}, environment={"host": "n1"}))
    fail_on(world, clock, bad[2], "n1")
    assert world.store.excluded_hosts() == ()


def test_a_pool_is_closed_until_it_is_open_again(world):
    event = world.store.event
    event(faults.POOL_CLOSED, "warning", "pool gpu", {"message": "3 blocks failed"})
    event(faults.POOL_CLOSED, "warning", "pool cpu", {"message": "no such partition"})
    assert troubles(world).pools == {"cpu": "no such partition", "gpu": "3 blocks failed"}
    event(faults.POOL_OPEN, "info", "pool gpu", {"message": "again"})
    assert troubles(world).pools == {"cpu": "no such partition"}
