"""Twice is once, late is never, and the order of arrival leaves no trace."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import Outcome
from alflow.store import PredictionRow, open_store
from alflow.store.schema import event, metadata

QUIET = {"event", "attempt", "task"}


def counts(world):
    with world.store.read() as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(table))
            for name, table in metadata.tables.items()
            if name not in QUIET
        }


def test_every_verb_twice_is_once(world, make_label):
    world.bootstrap()
    before = counts(world), world.store.content_digest()
    assert world.store.publish(world.label_tasks([*world.test, *world.train])) == 0
    assert not world.store.begin_iteration(0, "build", [world.task("build", "other")])
    assert (counts(world), world.store.content_digest()) == before

    ref = world.attempt("label")
    results = {one.hash: make_label(one) for one in world.test}
    assert world.store.commit_items(ref, results, "v") == 2
    assert world.store.commit_items(ref, results, "v") == 0
    world.label_all()
    world.store.finish_task(ref, Outcome())
    assert not world.store.finish_task(ref, Outcome())
    assert not world.store.fail_task(ref, Failure(FailureKind.LOST, "x"))
    assert not world.store.requeue(ref, Failure(FailureKind.LOST, "x"), charged=False)

    world.train_generation(0)
    before = counts(world), world.store.content_digest()
    assert not world.store.begin_generation(0, 0, "dft", {"kind": "other"}, [])
    (train,) = world.store.tasks(0, "train")
    assert not world.store.finish_training(
        train.last_attempt, Outcome(), b"other", [{}], []
    )
    world.store.end_iteration(0, {"x": 1, "bad": float("nan"), "none": None})
    assert not world.store.end_iteration(0, {"x": 2.0})
    world.sample(1)
    after = counts(world), world.store.content_digest()
    assert not world.sample(1)
    assert (counts(world), world.store.content_digest()) == after
    assert after != before


def test_late_results_are_dropped_and_noted(world, make_label):
    world.bootstrap()
    lost = world.attempt("label")
    world.store.requeue(lost, Failure(FailureKind.LOST, "gone"), charged=False)
    assert not world.store.finish_task(lost, Outcome(), [world.task("build", "follow")])
    assert world.store.queued({"build": 9}) == []
    one, other = world.test
    failed = Failure(FailureKind.CRASH, "killed on the way out")
    assert world.store.commit_items(lost, {one.hash: failed}, "v") == 0
    # A label is the same number whoever computed it: nothing finished is lost.
    assert world.store.commit_items(lost, {other.hash: make_label(other)}, "v") == 1
    again = world.attempt("label")
    assert world.store.commit_items(again, {one.hash: failed}, "v") == 1
    assert world.store.commit_items(again, {one.hash: make_label(one)}, "v") == 0
    with world.store.read() as connection:
        kinds = list(connection.scalars(select(event.c.kind)))
    assert kinds.count("late-result") == 1
    assert kinds.count("task-requeued") == 1


def test_late_training_and_validation_are_dropped(world):
    world.bootstrap()
    world.label_all()
    world.store.begin_generation(0, 0, "dft", {}, [world.task("train", "g0")])
    first = world.attempt("train")
    world.store.requeue(first, Failure(FailureKind.LOST, "gone"), charged=False)
    second = world.attempt("train")
    assert not world.store.finish_training(first, Outcome(), b"late", [], [])
    assert world.store.finish_training(second, Outcome(), b"right", [], [])
    assert world.store.weights(0) == b"right"
    world.store.publish([world.task("validate", "g0")])
    lost = world.attempt("validate")
    world.store.requeue(lost, Failure(FailureKind.LOST, "gone"), charged=False)
    row = PredictionRow(1, -1.0, 0.1, None, 0.1, 0.1, 1.0)
    assert not world.store.add_predictions(lost, Outcome(), 0, [row])
    assert world.store.add_predictions(world.attempt("validate"), Outcome(), 0, [])


def test_attempts_of_an_earlier_manager_are_adopted(world):
    world.bootstrap()
    ref = world.attempt("label")
    world.store.close()
    with open_store(world.url) as store, store.acquire_lease("next"):
        (found,) = store.open_attempts()
        assert (found.ref, found.epoch) == (ref, 1)
        assert store.finish_task(ref, Outcome())


def finish_in_order(world, order, crashes, make_label):
    """Label everything with tasks ending in this order, some of them at the second attempt."""
    queued = world.store.queued({"label": 99})
    refs = {task.id: world.store.start_attempt(task.id) for task in queued}
    specs = {row.ref.task_id: row.task.spec for row in world.store.open_attempts()}
    names = sorted(refs)
    for place in order:
        task_id = names[place % len(names)]
        if task_id not in refs:
            continue
        ref = refs.pop(task_id)
        found = world.store.structures(specs[task_id].items)
        results = {one.hash: make_label(one) for one in found}
        if place in crashes:
            partial = dict(list(results.items())[:1])
            world.store.commit_items(ref, partial, "v")
            lost = Failure(FailureKind.LOST, "gone")
            world.store.requeue(ref, lost, charged=False)
            ref = world.store.start_attempt(task_id)
        for name in sorted(results, reverse=bool(place % 2)):
            world.store.commit_items(ref, {name: results[name]}, f"v{place}")
        world.store.finish_task(ref, Outcome(wall_s=float(place)))
    return refs


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(order=st.permutations(range(4)), crashes=st.sets(st.integers(0, 3)))
def test_the_content_digest_does_not_see_the_order(
    tmp_path_factory, new_world, make_label, order, crashes
):
    digests = set()
    for sequence, lost in ((range(4), set()), (order, crashes)):
        world = new_world()
        world.bootstrap()
        assert finish_in_order(world, sequence, lost, make_label) == {}
        world.train_generation(0)
        digests.add(world.store.content_digest())
        world.store.close()
    assert len(digests) == 1


def test_the_content_digest_sees_the_content(world):
    seen = {world.store.content_digest()}
    world.bootstrap()
    seen.add(world.store.content_digest())
    world.label_all()
    seen.add(world.store.content_digest())
    world.train_generation(0)
    seen.add(world.store.content_digest())
    world.sample(1)
    seen.add(world.store.content_digest())
    assert len(seen) == 5
