"""What a manager asks in every turn, and several verbs in one transaction."""

import pytest
from sqlalchemy import event

from alflow.core.errors import StoreError
from alflow.core.tasks import Outcome, TaskSpec
from alflow.store import NewTask, frequent, open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "one.db", create=True) as store:
        store.create_campaign("one", {}, 1)
        with store.acquire_lease("test"):
            tasks = [
                NewTask(TaskSpec("build", f"build/{k}", k), 0, k % 3) for k in range(9)
            ]
            store.begin_iteration(0, "build", tasks)
            yield store


def test_no_turn_reads_a_whole_table(store):
    store.start_attempts([1, 2])
    with store.read() as connection:
        for statement, values in (
            (frequent.QUEUED, {"of": "build", "now": 1.0, "most": 3}),
            (frequent.OPEN, {}),
            (frequent.OPEN_NAMED, {"of": "x"}),
            (frequent.TO_START, {"of": 1}),
            (frequent.CURRENT, {"of": 1, "number": 1, "token": "x"}),
            (frequent.ANY_PENDING, {"of": 1}),
        ):
            written = statement._for(connection.dialect)
            rows = connection.connection.cursor().execute(
                f"EXPLAIN QUERY PLAN {written.text}", written.given(values)
            )
            plan = [row[3] for row in rows]
            scans = [
                step for step in plan if "SCAN" in step and "ix_attempt_open" not in step
            ]
            assert scans == [], plan


def test_verbs_together_are_one_transaction(store):
    commits = []
    event.listen(store.database.engine, "commit", commits.append)
    refs = store.start_attempts([1, 2, 3])
    del commits[:]
    with store.together():
        for ref in refs:
            assert store.finish_task(ref, Outcome())
        glance = store.glance()
        assert (glance.queued, glance.leased) == ({"build": 6}, {})
        later = store.start_attempts([task.id for task in store.queued({"build": 2})])
    assert len(commits) == 1
    assert [ref.task_id for ref in later] == [6, 9]
    assert glance.after(later) == store.glance()
    assert glance.after(later).leased == {"build": 2}


def test_verbs_together_happen_all_or_none(store):
    (ref,) = store.start_attempts([1])
    before = store.glance()

    def half():
        with store.together():
            store.finish_task(ref, Outcome())
            store.start_attempts([2, 99])

    with pytest.raises(StoreError, match="t-99 cannot be started"):
        half()
    assert store.glance() == before
    assert [row.ref for row in store.open_attempts()] == [ref]
    with store.together():
        assert store.finish_task(ref, Outcome())


def test_open_attempts_by_token(store):
    refs = store.start_attempts([1, 2, 3])
    found = store.open_attempts([refs[2].token, "unknown", refs[0].token])
    assert {row.ref for row in found} == {refs[0], refs[2]}
    assert store.open_attempts([]) == []


def test_a_refused_row_is_told_as_an_error_of_the_store(store):
    with pytest.raises(StoreError, match="UNIQUE"):
        store.start_attempts([1, 1])
    assert store.glance().queued == {"build": 9}
