"""`alflow retry`: what it takes, what it refuses, what it says."""

from alflow.store import open_store


def test_a_failed_label_is_queued_again(alflow, database):
    told = alflow("retry", "l-3")
    assert told.code == 0
    assert told.out == "0 tasks, 1 label to be tried again: l-3\n"
    assert told.err.startswith("it is done by: alflow resume water.db")
    assert alflow("ls", "tasks", "--state", "queued", "--json").json == []
    with open_store(database) as store, store.acquire_lease("the next manager"):
        store.take_up_retries()
    (task,) = alflow("ls", "tasks", "--state", "queued", "--json").json
    assert (task["id"], task["key"]) == (4, "label/i0/0+4")


def test_a_dry_run_changes_nothing(alflow, database):
    told = alflow("retry", "--failed", "--kind", "not-converged", "--dry-run")
    assert told.out == "0 tasks, 1 label would be tried again: l-3\n"
    assert told.err == ""
    assert alflow("ls", "failures", "--json").json
    assert alflow("retry", "--failed", "--dry-run", "--json").json == {
        "tasks": [],
        "labels": [3],
        "dry_run": True,
    }


def test_nothing_that_failed_is_no_error(alflow, database):
    told = alflow("retry", "--failed", "--kind", "resource")
    assert (told.code, told.out, told.err) == (
        0,
        "nothing to try again: 0 tasks, 0 labels\n",
        "",
    )


def test_bad_input(alflow, database):
    assert "l-1 cannot be tried again: it is ok" in alflow("retry", "l-1").err
    assert alflow("retry").code == 2
    assert alflow("retry", "l-3", "--failed").code == 2
    assert alflow("retry", "l-3", "--kind", "crash").code == 2
    assert (
        "did you mean 'resource'" in alflow("retry", "--failed", "--kind", "resourse").err
    )
    assert alflow("ls", "failures", "--json").json


def test_while_a_manager_runs_it_is_asked(alflow, database):
    with open_store(database) as store, store.acquire_lease("node2 (pid 9)"):
        told = alflow("retry", "--failed")
        assert "node2 (pid 9) runs the campaign and takes it up" in told.err
        assert store.glance().is_retry_asked
        assert store.take_up_retries().labels == 1


def test_a_campaign_that_ended_stays_ended(alflow, database):
    with open_store(database) as store, store.acquire_lease("test"):
        store.set_state("finished", "the budget is spent")
    told = alflow("retry", "--failed")
    assert (
        "is finished and stays so: alflow resume water.db does what was asked" in told.err
    )


def test_the_older_spelling_does_the_same(alflow, database):
    assert "1 label to be tried again: l-3" in alflow("task", "retry", "t-2").out
