"""What failed is asked for again: as it is, or the labels alone that failed."""

import pytest

from alflow.core.batches import pack_structures
from alflow.core.canonical import sha256_hex
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import Outcome, TaskState
from alflow.store import counting
from alflow.store.checking import check_store
from alflow.store.retrying import Retries, TakenUp
from alflow.store.views import progress

NOT_CONVERGED = Failure(FailureKind.NOT_CONVERGED, "no luck")
CRASH = Failure(FailureKind.CRASH, "died")


@pytest.fixture
def failed(world, make_label):
    """One label of the first task failed, the second task is in quarantine, with one answer."""
    world.bootstrap()
    for task, is_done in zip(world.store.queued({"label": 9}), (True, False), strict=True):
        ref = world.store.start_attempt(task.id)
        first, *rest = world.store.structures(task.spec.items)
        results = {first.hash: NOT_CONVERGED}
        if is_done:
            results |= {one.hash: make_label(one) for one in rest}
        world.store.commit_items(ref, results, "analytic 1")
        if is_done:
            world.store.finish_task(ref, Outcome())
        else:
            world.store.fail_task(ref, CRASH, "n1")
    return world


def tasks_of(world):
    return world.store.tasks(0, "label")


def test_everything_that_failed_by_task_and_by_label(failed):
    done, quarantined = tasks_of(failed)
    wanted = failed.store.failed_work()
    assert wanted.tasks == (quarantined.id,)
    assert len(wanted.labels) == 2, "answers are asked for again by themselves"
    assert failed.store.failed_work(kind="crash") == Retries((quarantined.id,), ())
    assert failed.store.failed_work(kind="not-converged") == Retries((), wanted.labels)
    assert failed.store.failed_work(kind="resource") == Retries()
    assert (done.state, quarantined.state) == (TaskState.DONE, TaskState.FAILED)


def test_things_by_name(failed):
    done, quarantined = tasks_of(failed)
    first, second = failed.store.failed_work().labels
    named = failed.store.failed_work
    assert named([f"t-{quarantined.id}"]) == Retries((quarantined.id,), ())
    assert named([f"t-{done.id}"]) == Retries((), (first,))
    assert named([f"l-{first}", f"l-{second}"]) == Retries((), (first, second))
    assert named([f"l-{second + 1}"]) == Retries((quarantined.id,), ()), "with its task"
    assert named(["s-1"]) == Retries((), (first,))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t-1", "t-1 cannot be tried again: it is done"),
        ("l-2", "l-2 cannot be tried again: it is ok"),
        ("s-2", "none of its labels has failed"),
        ("t-99", "there is no task t-99"),
        ("s-99", "there is no structure s-99"),
        ("g0", "only tasks and labels are tried again"),
        ("hello", "names nothing"),
    ],
)
def test_what_has_not_failed_is_refused(failed, name, words):
    with pytest.raises(SettingsError, match=words):
        failed.store.failed_work([name])


def test_requests_are_taken_up_once(failed):
    wanted = failed.store.failed_work()
    assert not failed.store.glance().is_retry_asked
    failed.store.request_retry(wanted)
    failed.store.request_retry(wanted)
    assert failed.store.glance().is_retry_asked
    taken = failed.store.take_up_retries()
    done, quarantined, *new = tasks_of(failed)
    assert taken == TakenUp((quarantined.id, *(one.id for one in new)), 2, ())
    assert not failed.store.glance().is_retry_asked
    assert failed.store.take_up_retries() == TakenUp()
    assert failed.store.glance().queued == {"label": 3}
    assert done.state is TaskState.DONE
    with failed.store.read() as connection:
        assert counting.drift(connection) == {}


def test_labels_move_to_a_task_of_their_own(failed):
    done, _ = tasks_of(failed)
    failed.store.request_retry(failed.store.failed_work([f"t-{done.id}"]))
    (number,) = failed.store.take_up_retries().queued
    new = tasks_of(failed)[-1]
    assert (new.id, new.state, new.lot) == (number, TaskState.QUEUED, done.lot)
    assert new.spec.key == f"{done.spec.key}+{number}"
    assert new.spec.items == done.spec.items[:1]
    batch = pack_structures(failed.store.structures(new.spec.items))
    assert new.spec.inputs == {**done.spec.inputs, "structures": sha256_hex(batch)}
    failed.label_all()
    assert progress(failed.store).labels == {"pending": 0, "ok": 4, "failed": 4}
    assert all(one.n_bad == 0 for one in check_store(failed.store))


def test_labels_are_computed_again_with_the_settings_of_then(failed):
    done, _ = tasks_of(failed)
    assert "labeler" not in done.spec.settings
    now = {"kind": "analytic", "max_cycle": 500}
    label = {"levels": {done.lot: now}, "timeout_s": "auto", "memory_MB": 4000.0}
    failed.store.update_config({**failed.store.campaign().config, "label": label})
    failed.store.request_retry(failed.store.failed_work([f"t-{done.id}"]))
    failed.store.take_up_retries()
    spec = tasks_of(failed)[-1].spec
    assert spec.settings == {
        **done.spec.settings,
        "labeler": now,
        "limits": {"memory_MB": 4000.0},
    }
    assert tasks_of(failed)[0].spec == done.spec, "the old one tells what was done then"


def test_what_fails_again_can_be_tried_again(failed):
    label = failed.store.failed_work().labels[0]
    for _ in range(2):
        failed.store.request_retry(failed.store.failed_work([f"l-{label}"]))
        (number,) = failed.store.take_up_retries().queued
        ref = failed.store.start_attempt(number)
        (item,) = tasks_of(failed)[-1].spec.items
        failed.store.commit_items(ref, {item: NOT_CONVERGED}, "analytic 1")
        failed.store.finish_task(ref, Outcome())
    assert [one.spec.key for one in tasks_of(failed)][-1] == f"label/i0/0+{number}"


def test_what_ended_meanwhile_is_left_alone(failed):
    wanted = failed.store.failed_work()
    failed.store.request_retry(wanted)
    failed.store.release_task(wanted.tasks[0])
    taken = failed.store.take_up_retries()
    assert wanted.tasks[0] not in taken.queued
    assert taken.labels == 2


def test_a_campaign_that_failed_goes_on(failed):
    failed.store.set_state("failed", "no labels")
    failed.store.request_retry(failed.store.failed_work(kind="not-converged"))
    failed.store.take_up_retries()
    assert progress(failed.store).state == "running"


def test_a_request_needs_no_lease(failed):
    wanted = failed.store.failed_work()
    failed.lease.release()
    failed.store.request_retry(wanted)
    with failed.store.acquire_lease("another manager"):
        assert failed.store.take_up_retries().labels == 2
