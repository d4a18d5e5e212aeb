"""Audits: which labels are doubted, what another calculation says, and what comes of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.config.campaign import AuditSettings
from alflow.config.resolution import settings_from_resolved
from alflow.core.held_out import HeldOutErrors
from alflow.core.labels import audit_level
from alflow.core.tasks import TaskState
from alflow.execution.inline import InlineExecutor
from alflow.labelers.analytic import AnalyticSettings
from alflow.loop.audit import doubted, drawn, n_allowed, refutation, strangeness
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.store import Quality
from alflow.store.audits import Audit, audits
from alflow.store.views import progress
from alflow.testing.audit import audit

pytestmark = pytest.mark.timeout(300)

NOISE = np.random.default_rng(3).normal(0, 0.01, 50)


def held_out(energy, force=None):
    energy = np.array(energy, np.float64)
    force = np.full(len(energy), np.nan) if force is None else np.array(force, np.float64)
    return HeldOutErrors(np.arange(len(energy)) + 100, energy, force)


def test_a_wrong_energy_stands_out():
    energy = NOISE.copy()
    energy[[7, 20]] = 0.3, -0.5
    assert doubted(strangeness(held_out(energy)), 8.0) == [120, 107]


def test_wrong_forces_stand_out_and_good_ones_do_not():
    force = 0.1 + np.abs(NOISE)
    force[[3, 4]] = 2.0, 0.0
    assert doubted(strangeness(held_out(NOISE, force)), 8.0) == [103]


def test_a_shift_of_all_energies_is_no_error_of_one_label():
    found = strangeness(held_out(NOISE + 3.0))
    assert list(found.values()) == pytest.approx(
        list(strangeness(held_out(NOISE)).values()), rel=1e-6
    )


def test_many_wrong_labels_do_not_hide_each_other():
    energy = NOISE.copy()
    energy[:15] += np.linspace(0.3, 0.6, 15)
    assert set(doubted(strangeness(held_out(energy)), 8.0)) == set(range(100, 115))


def test_what_no_member_held_out_is_not_doubted():
    energy = NOISE.copy()
    energy[:3] = np.nan
    found = strangeness(held_out(energy))
    assert [found[label] for label in (100, 101, 102)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("energy", [[0.0] * 20 + [1.0], [*NOISE[:6], 1.0], []])
def test_without_a_measure_of_what_is_usual_nothing_is_doubted(energy):
    assert doubted(strangeness(held_out(energy)), 8.0) == []


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=40),
    st.floats(0.01, 100),
    st.floats(-10, 10),
)
def test_strangeness_has_neither_unit_nor_zero(energies, scale, shift):
    plain = strangeness(held_out(energies))
    if max(plain.values()) > 1e6:
        return  # what is usual is at the edge of the numbers' precision
    moved = strangeness(held_out(scale * np.array(energies) + shift))
    if max(abs(np.array(energies))) * scale < 1e-3:
        return
    assert list(moved.values()) == pytest.approx(list(plain.values()), rel=1e-3, abs=1e-3)


def test_doubts_are_few_unless_they_prove_right():
    settings = AuditSettings(suspects=0.02)
    assert n_allowed(settings, 10, 0) == 2
    assert n_allowed(settings, 1000, 0) == 20
    assert n_allowed(settings, 1000, 5) == 40
    assert n_allowed(AuditSettings(suspects=0), 1000, 5) == 0


def test_the_random_share_depends_on_the_structures_alone():
    hashes = [f"{k:064x}" for k in range(500)]
    first = drawn(hashes[:300], 0.01, 7)
    assert len(first) == 3
    assert drawn(list(reversed(hashes[:300])), 0.01, 7) == first
    assert drawn(hashes[:300], 0.01, 8) != first
    later = [one for one in drawn(hashes, 0.01, 7) if one in hashes[:300]]
    assert later == drawn(hashes[:300], 1.0, 7)[: len(later)]
    assert drawn([], 0.01, 7) == []


@pytest.mark.parametrize(
    ("energy", "force", "n_atoms", "word"),
    [
        (0.1, 0.09, 36, ""),
        (0.13, 0.0, 36, "energy"),
        (-0.13, np.nan, 36, "energy"),
        (0.03, np.nan, 1, "energy"),
        (0.0, 0.11, 36, "forces"),
        (0.0, np.nan, 36, ""),
    ],
)
def test_a_label_is_refuted_by_what_it_cannot_be_off(energy, force, n_atoms, word):
    settings = AuditSettings(energy_tolerance_eV=0.02, force_tolerance_eV_per_A=0.1)
    reason = refutation(Audit(1, "", n_atoms, True, energy, force), settings)
    assert (word in reason) if word else not reason


BOX = {
    "kind": "random_box",
    "composition": {"Al": 1},
    "atoms": [4, 6],
    "density_g_per_cm3": [1.6, 2.4],
}


def settings_of(bootstrap=40, iterations=0, labeler=None, **label):
    faulty = {
        "kind": "faulty",
        "of": {"kind": "analytic"},
        "rates": {"outlier": 0.1},
        "outlier_eV_per_atom": 3.0,
        **(labeler or {}),
    }
    return settings_from_resolved(
        {
            "name": "audited",
            "seed": 3,
            "system": {"elements": ["Al"], "builders": [BOX]},
            "label": {"primary": "al", "levels": {"al": faulty}, "batch_size": 10, **label},
            "model": {
                "members": 3,
                "hidden": [8],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {"epochs": 30, "warm_epochs": 5, "minimum_steps": 0, "folds": 3},
            "sample": {
                "replicas": 4,
                "tasks": 1,
                "rounds": 1,
                "timestep_fs": 2.0,
                "duration_ps": 0.05,
                "temperature_K": {"start": [300, 900], "end": [300, 900]},
            },
            "acquire": {"per_iteration": 4, "grace_fs": 0, "energy_spread_meV": 0.001},
            "test": {"count": 10, "builders": [BOX]},
            "loop": {"bootstrap": bootstrap, "max_iterations": iterations},
        }
    )


def run(settings, path):
    notices = []
    with run_campaign(path, settings) as campaign:
        ending = Manager(campaign, InlineExecutor(campaign.files), notices.append).run()
    assert ending is Ending.DECIDED
    return notices


def wrong_ones(labelled):
    oracle = AnalyticSettings(elements=("Al",)).create()
    return [
        one.label_id
        for one in labelled
        if abs(oracle.label(one.structure).energy - one.label.energy) > 1e-6
    ]


def put_aside(store):
    with store.read() as connection:
        return [one.label_id for one in audits(connection, "al") if not one.is_trusted]


@pytest.fixture(scope="module")
def outliers(tmp_path_factory):
    """A campaign with wrong labels, and what it told."""
    path = tmp_path_factory.mktemp("outliers") / "al.db"
    return path, run(settings_of(), path)


def test_no_generation_keeps_what_it_learnt_from_wrong_labels(outliers):
    path, notices = outliers
    with resume_campaign(path) as campaign:
        store = campaign.store
        every = store.labelled(None, "al", generation=0)
        assert len(every) > 20
        assert wrong_ones(every) == []
        assert wrong_ones(store.labelled("test", "al")) == []
        n_wrong = len(put_aside(store))
        assert n_wrong >= 3
        assert [one.kind for one in notices].count("put-aside") == n_wrong
        assert progress(store).n_train + progress(store).n_test == 50 - n_wrong


def test_the_training_that_was_taken_back_can_still_be_looked_at(outliers):
    path, notices = outliers
    with resume_campaign(path) as campaign:
        tasks = campaign.store.tasks(0, "train")
        first, *_, last = tasks
        assert first.state is TaskState.CANCELLED
        assert first.outcome.failure is None
        assert (last.state, last.spec.key) == (TaskState.DONE, "train/g0")
        kinds = [one.kind for one in notices]
        assert "withdrawn" in kinds
    found = audit(str(path), path.with_name("audited"))
    assert not [*found.lost, *found.duplicates]


def test_audits_are_neither_trained_on_nor_counted_as_labels(outliers):
    path, _ = outliers
    with resume_campaign(path) as campaign:
        view = progress(campaign.store)
        assert sum(view.labels.values()) == 50
        with campaign.store.read() as connection:
            found = audits(connection, "al")
        assert len(found) > sum(not one.is_trusted for one in found) > 0
        again = campaign.store.labelled(None, audit_level("al"))
        trained = campaign.store.labelled(None, "al", generation=0)
        assert not {one.label_id for one in again} & {one.label_id for one in trained}


def test_who_trusts_a_label_again_is_not_overruled(outliers, tmp_path):
    path = tmp_path / "al.db"
    run(settings_of(), path)
    with resume_campaign(path) as campaign:
        numbers = put_aside(campaign.store)
        assert numbers
        campaign.store.set_quality(numbers, Quality.OK, "it is known better")
    more = settings_of(iterations=1)
    with run_campaign(path, more) as campaign:
        Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()
        assert not set(numbers) & set(put_aside(campaign.store))


def test_a_doubt_that_cannot_be_settled_goes_against_the_label(tmp_path):
    path = tmp_path / "al.db"
    failing = {"rates": {"outlier": 0.1}}
    changes = {"rates": {"outlier": 0.1, "missing_forces": 1.0}}
    notices = run(settings_of(labeler=failing, audit={"changes": changes}), path)
    texts = [one.text for one in notices if one.kind == "put-aside"]
    assert texts
    assert all("could not be computed again (suspicious-label" in text for text in texts)
    with resume_campaign(path) as campaign:
        assert wrong_ones(campaign.store.labelled(None, "al", generation=0)) == []


def test_without_audits_nothing_is_doubted(tmp_path):
    notices = run(settings_of(audit=None), tmp_path / "al.db")
    assert not [one for one in notices if one.kind in ("put-aside", "audit", "withdrawn")]
    with resume_campaign(tmp_path / "al.db") as campaign:
        assert wrong_ones(campaign.store.labelled(None, "al", generation=0))


def test_a_routine_share_is_computed_again_although_nothing_is_strange(tmp_path):
    quiet = settings_of(
        bootstrap=30,
        iterations=1,
        labeler={"rates": {}},
        audit={"fraction": 0.1, "suspects": 0},
    )
    run(quiet, tmp_path / "al.db")
    with resume_campaign(tmp_path / "al.db") as campaign:
        with campaign.store.read() as connection:
            found = audits(connection, "al")
        assert len(found) == 4
        assert all(one.is_trusted and one.energy == 0 and one.force == 0 for one in found)
