"""Which failures are tried again, how often, and after which wait."""

import pytest

from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import TaskSpec
from alflow.loop import retries
from alflow.loop.retries import RetryClass, decide, larger, needs_more
from alflow.store.faults import Fault


def fault(kind, host="n1", **more):
    return Fault(1, kind, "x", host, **more)


def verdicts(kind, n, **details):
    """What is decided about `n` failures of a kind in a row."""
    failure = Failure(kind, "x", details)
    transient = details.get("transient", False)
    earlier = [fault(kind, is_transient=transient)] * n
    return [decide(failure, earlier[:k], is_taken=True) for k in range(n)]


@pytest.mark.parametrize(
    ("kind", "details", "most", "is_charged"),
    [
        (FailureKind.LOST, {}, 5, False),
        (FailureKind.RESOURCE, {}, 2, True),
        (FailureKind.CRASH, {}, 3, True),
        (FailureKind.BUG, {}, 3, True),
        (FailureKind.CRASH, {"transient": True}, 6, False),
        (FailureKind.DIVERGED, {}, 1, True),
        (FailureKind.NOT_CONVERGED, {}, 1, True),
        (FailureKind.INVALID_INPUT, {}, 1, True),
    ],
)
def test_each_class_has_its_own_number_of_tries(kind, details, most, is_charged):
    found = verdicts(kind, most, **details)
    assert [one.is_retried for one in found] == [True] * (most - 1) + [False]
    assert {one.is_charged for one in found} == {is_charged}
    assert found[-1].count == most


def test_waits_grow_up_to_a_limit():
    waits = [one.wait_s for one in verdicts(FailureKind.CRASH, 6, transient=True)]
    assert waits == [15, 30, 60, 120, 240, 480]
    assert [one.wait_s for one in verdicts(FailureKind.LOST, 4)] == [0, 4, 8, 16]
    many = [fault(FailureKind.CRASH, is_transient=True)] * 30
    failure = Failure(FailureKind.CRASH, "x", {"transient": True})
    assert decide(failure, many, is_taken=True).wait_s == retries.LONGEST_BACKOFF_S


def test_faults_of_the_site_and_of_the_task_are_counted_apart():
    lost = [fault(FailureKind.LOST)] * 4
    crash = decide(Failure(FailureKind.CRASH, "x"), lost, is_taken=True)
    assert (crash.is_retried, crash.count) == (True, 1)
    crashes = [fault(FailureKind.CRASH)] * 2
    assert decide(Failure(FailureKind.LOST, "x"), crashes, is_taken=True).is_retried


def test_what_no_worker_took_is_free_for_ever():
    lost = [fault(FailureKind.LOST)] * 9 + [fault(FailureKind.LOST, host=None)] * 9
    verdict = decide(Failure(FailureKind.LOST, "x"), lost, is_taken=False)
    assert (verdict.is_retried, verdict.is_charged, verdict.wait_s) == (True, False, 0)
    untaken = [fault(FailureKind.LOST, host=None)] * 9
    assert decide(Failure(FailureKind.LOST, "x"), untaken, is_taken=True).count == 1


def test_the_end_of_a_block_is_nobody_s_fault():
    gave_back = Failure(FailureKind.LOST, "the time is up", {"yielded": True})
    yields = [fault(FailureKind.LOST, is_yield=True)] * 20
    verdict = decide(gave_back, yields, is_taken=True)
    assert (verdict.is_retried, verdict.is_charged, verdict.wait_s) == (True, False, 0)
    assert decide(Failure(FailureKind.LOST, "x"), yields, is_taken=True).count == 1
    assert not decide(gave_back, yields * 3, is_taken=True).is_retried, "but not for ever"


def test_only_a_lack_of_resources_asks_for_more():
    assert needs_more([fault(FailureKind.RESOURCE), fault(FailureKind.CRASH)])
    assert not needs_more([fault(FailureKind.CRASH), fault(FailureKind.LOST)])
    spec = TaskSpec("label", "label/1", 1, {"timeout_s": 30, "x": 1})
    assert larger(spec).settings == {"timeout_s": 60.0, "x": 1, "more": 2.0}
    assert larger(larger(spec)).settings["timeout_s"] == 120.0, (
        "of the original: asked once"
    )
    plain = TaskSpec("label", "label/1", 1, {"x": 1})
    assert larger(plain).settings == {"x": 1, "more": 2.0}


def test_every_kind_has_a_class():
    found = {kind: retries.class_of(Failure(kind, "x")) for kind in FailureKind}
    retried = {kind for kind, what in found.items() if what is not RetryClass.DETERMINISTIC}
    assert retried == {kind for kind in FailureKind if Failure(kind, "x").is_retryable}
