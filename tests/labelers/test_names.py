"""One spelling for each level, and clear words for names that mislead."""

import pytest

from alflow.core.errors import SettingsError
from alflow.labelers.names import (
    canonical_basis,
    canonical_method,
    fitting_basis,
    usual_spelling,
)


@pytest.mark.parametrize(
    ("spelt", "plain"),
    [
        ("wB97X", "wb97x"),
        ("B3LYP", "b3lypg"),
        ("b3lypg", "b3lypg"),
        ("b3lyp5", "b3lyp5"),
        ("CAM-B3LYP", "camb3lyp"),
        ("M06-2X", "m062x"),
        ("PBE1PBE", "pbe0"),
        ("HF", "hf"),
        ("r2scan", "r2scan"),
        ("0.2*HF + 0.8*B88, LYP", "0.2*hf+0.8*b88,lyp"),
    ],
)
def test_methods_have_one_spelling(spelt, plain):
    assert canonical_method(spelt) == plain
    assert canonical_method(plain) == plain


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wb97x-d3", "dispersion"),
        ("wb97x-d", "dispersion"),
        ("wB97X_D", "dispersion"),
        ("wb97x-d3bj", "dispersion"),
        ("b3lyp-d3(bj)", "dispersion"),
        ("b97-d", "dispersion"),
        ("pbe-d4", "dispersion"),
        ("r2scan-3c", "3c"),
        ("b97-3c", "3c"),
        ("wb97m-v", "VV10"),
        ("scan_rvv10", "VV10"),
        ("B2PLYP", "double hybrids"),
        ("  ", "empty"),
    ],
)
def test_misleading_methods_are_refused(name, reason):
    with pytest.raises(SettingsError, match=reason):
        canonical_method(name)


def test_basis_sets_have_one_spelling_and_a_fitting_set():
    assert canonical_basis("6-31G*") == canonical_basis("6-31g(d)") == "631g*"
    assert canonical_basis("6-31G(d,p)") == "631g**"
    assert canonical_basis("def2-SVP") == "def2svp"
    assert fitting_basis("631g**") == "cc-pvdz-jkfit"
    assert fitting_basis("def2svp") == "def2-universal-jkfit"
    with pytest.raises(SettingsError, match="empty"):
        canonical_basis(" - ")


@pytest.mark.parametrize(
    ("plain", "usual"),
    [
        ("631g*", "6-31g*"),
        ("6311++g**", "6-311++g**"),
        ("321g", "3-21g"),
        ("augccpvtz", "aug-cc-pvtz"),
        ("ccpvdz", "cc-pvdz"),
        ("def2svp", "def2svp"),
        ("sto3g", "sto3g"),
    ],
)
def test_suggestions_are_spelt_as_in_papers(plain, usual):
    assert usual_spelling(plain) == usual
    assert canonical_basis(usual) == plain
