"""A small campaign is driven through the store's verbs; history must tell it back exactly."""

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest

from alflow.core.errors import SettingsError, StoreError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.sampling import (
    Decision,
    Frame,
    Gate,
    Limit,
    Spread,
    StopReason,
    Trajectory,
    Verdict,
)
from alflow.core.structures import Structure
from alflow.core.tasks import Outcome, TaskSpec
from alflow.report import collect, render_html, wording, write_report
from alflow.report.content import Standing
from alflow.report.sections import sections
from alflow.store import (
    NewStructure,
    NewTask,
    PredictionRow,
    Severity,
    TrajectoryRow,
    history,
    open_store,
    predictions,
)
from alflow.store.chosen import chosen, force_pairs
from alflow.store.explored import explored, level_number
from alflow.store.lifetimes import lifetimes, path_counts
from alflow.store.mistakes import (
    NEW,
    TEST,
    Sets,
    atom_errors,
    errors_by_origin,
    worst_labels,
)
from alflow.store.told import told as told_by_labels
from alflow.store.traces import examples

GATE = Gate(Limit(0.01), Limit(0.05, 0.07), Limit(0.2, 0.2), 50.0)

CONFIG = {
    "name": "water",
    "seed": 7,
    "label": {"primary": "dft", "levels": {"dft": {"kind": "pyscf"}}},
    "acquire": {"kind": "threshold", "per_iteration": 4, "relax": [2.0]},
    "loop": {"max_iterations": 5},
    "stop": {"budget": {"labels": 30}, "converged": {"force_rmse_eV_per_A": 0.05}},
}
LEVEL = {"kind": "pyscf", "method": "wb97x", "basis": "6-31g*"}
N_TRAIN, N_TEST, N_FRAMES = 5, 3, 4
MEMBERS = [{"seed": 11, "best_epoch": 3}, {"seed": 12, "best_epoch": 4}]


def water(k):
    shift = 0.01 * k
    positions = [[0, 0, 0.1 + shift], [0, 0.76, -0.47], [0, -0.76, -0.47]]
    return Structure(np.array([8, 1, 1], np.uint8), np.array(positions))


def label_of(k):
    return Label(-2000.0 - 0.3 * k, np.full((3, 3), 0.1 * k))


def new_task(kind, key, iteration, items=(), lot=None, **settings):
    spec = TaskSpec(kind, key, 1, settings, items=tuple(items))
    return NewTask(spec, iteration, lot=lot)


class Campaign:
    """Shorthand for what a manager does."""

    def __init__(self, store):
        self.store = store

    def start(self, kind):
        (row,) = self.store.queued({kind: 1})
        return self.store.start_attempt(row.id), row

    def run(self, kind, **environment):
        attempt, _ = self.start(kind)
        values = {"host": "node1", "python": "3.11", **environment}
        self.store.finish_task(attempt, Outcome(wall_s=0.0, environment=values))

    def label(self, results):
        attempt, _ = self.start("label")
        self.store.commit_items(attempt, results, "pyscf 2.8")
        self.store.finish_task(attempt, Outcome(wall_s=0.0, environment={"host": "node1"}))

    def train(self, generation):
        attempt, _ = self.start("train")
        outcome = Outcome(wall_s=0.0, environment={"host": "node1"})
        weights = f"weights {generation}".encode()
        self.store.finish_training(attempt, outcome, weights, MEMBERS, [])

    def predict(self, generation, rows):
        attempt, _ = self.start("validate")
        outcome = Outcome(wall_s=0.0, environment={"host": "node1"})
        self.store.add_predictions(attempt, outcome, generation, rows)


def predict_row(label_id, k, error):
    label = label_of(k)
    return PredictionRow(
        label_id=label_id,
        energy=label.energy + 3 * error,
        energy_spread=2 * error,
        force_rmse=error,
        force_spread_mean=error,
        force_spread_max=2 * error,
        force_scale=0.5,
        forces=label.forces + error,
    )


def bootstrap(campaign):
    store = campaign.store
    store.register_level("dft", LEVEL)
    store.begin_iteration(0, "build", [new_task("build", "build/i0", 0)])
    campaign.run("build")
    structures = [water(k) for k in range(N_TEST + N_TRAIN)]
    items = [
        NewStructure(one, f"g{k}", "test" if k < N_TEST else "train", "molecules")
        for k, one in enumerate(structures)
    ]
    task = new_task("label", "label/i0", 0, [one.hash for one in structures], "dft")
    store.add_structures(items, [task], iteration=0)
    results = {one.hash: label_of(k) for k, one in enumerate(structures)}
    results[structures[-1].hash] = Failure(FailureKind.NOT_CONVERGED, "50 cycles")
    campaign.label(results)
    finish_generation(campaign, 0, 0.2)


def finish_generation(campaign, number, error):
    store = campaign.store
    parent = number - 1 if number else None
    tasks = [new_task("train", f"train/g{number}", number)]
    store.begin_generation(number, number, "dft", {"kind": "ani"}, tasks, parent=parent)
    campaign.train(number)
    store.publish([new_task("validate", f"validate/g{number}/test", number)])
    test = store.labelled("test", "dft")
    campaign.predict(
        number, [predict_row(item.label_id, k, error) for k, item in enumerate(test)]
    )
    store.end_iteration(number, {"n_labelled": 4.0})


def frame(k):
    audit = k == N_FRAMES - 1
    spread = Spread(0.01 + 0.001 * k, 0.05, float("nan") if k == 2 else 0.3, 0.8)
    reason, measure = ("audit", "") if audit else ("flagged", "force_max")
    return Frame(
        water(100 + k), 40, 20.0 * (k + 1), 300.0, spread, reason, measure, np.zeros(2)
    )


def trajectory(k):
    return Trajectory(
        start=water(50 + k),
        seed=k,
        schedule={"start_K": 300.0},
        n_steps=40,
        time_fs=20.0 * (k + 1),
        stop_reason=StopReason.FINISHED if k == N_FRAMES - 1 else StopReason.FLAGGED,
        frames=(frame(k),),
        trace={
            "time_fs": [0.0, 10.0 * (k + 1), 20.0 * (k + 1)],
            "temperature_K": [300.0, 310.0 + k, 320.0],
            "energy_spread": [0.01, 0.02, 0.02],
            "force_spread_max": [0.1, float("nan") if k == 2 else 0.3, 0.2],
        },
    )


def first_iteration(campaign):
    store = campaign.store
    store.begin_iteration(
        1, "sample", [new_task("sample", "sample/i1/0", 1, gate=GATE.to_json())]
    )
    campaign.run("sample")
    rows = [TrajectoryRow(trajectory(k), "sample/i1/0", k, "nemd") for k in range(N_FRAMES)]
    chosen = [water(100 + k).hash for k in range(N_FRAMES) if k != 2]
    verdicts = {one: Verdict(Decision.SELECTED, "far", k) for k, one in enumerate(chosen)}
    verdicts[water(102).hash] = Verdict(Decision.FILTERED, "not finite")
    task = new_task("label", "label/i1", 1, chosen, "dft")
    store.record_selection(1, 0, rows, verdicts, [task])
    campaign.label({one: label_of(k) for k, one in enumerate(chosen)})
    store.publish([new_task("validate", "validate/g0/i1", 1)])
    new = store.labelled("train", "dft", iteration=1)
    campaign.predict(
        0, [predict_row(item.label_id, k, 0.1 * (k + 1)) for k, item in enumerate(new)]
    )


def new_store(folder):
    return campaign_in(folder / "water.db")


@contextmanager
def campaign_in(database):
    with open_store(database, create=True) as opened:
        opened.create_campaign("water", CONFIG, 7)
        with opened.acquire_lease("test"):
            yield opened


def fill(store):
    campaign = Campaign(store)
    bootstrap(campaign)
    first_iteration(campaign)
    finish_generation(campaign, 1, 0.04)
    return store


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def filled(store):
    return fill(store)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Filled once, for tests that only read."""
    with new_store(tmp_path_factory.mktemp("told")) as opened:
        yield fill(opened)


def test_a_store_without_campaign_has_an_empty_report(tmp_path):
    with open_store(tmp_path / "none.db", create=True) as bare:
        with bare.read() as connection:
            assert history.overview(connection) is None
        report = collect(bare)
    assert report.outcome.standing is Standing.EMPTY
    assert "not started" in render_html(report)


def test_a_campaign_that_has_not_begun(store):
    report = collect(store)
    assert report.header.campaign == "water"
    assert report.header.iteration is None
    assert report.outcome.standing is Standing.EMPTY
    assert "No trajectory has been run yet." in render_html(report)


def test_overview_names_the_campaign_and_its_last_moment(told):
    with told.read() as connection:
        overview = history.overview(connection)
        level = history.level_words(connection, "dft")
        unknown = history.level_words(connection, "ccsd")
    assert (overview.name, overview.seed, overview.state) == ("water", 7, "running")
    assert overview.config == CONFIG
    assert overview.as_of >= overview.created
    assert overview.alflow_version
    assert level == ("pyscf", "wb97x", "6-31g*")
    assert unknown == ()


def test_iterations_labels_and_candidates_are_counted(told):
    with told.read() as connection:
        iterations = history.iterations(connection)
        labels = {tuple(row[:3]): row.n for row in history.label_counts(connection)}
        candidates = {tuple(row[:3]): row.n for row in history.candidate_counts(connection)}
    assert [row.number for row in iterations] == [0, 1]
    assert all(row.ended >= row.started for row in iterations)
    assert labels == {
        (0, "test", "ok"): N_TEST,
        (0, "train", "ok"): N_TRAIN - 1,
        (0, "train", "failed"): 1,
        (1, "train", "ok"): 3,
    }
    assert candidates == {
        (1, "flagged", "selected"): 2,
        (1, "flagged", "filtered"): 1,
        (1, "audit", "selected"): 1,
    }


def test_paths_and_spreads_come_back_in_order(told):
    with told.read() as connection:
        counts = path_counts(connection)
        lasted = lifetimes(connection)
        spreads = predictions.candidate_spreads(connection, 1)
    assert counts == [(1, "finished", 1, 80.0), (1, "flagged", 3, 120.0)]
    assert list(lasted) == [0]
    assert sorted(lasted[0].time_fs) == [20.0, 40.0, 60.0, 80.0]
    assert lasted[0].time_fs[~lasted[0].has_ended] == [80.0]
    assert [row.energy for row in spreads] == pytest.approx([0.01, 0.011, 0.012, 0.013])
    assert np.isnan(spreads[2].force_max)
    assert [row.reason for row in spreads] == ["flagged"] * 3 + ["audit"]


def test_generations_have_digest_weights_and_seeds(told):
    with told.read() as connection:
        rows = predictions.generations(connection)
    assert [row.number for row in rows] == [0, 1]
    assert [row.n_train for row in rows] == [N_TRAIN - 1, N_TRAIN - 1 + 3]
    assert {row.state for row in rows} == {"ready"}
    assert rows[0].digest != rows[1].digest
    assert [row.weights_sha for row in rows] == [told.weights_sha(k) for k in (0, 1)]
    assert rows[0].seeds == (11, 12)


def test_errors_on_the_test_set_are_mean_squares(told):
    with told.read() as connection:
        errors = predictions.errors_on_test(connection)
        rows = predictions.predictions_on_test(connection, 1)
    assert [row.generation for row in errors] == [0, 1]
    assert [row.n_labels for row in errors] == [N_TEST, N_TEST]
    assert [row.force for row in errors] == pytest.approx([0.2**2, 0.04**2])
    # Energies are off by 3 errors in 3 atoms.
    assert [row.energy for row in errors] == pytest.approx([0.2**2, 0.04**2])
    assert len(rows) == N_TEST
    assert np.allclose(rows[0].forces_predicted - rows[0].forces, 0.04)


@pytest.mark.postgres
def test_the_report_of_a_server(postgres_url):
    with campaign_in(postgres_url) as store:
        fill(store)
        with store.read() as connection:
            errors = predictions.errors_on_test(connection)
        assert [row.force for row in errors] == pytest.approx([0.2**2, 0.04**2])
        assert "water" in render_html(collect(store))
        check_mistakes(store)


def test_a_prediction_that_is_not_finite_hides_the_error(store):
    campaign = Campaign(store)
    bootstrap(campaign)
    first_iteration(campaign)
    tasks = [new_task("train", "train/g1", 1)]
    store.begin_generation(1, 1, "dft", {"kind": "ani"}, tasks, parent=0)
    campaign.train(1)
    store.publish([new_task("validate", "validate/g1/test", 1)])
    test = store.labelled("test", "dft")
    rows = [predict_row(item.label_id, k, 0.1) for k, item in enumerate(test)]
    broken = PredictionRow(test[0].label_id, *[float("nan")] * 6)
    campaign.predict(1, [broken, *rows[1:]])
    with store.read() as connection:
        errors = predictions.errors_on_test(connection)
    assert errors[1].n_labels == N_TEST
    assert errors[1].force is None
    assert errors[1].energy is None
    assert collect(store).parity[1].energy_predicted.shape == (N_TEST - 1,)


def test_new_labels_meet_the_generation_that_chose_them(told):
    with told.read() as connection:
        rows = predictions.new_label_predictions(connection)
    assert [(row.iteration, row.generation) for row in rows] == [(1, 0)] * 3
    assert [row.force_rmse for row in rows] == pytest.approx([0.1, 0.2, 0.3])
    assert [row.energy_error for row in rows] == pytest.approx([0.3, 0.6, 0.9])
    assert [row.reason for row in rows] == ["flagged", "flagged", "audit"]


def test_failures_and_attempts(told):
    with told.read() as connection:
        counts = history.label_failure_counts(connection)
        (failure,) = history.label_failures(connection, "not-converged", 5)
        tries = history.attempts(connection)
        failed = history.failed_attempts(connection, 5)
        number = history.n_failed_attempts(connection)
    assert counts == {"not-converged": 1}
    assert failure.message == "50 cycles"
    assert {one.kind for one in tries} == {"build", "label", "train", "validate", "sample"}
    assert {one.host for one in tries} == {"node1"}
    assert {one.state for one in tries} == {"done"}
    assert failed == []
    assert number == 0


def test_a_task_that_is_given_up_comes_first(store):
    campaign = Campaign(store)
    store.begin_iteration(
        0, "build", [new_task("build", f"build/i0/{k}", 0) for k in (0, 1)]
    )
    for end in (store.fail_task, store.requeue):
        attempt, _ = campaign.start("build")
        options = {"charged": False} if end == store.requeue else {}
        end(attempt, Failure(FailureKind.LOST, "gone"), **options)
    with store.read() as connection:
        failed = history.failed_attempts(connection, 5)
        (waits,) = history.queued(connection)
    (again,) = [one for one in failed if one.task_state == "queued"]
    assert waits == ("build", again.ended)
    assert again.iteration == 0
    assert again.published <= again.started
    assert [one.task_state for one in failed] == ["failed", "queued"]
    assert {one.failure for one in failed} == {"lost"}
    store.set_state("failed", "the builders failed in iteration 0")
    report = collect(store)
    assert report.outcome.standing is Standing.FAILED
    assert [one.is_given_up for one in report.attempts_failed] == [True, False]


def test_chosen_structures_by_spread(told):
    with told.read() as connection:
        rows = chosen(connection, 1, 2)
        pairs = force_pairs(connection, 1, [row.structure_id for row in rows])
        nothing = chosen(connection, 0, 2)
    assert nothing == []
    assert [row.formula for row in rows] == ["H2O", "H2O"]
    assert [row.structure.formula for row in rows] == ["H2O", "H2O"]
    assert [row.measure for row in rows] == ["force_max", "force_max"]
    spreads = [row.force_spread_max for row in rows]
    assert spreads == sorted(spreads, reverse=True)
    assert {row.label_state for row in rows} == {"ok"}
    assert {row.generation for row in rows} == {0}
    for row in rows:
        assert (row.sampler, row.source) == ("nemd", "nemd")
        assert pairs[row.structure_id].labelled.shape == (3, 3)


def test_environments_of_attempts(told):
    with told.read() as connection:
        environments = history.environments(connection)
    assert {"host": "node1", "python": "3.11"} in environments


def test_the_report_of_a_real_store(told, tmp_path):
    report = collect(told)
    assert report.header.level_detail == "pyscf wb97x 6-31g*"
    assert (report.header.iteration, report.header.generation) == (1, 1)
    assert report.outcome.standing is Standing.RUNNING
    assert report.outcome.n_requested == N_TRAIN + 3
    assert report.outcome.max_labels == 30
    assert report.n_labels_ok == N_TEST + N_TRAIN - 1 + 3
    assert report.n_labels_failed == 1
    assert report.n_labels_new == 3
    assert [row.force_rmse for row in report.validated] == pytest.approx([0.2, 0.04])
    assert report.iterations[1].flagged_fraction == pytest.approx(0.75)
    (sample,) = report.calibration
    # An error of the same size in each of three components, against a spread of that size.
    assert sample.factor == pytest.approx(3**0.5)
    (curve,) = report.survival
    assert curve.median_fs == pytest.approx(40.0)
    assert report.timeline.lanes == ("node1 #1",)
    assert report.spreads[0].gate.force_max.base == pytest.approx(0.2)
    page = write_report(told, tmp_path / "reports" / "i1.html").read_text()
    assert page == render_html(collect(told))
    assert "Test force error fell from 200 to 40.0" in page


def test_the_report_of_a_past_iteration(told):
    then, now = collect(told, 0), collect(told)
    assert (then.header.iteration, then.header.generation) == (0, 0)
    assert then.header.as_of == then.iterations[0].ended <= now.header.as_of
    assert then.iterations == now.iterations[:1]
    assert [row.number for row in then.generations] == [0]
    assert (then.n_labels_ok, then.n_labels_failed) == (N_TEST + N_TRAIN - 1, 1)
    assert (then.spreads, then.calibration, then.survival, then.selected) == ((),) * 4
    assert [one.generation for one in then.parity] == [0]
    assert sum(then.timeline.counts.values()) < sum(now.timeline.counts.values())
    assert render_html(then) == render_html(collect(told, 0))
    assert render_html(collect(told, 1)) == render_html(now)
    with pytest.raises(SettingsError, match="there is no iteration i2"):
        collect(told, 2)


def test_a_past_iteration_had_the_settings_of_then(filled):
    filled.set_state("finished", "the limit of 1 iterations is reached")
    filled.update_config({**CONFIG, "loop": {"max_iterations": 9}})
    then = collect(filled, 0)
    assert then.outcome.standing is Standing.RUNNING
    assert then.outcome.max_iterations == 5
    assert collect(filled, 1).outcome.max_iterations == 9


def test_a_campaign_that_nobody_runs_says_so(tmp_path):
    path = tmp_path / "water.db"
    with campaign_in(path) as opened:
        fill(opened)
        assert collect(opened).outcome.standing is Standing.RUNNING
    with open_store(path, read_only=True) as left:
        report = collect(left)
        assert collect(left, 0).outcome.standing is Standing.RUNNING
    assert report.outcome.standing is Standing.PAUSED
    assert "Nobody runs it: test left at " in wording.verdict(report).why
    with closing(sqlite3.connect(path)) as raw, raw:
        # As if it had been killed, which tells nobody.
        raw.execute(
            "UPDATE manager_lease SET expires = renewed + 30, renewed = renewed - 90"
        )
        raw.execute("UPDATE manager_lease SET expires = expires - 120")
    with open_store(path, read_only=True) as killed:
        report = collect(killed)
    assert report.outcome.standing is Standing.INTERRUPTED
    verdict = wording.verdict(report)
    assert verdict.tone == "bad"
    assert "test gave its last sign of life at " in verdict.why
    assert "alflow resume" in verdict.next_step


def test_a_finished_campaign_tells_which_budget_was_spent(filled):
    filled.set_state("finished", "the limit of 1 iterations is reached")
    assert collect(filled).outcome.standing is Standing.ITERATIONS
    filled.update_config({**CONFIG, "stop": {"budget": {"labels": 8}}})
    assert collect(filled).outcome.standing is Standing.BUDGET
    changed = {one.name: one for one in collect(filled).provenance.changes}
    assert changed["stop.budget.labels"].before == 30
    assert changed["stop.budget.labels"].after == 8
    assert changed["stop.budget.labels"].iteration == 1
    filled.set_state("stopped", "by a person")
    assert collect(filled).outcome.standing is Standing.STOPPED
    filled.set_state("converged", "good enough")
    assert collect(filled).outcome.standing is Standing.CONVERGED


def test_a_rule_that_is_not_installed_hides_nothing(filled):
    """Thresholds are those that were sampled with, whatever the settings say now."""
    filled.update_config({**CONFIG, "acquire": {"kind": "elsewhere"}})
    assert collect(filled).spreads[0].gate == GATE
    filled.update_config({key: CONFIG[key] for key in ("name", "seed")})
    report = collect(filled)
    assert report.header.level == ""
    assert report.outcome.max_iterations is None


def test_of_each_way_to_end_the_median_trajectory_is_the_example(told):
    with told.read() as connection:
        found = examples(connection, 1, 3)
        assert examples(connection, 0, 3) == []
        assert [one.stop_reason for one in examples(connection, 1, 1)] == ["flagged"]
    flagged, finished = found
    assert (flagged.stop_reason, finished.stop_reason) == ("flagged", "finished")
    # the last one of them ran to its end; those before were flagged, each later than the other
    assert flagged.lasted_fs == 40.0
    assert flagged.time_fs.tolist() == [0.0, 20.0, 40.0]
    assert finished.temperature_K.tolist() == [300.0, 310.0 + N_FRAMES - 1, 320.0]
    report = collect(told)
    assert [one.trajectory for one in report.traces] == [one.trajectory for one in found]
    (panel,) = [
        one
        for part in sections(report)
        for one in part.panels
        if one.title.startswith("Trajectories of i1")
    ]
    assert len(panel.table.rows) == 6
    assert f"p\u2011{flagged.trajectory} flagged at 40.0 fs" in panel.title
    assert collect(told, 0).traces == ()


def test_reading_needs_no_lease_and_writes_nothing(filled, tmp_path):
    with open_store(tmp_path / "water.db", read_only=True) as reader:
        before = reader.content_digest()
        assert collect(reader).header.campaign == "water"
        assert reader.content_digest() == before
        with pytest.raises(StoreError):
            reader.set_state("stopped", "no")


def check_mistakes(store):
    both = Sets(1, 1)
    with store.read() as connection:
        new, test = errors_by_origin(connection, both)
        worst = worst_labels(connection, both, 4)
        atoms = list(atom_errors(connection, both, 2))
        assert predictions.iterations_with_predictions(connection) == [1]
        assert errors_by_origin(connection, Sets(None, None)) == []
    # Errors of 0.1, 0.2 and 0.3 on three structures of three atoms each; energies alike.
    assert (new.which, new.origin, new.n_labels) == (NEW, "nemd", 3)
    assert (new.force, new.energy) == pytest.approx(((0.01 + 0.04 + 0.09) / 3,) * 2)
    assert (test.which, test.origin, test.n_labels) == (TEST, "molecules", N_TEST)
    assert (test.force, test.energy) == pytest.approx((0.04**2,) * 2)
    assert [one.which for one in worst] == [NEW, NEW, NEW, TEST]
    assert [one.force_rmse for one in worst] == pytest.approx([0.3, 0.2, 0.1, 0.04])
    assert [one.energy_error for one in worst] == pytest.approx([0.3, 0.2, 0.1, 0.04])
    assert {one.formula for one in worst} == {"H2O"}
    # Two of three labels of each set, evenly: the first and the last.
    assert [one.which for one in atoms] == [TEST, TEST, NEW, NEW]
    sizes = [float(np.abs(one.errors).max()) for one in atoms]
    assert sizes == pytest.approx([0.04, 0.04, 0.1, 0.3])


def test_mistakes_by_origin_by_atom_and_the_worst(told):
    check_mistakes(told)


def test_labels_tell_how_they_were_computed(store):
    campaign = Campaign(store)
    store.register_level("dft", LEVEL)
    store.begin_iteration(0, "build", [new_task("build", "build/i0", 0)])
    campaign.run("build")
    structures = [water(k) for k in range(5)]
    task = new_task("label", "label/i0", 0, [one.hash for one in structures], "dft")
    items = [NewStructure(one, "g", "train", "molecules") for one in structures]
    store.add_structures(items, [task], iteration=0)
    extras = [{"wall_s": k, "rung": "diis", "cycles": 10 + k} for k in range(4)]
    results = {
        one.hash: replace(label_of(k), extras=extra)
        for k, (one, extra) in enumerate(zip(structures, [*extras, {}], strict=True))
    }
    campaign.label(results)
    with store.read() as connection:
        everything = told_by_labels(connection, 100)
        some = told_by_labels(connection, 3)
    assert everything[0] == ("dft", 0.0, "diis", 10)
    assert [one.cycles for one in everything] == [10, 11, 12, 13, None]
    assert everything[-1].rung == ""
    assert np.isnan(everything[-1].wall_s)
    assert [one.cycles for one in some] == [10, 12, None]


def test_notes_of_the_last_training_and_of_the_spread(store):
    campaign = Campaign(store)
    bootstrap(campaign)
    for task in ("train/g0", "train/g1"):
        store.event("note", Severity.WARNING, "t-3", {"task": task, "message": task})
    store.event("spread-drifts", Severity.WARNING, "i0", {"message": "too small"})
    with store.read() as connection:
        assert history.notes(connection, 1, 0) == [("t-3", "train/g1"), ("i0", "too small")]
        assert history.notes(connection, None, 3) == []
    assert ("t-3", "train/g0") in collect(store).notes


def test_explored_frames_are_chosen_and_not_chosen_ones(told):
    with told.read() as connection:
        level = level_number(connection, "dft")
        rows = explored(connection, level, 100)
        few = explored(connection, level, 2)
        bare = explored(connection, None, 100)
        assert level_number(connection, "ccsd") is None
    assert [row.decision for row in rows] == [
        "selected",
        "selected",
        "filtered",
        "selected",
    ]
    assert {(row.iteration, row.generation, row.sampler) for row in rows} == {
        (1, 0, "nemd")
    }
    assert [row.force_error for row in rows] == pytest.approx(
        [0.1, 0.2, np.nan, 0.3], nan_ok=True
    )
    assert rows[0].energy == pytest.approx(label_of(0).energy / 3)
    assert np.isnan(rows[2].force_spread)
    assert [len(row.fingerprint) for row in rows] == [2] * 4
    assert [row.decision for row in few] == ["selected", "filtered"]
    assert np.isnan([row.energy for row in bare]).all()
