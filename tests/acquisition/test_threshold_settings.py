import pytest
from pydantic import ValidationError

from alflow.acquisition.threshold import ThresholdSettings
from alflow.core.sampling import Gate, Limit
from alflow.registry import find


def test_the_form_of_the_campaign_file_parses():
    settings = find("acquisition", "threshold").model_validate(
        {"kind": "threshold", "per_iteration": 64, "audit_fraction": 0.05}
    )
    assert settings == ThresholdSettings(per_iteration=64)


def test_limits_are_numbers_or_lines():
    settings = ThresholdSettings.model_validate(
        {
            "per_iteration": 8,
            "energy_spread_meV": 5,
            "force_spread_mean_eV_per_A": {"base": 0.02, "per_force": 0.04},
            "force_spread_max_eV_per_A": None,
            "grace_fs": 200,
            "relax": [],
        }
    )
    assert settings.create().gate(0) == Gate(
        Limit(0.005), Limit(0.02, 0.04), None, grace_fs=200.0
    )


def test_the_first_generations_are_relaxed():
    rule = ThresholdSettings(per_iteration=8, relax=(2.5, 1.8, 1.3)).create()
    base = rule.gate(3).force_max.base
    found = [rule.gate(generation).force_max.base / base for generation in range(6)]
    assert found == pytest.approx([2.5, 1.8, 1.3, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    "change",
    [
        {"audit_fraction": 1.5},
        {"force_spread_max_eV_per_A": 0},
        {"force_spread_max_eV_per_A": {"bas": 1}},
        {"relax": [0.5]},
        {"rejected_factor": 1},
        {
            "energy_spread_meV": None,
            "force_spread_mean_eV_per_A": None,
            "force_spread_max_eV_per_A": None,
        },
    ],
)
def test_senseless_settings_are_refused(change):
    with pytest.raises(ValidationError):
        ThresholdSettings.model_validate({"per_iteration": 8, **change})


def test_settings_survive_json():
    settings = ThresholdSettings(per_iteration=8, energy_spread_meV=None)
    assert ThresholdSettings.model_validate_json(settings.model_dump_json()) == settings
