import pytest

from alflow.report.attribution import Waiting
from alflow.report.provenance import SettingChange
from alflow.report.readings import changes, work
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
    tries = [tried(1, 4.0, 6.0, state="failed"), tried(2, 9.0, 12.0, 3.0)]
    done, waiting = work(tries, [], 99.0)
    assert [one.is_failed for one in done] == [True, False]
    assert (done[0].start, done[0].end) == (4.0, 6.0)
    assert waiting == [Waiting("label", 1.0, 4.0), Waiting("label", 6.0, 9.0)]


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
