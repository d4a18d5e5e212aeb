"""What has changed from one look to the next, as lines for a file."""

from dataclasses import replace

import pytest

from alflow.cli.changes import Changes, heartbeat, stage_text
from alflow.loop.watching import Stage
from alflow.store.standing import Trouble
from alflow.store.views import ManagerStatus


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        (
            Stage("label", 38, 2, 8, 18, 125.0, 400.0),
            "label 38/64 ok=36 failed=2 left~7min",
        ),
        (Stage("label", 0, 0, 0, 9), "label 0/9"),
        (Stage("train", 3, 0, 1, 0, 9.0, 3.0), "train 3/4 left<1min"),
    ],
)
def test_a_stage_in_a_few_words(stage, text):
    assert stage_text(stage) == text


def test_a_heartbeat_says_how_everything_stands(a_view):
    assert heartbeat(a_view(), "al.db") == (
        "i7 · running · sample 96/128 ok=95 failed=1 left~2min · "
        "label 38/64 ok=36 failed=2 left~7min · 24 of 32 workers busy · "
        "login3 (pid 41201), last sign of life 4 s ago"
    )


def test_the_first_look_tells_how_it_stands_and_the_same_again_tells_nothing(a_view):
    changes, seen = Changes("al.db"), a_view()
    assert changes.since(seen) == [heartbeat(seen, "al.db")]
    later = replace(seen, now=seen.now + 100)
    changes.since(later)
    assert changes.since(replace(seen, now=seen.now + 200)) == []


def labels(a_view, n_done, seconds, **changes):
    seen = a_view((Stage("label", n_done, 0, 2, 62 - n_done),), **changes)
    return replace(seen, now=seen.now + seconds)


def test_a_stage_has_a_line_now_and_then_and_one_at_its_end(a_view):
    changes = Changes("al.db")
    changes.since(labels(a_view, 3, 0))
    assert changes.since(labels(a_view, 5, 2)) == []
    assert changes.since(labels(a_view, 9, 20)) == ["label 9/64"]
    assert changes.since(labels(a_view, 12, 22)) == []
    done = replace(a_view((Stage("label", 64, 0, 0, 0),)), now=labels(a_view, 0, 23).now)
    assert changes.since(done) == ["label 64/64"]
    assert changes.since(done) == []


def test_phases_generations_and_iterations(a_view):
    changes = Changes("al.db")
    changes.since(a_view(()))
    assert changes.since(a_view((), phase="train", under_way={7: "train"})) == ["i7 train"]
    then = {"iteration": 8, "phase": "sample", "under_way": {8: "sample"}, "generation": 7}
    assert changes.since(a_view((), **then)) == ["i8 sample", "g7 is ready"]


def test_a_manager_that_dies_and_one_that_takes_over(a_view):
    changes = Changes("al.db")
    changes.since(a_view(()))
    gone = ManagerStatus(alive=False, holder="x", silent_s=60.0)
    dead = "interrupted: no manager runs it. Go on: alflow resume al.db"
    assert changes.since(a_view((), manager=gone)) == [dead]
    assert changes.since(a_view((), manager=gone)) == []
    assert changes.since(a_view(())) == ["running"]


def test_what_went_wrong_is_told_once(a_view):
    changes = Changes("al.db")
    changes.since(a_view(()))
    new = Trouble(9, 0.0, "task-failed", "error", "t-9", "no memory")
    seen = a_view((), troubles=(new, *a_view().standing.troubles))
    assert changes.since(seen) == ["t-9 failed: no memory"]
    assert changes.since(seen) == []
