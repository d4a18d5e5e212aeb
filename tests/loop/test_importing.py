"""Campaigns that begin with labels from a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import read as ase_read
from ase.io import write as ase_write

from alflow.config.resolution import settings_from_resolved
from alflow.core.batches import LabelledStructure
from alflow.core.errors import CampaignChanged, LeaseHeld, SettingsError
from alflow.core.seeds import generator
from alflow.execution.inline import InlineExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.importing import (
    ImportTarget,
    check_files,
    import_files,
    preview_import,
    target_settings,
)
from alflow.loop.manager import Ending, Manager
from alflow.loop.preview import preview
from alflow.store import open_store
from alflow.store.interchange import FORMATS, ExportedFrame, Limits, ReadOptions
from alflow.store.views import progress

pytestmark = pytest.mark.timeout(300)

BOX = {
    "kind": "random_box",
    "composition": {"Al": 1},
    "atoms": [8, 10],
    "density_g_per_cm3": [1.6, 2.4],
}


def _settings(bootstrap=6, test=3, **changes):
    values = {
        "name": "tiny",
        "seed": 3,
        "system": {"elements": ["Al"], "builders": [BOX]},
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
            "replicas": 3,
            "tasks": 2,
            "rounds": 1,
            "timestep_fs": 2.0,
            "duration_ps": 0.1,
            "temperature_K": {"start": [300, 900], "end": [300, 900]},
        },
        "acquire": {
            "per_iteration": 4,
            "grace_fs": 0,
            "energy_spread_meV": 0.001,
            "rejected_factor": 1e9,
        },
        "test": {"count": test, "builders": [BOX]},
        "loop": {"bootstrap": bootstrap, "max_iterations": 1},
        "stop": {"budget": {"labels": 20}},
    }
    return settings_from_resolved({**values, **changes})


@pytest.fixture
def labelled(tmp_path) -> Path:
    """Eight frames to train on and four to test on, labelled at the level of the campaign."""
    settings = _settings()
    rng = generator(11, "frames")
    made = settings.system.builders[0].create().build(rng, 12)
    labeler = settings.label.levels["gupta"].create()
    frames = [
        ExportedFrame(
            LabelledStructure(one, labeler.label(one), 0, f"md/{k // 3}", "md"),
            "gupta",
            "train" if k < 8 else "test",
        )
        for k, one in enumerate(made)
    ]
    path = tmp_path / "old.extxyz"
    FORMATS["extxyz"].write(path, frames)
    return path


def _target(tmp_path, settings, **more):
    return ImportTarget(str(tmp_path / "tiny.db"), "gupta", campaign=settings, **more)


def _import(path, target):
    return import_files(target, check_files([path], ReadOptions(), Limits()))


def _run(tmp_path, settings):
    with run_campaign(tmp_path / "tiny.db", settings) as campaign:
        manager = Manager(campaign, InlineExecutor(campaign.files), lambda _: None)
        assert manager.run() is Ending.DECIDED
        row, view = campaign.store.campaign(), progress(campaign.store)
        used = campaign.store.labelled("train", "gupta", generation=0)
    return row, view, used


def test_enough_labels_stand_for_the_bootstrap(tmp_path, labelled):
    settings = _settings()
    (result,) = _import(labelled, _target(tmp_path, settings))
    assert (result.n_structures, result.n_labels) == (12, 12)
    (line,) = preview(tmp_path / "tiny.db", settings)
    assert "imported labels (8 to train on, 4 to test on): build 0 and 0 more" in line
    row, view, used = _run(tmp_path, settings)
    assert row.state == "finished"
    assert view.iterations[0].tasks.keys() == {"train", "validate"}
    assert view.iterations[0].stats["test_n_structures"] == 4
    assert len(used) == 8
    assert {item.source for item in used} == {"md"}
    assert view.n_requested == view.iterations[1].n_selected


@pytest.mark.parametrize(
    ("bootstrap", "test", "built"), [(10, 6, 4), (10, 3, 2), (6, 6, 2)]
)
def test_what_is_missing_is_built(tmp_path, labelled, bootstrap, test, built):
    settings = _settings(bootstrap, test)
    _import(labelled, _target(tmp_path, settings))
    row, view, used = _run(tmp_path, settings)
    assert row.state == "finished"
    assert view.iterations[0].n_labelled == built
    assert len(used) == max(bootstrap, 8)
    assert view.iterations[0].stats["test_n_structures"] == max(test, 4)


def test_labels_may_come_between_two_iterations(tmp_path, labelled):
    settings = _settings(loop={"bootstrap": 6, "max_iterations": 0})
    row, view, used = _run(tmp_path, settings)
    assert (row.state, len(used)) == ("finished", 6)
    _import(labelled, replace(_target(tmp_path, None), split="train"))
    with open_store(tmp_path / "tiny.db", read_only=True) as store:
        assert store.campaign().state == "finished"
    further = _settings(loop={"bootstrap": 6, "max_iterations": 1})
    _run(tmp_path, further)
    with open_store(tmp_path / "tiny.db", read_only=True) as store:
        used = store.labelled("train", "gupta", generation=1)
    assert sum(item.source == "md" for item in used) == 12
    assert view.n_train == 6


def test_groups_and_splits_are_those_of_the_file_or_of_the_user(tmp_path, labelled):
    _import(labelled, _target(tmp_path, _settings(), split="test", group="cluster"))
    with open_store(tmp_path / "tiny.db", read_only=True) as store:
        assert {item.group for item in store.labelled("test", "gupta")} == {"cluster"}
    other = replace(_target(tmp_path, _settings()), database=str(tmp_path / "two.db"))
    _import(labelled, other)
    with open_store(tmp_path / "two.db", read_only=True) as store:
        groups = {item.group for item in store.labelled("train", "gupta")}
    assert {name.rsplit("/", 2)[-2:][0] for name in groups} == {"md"}
    assert all(name.startswith("import/") for name in groups)
    assert len(groups) == 3


def test_a_preview_writes_nothing(tmp_path, labelled):
    target = _target(tmp_path, _settings())
    checked = check_files([labelled], ReadOptions(), Limits())
    assert preview_import(target, checked)[0].n_labels == 12
    assert not (tmp_path / "tiny.db").exists()
    import_files(target, checked)
    assert preview_import(target, checked)[0].n_known == 12


def test_energies_in_another_unit_than_the_stored_ones_are_refused(tmp_path, labelled):
    target = _target(tmp_path, _settings())
    _import(labelled, target)
    frames = ase_read(labelled, ":")
    for atoms in frames:
        atoms.rattle(0.01)
        # Consistent in themselves: a file of a metal alone does not show it.
        atoms.info["REF_energy"] *= 23.06
        atoms.arrays["REF_forces"] *= 23.06
    other = tmp_path / "other.extxyz"
    ase_write(other, frames)
    with pytest.raises(SettingsError, match="in the labels of gupta") as caught:
        _import(other, target)
    assert "--energy-unit kcal/mol" in caught.value.next_step
    with pytest.raises(SettingsError, match="in the labels of gupta"):
        preview_import(target, check_files([other], ReadOptions(), Limits()))
    limits = Limits(skipped=frozenset({"energy-unit"}))
    (found,) = import_files(target, check_files([other], ReadOptions(), limits))
    assert found.n_labels > 0


def test_a_running_manager_is_not_disturbed(tmp_path, labelled):
    settings = _settings()
    with (
        run_campaign(tmp_path / "tiny.db", settings),
        pytest.raises(LeaseHeld, match="pid"),
    ):
        _import(labelled, _target(tmp_path, settings))


def test_campaign_and_level_must_fit(tmp_path, labelled):
    target = _target(tmp_path, _settings())
    with pytest.raises(SettingsError, match="did you mean 'gupta'"):
        target_settings(replace(target, level="gutpa"))
    _import(labelled, target)
    with pytest.raises(CampaignChanged, match="seed"):
        target_settings(_target(tmp_path, _settings(seed=4)))
    assert target_settings(_target(tmp_path, None)).name == "tiny"
    with open_store(tmp_path / "empty.db", create=True):
        pass
    with pytest.raises(SettingsError, match="holds no campaign"):
        target_settings(ImportTarget(str(tmp_path / "empty.db"), "gupta"))


def test_forces_of_the_campaigns_own_labels_pass_the_test(tmp_path):
    settings = _settings()
    rng = np.random.default_rng(2)
    (start,) = settings.system.builders[0].create().build(generator(1, "x"), 1)
    labeler = settings.label.levels["gupta"].create()
    frames = []
    for _ in range(30):
        shaken = replace(
            start, positions=start.positions + rng.normal(0, 0.03, start.positions.shape)
        )
        item = LabelledStructure(shaken, labeler.label(shaken), 0, "", "")
        frames.append(ExportedFrame(item, "gupta", "train"))
    FORMATS["extxyz"].write(tmp_path / "md.xyz", frames)
    (checked,) = check_files([tmp_path / "md.xyz"], ReadOptions(), Limits())
    assert checked.validation.forces.slope == pytest.approx(1, abs=0.02)
    assert len(checked.validation.accepted) == 30
