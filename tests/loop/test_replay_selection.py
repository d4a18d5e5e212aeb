"""What other settings would have chosen: exact at the real settings, honest at others."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from hypothesis import given
from hypothesis import strategies as st

from alflow.cli.main import run_command
from alflow.config.overrides import overridden, parse_override
from alflow.config.resolution import resolved, settings_from_resolved
from alflow.core.errors import SettingsError, StoreError
from alflow.core.past import Checked, PastIteration
from alflow.core.sampling import Candidate, Gate, Limit, Spread
from alflow.execution.inline import InlineExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Manager
from alflow.loop.replay import Unknown, judged, past_of, replayed, selection_seed
from alflow.loop.replay_campaign import REPLAYED, replay
from alflow.loop.replay_stopping import Judgement, Later, Tolerance, false_stops, judgements
from alflow.loop.stopping import FORCE_RMSE, StopVerdict
from alflow.store.costs import spent
from alflow.store.opening import open_store
from alflow.store.replaying import Ended, Kept, Path, Selected, ended_iterations, selections
from alflow.store.rows import EnsembleState
from alflow.store.views import GenerationProgress, IterationProgress, Progress

pytestmark = pytest.mark.timeout(300)

THRESHOLD = {
    "kind": "threshold",
    "per_iteration": 5,
    "grace_fs": 0,
    "energy_spread_meV": 1e6,
    "force_spread_mean_eV_per_A": 1.0,
    "force_spread_max_eV_per_A": None,
    "relax": [],
    "rejected_factor": 1e9,
    "audit_fraction": 0.4,
    "min_distance": 0.3,
}
CALIBRATED = {
    "kind": "calibrated",
    "per_iteration": 5,
    "grace_fs": 0,
    "start_factor": 45,
    "step": 0.5,
    "largest_factor": 100,
    "force_tolerance_eV_per_A": {"base": 0.1, "per_force": 0.1},
    "energy_tolerance_meV": {"base": 15, "per_force": 15},
    "rejected_factor": 1e9,
    "audit_fraction": 0.4,
}
LABELS = {"threshold": 14, "calibrated": 18}
"""Budgets of labels that leave less to the last iteration than to the others."""


def _settings(acquire, starts=None, **stop):
    box = {
        "kind": "random_box",
        "composition": {"Al": 1},
        "atoms": [8, 10],
        "density_g_per_cm3": [1.6, 2.4],
    }
    return settings_from_resolved(
        {
            "name": "tiny",
            "seed": 3,
            "system": {"elements": ["Al"], "builders": [starts or box]},
            "label": {
                "primary": "gupta",
                "batch_size": 3,
                "levels": {"gupta": {"kind": "analytic"}},
            },
            "model": {
                "members": 2,
                "hidden": [8],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {"epochs": 3, "warm_epochs": 2, "minimum_steps": 0, "folds": 2},
            "sample": {
                "replicas": 5,
                "tasks": 2,
                "rounds": 2,
                "timestep_fs": 2.0,
                "duration_ps": 0.1,
                "temperature_K": {"start": [300, 900], "end": [300, 900]},
            },
            "acquire": acquire,
            "test": {"count": 3, "builders": [box]},
            "loop": {"bootstrap": 6, "max_iterations": 3},
            "stop": stop,
        }
    )


@pytest.fixture(scope="module", params=["threshold", "calibrated"])
def database(request, tmp_path_factory):
    """A campaign whose few starts come again and again: their labels are known by then."""
    folder = tmp_path_factory.mktemp(request.param)
    path, starts = folder / "tiny.db", folder / "starts.extxyz"
    box = _settings(THRESHOLD).system.builders[0].create()
    frames = box.build(np.random.default_rng(1), 8)
    write(starts, [Atoms(f.numbers, f.positions, cell=f.cell, pbc=True) for f in frames])
    acquire = {"threshold": THRESHOLD, "calibrated": CALIBRATED}[request.param]
    builder = {"kind": "from_file", "path": str(starts)}
    budget = {"labels": LABELS[request.param]}
    with run_campaign(path, _settings(acquire, builder, budget=budget)) as campaign:
        Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()
    return path


def _replay(path, *changes, iteration=None):
    with open_store(path, read_only=True) as store:
        return replay(store, [parse_override(one, REPLAYED) for one in changes], iteration)


def test_the_real_settings_give_every_real_decision(database):
    found = _replay(database)
    assert found.is_exact
    assert not found.has_changes
    assert len(found.selections) >= 2
    assert all(one.is_gate_reproduced for one in found.selections)
    assert all(one.chosen == one.chosen_now for one in found.selections)
    assert [one.budget for one in found.selections][-1] < 5
    with open_store(database, read_only=True) as store:
        verdict = store.campaign().verdict
        with store.read() as connection:
            thens = selections(connection)
    made = [one for then in thens for one in then.verdicts.values()]
    kept = [one.candidate for then in thens for one in then.kept]
    assert {one.decision for one in made} == {"selected", "duplicate", "over-budget"}
    assert any(one.reason.startswith("drawn for audit") for one in made)
    assert any(one.is_known for one in kept)
    if found.selections[0].gate.energy.per_force > 0:  # the calibrated rule
        assert any(len(then.gates) == 2 for then in thens)
    assert found.stop.now == found.stop.then
    assert verdict.startswith(found.stop.now.sentence)
    assert found.stop.iteration == found.selections[-1].iteration


def test_a_decision_that_was_tampered_with_is_told(database, tmp_path):
    with open_store(database, read_only=True) as store, store.read() as connection:
        then = selections(connection)[0]
    settings = settings_from_resolved(then.config)
    name, verdict = next(iter(then.verdicts.items()))
    other = {**then.verdicts, name: replace(verdict, reason="because")}
    found = replayed(replace(then, verdicts=other), settings, settings, [])
    assert [(one.id, one.then.reason) for one in found.differences] == [(name, "because")]


def test_other_settings_choose_otherwise(database):
    found = _replay(database, "acquire.per_iteration=2", "acquire.audit_fraction=0")
    assert found.is_exact, "the first line is about the real settings"
    for one in found.selections:
        assert one.budget_now == min(2, one.budget)
        assert len(one.chosen_now) <= 2
        assert one.gate == one.gate_now
        assert not one.unknown
        assert one.n_common <= len(one.chosen_now)


def test_a_looser_gate_lets_trajectories_go_on(database):
    limits = [
        "acquire.kind=threshold",
        "acquire.energy_spread_meV=1e6",
        "acquire.force_spread_mean_eV_per_A=1e6",
        "acquire.force_spread_max_eV_per_A=1e6",
    ]
    found = _replay(database, *limits)
    for one in found.selections:
        assert one.n_flagged_now == 0
        assert one.unknown == Unknown(n_going_on=one.n_flagged)
    assert len(_replay(database, *limits, iteration=1).selections) == 1


def test_without_a_fingerprint_nothing_is_claimed(database, tmp_path):
    copy = tmp_path / "copy.db"
    shutil.copy(database, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE candidate SET fingerprint = NULL WHERE id = 1")
    with pytest.raises(StoreError, match="fingerprints of the candidates of iteration i1"):
        _replay(copy)


def test_settings_that_changed_on_the_way_count_as_they_were(tmp_path):
    path = tmp_path / "tiny.db"
    first = resolved(_settings(THRESHOLD))
    first["loop"]["max_iterations"] = 1
    second = resolved(_settings({**THRESHOLD, "per_iteration": 2, "audit_fraction": 0.5}))
    second["loop"]["max_iterations"] = 2
    for data in (first, second):
        with run_campaign(path, settings_from_resolved(data)) as campaign:
            Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()
    found = _replay(path)
    assert found.is_exact
    assert [one.budget for one in found.selections] == [5, 2]
    limits = [one.then and one.then.sentence for one in found.judgements]
    assert limits == [None, *(f"the limit of {k} iterations is reached" for k in (1, 2))]
    asked = _replay(path, "loop.max_iterations=7")
    assert [one.now for one in asked.judgements] == [None] * 3
    assert asked.stop is None
    with open_store(path, read_only=True) as store, store.read() as connection:
        ended, now = ended_iterations(connection), spent(connection)
    assert ended[0].spent.core_hours < ended[1].spent.core_hours < ended[2].spent.core_hours
    assert ended[2].spent == now


def test_expected_costs_are_kept_and_their_choice_is_replayed(tmp_path):
    path = tmp_path / "tiny.db"
    with run_campaign(path, _settings({**THRESHOLD, "cost_power": 1})) as campaign:
        Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()
    found = _replay(path)
    assert found.is_exact
    with open_store(path, read_only=True) as store, store.read() as connection:
        thens = selections(connection)
    costs = [[one.candidate.cost_core_s for one in then.kept] for then in thens]
    assert costs[0] == [None] * len(costs[0])  # 9 labels are too few to go by
    assert all(cost > 0 for cost in costs[-1])


def test_the_command_tells_what_other_settings_would_have_done(database, capsys):
    assert run_command(["replay", str(database)]) == 0
    first, _, header, row, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("The real settings: every decision reproduced (")
    assert header.split()[:7] == [
        "candidates",
        "flagged",
        "really",
        "now",
        "both",
        "only",
        "really",
    ]
    assert row.startswith("i1")
    assert rest[-1].startswith("It ends after i3, finished: the ")
    changes = ["--set", "acquire.per_iteration=1", "--set", "loop.max_iterations=9"]
    assert (
        run_command(["replay", str(database), *changes, "--iteration", "2", "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["reproduced"]
    assert found["changed"]
    (one,) = found["selections"]
    assert (one["iteration"], one["budget_now"]) == (2, 1)
    assert len(one["chosen_now"]) == 1
    assert len(one["only_then"]) == len(one["chosen"]) - one["n_common"]
    assert [row["iteration"] for row in found["judgements"]] == [0, 1, 2, 3]


def test_the_command_names_what_is_wrong(database, capsys):
    assert run_command(["replay", str(database), "--set", "acquire.threshold=3"]) == 2
    told = capsys.readouterr().err
    assert "acquire.threshold: unknown key" in told
    assert "[AL1" in told
    gate = "acquire.kind=threshold", "acquire.force_spread_max_eV_per_A=0.4"
    changes = [word for one in gate for word in ("--set", one)]
    assert run_command(["replay", str(database), *changes]) == 0
    told = capsys.readouterr().out
    assert "not known: " in told
    assert " → " in told


def test_an_iteration_that_chose_nothing_is_refused(database):
    with pytest.raises(StoreError, match="i9 has not chosen"):
        _replay(database, iteration=9)


def test_an_earlier_stop_is_found_and_checked(database):
    found = _replay(
        database,
        "stop.converged.force_rmse_eV_per_A=1000",
        "stop.converged.audit={force_eV_per_A: 1000, share: 0.5, confidence: 0.5}",
    )
    assert found.stop.iteration == 0
    assert found.stop.now.state == "converged"
    assert found.judgements[0].then is None
    told = [one.later.is_right for one in found.judgements]
    assert True in told
    assert set(told) <= {True, None}
    assert told[-1] is None
    strict = _replay(
        database,
        "stop.converged.force_rmse_eV_per_A=1000",
        "stop.converged.audit.energy_meV=1e-9",
    )
    assert strict.false_stops.rate == 1.0


# the pure part

numbers = st.floats(0, 1, allow_nan=False)
spreads = st.builds(
    Spread, st.sampled_from([0.001, 0.02, 0.3, np.inf]), numbers, numbers, numbers
)
candidates = st.builds(
    Candidate,
    st.sampled_from("abcdefgh"),
    spreads,
    st.sampled_from(["flagged", "audit"]),
    st.sampled_from(["energy", "force_max", ""]),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, np.nan]), min_size=2, max_size=2).map(
        np.array
    ),
    st.booleans(),
)


def _selected(kept, gates, paths=(), **changes):
    values = {
        "iteration": 1,
        "generation": 0,
        "gates": gates,
        "kept": tuple(kept),
        "paths": tuple(paths),
        "verdicts": {},
        "config": {},
        "n_requested": 6,
    }
    return Selected(**{**values, **changes})


@given(
    st.lists(candidates, max_size=12),
    st.sampled_from([THRESHOLD, CALIBRATED]),
    st.integers(0, 10),
)
def test_real_settings_are_exact_whatever_the_candidates(found, acquire, labels):
    settings = _settings(acquire, budget={"labels": 6 + labels} if labels else {})
    gate = Gate(Limit(0.01), None, Limit(0.4, 0.2))
    budget = min(5, labels) if labels else 5
    seed = selection_seed(settings, 1)
    verdicts = settings.acquire.create().select(found, budget, seed, gate)
    kept = [Kept(one, 1, 10.0, k) for k, one in enumerate(reversed(found))]
    then = _selected(kept, (gate, gate.scaled(0.7)), verdicts=verdicts)
    again = replayed(then, settings, settings, [])
    assert again.differences == ()
    assert again.chosen == again.chosen_now
    assert again.budget == budget


def _kept(name, path, step, energy, reason="flagged"):
    spread = Spread(energy, 0.1, 0.1, 1.0)
    one = Candidate(name, spread, reason, "", np.zeros(2))
    return Kept(one, path, float(step), step)


def _path(number, energies, clock="time_fs", *, is_flagged=False):
    last = len(energies) - 1
    return Path(
        number,
        {
            clock: [10.0 * k for k in range(len(energies))],
            "energy_spread": energies,
            "force_spread_max": [0.0] * len(energies),
        },
        last,
        10.0 * last,
        is_flagged,
    )


def test_a_tighter_gate_counts_what_was_not_kept():
    paths = [
        _path(1, [0.01, 0.06, 0.2], is_flagged=True),
        _path(2, [0.01, 0.06, 0.07]),
        _path(3, [0.01, 0.02]),
        _path(4, [0.01, 0.08, 0.2], is_flagged=True),
        _path(5, [0.01, np.nan]),
        # of these, frames of other trajectories with the same structure stand for the flagged ones
        _path(6, [0.2], is_flagged=True),
        _path(7, [0.06, 0.2], is_flagged=True),
    ]
    kept = [
        _kept("a", 1, 20, 0.2),
        _kept("b", 3, 10, 0.02, "audit"),
        _kept("c", 4, 10, 0.08, "audit"),
        _kept("d", 4, 20, 0.2),
    ]
    pool = judged(kept, paths, [Gate(Limit(0.1))], [Gate(Limit(0.05))])
    assert pool.unknown == Unknown(
        n_earlier=2, n_not_kept=1, n_drawn=1, n_not_reached=1, n_going_on=0
    )
    assert [(one.id, one.reason) for one in pool.candidates] == [
        ("a", "flagged"),
        ("b", "audit"),
        ("c", "flagged"),
    ]
    assert pool.n_flagged == 2


def test_grace_ends_no_trajectory_and_counts_only_where_time_passes():
    gate = Gate(Limit(0.1), grace_fs=100.0)
    kept = [_kept("a", 1, 20, 0.2), _kept("b", 2, 2, 0.2), _kept("c", 2, 3, 0.3)]
    paths = [_path(1, [0.0, 0.0, 0.2]), _path(2, [0.0, 0.0, 0.2, 0.3], "step")]
    pool = judged(kept, paths, [Gate(Limit(0.1))], [gate])
    assert [one.id for one in pool.candidates] == ["b", "c"]
    assert pool.unknown == Unknown(n_going_on=1)


def test_each_round_of_sampling_has_its_own_gate():
    first, second = _path(1, [0.0, 0.2]), replace(_path(2, [0.0, 0.2]), sampling_round=1)
    kept = [_kept("a", 1, 10, 0.2), _kept("b", 2, 10, 0.2)]
    gates = [Gate(Limit(0.1)), Gate(Limit(0.07))]
    pool = judged(kept, [first, second], gates, [Gate(Limit(0.3)), Gate(Limit(0.15))])
    assert [one.id for one in pool.candidates] == ["b"]
    assert pool.unknown == Unknown(n_going_on=1)


def test_labels_of_the_last_iterations_alone_teach():
    past = [PastIteration(k, 1, 1, 1, checked=_checked(0.1)) for k in range(1, 6)]
    found = past_of(past, _selected([], (), iteration=5), 2)
    assert [len(one.checked) for one in found] == [0, 0, 1, 1]


def test_iterations_that_were_still_open_taught_nothing():
    past = [PastIteration(k, 1, 1, 1, checked=_checked(0.1)) for k in range(1, 6)]
    then = _selected([], (), iteration=5, known=frozenset({0, 1, 2}))
    assert [one.number for one in past_of(past, then, 2)] == [1, 2]


def _checked(force, is_audit=True):
    one = np.array([0.001])
    return Checked(one, one, np.array([force]), one, np.array([1.0]), np.array([is_audit]))


def test_a_stop_is_false_if_later_frames_say_so():
    def stops(force):
        settings = _settings(CALIBRATED)
        asked = overridden(
            resolved(settings),
            [parse_override("stop.converged.force_rmse_eV_per_A=0.2", REPLAYED)],
        )
        stats = [{FORCE_RMSE: value} for value in (0.3, 0.1, 0.05)]
        ones = [
            IterationProgress(k, "validate", ended=True, n_selected=1, stats=one)
            for k, one in enumerate(stats)
        ]
        ready = [GenerationProgress(k, EnsembleState.READY) for k in range(3)]
        view = Progress("finished", iterations=tuple(ones), generations=tuple(ready))
        past = [PastIteration(k, 4, 2, 5, checked=_checked(force)) for k in (1, 2)]
        return judgements(
            view,
            [Ended(k, {}, 0) for k in range(3)],
            dict.fromkeys(range(3), (settings, asked)),
            past,
            {1: 0, 2: 1},
        )

    for force, is_right in ((0.02, True), (0.5, False)):
        found = stops(force)
        assert [one.now and one.now.state for one in found] == [None, *2 * ["converged"]]
        assert found[1].later.is_right is is_right
        assert found[1].later.best_test_force_rmse == 0.05
        assert found[2].later.is_right is None
        counts = false_stops(found)
        assert (counts.n_converged, counts.n_checked) == (2, 1)
        assert counts.rate == (0.0 if is_right else 1.0)


def test_without_a_tolerance_nothing_is_called_false():
    later = Later(1, 5, None, 0.1, None, None, None)
    verdict = StopVerdict("converged", "all survived")
    assert false_stops([Judgement(1, None, verdict, later)]).rate is None
    beyond = Tolerance(0.1, 0.0, np.inf, 0.0, 0.2, "x").n_beyond(_checked(np.nan))
    assert beyond == 0, "a label without forces says nothing about forces"


# --set


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acquire.per_iteration", "KEY=VALUE is wanted"),
        ("=3", "KEY=VALUE is wanted"),
        ("seed=3", "only acquire, stop, loop.max_iterations"),
        ("aquire.per_iteration=3", "did you mean 'acquire.per_iteration'"),
        ("acquire.per_iteration=[", "not YAML"),
    ],
)
def test_what_cannot_be_asked_is_refused(text, message):
    with pytest.raises(SettingsError, match=message.replace("[", "\\[")):
        parse_override(text, REPLAYED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acquire.per_iteratoin=3", "did you mean 'per_iteration'"),
        ("acquire.per_iteration=0", "at least 1"),
        ("acquire.per_iteration=true", "must be a number, not true"),
        ("acquire.kind=calibratd", "calibrated"),
        ("acquire.per_iteration.x=3", "is a value, not a section"),
        ("stop.converged.audit.share=0.1", "nothing to bound"),
    ],
)
def test_settings_that_are_not_valid_are_told(text, message):
    with pytest.raises(SettingsError, match=message) as caught:
        overridden(resolved(_settings(THRESHOLD)), [parse_override(text, REPLAYED)])
    assert caught.value.code.startswith("AL")


def test_another_kind_keeps_what_it_needs_and_takes_its_own_defaults():
    asked = ["acquire.coverage=0.8", "acquire.kind=calibrated"]
    found = overridden(
        resolved(_settings(THRESHOLD)), [parse_override(one, REPLAYED) for one in asked]
    )
    assert found.acquire.kind == "calibrated"
    assert (found.acquire.per_iteration, found.acquire.coverage) == (5, 0.8)
    assert found.acquire.rejected_factor == 10.0
    nested = overridden(
        resolved(_settings(THRESHOLD)),
        [parse_override("acquire.energy_spread_meV.per_force=2", REPLAYED)],
    )
    assert nested.acquire.energy_spread_meV.per_force == 2.0
