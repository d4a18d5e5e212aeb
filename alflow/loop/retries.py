"""Whether a task is tried again: pure, by the class of its failure and what failed before.

| class          | kinds of failure          | tried again                                       |
|----------------|---------------------------|---------------------------------------------------|
| infrastructure | lost                      | free of charge, up to `MAX_LOST` times            |
| yield          | lost, at the end of a block | free of charge, up to `MAX_YIELDS` times        |
| resource       | resource                  | once, with more (`larger`)                        |
| transient      | any, said by the worker   | after growing waits, up to `MAX_TRANSIENT` times  |
| fault          | crash, bug                | after growing waits, up to `MAX_CHARGED` times    |
| deterministic  | all others                | never: it is an answer, and the loop goes on      |

An attempt that no worker ever took says nothing and is not counted. A task whose tries are used up
is quarantined: nothing is known against its input, so that a person may release it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import TaskSpec
from alflow.store.faults import Fault

MAX_CHARGED = 3
"""Attempts that a task may spend on failures of its own."""

MAX_LOST = 5
"""Attempts that a task may lose with their workers."""

MAX_YIELDS = 50
"""Attempts that a task may give back because the time of their block was up."""

MAX_TRANSIENT = 6
"""Attempts that a task may spend on troubles that pass."""

MAX_RESOURCE = 2
"""Attempts that a task may spend on too little memory or time."""

BACKOFF_S = 2.0
"""Wait after the first failure that asks for one [s]; doubles with each further one."""

TRANSIENT_BACKOFF_S = 15.0
"""The same for troubles that pass [s]."""

LONGEST_BACKOFF_S = 900.0
"""Longest wait [s]."""

LARGER = 2.0
"""Factor by which a second try may take longer, and use more memory."""


class RetryClass(StrEnum):
    """What to do about a failure."""

    INFRASTRUCTURE = "infrastructure"
    YIELD = "yield"
    RESOURCE = "resource"
    TRANSIENT = "transient"
    FAULT = "fault"
    DETERMINISTIC = "deterministic"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a task after a failed attempt.

    Attributes:
        retry_class: Class of the failure.
        is_retried: Whether it is tried again.
        is_charged: Whether the task is to blame.
        wait_s: Time before it may start again [s].
        count: How many attempts have failed in this class, this one included.
    """

    retry_class: RetryClass
    is_retried: bool
    is_charged: bool
    wait_s: float = 0.0
    count: int = 1


def class_of(failure: Failure | Fault) -> RetryClass:
    """The class of a failure."""
    kind = failure.kind
    if failure.is_transient:
        return RetryClass.TRANSIENT
    if failure.is_yield:
        return RetryClass.YIELD
    if kind is FailureKind.LOST:
        return RetryClass.INFRASTRUCTURE
    if kind is FailureKind.RESOURCE:
        return RetryClass.RESOURCE
    if kind in (FailureKind.CRASH, FailureKind.BUG):
        return RetryClass.FAULT
    return RetryClass.DETERMINISTIC


def decide(failure: Failure, earlier: Sequence[Fault], *, is_taken: bool) -> Verdict:
    """Judge a failed attempt.

    Args:
        failure: Why it failed.
        earlier: The failed attempts before it, since the task was last released.
        is_taken: Whether a worker had taken it.
    """
    what = class_of(failure)
    count = 1 + sum(class_of(one) is what and one.host is not None for one in earlier)
    if what is RetryClass.INFRASTRUCTURE and not is_taken:
        return Verdict(what, is_retried=True, is_charged=False, count=0)
    most, first_wait_s = _limits()[what]
    wait_s = min(LONGEST_BACKOFF_S, first_wait_s * 2.0 ** (count - 1))
    if what is RetryClass.INFRASTRUCTURE and count == 1:
        wait_s = 0.0
    is_charged = what in (RetryClass.FAULT, RetryClass.RESOURCE, RetryClass.DETERMINISTIC)
    return Verdict(
        what, is_retried=count < most, is_charged=is_charged, wait_s=wait_s, count=count
    )


def needs_more(earlier: Sequence[Fault]) -> bool:
    """Whether the next attempt of a task gets more time, and a larger pool if there is one."""
    return any(class_of(one) is RetryClass.RESOURCE for one in earlier)


def larger(spec: TaskSpec) -> TaskSpec:
    """The same task with more time, and told that it may use more (`more`)."""
    settings = {**spec.settings, "more": LARGER}
    if settings.get("timeout_s") is not None:
        settings["timeout_s"] = LARGER * float(settings["timeout_s"])
    return replace(spec, settings=settings)


def _limits() -> dict[RetryClass, tuple[int, float]]:
    """Most attempts, and the first wait [s], by class."""
    return {
        RetryClass.INFRASTRUCTURE: (MAX_LOST, BACKOFF_S),
        RetryClass.YIELD: (MAX_YIELDS, 0.0),
        RetryClass.RESOURCE: (MAX_RESOURCE, 0.0),
        RetryClass.TRANSIENT: (MAX_TRANSIENT, TRANSIENT_BACKOFF_S),
        RetryClass.FAULT: (MAX_CHARGED, BACKOFF_S),
        RetryClass.DETERMINISTIC: (1, 0.0),
    }
