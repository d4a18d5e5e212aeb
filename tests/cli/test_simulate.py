"""`alflow simulate`: what it needs, and what it prints."""

import json

import pytest

TIMES = """\
build_s: 3
label_s: {kind: lognormal, median: 60, sigma: 0.5}
sample_s: 100
train_s: 50
train_s_per_label: 1
validate_s: 5
flagged_frames: 12
"""
POOLS = "pools: {mine: {tasks: ['*'], workers: 4, threads: 2, queue_s: 30}}\n"


@pytest.fixture
def campaign(alflow):
    assert alflow("init", "w", "-t", "water").code == 0
    return "w/campaign.yaml"


@pytest.fixture
def times(tmp_path):
    path = tmp_path / "times.yaml"
    path.write_text(TIMES + POOLS)
    return path


def test_without_times_both_ways_are_named(alflow, campaign):
    done = alflow("simulate", campaign)
    assert done.code == 2
    assert "--like DB" in done.err
    assert "--times FILE" in done.err


def test_a_table_with_time_use_and_cost(alflow, campaign, times):
    done = alflow("simulate", campaign, "--times", times, "--repeats", "3")
    assert done.code == 0, done.err
    assert "3 courses on site 'described'" in done.out
    assert "barrier" in done.out
    assert "end finished: the limit of 3 iterations is reached" in done.out
    assert "to 122 labels" in done.out


def test_json_has_the_same_and_is_the_same_again(alflow, campaign, times):
    first, again = (
        alflow("simulate", campaign, "--times", times, "--repeats", "2", "--json").out
        for _ in range(2)
    )
    assert first == again
    told = json.loads(first)
    assert told["repeats"] == 2
    assert told["labels"]["median"] == 122
    assert 0 < told["pools"]["mine"]["busy"]["median"] < 1


def test_times_of_a_database_and_of_a_file_together(alflow, campaign, database, tmp_path):
    done = alflow("simulate", campaign, "--like", database)
    assert done.code == 2
    assert "nothing is known about sample_s" in done.err or "label_s" in done.err
    rest = tmp_path / "rest.yaml"
    rest.write_text("".join(line + "\n" for line in TIMES.splitlines()[1:]))
    done = alflow(
        *("simulate", campaign, "--like", database, "--times", rest),
        *("--repeats", "1", "--json"),
    )
    assert done.code == 0, done.err
    assert done.json["site"] == "local"
    assert done.json["worker_hours"]["build"]["median"] * 3600 == pytest.approx(2 * 1.0)


def test_a_site_that_is_not_there_is_refused(alflow, campaign, times):
    done = alflow("simulate", campaign, "--times", times, "--site", "nowhere")
    assert done.code == 2
    assert "there is no site 'nowhere'" in done.err
