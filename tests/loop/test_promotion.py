"""Promotion: structures labelled again at a better level, and a generation carried over to it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.cli.main import run_command
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError
from alflow.config.promotion import transfer_settings
from alflow.core.datasets import LabelledStructure
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.tasks import TaskState
from alflow.execution.inline import InlineExecutor
from alflow.labelers.analytic import AnalyticSettings
from alflow.loop import promotion
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.loop.plan import ActionKind, plan
from alflow.loop.reproduce import reproduce
from alflow.loop.rerun import rerun
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.loading import load_potential
from alflow.models.weights import read_tensors
from alflow.store import generations, open_store, session
from alflow.store.ancestry import generation_rows
from alflow.store.views import (
    GenerationProgress,
    IterationProgress,
    Progress,
    progress,
    status,
)
from alflow.testing.audit import audit
from alflow.training.evaluate import predict

pytestmark = pytest.mark.timeout(600)

BOX = (
    "{kind: random_box, composition: {Al: 1}, atoms: [3, 6], density_g_per_cm3: [1.6, 2.4]}"
)
BETTER = (
    "{kind: analytic, parameters: "
    "{Al: {repulsion_eV: 0.16, hopping_eV: 1.7, p: 8.7, q: 2.5, r0_A: 2.86}}}"
)
CAMPAIGN = f"""
name: two
seed: 5
system: {{elements: [Al], builders: [{BOX}]}}
label:
  primary: gupta
  batch_size: 5
  levels: {{gupta: {{kind: analytic}}, cc: {BETTER}}}
model:
  {{members: 2, hidden: [8, 6, 4], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5, repulsion: null}}
train: {{epochs: 12, warm_epochs: 12, minimum_steps: 0, batch_size: 5, folds: 2}}
sample: {{replicas: 3, tasks: 1, rounds: 1, timestep_fs: 2.0, duration_ps: 0.02,
         temperature_K: {{start: [300, 900], end: [300, 900]}}}}
acquire: {{per_iteration: 4, grace_fs: 0, energy_spread_meV: 0.001, rejected_factor: 1.0e+9}}
test: {{count: 4, builders: [{BOX}]}}
loop: {{bootstrap: 30, max_iterations: 1}}
promote: {{level: cc, labels: 20, test_fraction: 0.25, train: {{warm_epochs: 40}}}}
"""


def write(folder, *changes):
    text = CAMPAIGN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "two.yaml").write_text(text)
    return load_campaign(folder / "two.yaml")


def run(campaign, **options):
    notices = []
    manager = Manager(campaign, InlineExecutor(campaign.files), notices.append)
    return manager.run(**options), notices


@pytest.fixture
def energies_only(monkeypatch):
    """The better level has no forces, as coupled cluster has none."""
    create = AnalyticSettings.create

    def without_forces(settings):
        labeler = create(settings)
        label = labeler.label
        if settings.parameters:
            labeler.label = lambda one: replace(label(one), forces=None, stress=None)
        return labeler

    monkeypatch.setattr(AnalyticSettings, "create", without_forces)
    has_forces = property(lambda settings: not settings.parameters)
    monkeypatch.setattr(AnalyticSettings, "has_forces", has_forces)


@pytest.fixture(scope="module")
def paused(tmp_path_factory):
    """The database of a campaign that is about to be promoted."""
    folder = tmp_path_factory.mktemp("paused")
    with run_campaign(folder / "two.db", write(folder)) as campaign:
        assert run(campaign, last_iteration=1)[0] is Ending.PAUSED
    return folder / "two.db"


def copied(database, folder):
    """A copy of a database with its campaign directory."""
    shutil.copytree(database.with_suffix(""), folder / "two")
    return shutil.copy(database, folder / "two.db")


@pytest.fixture(scope="module")
def promoted(paused, tmp_path_factory):
    """The same after its promotion."""
    database = copied(paused, tmp_path_factory.mktemp("promoted"))
    with resume_campaign(database) as campaign:
        assert run(campaign)[0] is Ending.DECIDED
    return database


def test_the_lineage_says_where_the_last_generation_comes_from(promoted, capfd):
    with open_store(promoted, read_only=True) as store:
        rows = generation_rows(store)
        seen, view = status(store), progress(store)
    assert [(row["relation"], row["level"], row["parent"]) for row in rows] == [
        ("fresh", "gupta", None),
        ("warm_start", "gupta", 0),
        ("transfer", "cc", 1),
    ]
    assert [row["n_train"] for row in rows] == [30, 33, 15]
    assert (seen.state, seen.generation) == ("finished", 2)
    assert seen.verdict.startswith("the limit of 1 iterations is reached; generation 2")
    assert (
        "level 'cc' with 15 labels; on 5 held-out ones the force error is" in seen.verdict
    )
    assert (view.n_train, view.n_test, view.n_requested) == (33, 4, 33)
    assert run_command(["models", "show", str(promoted), "g2"]) == 0
    assert "transfer" in capfd.readouterr().out


def test_frozen_layers_are_the_same_bits_and_the_others_are_not(promoted):
    with open_store(promoted, read_only=True) as store:
        before, after = (read_tensors(store.weights(k)) for k in (1, 2))
        old, new = (AniEnsemble.from_bytes(store.weights(k)) for k in (1, 2))
    assert set(before) == set(after)
    layers = {name: name.split(".")[1] if "." in name else "feature" for name in before}
    assert set(layers.values()) >= {"0", "1", "2", "3"}
    for name, tensor in after.items():
        is_kept = layers[name] in ("0", "2") or name.startswith("feature")
        assert torch.equal(tensor, before[name]) == is_kept, name
    assert old.self_energies[13] != new.self_energies[13]


def test_it_is_better_at_the_better_level(promoted):
    with open_store(promoted, read_only=True) as store:
        stats = progress(store).iterations[-1].stats
        held = store.dataset("test", "cc", generation=2)
        predictions = predict(
            load_potential(store.weights(2)), [item.structure for item in held]
        )
    errors = [
        (p.energy - item.label.energy) / item.structure.n_atoms
        for p, item in zip(predictions, held, strict=True)
    ]
    found = float(np.sqrt(np.mean(np.square(errors))))
    assert found == pytest.approx(stats["test_energy_rmse_eV_per_atom"], rel=1e-4)
    for name in ("energy_rmse_eV_per_atom", "force_rmse_eV_per_A"):
        assert stats[f"test_{name}"] < 0.9 * stats[f"parent_{name}"]


def test_levels_are_never_mixed(promoted):
    with open_store(promoted, read_only=True) as store, store.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT s.seq, o.name, count(*) FROM snapshot s JOIN snapshot_interval i "
            "ON i.from_seq <= s.seq AND (i.to_seq IS NULL OR i.to_seq > s.seq) "
            "JOIN label l ON l.id = i.label_id "
            "JOIN level_of_theory o ON o.id = l.lot_id GROUP BY 1, 2 ORDER BY 1"
        ).all()
        trained = store.dataset("train", "cc", generation=2)
        tested = store.dataset("test", "cc", generation=2)
        nothing = store.dataset(None, "gupta", generation=2)
    assert [tuple(row) for row in rows] == [
        (0, "gupta", 30),
        (1, "gupta", 33),
        (2, "cc", 20),
    ]
    both = [{item.structure.hash for item in part} for part in (trained, tested)]
    assert [len(one) for one in both] == [15, 5]
    assert not both[0] & both[1]
    assert len(nothing) == 0


def test_the_transferred_generation_can_be_made_again(promoted, tmp_path):
    with open_store(promoted, read_only=True) as store:
        found = reproduce(store, 2, tmp_path)
    assert found.is_reproduced(energy_noise=1e-6, force_noise=1e-5)


def test_the_database_is_whole_and_all_inputs_can_be_made_again(promoted, tmp_path):
    assert run_command(["db", "check", str(promoted)]) == 0
    found = audit(str(promoted), promoted.with_suffix(""))
    assert not [*found.lost, *found.duplicates]
    with open_store(promoted, read_only=True) as store:
        for task in store.tasks(2, "validate", TaskState.DONE):
            assert rerun(store, task.id, tmp_path / str(task.id)).differences == []


class _Killed(Exception):
    """Ends a manager without any cleaning up."""


def test_killed_again_and_again_in_the_promotion_it_ends_the_same(
    paused, promoted, tmp_path, monkeypatch
):
    with open_store(promoted, read_only=True) as store:
        expected, verdict = store.content_digest(), store.campaign().verdict
    database = copied(paused, tmp_path)

    def dies_at(point):
        def reached(name):
            if name == f"store.{point}":
                raise _Killed

        return reached

    for point in (
        *("begin-iteration.before", "begin-iteration.after", "add-predictions.after"),
        *("add-structures.after", "commit-items.after", "begin-generation.inside"),
        *("begin-generation.after", "finish-training.after", "add-predictions.after"),
        *("end-iteration.before", "end-iteration.after", "set-state.before"),
    ):
        with resume_campaign(database) as campaign, monkeypatch.context() as patch:
            for module in (session, generations):
                patch.setattr(module, "failpoint", dies_at(point))
            with pytest.raises(_Killed):
                run(campaign)
    with resume_campaign(database) as campaign:
        run(campaign)
        assert campaign.store.content_digest() == expected
        assert campaign.store.campaign().verdict == verdict


@pytest.mark.usefixtures("energies_only")
def test_a_level_without_forces_is_enough(paused, tmp_path):
    settings = write(tmp_path, ("labels: 20", "labels: 30"))
    with run_campaign(copied(paused, tmp_path), settings) as campaign:
        run(campaign)
        stats = progress(campaign.store).iterations[-1].stats
        verdict = campaign.store.campaign().verdict
    assert "test_force_rmse_eV_per_A" not in stats
    name = "energy_rmse_eV_per_atom"
    assert stats[f"test_{name}"] < stats[f"parent_{name}"]
    assert "on 8 held-out ones the energy error is" in verdict


def test_a_campaign_that_goes_on_does_so_at_its_own_level(promoted, tmp_path):
    copy = copied(promoted, tmp_path)
    settings = write(tmp_path, ("max_iterations: 1", "max_iterations: 3"))
    with run_campaign(copy, settings) as campaign:
        _, notices = run(campaign)
        rows = generation_rows(campaign.store)
        labels = len(campaign.store.dataset("train", "gupta", generation=3))
        again = [len(campaign.store.dataset(None, "cc", generation=k)) for k in (2, 4)]
    assert [(row["relation"], row["parent"]) for row in rows[3:]] == [
        ("warm_start", 1),
        ("transfer", 3),
    ]
    assert labels > 33
    assert again == [20, 20], "no more labels than allowed, all of them used"
    begun = [n.text for n in notices if n.kind.startswith("begin")]
    assert "generation 1" in begun[0]


def test_more_labels_are_promoted_when_they_are_allowed(promoted, tmp_path):
    copy = copied(promoted, tmp_path)
    settings = write(tmp_path, ("labels: 20", "labels: 24"))
    with run_campaign(copy, settings) as campaign:
        run(campaign)
        rows = generation_rows(campaign.store)
        parts = [
            {
                item.structure.hash
                for item in campaign.store.dataset(part, "cc", generation=3)
            }
            for part in ("train", "test")
        ]
        earlier = {
            item.structure.hash
            for item in campaign.store.dataset("test", "cc", generation=2)
        }
    assert (rows[3]["relation"], rows[3]["parent"]) == ("transfer", 1)
    assert [len(part) for part in parts] == [18, 6]
    assert earlier < parts[1], "what was held out stays held out"


def test_a_level_that_gives_no_label_is_told(paused, tmp_path, monkeypatch):
    create = AnalyticSettings.create

    def broken(settings):
        labeler = create(settings)
        if settings.parameters:
            failure = Failure(FailureKind.NOT_CONVERGED, "no amplitude converged")
            labeler.label = lambda _: failure
        return labeler

    monkeypatch.setattr(AnalyticSettings, "create", broken)
    with resume_campaign(copied(paused, tmp_path)) as campaign:
        run(campaign)
        row = campaign.store.campaign()
    assert row.state == "failed"
    assert "none of 20 labels succeeded in iteration 2" in row.verdict


def test_failed_campaigns_are_not_promoted(tmp_path):
    settings = write(tmp_path)
    last = IterationProgress(
        1, "label", ended=True, stats={"n_trajectories": 2.0, "n_finished": 0.0}
    )
    first = IterationProgress(0, "validate", ended=True)
    view = Progress(
        "running",
        iterations=(first, replace(last, stats={**last.stats, "longest_ps": 1.0})),
        generations=(GenerationProgress(0, "ready"),),
    )
    settings = settings.model_copy(
        update={"loop": settings.loop.model_copy(update={"max_iterations": 5})}
    )
    (action,) = plan(view, settings)
    assert (action.kind, action.state) == (ActionKind.STOP, "failed")


def test_the_trainer_gets_what_is_usual_unless_told_otherwise(tmp_path):
    usual = transfer_settings(write(tmp_path))
    assert (usual.frozen_layers, usual.warm_epochs, usual.epochs) == ((0, 2), 40, 12)
    changed = write(
        tmp_path,
        ("train: {warm_epochs: 40}", "train: {frozen_layers: [1], warm_epochs: 9}"),
        ("train: {epochs: 12", "train: {warm_start: false, epochs: 12"),
    )
    own = transfer_settings(changed)
    assert (own.frozen_layers, own.warm_epochs, own.warm_start) == ((1,), 9, True)


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("level: cc", "level: ccc", "promote.level", "no level 'ccc' is defined"),
        (
            "level: cc",
            "level: gupta",
            "promote.level",
            "the level that the campaign learns",
        ),
        ("0.25", "1.5", "promote.test_fraction", "must be less than 1"),
        ("0.25", "0", "promote.test_fraction", "must be more than 0"),
        ("labels: 20", "labels: 1", "promote.labels", "must be at least 2"),
        ("warm_epochs: 40", "frozen: [0]", "promote.train.frozen", "frozen_layers"),
        (
            "warm_epochs: 40",
            "warm_epochs: none",
            "promote.train.warm_epochs",
            "whole number",
        ),
        (
            "warm_epochs: 40",
            "frozen_layers: [0, 4]",
            "promote.train.frozen_layers",
            "the networks have the layers 0, 1, 2, 3",
        ),
        ("[8, 6, 4]", "[8]", "promote", "frozen_layers is [0, 2], but"),
        (
            "warm_epochs: 40",
            "warm_start: false",
            "promote.train.warm_start",
            "begins with the weights of the generation that serves",
        ),
        ("warm_epochs: 40", "kind: other", "promote.train.kind", "leave it out"),
    ],
)
def test_nonsense_is_refused_with_its_place(tmp_path, old, new, place, words):
    with pytest.raises(CampaignFileError) as caught:
        write(tmp_path, (old, new))
    (problem,) = caught.value.problems
    assert problem.path == place
    assert words in f"{problem.message} {problem.hint}"
    assert (
        problem.line
        == CAMPAIGN.splitlines().index(
            next(line for line in CAMPAIGN.splitlines() if line.startswith("promote"))
        )
        + 1
    )
    assert problem.column >= 1


def test_errors_of_the_parent_are_free_of_constants():
    rng = np.random.default_rng(1)
    items, predicted = [], {}
    for k in range(6):
        n_atoms = 2 + k % 3
        structure = Structure(
            np.full(n_atoms, 13, np.uint8), rng.normal(size=(n_atoms, 3)) * 3
        )
        label = Label(-3.0 * n_atoms)
        items.append(LabelledStructure(structure, label, k, "g", "x"))
        energy = -7.0 * n_atoms + 0.1 * n_atoms * (k == 5)
        predicted[structure.hash] = (energy, np.zeros((n_atoms, 3)))
    found = promotion.parent_errors(items[:5], items[5:], predicted)
    assert found == {"parent_energy_rmse_eV_per_atom": pytest.approx(0.1)}
    assert promotion.parent_errors(items, [], predicted) == {}
