"""What attempts printed, by the names of attempts and of what they made."""

import pytest

from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.execution.files import CampaignFiles, Claim
from alflow.execution.processes import machine_identity
from alflow.loop.traces import follow
from alflow.store import NewTask, open_store


@pytest.fixture
def files(database) -> CampaignFiles:
    return CampaignFiles(database.with_suffix(""))


def ref_of(database, task_id) -> AttemptRef:
    """The last attempt of a task."""
    with open_store(database, read_only=True) as store, store.read() as connection:
        (row,) = connection.exec_driver_sql(
            f"SELECT a.no, a.token, t.kind FROM attempt a JOIN task t ON t.id = a.task_id "
            f"WHERE task_id = {task_id} ORDER BY no DESC LIMIT 1"
        ).all()
    return AttemptRef(task_id, *row)


def leave(files, ref, *, stdout="", stderr="", outcome=None):
    """What a worker leaves behind."""
    files.claim(ref, Claim("node7", machine_identity(), 1, "long ago"))
    (files.attempt_directory(ref) / "stdout").write_text(stdout)
    (files.attempt_directory(ref) / "stderr").write_text(stderr)
    if outcome is not None:
        files.commit_result(ref, outcome)


def fail_one(database, files, *, ends=True) -> AttemptRef:
    """A task that is tried twice: the first worker was never there, the second one failed."""
    bug = Failure(FailureKind.BUG, "no luck", {"traceback": "Traceback:\n  here"})
    with open_store(database) as store, store.acquire_lease("test"):
        store.publish([NewTask(TaskSpec("sample", "sample/i0/r0/0", 1), 0)])
        (task,) = store.tasks(0, "sample")
        lost = Failure(FailureKind.LOST, "no worker had taken it")
        store.requeue(store.start_attempt(task.id), lost, charged=False)
        ref = store.start_attempt(task.id)
        leave(files, ref, stdout="begins\n", stderr="warned\n")
        if ends:
            files.commit_result(ref, Outcome(failure=bug))
            store.fail_task(ref, bug, "node7")
    return ref


def test_what_the_last_attempt_printed(alflow, database, files):
    ref = fail_one(database, files)
    told = alflow("logs", f"t-{ref.task_id}")
    assert told.out == (
        "--- stdout\nbegins\n--- stderr\nwarned\n--- traceback\nTraceback:\n  here\n"
    )
    assert f"t-{ref.task_id}#2 of 2, sample/i0/r0/0: failed (bug) on node7" in told.err
    assert str(files.attempt_directory(ref)) in told.err
    assert "it failed: no luck" in told.err


def test_an_attempt_that_nobody_took(alflow, database, files):
    ref = fail_one(database, files)
    told = alflow("logs", f"t-{ref.task_id}#1")
    assert (told.code, told.out) == (0, "")
    assert "failed (lost), taken by no worker" in told.err
    assert "no worker ever took it: there are no files" in told.err


@pytest.mark.parametrize(
    ("name", "task"), [("l-1", 2), ("l-3", 2), ("g0", 3), ("d0", 3), ("t-1#1", 1)]
)
def test_things_stand_for_the_task_that_made_them(alflow, database, files, name, task):
    ref = ref_of(database, task)
    leave(files, ref, stdout=f"I am t-{task}\n", outcome=Outcome())
    assert alflow("logs", name).out == f"--- stdout\nI am t-{task}\n"
    told = alflow("logs", name, "--json").json
    assert (told["attempt"], told["stdout"]) == (f"t-{task}#1", f"I am t-{task}\n")


def test_where_nothing_was_kept_it_is_said(alflow, database, files):
    leave(files, ref_of(database, 2), outcome=Outcome())
    assert "t-2#1 has printed nothing" in alflow("logs", "t-2").err
    with open_store(database) as store, store.database.write() as connection:
        connection.exec_driver_sql("UPDATE attempt SET host = 'node9'")
    told = alflow("logs", "t-1")
    assert "its folder is not here" in told.err
    assert alflow("logs", "t-1", "--json").json["stdout"] is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t-99", "there is no task t-99"),
        ("t-2#5", "there is no attempt t-2#5"),
        ("i0", "alflow ls tasks --iteration 0"),
        ("s-1", "it is from the builders, or imported"),
        ("s-1#1", "names nothing"),
    ],
)
def test_what_has_no_logs(alflow, database, name, words):
    told = alflow("logs", name)
    assert told.code == 2
    assert words in told.err


def test_a_task_that_waits_has_no_logs(alflow, database):
    with open_store(database) as store, store.acquire_lease("test"):
        store.publish([NewTask(TaskSpec("sample", "sample/i0/r0/0", 1), 0)])
    assert "t-4 has not been tried yet" in alflow("logs", "t-4").err


def test_following_ends_with_the_attempt(alflow, database, files):
    ref = fail_one(database, files)
    told = alflow("logs", f"t-{ref.task_id}", "--follow")
    assert told.out == "begins\nwarned\n--- traceback\nTraceback:\n  here\n"
    assert "has ended" in told.err
    assert alflow("logs", "t-1", "-f", "--json").code == 2


def test_following_a_worker_that_is_gone_ends(alflow, database, files):
    ref = fail_one(database, files, ends=False)
    told = alflow("logs", f"t-{ref.task_id}", "-f")
    assert f"following t-{ref.task_id}#2" in told.err
    assert told.out == "begins\nwarned\n"


def test_what_is_printed_while_following_comes_once_and_whole(tmp_path):
    path = tmp_path / "stdout"
    pieces = iter([b"one\nt", "wö".encode()[:2], "wö\n".encode()[2:]])

    def write_more():
        with path.open("ab") as file:
            file.write(next(pieces))

    looks = iter([False, False, False, True])
    told = list(follow({"stdout": path}, has_ended=lambda: next(looks), wait=write_more))
    assert told == [("stdout", "one\nt"), ("stdout", "w"), ("stdout", "ö\n")]
