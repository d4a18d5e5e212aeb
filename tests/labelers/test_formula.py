"""Formulas of composite levels against numbers worked out by hand."""

import math

import pytest
from pydantic import ValidationError

from alflow.labelers.formula import Limit, limit_weights, part_of, total_weights

TZ_QZ = (3, 4)


def limit(**changes) -> Limit:
    raw = {
        "of": ("tz.hf", "qz.hf"),
        "cardinals": TZ_QZ,
        "law": "exp_sqrt",
        "exponent": 5.46,
    }
    return Limit.model_validate({**raw, **changes})


def test_the_published_formulas():
    # Smith et al. 2019: E_HF and E_MP2c of water in cc-pVTZ and cc-pVQZ [Hartree].
    hf_tz, hf_qz, mp2_tz, mp2_qz = -76.05613, -76.06376, -0.26228, -0.28364
    a, b = 5.46, 2.51
    near, far = math.exp(-a * math.sqrt(4)), math.exp(-a * math.sqrt(3))
    hf = (near * hf_tz - far * hf_qz) / (near - far)
    mp2 = (4**b * mp2_qz - 3**b * mp2_tz) / (4**b - 3**b)
    weights = limit_weights("exp_sqrt", a, TZ_QZ)
    assert weights[0] * hf_tz + weights[1] * hf_qz == pytest.approx(hf, abs=1e-12)
    weights = limit_weights("power", b, TZ_QZ)
    assert weights[0] * mp2_tz + weights[1] * mp2_qz == pytest.approx(mp2, abs=1e-12)


def test_weights_worked_out_by_hand():
    # X⁻³ of 1 and 2 is 1 and 1/8: E = (8 E2 - E1) / 7.
    assert limit_weights("power", 3.0, (1, 2)) == pytest.approx((-1 / 7, 8 / 7), abs=1e-15)
    # √1 and √4 are 1 and 2; with a = ln 2 the second is half as far from the limit.
    halved = limit_weights("exp_sqrt", math.log(2), (1, 4))
    assert halved == pytest.approx((-1.0, 2.0), abs=1e-15)


@pytest.mark.parametrize("law", ["exp_sqrt", "power"])
@pytest.mark.parametrize("cardinals", [(2, 3), (3, 4), (4, 5), (5, 6)])
@pytest.mark.parametrize("exponent", [0.01, 1.63, 3.0, 9.0])
def test_what_follows_the_law_is_carried_to_its_limit(law, cardinals, exponent):
    def energy(x: int) -> float:
        decay = -exponent * (math.sqrt(x) if law == "exp_sqrt" else math.log(x))
        return -76.1 + 0.7 * math.exp(decay)

    weights = limit_weights(law, exponent, cardinals)
    found = sum(w * energy(x) for w, x in zip(weights, cardinals, strict=True))
    assert sum(weights) == pytest.approx(1.0, abs=1e-12 * max(map(abs, weights)))
    assert found == pytest.approx(-76.1, abs=1e-13 * max(map(abs, weights)))


def test_limits_and_terms_of_the_same_energy_add_up():
    halved = limit(of=("a", "b"), cardinals=(1, 4), exponent=math.log(2), times=0.5)
    found = total_weights([halved, halved], {"a": 3.0, "c.mp2": -1.0})
    assert found == pytest.approx({"a": 2.0, "b": 2.0, "c.mp2": -1.0}, abs=1e-15)


def test_sources_name_a_part_and_perhaps_a_component():
    assert part_of("tz") == ("tz", None)
    assert part_of("tz.hf") == ("tz", "hf")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cardinals": (4, 3)}, "4 must be at least 1 and below 3"),
        ({"cardinals": (0, 3)}, "0 must be"),
        ({"of": ("tz", "tz")}, "tz twice"),
        ({"of": ("tz.hf.x", "qz")}, "pattern"),
        ({"exponent": 0.0}, "greater than 0"),
        ({"law": "exp"}, "exp_sqrt"),
    ],
)
def test_limits_that_are_none_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        limit(**changes)
