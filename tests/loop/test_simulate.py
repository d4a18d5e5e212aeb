"""Simulated campaigns: the real plan with tasks that only pretend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.config.problems import CampaignFileError
from alflow.config.resolution import settings_from_resolved
from alflow.config.times import Times, load_times
from alflow.core.errors import SettingsError
from alflow.execution.sites import Site, local_pool
from alflow.loop.described import described, of_site
from alflow.loop.measured import fitted_trainings
from alflow.loop.simulate import simulate, summary
from alflow.store.durations import TrainingDuration

BOX = {"kind": "random_box", "composition": {"Al": 1}, "density_g_per_cm3": [2, 2.5]}
SECONDS = {
    "build_s": 3,
    "label_s": 10,
    "label_start_s": 1,
    "sample_s": 20,
    "train_s": 40,
    "train_s_per_label": 0.5,
    "warm_train_s": 15,
    "validate_s": 2,
    "flagged_frames": 5,
}
POOL = {"p": {"tasks": ["*"], "workers": 4}}


def campaign(budget=None, **loop):
    ramp = {"start": [300, 600], "end": [300, 600]}
    return settings_from_resolved(
        {
            "name": "simulated",
            "seed": 1,
            "system": {"elements": ["Al"], "builders": [BOX]},
            "label": {
                "primary": "dft",
                "levels": {"dft": {"kind": "analytic"}},
                "batch_size": 2,
            },
            "sample": {
                "duration_ps": 2.0,
                "temperature_K": ramp,
                "tasks": 4,
                "rounds": 2,
            },
            "acquire": {"per_iteration": 10},
            "test": {"count": 8, "builders": [BOX]},
            "loop": {"bootstrap": 16, "max_iterations": 2, **loop},
            "stop": {"budget": budget or {}},
        }
    )


def times(**changes):
    return Times.model_validate({**SECONDS, "pools": POOL, **changes})


def course(given_times, repeat=0, **loop):
    return simulate(campaign(**loop), given_times, described(given_times), repeat)


def test_constant_times_add_up():
    found = course(times())
    # build; 12 tasks of 2 labels on 4 workers; train; validate
    first = 3 + 3 * 21 + (40 + 0.5 * 16) + 2
    # 20 of 10 frames at once: one round; 5 label tasks; the check of the old generation is hidden
    second = 20 + 2 * 21 + (15 + 0.5 * 26) + 2
    third = 20 + 2 * 21 + (15 + 0.5 * 36) + 2
    assert found.wall_s == pytest.approx(first + second + third)
    assert (found.state, found.n_iterations) == ("finished", 3)
    assert found.tasks == {
        "build": 2,
        "label": 12 + 5 + 5,
        "train": 3,
        "validate": 5,
        "sample": 8,
    }
    use = found.usage["p"]
    busy = 2 * 3 + 22 * 21 + 48 + 28 + 33 + 5 * 2 + 8 * 20
    assert use.all_busy_s == pytest.approx(busy)
    assert use.barrier_s == pytest.approx(4 * found.wall_s - busy)


def test_labels_are_there_one_by_one():
    found = course(times())
    assert len(found.labels_s) == 24 + 10 + 10
    assert found.labels_s[:8].tolist() == [14.0] * 4 + [24.0] * 4


def test_short_of_flagged_frames_another_round_is_sampled():
    found = course(times(flagged_frames=1))
    assert found.tasks["sample"] == 2 * 2 * 4
    assert len(found.labels_s) == 24 + 8 + 8


def test_chosen_and_failed_labels_count():
    found = course(times(chosen_share=0.5))
    assert len(found.labels_s) == 24 + 5 + 5
    failing = course(times(failed_labels_share=0.3))
    assert 24 < len(failing.labels_s) < 44


def test_the_end_is_that_of_the_plan():
    assert "survived 2 ps" in course(times(flagged_frames=0)).verdict
    assert "labels is spent" in course(times(), budget={"labels": 20}).verdict
    assert "wall time is spent" in course(times(), budget={"wall_hours": 0.03}).verdict
    assert "core hours is spent" in course(times(), budget={"core_hours": 0.1}).verdict


def test_values_may_differ_by_iteration():
    slower = course(times(sample_s=[0, 20, 50]))
    assert slower.wall_s == pytest.approx(course(times()).wall_s + 30)


def test_training_from_scratch_takes_longer():
    assert course(times(), scratch_every=1).wall_s == pytest.approx(
        course(times()).wall_s + 2 * (40 - 15)
    )


def test_a_queue_delays_and_is_told():
    queued = times(pools={"p": {**POOL["p"], "queue_s": 100, "start_s": 7, "threads": 3}})
    found = course(queued)
    assert found.wall_s == pytest.approx(course(times()).wall_s + 107)
    assert found.usage["p"].start_s == 4 * 7
    told = summary([found], described(queued))
    assert told.core_hours["train"].median == pytest.approx(3 * (48 + 28 + 33) / 3600)


def test_lost_attempts_are_made_again():
    found = course(times(lost_attempts_share={"label": 0.4}))
    assert found.n_lost > 0
    assert found.tasks == course(times()).tasks
    assert found.wall_s > course(times()).wall_s


RANDOM = times(
    label_s={"kind": "lognormal", "median": 10, "sigma": 0.8},
    sample_s={"kind": "empirical", "values": [5, 20, 60]},
)


def test_the_same_seed_gives_the_same_course():
    first, again, other = (course(RANDOM, repeat) for repeat in (3, 3, 4))
    assert first.runs == again.runs
    assert first.labels_s.tolist() == again.labels_s.tolist()
    assert first.wall_s != other.wall_s


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 12), st.integers(0, 1000), st.floats(0, 100))
def test_shares_add_up_whatever_the_site(workers, repeat, queue_s):
    pools = {"p": {"tasks": ["*"], "workers": workers, "queue_s": queue_s}}
    given_times = RANDOM.model_copy(update={"pools": times(pools=pools).pools})
    found = course(given_times, repeat)
    told = summary([found], described(given_times)).pools["p"]
    shares = [one.median for one in (told.busy, told.queue, told.start, told.barrier)]
    assert sum(shares) == pytest.approx(1.0)
    assert 0 < told.busy.median <= 1
    work = sum(run.end - run.start for run in found.runs)
    assert found.usage["p"].all_busy_s == pytest.approx(work)


def test_more_workers_help_until_nothing_is_left_to_share():
    walls = [
        course(times(pools={"p": {"tasks": ["*"], "workers": n}})).wall_s
        for n in (1, 2, 4, 8, 64, 128)
    ]
    assert walls == sorted(walls, reverse=True)
    assert walls[-1] == walls[-2]


def test_what_is_not_known_is_asked_for():
    with pytest.raises(SettingsError, match="nothing is known about sample_s") as error:
        course(times(sample_s=None))
    assert "--times" in error.value.next_step
    assert "--like" in error.value.next_step


def test_every_kind_needs_a_pool():
    with pytest.raises(SettingsError, match="no pool for tasks of kind 'build'"):
        course(times(pools={"p": {"tasks": ["label"], "workers": 1}}))
    with pytest.raises(SettingsError, match="no `tasks` or no `workers`"):
        course(times(pools={"p": {"workers": 1}}))
    both = {name: {"tasks": ["label"], "workers": 1} for name in "pq"}
    with pytest.raises(SettingsError, match="in pool 'p' and in 'q'"):
        course(times(pools=both))


def test_a_site_file_says_what_the_times_do_not():
    label = local_pool("cpu", workers=6, threads=2)
    site = Site("mine", {"label": label, "label:larger": label, "*": local_pool(workers=1)})
    model = of_site(site, times(pools={"cpu": {"blocks": 3, "queue_s": 5}}))
    assert (model.name, model.routes) == ("mine", {"label": "cpu", "*": "local"})
    assert (model.pool_of("label").workers, model.pool_of("label").blocks) == (6, 3)
    assert model.pool_of("train").workers == 1
    with pytest.raises(SettingsError, match="pool 'gpu', which site 'mine' does not"):
        of_site(site, times(pools={"gpu": {}}))


def test_a_file_of_times_is_read_and_checked(tmp_path):
    path = tmp_path / "times.yaml"
    path.write_text("label_s: {kind: lognormal, median: 9, sigma: 0.1}\nbuild_s: [1, 2]\n")
    found = load_times(path)
    assert found.label_s[0].median == 9
    assert [one.value for one in found.build_s] == [1, 2]
    path.write_text("label_s: {kind: lognormal, median: -9, sigma: 0.1}\nbuilds_s: 3\n")
    with pytest.raises(CampaignFileError) as error:
        load_times(path)
    assert {one.line for one in error.value.problems} == {1, 2}
    path.write_text("label_s: {kind: empirical, values: [1, 2], expected: [1]}\n")
    with pytest.raises(CampaignFileError, match="1 for 2 values"):
        load_times(path)


@pytest.mark.parametrize(
    ("wall_s", "base_s", "slope_s"),
    [
        ((30.0, 50.0, 70.0), 10.0, 2.0),
        ((20.0, 40.0, 60.0), 0.0, 2.0),  # never less than nothing
        ((50.0, 40.0, 30.0), 40.0, 0.0),
        ((5.0, 25.0, 45.0), 0.0, 1.25),
    ],
)
def test_trainings_are_a_straight_line(wall_s, base_s, slope_s):
    trainings = [
        TrainingDuration(k, "fresh", n, seconds)
        for k, (n, seconds) in enumerate(zip((10, 20, 30), wall_s, strict=True))
    ]
    found = fitted_trainings("train_s", trainings)
    assert found["train_s_per_label"] == pytest.approx(slope_s)
    assert np.median(found["train_s"][0].values) == pytest.approx(base_s, abs=1e-9)


def test_one_training_is_proportional_to_its_labels():
    found = fitted_trainings("train_s", [TrainingDuration(0, "fresh", 20, 50.0)])
    assert found["train_s_per_label"] == pytest.approx(2.5)
    assert found["train_s"][0].values == pytest.approx((0.0,))


def test_what_is_said_goes_before_what_was_measured():
    said = Times.model_validate({"label_s": 7, "pools": {"p": {}}})
    both = said.over(times(train_s=99))
    assert (both.label_s[0].value, both.train_s[0].value) == (7, 99)
    assert both.pools["p"].workers is None


SLOW = st.floats(0.5, 200.0)


@given(label=SLOW, sample=SLOW, train=SLOW, flagged=st.integers(1, 8), n=st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_stages_that_overlap_always_come_to_the_same_end(label, sample, train, flagged, n):
    """Whatever takes how long: the budget is spent, nothing waits for ever, it is no slower."""
    pools = {
        "qm": {"tasks": ["label"], "workers": 2},
        "explore": {"tasks": ["sample"], "workers": 1},
        "rest": {"tasks": ["*"], "workers": 1},
    }
    known = times(
        pools=pools,
        label_s={"kind": "lognormal", "median": label, "sigma": 0.5},
        sample_s=sample,
        train_s=train,
        warm_train_s=train,
        train_s_per_label=0,
        flagged_frames=flagged,
    )
    site = described(known)
    found = {
        mode: simulate(
            campaign({"labels": 70}, mode=mode, max_iterations=100, open_iterations=n),
            known,
            site,
        )
        for mode in ("generational", "asynchronous")
    }
    for one in found.values():
        assert one.state == "finished"
        assert "the budget of 70 labels is spent" in one.verdict
        assert len(one.labels_s) == 70 + 8
    # the last labels decide, and batches of labels are drawn anew
    assert found["asynchronous"].wall_s < 1.25 * found["generational"].wall_s
