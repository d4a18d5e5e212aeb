"""Seeds, canonical text, elements, gates, failures, tasks."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.core.canonical import canonical_json, digest_of
from alflow.core.elements import COVALENT_RADII_A, MASSES_AMU, SYMBOLS, atomic_number
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.sampling import Gate, Limit, Spread
from alflow.core.seeds import child_seed, generator
from alflow.core.tasks import Outcome, TaskSpec


@given(st.integers(0, 2**63 - 1), st.lists(st.text(max_size=5), max_size=4))
def test_child_seeds_fit_sql_and_repeat(seed, names):
    value = child_seed(seed, *names)
    assert 0 <= value < 2**63
    assert value == child_seed(seed, *names)


def test_the_path_of_a_child_is_unambiguous():
    children = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ()]
    assert len({child_seed(1, *names) for names in children}) == len(children)
    assert child_seed(1, "a") != child_seed(2, "a")


def test_generators_repeat():
    assert generator(1, "x").normal() == generator(1, "x").normal()


def test_canonical_json_ignores_the_order_of_keys():
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_element_tables_agree():
    assert len(SYMBOLS) == len(MASSES_AMU) == len(COVALENT_RADII_A) == 119
    assert (SYMBOLS[13], MASSES_AMU[13]) == ("Al", pytest.approx(26.98, abs=0.01))
    assert atomic_number("O") == 8
    with pytest.raises(SettingsError, match="did you mean 'Au'") as caught:
        atomic_number("Alu")
    assert caught.value.code == "AL120"


def _spread(**changes) -> Spread:
    return Spread(
        **{
            "energy": 0.0,
            "force_mean": 0.0,
            "force_max": 0.0,
            "force_scale": 1.0,
            **changes,
        }
    )


def test_a_gate_names_the_worst_measure():
    gate = Gate(energy=Limit(0.01), force_max=Limit(0.1, 0.1))
    assert gate.exceeded(_spread(energy=0.01, force_max=0.2)) is None
    assert gate.exceeded(_spread(energy=0.02, force_max=0.21)) == "energy"
    assert gate.exceeded(_spread(energy=0.011, force_max=0.9)) == "force_max"
    assert gate.exceeded(_spread(force_mean=99.0)) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_passes(value):
    assert Gate(energy=Limit(0.01)).exceeded(_spread(energy=value)) == "energy"


def test_scaled_gates_and_json():
    gate = Gate(Limit(0.01), None, Limit(0.1, 0.2), grace_fs=50.0)
    assert Gate.from_json(json.loads(json.dumps(gate.to_json()))) == gate
    assert gate.scaled(2.0) == Gate(Limit(0.02), None, Limit(0.2, 0.4), 50.0)


def test_labels_survive_json_bit_by_bit():
    label = Label(-2079.123456789012, np.array([[1 / 3, 1e-17, -2e5]]), None, {"rung": 1})
    again = Label.from_json(json.loads(json.dumps(label.to_json())))
    assert again.energy == label.energy
    np.testing.assert_array_equal(again.forces, label.forces)
    assert again.stress is None
    assert again.extras == {"rung": 1}


def test_only_some_failures_are_worth_another_attempt():
    assert Failure(FailureKind.CRASH, "segmentation fault").is_retryable
    assert not Failure(FailureKind.NOT_CONVERGED, "100 cycles").is_retryable
    failure = Failure(FailureKind.RESOURCE, "8 GB used", {"limit_MB": 8000})
    assert Failure.from_json(json.loads(json.dumps(failure.to_json()))) == failure


def test_specs_and_outcomes_survive_json():
    spec = TaskSpec("label", "label/i1/0", 5, {"a": 1}, {"structures": "ab"}, ("x", "y"))
    assert TaskSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    outcome = Outcome(
        {"n": 1}, {"weights": "cd"}, Failure(FailureKind.BUG, "oops"), 1.5, {}
    )
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
