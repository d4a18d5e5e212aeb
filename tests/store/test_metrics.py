"""Numbers about iterations and generations, and all that is known about one generation."""

import pytest

from alflow.core.errors import SettingsError
from alflow.store import Quality
from alflow.store.metrics import account, metrics


def test_every_number_has_its_place(world):
    world.whole()
    rows = {row[:-1]: row.value for row in metrics(world.store)}
    assert rows[0, None, None, "", "n_labelled"] == 8
    assert rows[0, None, None, "", "labels_ok"] == 8
    assert rows[1, None, None, "", "candidates_selected"] == 2
    assert rows[0, 0, None, "", "n_train"] == 6
    assert rows[0, 0, None, "test", "force_rmse"] == 0.2
    assert rows[0, 0, None, "test", "bad"] is None
    assert rows[0, 0, 0, "val", "force_rmse"] == 0.1
    assert rows[0, None, None, "cost", "label_core_h"] == pytest.approx(2 / 3600)
    assert list(metrics(world.store)) == sorted(
        metrics(world.store), key=lambda row: [-1 if x is None else x for x in row[:3]]
    )


def test_what_is_known_about_a_generation(world):
    world.whole()
    found = account(world.store, 0)
    assert (found.generation, found.iteration, found.state) == (0, 0, "ready")
    assert (found.n_test, found.force_rmse) == (2, pytest.approx(0.2))
    assert found.energy_rmse == pytest.approx(0.1 / 3)
    assert found.settings == {"seed": 5, "nested": {"a": [1, 2]}}
    assert {row.iteration for row in found.metrics} == {0}
    newest = account(world.store)
    assert (newest.generation, newest.n_test, newest.test_digest) == (1, 0, None)
    with pytest.raises(SettingsError, match="there is no generation g7"):
        account(world.store, 7)


def test_the_digest_of_a_test_set_is_that_of_its_labels(world):
    world.whole()
    world.predict(1, "test", 1)
    first, second = account(world.store, 0), account(world.store, 1)
    assert first.test_digest == second.test_digest is not None
    (test, _) = world.store.labelled("test", "dft")
    world.store.set_quality([test.label_id], Quality.SUSPECT, "a test")
    assert account(world.store, 1).test_digest != second.test_digest


def test_settings_are_those_of_when_it_was_planned(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    world.store.end_iteration(0, {})
    world.store.update_config({"seed": 5, "more": True})
    assert account(world.store, 0).settings == {"seed": 5, "nested": {"a": [1, 2]}}
    world.sample(1)
    world.label_all()
    world.train_generation(1)
    assert account(world.store, 1).settings == {"seed": 5, "more": True}
