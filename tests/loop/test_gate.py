"""The gate: when a new generation is refused, and what the campaign does then."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.config.campaign import GateSettings
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError
from alflow.config.resolution import resolved, settings_from_resolved
from alflow.core.errors import StoreError
from alflow.execution.inline import InlineExecutor
from alflow.loop import ingest
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.gate import compare, from_statistics
from alflow.loop.manager import Ending, Manager
from alflow.loop.plan import ActionKind, plan
from alflow.loop.serving import n_refused, serving, why_from_scratch
from alflow.store.ancestry import generation_rows
from alflow.store.predictions import ErrorOnLabel
from alflow.store.views import GenerationProgress, IterationProgress, Progress, status
from alflow.testing.audit import audit

pytestmark = pytest.mark.timeout(300)


def errors(force, energy=0.01, n_atoms=4, has_forces=True):
    """Errors by label, one for each number in `force`."""
    return {
        label: ErrorOnLabel(n_atoms, has_forces, float(one), energy)
        for label, one in enumerate(force)
    }


def refuses(old, new, **changes):
    comparison = compare(old, new)
    return comparison is not None and comparison.is_worse(GateSettings(**changes))


NOISE = np.random.default_rng(1).normal(0, 0.01, (2, 40))


def test_noise_does_not_refuse_and_a_worse_generation_is_refused():
    base = 0.1 + NOISE[0]
    assert not refuses(errors(base), errors(base + NOISE[1]))
    assert refuses(errors(base), errors(base * 1.2 + NOISE[1]))
    assert not refuses(errors(base), errors(base * 0.8 + NOISE[1]))


def test_what_is_hard_for_both_is_no_noise():
    hard = np.geomspace(0.01, 10, 40)
    assert refuses(errors(hard), errors(hard * 1.02))


def test_the_setting_decides_how_much_worse_is_too_much():
    base = 0.1 + NOISE[0]
    comparison = compare(errors(base), errors(base + 0.003 + NOISE[1]))
    assert 0.5 < comparison.sigmas < 3
    assert comparison.is_worse(GateSettings(sigma=comparison.sigmas - 0.01))
    assert not comparison.is_worse(GateSettings(sigma=comparison.sigmas + 0.01))
    assert not comparison.is_worse(GateSettings(sigma=None))


def test_few_structures_refuse_nothing():
    old, new = errors(0.1 + NOISE[0, :9]), errors(0.5 + NOISE[1, :9])
    assert not refuses(old, new)
    assert refuses(old, new, minimum_structures=9)


def test_a_prediction_that_is_not_finite_refuses():
    old = errors([0.1, 0.2])
    assert refuses(old, errors([0.1, np.nan]))
    assert not refuses(old, errors([0.1, np.nan]), sigma=None)
    assert not refuses(errors([0.1, np.nan]), old)
    assert not refuses(errors([np.nan]), errors([np.nan]))


def test_energies_decide_where_the_level_has_no_forces():
    base = np.linspace(0.01, 0.02, 20)

    def of(factor):
        return {
            k: ErrorOnLabel(4, has_forces=False, force_rmse=np.nan, energy_error=factor * e)
            for k, e in enumerate(base)
        }

    assert refuses(of(1), of(-1.5))
    assert not refuses(of(1), of(-0.9))
    assert compare(of(1), of(2)).noun == "energy"


def test_only_structures_that_both_have_predicted_count():
    old, new = errors([0.1] * 20), errors([0.1] * 30)
    assert compare(old, new).n == 20
    assert compare(old, {}) is None


def test_the_errors_are_those_over_all_components():
    old = {0: ErrorOnLabel(10, True, 0.1, 0.0), 1: ErrorOnLabel(30, True, 0.3, 0.0)}
    expected = ((10 * 0.1**2 + 30 * 0.3**2) / 40) ** 0.5
    assert compare(old, old).before == pytest.approx(expected)


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=30), st.floats(0.1, 3.0))
def test_numbers_survive_the_statistics(values, factor):
    found = compare(errors(values), errors(np.array(values) * factor))
    assert from_statistics(found.to_statistics()) == found
    assert compare(errors(values), errors(values)).sigmas == 0


def progress(*states, **changes):
    """A campaign whose last iteration trained the last of some generations."""
    iterations = [IterationProgress(k, "validate", ended=True) for k in range(len(states))]
    iterations[-1] = replace(iterations[-1], **changes)
    return Progress(
        "running",
        iterations=tuple(iterations),
        generations=tuple(GenerationProgress(k, s) for k, s in enumerate(states)),
        n_train=20,
        n_test=10,
    )


def test_the_last_generation_that_passed_serves():
    view = progress("ready", "ready", "rejected", "rejected", "ready")
    assert [serving(view, k) for k in (1, 2, 3, 4, 5)] == [0, 1, 1, 1, 4]
    assert [n_refused(view, k) for k in (1, 2, 3, 4, 5)] == [0, 0, 1, 2, 0]
    with pytest.raises(StoreError, match="iteration 0"):
        serving(view, 0)


def test_other_levels_neither_serve_nor_count():
    other = GenerationProgress(2, "ready", "transfer")
    view = progress("ready", "rejected")
    view = replace(view, generations=(*view.generations, other))
    assert serving(view, 3) == 0
    assert n_refused(view, 3) == 1


@pytest.fixture
def settings(tmp_path):
    """A toy campaign, and the file that it comes from."""

    def of(loop="", stop=""):
        path = tmp_path / "toy.yaml"
        path.write_text(CAMPAIGN.replace("LOOP", loop).replace("STOP", stop))
        return load_campaign(path)

    return of


BOX = (
    "{kind: random_box, composition: {Al: 1}, atoms: [3, 5], density_g_per_cm3: [1.6, 2.4]}"
)
CAMPAIGN = """
name: gated
seed: 5
system: {elements: [Al], builders: [BOX]}
label: {primary: gupta, batch_size: 20, levels: {gupta: {kind: analytic}}}
model: {members: 2, hidden: [4], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5}
train: {epochs: 1, warm_epochs: 1, minimum_steps: 0, folds: 2}
sample: {replicas: 3, tasks: 1, rounds: 1, timestep_fs: 2.0, duration_ps: 0.02,
         temperature_K: {start: [300, 900], end: [300, 900]}}
acquire: {per_iteration: 3, grace_fs: 0, energy_spread_meV: 0.001, rejected_factor: 1.0e+9}
test: {count: 10, builders: [BOX]}
loop: {bootstrap: 6, max_iterations: 5, LOOP}
stop: {STOP}
""".replace("BOX", BOX)


def run(campaign, **options):
    notices = []
    manager = Manager(campaign, InlineExecutor(campaign.files), notices.append)
    return manager.run(**options), notices


def test_training_begins_anew_after_refusals_every_so_often_and_when_told(settings):
    view = progress("ready", "rejected", "rejected")
    usual = settings()
    assert why_from_scratch(view, usual, 2) == ""
    assert "the last 2 were refused" in why_from_scratch(view, usual, 3)
    often = settings(loop="scratch_every: 3")
    fine = progress(*["ready"] * 7)
    assert [bool(why_from_scratch(fine, often, k)) for k in range(7)] == [
        k in (3, 6) for k in range(7)
    ]
    cold = usual.train.model_copy(update={"warm_start": False})
    cold = usual.model_copy(update={"train": cold})
    assert [why_from_scratch(fine, cold, k) for k in range(2)] == [
        "",
        "from scratch, as train.warm_start is false",
    ]


@pytest.fixture
def bad_generations(monkeypatch):
    """Makes what some generations say about the test set worse than it is."""

    def spoil(*numbers):
        rows_of = ingest.prediction_rows

        def rows(content):
            found = rows_of(content)
            return [replace(row, force_rmse=row.force_rmse + 9.0) for row in found]

        def finish(self, attempt, outcome, outputs):
            is_bad = attempt.task.spec.key in [f"validate/g{k}/test" for k in numbers]
            with pytest.MonkeyPatch.context() as patch:
                if is_bad:
                    patch.setattr(ingest, "prediction_rows", rows)
                finish_it(self, attempt, outcome, outputs)

        finish_it = ingest.Ingest._finish
        monkeypatch.setattr(ingest.Ingest, "_finish", finish)

    return spoil


def test_a_refused_generation_is_kept_and_not_used(tmp_path, settings, bad_generations):
    bad_generations(1, 2, 4)
    with run_campaign(tmp_path / "a.db", settings()) as campaign:
        ending, notices = run(campaign)
        store = campaign.store
        rows = {row["generation"]: row for row in generation_rows(store)}
        with store.read() as connection:
            rows_of_sampling = connection.exec_driver_sql(
                "SELECT i.number, e.generation FROM iteration i "
                "JOIN ensemble e ON e.id = i.ensemble_id"
            ).all()
            refused = connection.exec_driver_sql(
                "SELECT subject FROM event WHERE kind = 'generation-refused'"
            ).all()
        labels = [len(store.dataset("train", "gupta", generation=k)) for k in range(6)]
        checked = [task.spec.key for task in store.tasks(2, "validate")]
        seen = status(store)
    assert ending is Ending.DECIDED
    assert [rows[k]["state"] for k in range(6)] == [
        *("ready", "rejected", "rejected", "ready", "rejected", "ready")
    ]
    assert [rows[k]["parent"] for k in range(6)] == [None, 0, 0, None, 3, 3]
    assert [rows[k]["relation"] for k in range(6)] == [
        *("fresh", "warm_start", "warm_start", "fresh", "warm_start", "warm_start")
    ]
    assert dict(map(tuple, rows_of_sampling)) == {1: 0, 2: 0, 3: 0, 4: 3, 5: 3}
    assert [row[0] for row in refused] == ["g1", "g2", "g4"]
    assert labels == sorted(set(labels)), "labels stay"
    assert checked == ["validate/g0/i2/new", "validate/g2/test"]
    assert (seen.generation, seen.refused) == (5, [])
    told = {n.subject: n.text for n in notices if n.kind == "begin-iteration"}
    assert (
        "generation 2 is refused and generation 0 stays: the force error on" in told["i3"]
    )
    assert told["i3"].endswith("frames that it does not know")
    anew = {n.subject: n.text for n in notices if n.kind == "train"}
    assert "from scratch, as the last 2 were refused" in anew["i3"]
    assert "from scratch" not in anew["i2"]


def test_pausing_and_resuming_gives_the_same_campaign(tmp_path, settings, bad_generations):
    bad_generations(1, 2)
    with run_campaign(tmp_path / "a.db", settings()) as campaign:
        run(campaign)
        expected = campaign.store.content_digest()
    with run_campaign(tmp_path / "b.db", settings()) as campaign:
        run(campaign, last_iteration=2)
        assert status(campaign.store).refused == [1, 2]
    for _ in range(2):
        with resume_campaign(tmp_path / "b.db") as campaign:
            run(campaign)
            assert campaign.store.content_digest() == expected
    found = audit(str(tmp_path / "b.db"), tmp_path / "b")
    assert not [*found.lost, *found.duplicates]


def test_convergence_is_judged_by_the_generation_that_serves(settings):
    target = "converged: {force_rmse_eV_per_A: 0.05}"
    good, bad = ({"test_force_rmse_eV_per_A": value} for value in (0.04, 0.06))
    refused = progress("ready", "rejected", stats=good, n_selected=1)
    assert plan(refused, settings(stop=target))[0].kind is ActionKind.BEGIN_ITERATION
    passed = progress("ready", "ready", stats=good, n_selected=1)
    assert plan(passed, settings(stop=target))[0].state == "converged"
    earlier = replace(
        refused,
        iterations=(
            replace(refused.iterations[0], stats=good),
            replace(refused.iterations[1], stats=bad),
        ),
    )
    assert plan(earlier, settings(stop=target))[0].state == "converged"


def test_a_refusal_at_the_end_is_told(settings):
    worse = compare(errors(0.1 + NOISE[0]), errors(0.3 + NOISE[1])).to_statistics()
    short = settings()
    loop = short.loop.model_copy(update={"max_iterations": 1})
    short, told = short.model_copy(update={"loop": loop}), []
    for state in ("rejected", "ready"):
        last = progress("ready", state, stats=worse, n_selected=1)
        (stop,) = plan(last, short)
        assert stop.kind is ActionKind.STOP
        told.append("generation 1 is refused and generation 0 stays" in stop.reason)
    assert told == [True, False]


def test_a_campaign_of_an_older_alflow_gets_the_gate(settings):
    stored = resolved(settings())
    del stored["loop"]["gate"], stored["loop"]["scratch_every"]
    assert settings_from_resolved(stored) == settings()


@pytest.mark.parametrize(
    ("loop", "place"),
    [
        ("gate: {sigma: -1}", "loop.gate.sigma"),
        ("gate: {scratch_after: 0}", "loop.gate.scratch_after"),
        ("gate: {sigmas: 1}", "loop.gate.sigmas"),
        ("scratch_every: 0", "loop.scratch_every"),
    ],
)
def test_nonsense_is_refused_with_its_place(settings, loop, place):
    with pytest.raises(CampaignFileError, match=rf"toy.yaml:12:\d+  {place}"):
        settings(loop=loop)
