"""The plan: a pure function, tried on every situation a campaign can be in."""

from dataclasses import replace

import pytest

from alflow.config.resolution import settings_from_resolved
from alflow.loop.plan import ActionKind, label_budget, plan
from alflow.store.views import GenerationProgress, IterationProgress, Progress


def _settings(**changes):
    values = {
        "bootstrap": 16,
        "max_iterations": 5,
        "per_iteration": 10,
        "rounds": 2,
        "labels": None,
        "force_rmse": None,
        "survival_ps": None,
        "audit": {},
        **changes,
    }
    box = {"kind": "random_box", "composition": {"Al": 1}, "density_g_per_cm3": [2, 2.5]}
    ramp = {"start": [300, 600], "end": [300, 600]}
    return settings_from_resolved(
        {
            "name": "plan",
            "seed": 1,
            "system": {"elements": ["Al"], "builders": [box]},
            "label": {
                "primary": "dft",
                "levels": {"dft": {"kind": "analytic"}},
                "audit": values["audit"],
            },
            "sample": {
                "duration_ps": 2.0,
                "temperature_K": ramp,
                "rounds": values["rounds"],
            },
            "acquire": {"per_iteration": values["per_iteration"]},
            "test": {"count": 8, "builders": [box]},
            "loop": {
                "bootstrap": values["bootstrap"],
                "max_iterations": values["max_iterations"],
            },
            "stop": {
                "budget": {"labels": values["labels"]},
                "converged": {
                    "force_rmse_eV_per_A": values["force_rmse"],
                    "survival_ps": values["survival_ps"],
                },
            },
        }
    )


def _at(phase: str, number: int = 1, **changes) -> Progress:
    last = IterationProgress(number, phase, **changes)
    ended = tuple(IterationProgress(k, "validate", ended=True) for k in range(number))
    return Progress(
        "running",
        iterations=(*ended, last),
        generations=tuple(GenerationProgress(k, "ready") for k in range(number + 1)),
        n_train=40,
        n_test=8,
        n_requested=40,
    )


def _only(progress: Progress, settings=None):
    actions = plan(progress, settings or _settings())
    assert len(actions) == 1
    return actions[0]


def test_a_new_campaign_begins_with_the_bootstrap():
    action = _only(Progress.empty())
    assert (action.kind, action.iteration) == (ActionKind.BEGIN_ITERATION, 0)
    assert "16 structures" in action.reason


@pytest.mark.parametrize("phase", ["build", "sample", "label", "train", "validate"])
@pytest.mark.parametrize("state", ["queued", "leased"])
def test_open_tasks_are_waited_for(phase, state):
    assert plan(_at(phase, tasks={"label": {state: 1, "done": 3}}), _settings()) == []


@pytest.mark.parametrize("state", ["converged", "finished", "stopped", "failed"])
def test_a_campaign_that_has_ended_has_nothing_to_do(state):
    assert plan(replace(_at("label"), state=state), _settings()) == []


@pytest.mark.parametrize(
    ("progress", "kind"),
    [
        (_at("build", 0, tasks={"build": {"done": 2}}), ActionKind.ADD_STRUCTURES),
        (_at("label", 0, n_labelled=16, n_failed=1), ActionKind.TRAIN),
        (_at("train", 0, tasks={"train": {"done": 1}}), ActionKind.VALIDATE),
        (_at("validate", 0), ActionKind.AUDIT),
        (_at("audit", 0, tasks={"label": {"done": 3}}), ActionKind.AUDIT),
        (_at("audited", 0), ActionKind.END_ITERATION),
        (
            _at("sample", 1, tasks={"sample": {"done": 2}}, n_rounds=1),
            ActionKind.SAMPLE_MORE,
        ),
        (_at("sample", 1, tasks={"sample": {"done": 4}}, n_rounds=2), ActionKind.SELECT),
        (
            _at("sample", 1, tasks={"sample": {"done": 2}}, n_rounds=1, n_flagged=10),
            ActionKind.SELECT,
        ),
        (_at("label", 1, n_selected=9, n_labelled=8, n_failed=1), ActionKind.TRAIN),
        (_at("label", 1, n_selected=0), ActionKind.END_ITERATION),
        (_at("validate", 1, ended=True, n_selected=3), ActionKind.BEGIN_ITERATION),
    ],
)
def test_each_phase_leads_to_the_next(progress, kind):
    assert _only(progress).kind is kind


def test_without_a_test_set_there_is_nothing_to_validate():
    progress = replace(_at("train", 0, tasks={"train": {"done": 1}}), n_test=0)
    assert _only(progress).kind is ActionKind.AUDIT
    assert _only(progress, _settings(audit=None)).kind is ActionKind.END_ITERATION


def test_without_audits_an_iteration_ends_when_it_is_tested():
    action = _only(_at("validate", 0), _settings(audit=None))
    assert action.kind is ActionKind.END_ITERATION


def test_without_a_label_to_trust_the_campaign_fails():
    progress = replace(_at("label", 0, n_labelled=3), n_train=0)
    action = _only(progress)
    assert (action.kind, action.state) == (ActionKind.STOP, "failed")
    assert "trusted" in action.reason


def test_a_parent_that_learnt_from_labels_put_aside_is_no_parent():
    generations = (GenerationProgress(0, "ready", n_put_aside=2),)
    progress = replace(_at("label", 1, n_selected=5, n_labelled=5), generations=generations)
    assert "2 labels that generation 0 learnt from were put aside" in _only(progress).reason
    trusted = replace(progress, generations=(GenerationProgress(0, "ready"),))
    assert "scratch" not in _only(trusted).reason


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (_at("build", 0, tasks={"build": {"done": 1, "failed": 1}}), "builders failed"),
        (_at("sample", 1, tasks={"sample": {"failed": 2}}), "every sample task failed"),
        (_at("label", 1, n_selected=5, n_failed=5), "none of 5 labels succeeded"),
        (
            _at("train", 2, tasks={"train": {"failed": 1}}),
            "training of generation 2 failed",
        ),
    ],
)
def test_what_cannot_go_on_says_where_to_look(progress, words):
    action = _only(progress)
    assert (action.kind, action.state) == (ActionKind.STOP, "failed")
    assert words in action.reason
    assert "alflow ls tasks" in action.reason


def test_the_budget_of_an_iteration_never_exceeds_what_is_left():
    progress = _at("sample")
    assert label_budget(progress, _settings()) == 10
    assert label_budget(progress, _settings(labels=44)) == 4
    assert label_budget(progress, _settings(labels=30)) == 0


def _ended(number: int = 2, stats=None, **changes) -> Progress:
    stats = {
        "n_trajectories": 8.0,
        "n_flagged": 2.0,
        "n_finished": 6.0,
        "longest_ps": 2.0,
    } | (stats or {})
    return _at("validate", number, ended=True, n_selected=3, stats=stats, **changes)


@pytest.mark.parametrize(
    ("settings", "stats", "state", "words"),
    [
        (
            {"force_rmse": 0.05},
            {"test_force_rmse_eV_per_A": 0.0499},
            "converged",
            "49.9 meV/Å",
        ),
        (
            {"survival_ps": 2.0},
            {"n_flagged": 0.0, "n_finished": 8.0},
            "converged",
            "all 8 trajectories",
        ),
        ({"labels": 40}, {}, "finished", "budget of 40 labels"),
        ({"max_iterations": 2}, {}, "finished", "limit of 2 iterations"),
    ],
)
def test_every_stop_rule_gives_its_numbers(settings, stats, state, words):
    action = _only(_ended(stats=stats), _settings(**settings))
    assert (action.kind, action.state) == (ActionKind.STOP, state)
    assert words in action.reason


@pytest.mark.parametrize(
    ("settings", "stats"),
    [
        ({"force_rmse": 0.05}, {"test_force_rmse_eV_per_A": 0.0501}),
        ({"force_rmse": 0.05}, {}),
        ({"survival_ps": 2.5}, {"n_flagged": 0.0, "n_finished": 8.0}),
        ({"survival_ps": 2.0}, {"n_flagged": 0.0, "n_finished": 7.0}),
        ({"labels": 41}, {}),
    ],
)
def test_no_rule_stops_too_early(settings, stats):
    assert (
        _only(_ended(stats=stats), _settings(**settings)).kind is ActionKind.BEGIN_ITERATION
    )


def _nothing_chosen(**stats) -> Progress:
    progress = _ended(stats=stats)
    last = replace(progress.iterations[-1], n_selected=0)
    return replace(progress, iterations=(*progress.iterations[:-1], last))


def test_nothing_flagged_and_nothing_chosen_is_convergence():
    action = _only(_nothing_chosen(n_flagged=0.0, n_finished=8.0))
    assert (action.kind, action.state) == (ActionKind.STOP, "converged")


def test_unphysical_trajectories_are_no_convergence():
    action = _only(_nothing_chosen(n_flagged=0.0, n_finished=3.0, n_unphysical=5.0))
    assert (action.kind, action.state) == (ActionKind.STOP, "failed")
    assert "5 became unphysical" in action.reason


def test_good_enough_wins_over_out_of_budget():
    progress = _ended(stats={"test_force_rmse_eV_per_A": 0.01})
    action = _only(progress, _settings(force_rmse=0.05, labels=40, max_iterations=2))
    assert action.state == "converged"
