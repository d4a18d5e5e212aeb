import pytest

from alflow.report.attribution import Waiting
from alflow.report.content import Standing
from alflow.report.provenance import SettingChange
from alflow.report.readings import (
    changes,
    convergence,
    members_asked_for,
    standing_at_end,
    work,
)
from alflow.store.history import Queued, Replaced, Try


def tried(number, started, ended=None, wall_s=None, **changes):
    values = {
        "task_id": 1,
        "task_state": "done",
        "number": number,
        "kind": "label",
        "host": None,
        "started": started,
        "ended": ended,
        "wall_s": wall_s,
        "state": "done",
        "failure": None,
        "message": "",
        "iteration": 2,
        "published": 1.0,
    }
    return Try(**{**values, **changes})


def test_a_body_ends_when_its_result_is_taken_in():
    (one,), waiting = work([tried(1, 4.0, 10.0, 5.0, host="node1")], [], 99.0)
    assert (one.worker, one.handed, one.start, one.end) == ("node1", 4.0, 5.0, 10.0)
    assert (one.kind, one.iteration, one.is_failed) == ("label", 2, False)
    assert waiting == [Waiting("label", 1.0, 4.0)]


def test_a_task_waits_again_after_an_attempt_without_result():
    tries = [tried(1, 4.0, 6.0, state="failed", host="a"), tried(2, 9.0, 12.0, 3.0)]
    done, waiting = work(tries, [], 99.0)
    assert [one.is_failed for one in done] == [True, False]
    assert (done[0].start, done[0].end) == (4.0, 6.0)
    assert waiting == [Waiting("label", 1.0, 4.0), Waiting("label", 6.0, 9.0)]


def test_an_attempt_that_no_worker_took_was_no_work():
    tries = [tried(1, 4.0, 6.0, state="failed"), tried(2, 9.0, 12.0, 3.0, host="a")]
    (one,), waiting = work(tries, [], 99.0)
    assert (one.start, one.end, one.is_failed) == (9.0, 12.0, False)
    assert waiting == [Waiting("label", 1.0, 6.0), Waiting("label", 6.0, 9.0)]


@pytest.mark.parametrize(
    ("n_requested", "last", "budget", "expected"),
    [
        (30, 2, {"labels": 30}, Standing.BUDGET),
        (29, 2, {"labels": 30, "wall_hours": 1.0}, Standing.TIME),
        (29, 2, {"labels": None, "core_hours": 8}, Standing.TIME),
        (29, 5, {"core_hours": 8}, Standing.ITERATIONS),
        (29, 5, {"labels": 30}, Standing.ITERATIONS),
    ],
)
def test_the_limit_that_ended_a_campaign_is_named(n_requested, last, budget, expected):
    settings = {"loop": {"max_iterations": 5}, "stop": {"budget": budget}}
    assert standing_at_end(n_requested, last, settings) is expected


def test_all_kinds_of_rules_of_convergence_are_found():
    rules = {
        "force_rmse_eV_per_A": 0.05,
        "survival_ps": None,
        "audit": {"share": 0.1, "confidence": 0.95},
        "plateau": {"iterations": 3, "improvement": 0.05},
        "stalled": None,
    }
    found = convergence({"stop": {"converged": rules}})
    assert found == {"force_rmse_eV_per_A": 0.05, "audit": 0.1, "plateau": 3.0}
    assert convergence({"stop": {"converged": dict.fromkeys(rules)}}) == {}


def test_weights_from_elsewhere_decide_how_many_members_there_are():
    assert members_asked_for({"model": {"members": 8, "pretrained": None}}) == 8
    assert (
        members_asked_for({"model": {"members": 8, "pretrained": "ani.safetensors"}})
        is None
    )


def test_what_has_not_ended_lasts_until_now():
    (one,), waiting = work([tried(1, 4.0, state="open")], [Queued("train", 7.0)], 20.0)
    assert (one.start, one.end, one.is_failed) == (4.0, 20.0, False)
    assert waiting == [Waiting("train", 7.0, 20.0), Waiting("label", 1.0, 4.0)]


@pytest.mark.parametrize(
    ("hosts", "expected"), [(["a", None], "a"), (["a", "b", None], "host unknown")]
)
def test_a_host_is_guessed_only_if_there_is_one(hosts, expected):
    tries = [tried(k, float(k), k + 1.0, host=host) for k, host in enumerate(hosts)]
    done, _ = work(tries, [], 9.0)
    assert done[-1].worker == expected


def test_settings_are_told_apart_from_revision_to_revision():
    old = {"a": {"x": 1, "y": [1, 2]}, "gone": True}
    middle = {"a": {"x": 2, "y": [1, 2]}, "gone": True}
    newest = {"a": {"x": 2, "y": [1, 3]}, "new": "z"}
    found = changes(
        [Replaced(5.0, old), Replaced(20.0, middle)], newest, [(10.0, 0), (15.0, 1)]
    )
    assert found == (
        SettingChange(5.0, None, "a.x", 1, 2),
        SettingChange(20.0, 1, "a.y", [1, 2], [1, 3]),
        SettingChange(20.0, 1, "gone", True, None),
        SettingChange(20.0, 1, "new", None, "z"),
    )
    assert changes([], newest, []) == ()
