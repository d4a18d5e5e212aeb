"""Two generations side by side: what changes, what differs, what cannot be compared."""

from dataclasses import replace

import pytest

from alflow.report.comparing import compare
from alflow.store.metrics import Account, Metric


def an_account(**changes):
    values = {
        "database": "a.db",
        "campaign": "water",
        "generation": 3,
        "iteration": 3,
        "state": "ready",
        "level": "dft",
        "level_digest": "1" * 64,
        "n_test": 40,
        "test_digest": "2" * 64,
        "force_rmse": 0.1,
        "energy_rmse": 0.004,
        "settings": {"train": {"epochs": 500}, "label": {"api_key": "x"}},
        "metrics": (
            Metric(2, None, None, "cost", "train_core_h", 1.5),
            Metric(3, None, None, "cost", "train_core_h", 2.0),
            Metric(3, None, None, "cost", "label_core_h", 4.0),
            Metric(2, None, None, "", "labels_ok", 10.0),
            Metric(3, None, None, "", "labels_ok", 5.0),
            Metric(3, None, None, "", "n_flagged", 16.0),
            Metric(3, None, None, "", "n_trajectories", 64.0),
            Metric(3, None, None, "", "simulated_ps", 20.0),
            Metric(3, None, None, "", "coverage_force", 0.8),
            Metric(3, 3, None, "", "n_train", 12.0),
            Metric(3, 3, 0, "val", "holdout_force_rmse_eV_per_A", 0.3),
            Metric(3, 3, 1, "val", "holdout_force_rmse_eV_per_A", 0.2),
            Metric(3, 3, None, "property", "bulk_modulus [GPa]", 70.0),
        ),
    }
    return Account(**{**values, **changes})


def numbers(found):
    return {(one.group, one.name): one for one in found.numbers}


def test_numbers_and_their_change():
    first, second = an_account(), an_account(generation=3, force_rmse=0.05)
    found = numbers(compare(first, second))
    error = found["test", "force RMSE"]
    assert (error.first, error.second, error.unit) == (100.0, 50.0, "meV/Å")
    assert (error.change, error.percent) == (-50.0, -50.0)
    assert found["data", "labels so far"].first == 15
    assert found["data", "labels trained on"].first == 12
    assert found["sampling", "trajectories flagged"].first == 25.0
    assert found["spread", "errors below their bound, force"].first == 80.0
    assert found["cost", "train, so far"].first == 3.5
    assert found["cost", "all, so far"].first == 7.5
    assert found["best member", "holdout force RMSE"].first == pytest.approx(200.0)
    modulus = found["property", "bulk_modulus"]
    assert (modulus.first, modulus.unit, modulus.change) == (70.0, "GPa", 0.0)


def test_another_test_set_is_told_and_not_compared():
    found = compare(an_account(), an_account(test_digest="3" * 64))
    assert "different test sets" in found.obstacles[0]
    assert numbers(found)["test", "force RMSE"].change is None
    assert numbers(found)["property", "bulk_modulus"].change == 0.0
    assert found.to_json()["comparable"] is False


def test_another_level_leaves_counts_and_costs_to_compare():
    found = compare(an_account(), an_account(level="cc", level_digest="4" * 64))
    assert "different levels of theory (dft and cc)" in found.obstacles[0]
    told = numbers(found)
    assert told["property", "bulk_modulus"].change is None
    assert told["test", "force RMSE"].change is None
    assert told["cost", "all, so far"].change == 0.0


def test_without_a_test_set_there_is_nothing_to_compare():
    blind = an_account(database="b.db", test_digest=None, force_rmse=None, n_test=0)
    found = compare(an_account(), blind)
    assert found.obstacles == ("no test error of b.db:g3: there was no test set",)


def test_numbers_of_one_side_alone_are_kept():
    bare = replace(an_account(), metrics=())
    found = numbers(compare(an_account(), bare))
    assert (found["property", "bulk_modulus"].second) is None
    assert found["property", "bulk_modulus"].change is None
    assert numbers(compare(bare, an_account())).keys() == found.keys()


def test_settings_that_differ_by_their_path():
    other = {"train": {"epochs": 800}, "label": {"api_key": "y"}, "seed": 1}
    found = compare(an_account(), an_account(settings=other))
    assert [(one.path, one.first, one.second) for one in found.settings] == [
        ("train.epochs", 500, 800),
        ("label.api_key", "(not shown)", "(not shown)"),
        ("seed", None, 1),
    ]
