"""Identity of levels: what changes a number changes it, nothing else does."""

from typing import Literal

import pytest
from pydantic import ValidationError

from alflow.labelers.analytic import AnalyticSettings
from alflow.labelers.ase import AseSettings
from alflow.labelers.composite import CompositeSettings
from alflow.labelers.faulty import FaultySettings
from alflow.labelers.level import level_digest, level_identity, tightened
from alflow.labelers.pyscf import PyscfSettings
from alflow.models.gupta_parameters import CLERI_ROSATO
from alflow.registry import Settings


def pyscf(**changes):
    return PyscfSettings(**{"method": "wb97x", "basis": "6-31g*", **changes})


def test_spelling_and_quality_checks_change_no_level():
    reference = level_digest(pyscf())
    for changes in (
        {"method": "wB97X", "basis": "6-31G(d)"},
        {"auxbasis": "cc-pVDZ-jkfit"},
        {"max_memory_MB": 500, "max_cycle": 30},
        {"force_cap_eV_per_A": 10.0, "net_force_eV_per_A": 0.1, "min_distance_factor": 0.7},
    ):
        assert level_digest(pyscf(**changes)) == reference


def test_what_changes_an_energy_changes_the_level():
    digests = {
        level_digest(pyscf(**changes))
        for changes in (
            {},
            {"method": "pbe0"},
            {"basis": "6-31g"},
            {"density_fit": False},
            {"auxbasis": "def2-universal-jkfit"},
            {"grid_level": 3},
            {"grid_response": False},
            {"unrestricted": True},
            {"conv_tol_hartree": 1e-8},
            {"cartesian": True},
        )
    }
    assert len(digests) == 10


def test_grids_are_no_part_of_hartree_fock():
    assert level_digest(pyscf(method="hf")) == level_digest(
        pyscf(method="HF", grid_level=2)
    )


def test_b3lyp_says_which_one_it_is():
    assert level_identity(pyscf(method="b3lyp"))["method"] == "b3lypg"
    assert level_digest(pyscf(method="b3lyp")) != level_digest(pyscf(method="b3lyp5"))


def test_parameters_are_the_level_of_an_analytic_potential():
    published = level_identity(AnalyticSettings())
    assert published["parameters"]["Al"]["p"] == 8.612
    spelt_out = AnalyticSettings(parameters={"Al": CLERI_ROSATO["Al"]})
    assert level_identity(spelt_out) == published
    other = AnalyticSettings(parameters={"Al": CLERI_ROSATO["Cu"]})
    assert level_identity(other) != published


def test_settings_without_an_identity_count_whole():
    class Other(Settings):
        kind: Literal["other"] = "other"
        depth: int = 3

    assert level_identity(Other()) == {"kind": "other", "depth": 3}


def test_settings_survive_json():
    settings = pyscf(method="B3LYP", unrestricted=True)
    again = PyscfSettings.model_validate_json(settings.model_dump_json())
    assert level_digest(again) == level_digest(settings)


def test_audits_take_a_finer_grid_and_two_starts():
    tight = tightened(pyscf(grid_level=9, conv_tol_hartree=1e-8))
    assert (tight.grid_level, tight.second_start) == (9, "always")
    assert tight.conv_tol_hartree == 1e-9
    assert tightened(pyscf(grid_level=3)).grid_level == 4
    assert level_digest(tight) != level_digest(pyscf(grid_level=9))


def test_audits_reach_the_parts_of_a_level():
    parts = {"a": {"kind": "pyscf", "method": "hf", "basis": "6-31g"}}
    inner = {"kind": "composite", "parts": parts, "terms": {"a": 2.0}}
    settings = FaultySettings.model_validate({"of": inner, "rates": {"crash": 0.5}})
    tight = tightened(settings)
    assert tight.of.parts["a"].second_start == "always"
    assert tight.of.weights() == {"a": 2.0}
    assert (tight.seed, tight.rates) == (settings.seed + 1, settings.rates)
    scheme = {"name": "ccsd(t)/dz+dmp2(tq)", "frozen_core": True}
    whole = CompositeSettings.model_validate({"scheme": scheme})
    assert tightened(whole).weights() == whole.weights()
    assert {one.second_start for one in tightened(whole).parts.values()} == {"always"}


def test_changes_of_an_audit_go_into_mappings():
    settings = AseSettings(
        calculator="emt", energy="total", settings={"asap_cutoff": False}
    )
    assert tightened(settings) == settings
    tight = tightened(settings, {"settings": {"fixed_cutoff": True}, "timeout_s": 5.0})
    assert tight.settings == {"asap_cutoff": False, "fixed_cutoff": True}
    assert tight.timeout_s == 5.0
    with pytest.raises(ValidationError):
        tightened(settings, {"timeout": 5.0})
