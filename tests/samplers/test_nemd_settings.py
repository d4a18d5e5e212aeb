import subprocess
import sys

import pytest
from pydantic import ValidationError

from alflow.core.errors import SettingsError
from alflow.registry import find
from alflow.samplers.nemd import DensitySettings, NemdSettings, TemperatureSettings

CAMPAIGN = {
    "kind": "nemd",
    "replicas": 64,
    "timestep_fs": 0.5,
    "duration_ps": 2.0,
    "temperature_K": {
        "start": [50, 600],
        "end": [50, 1000],
        "amplitude": [0, 500],
        "period_ps": [0.5, 2.0],
    },
}


def test_the_form_of_the_campaign_file_parses():
    settings = find("samplers", "nemd").model_validate(CAMPAIGN)
    assert settings.replicas == 64
    assert settings.temperature_K.start == (50.0, 600.0)
    assert settings.temperature_K.ranges().period_fs == (500.0, 2000.0)
    assert settings.density_g_per_cm3 is None
    assert (settings.tasks, settings.rounds, settings.friction_per_ps) == (2, 2, 2.0)


def test_settings_survive_json():
    settings = NemdSettings.model_validate(CAMPAIGN)
    assert NemdSettings.model_validate_json(settings.model_dump_json()) == settings


def test_one_number_is_a_range_of_no_width():
    assert TemperatureSettings.model_validate({"start": 300, "end": 5}).start == (
        300.0,
        300.0,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": [600, 50], "end": 300}, "upside down"),
        ({"start": [-5, 50], "end": 300}, "-5.0 K is below 0"),
        ({"start": 300, "end": 300, "period_ps": 0}, "not above 0"),
        ({"start": True, "end": 300}, "tuple"),
        ({"start": 300}, "end"),
        ({"start": 300, "end": 300, "strat": 1}, "strat"),
    ],
)
def test_senseless_temperatures_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        TemperatureSettings.model_validate(change)


@pytest.mark.parametrize(
    "change", [{"end": 0}, {"end": 1, "start": [0, 2]}, {"end": 1, "amplitude": [-1, 0]}]
)
def test_densities_that_vanish_are_refused(change):
    with pytest.raises(ValidationError, match="not above 0"):
        DensitySettings.model_validate(change)


def test_a_long_timestep_is_refused_for_light_elements_alone():
    settings = NemdSettings.model_validate({**CAMPAIGN, "timestep_fs": 2.0})
    settings.check_elements([13])
    with pytest.raises(SettingsError, match="2 fs is longer than the 1 fs") as caught:
        settings.check_elements([13, 1])
    assert caught.value.code == "AL121"
    assert "allow_large_timestep" in caught.value.next_step
    settings.model_copy(update={"allow_large_timestep": True}).check_elements([1])


@pytest.mark.parametrize("module", ["alflow.samplers.nemd", "alflow.acquisition.threshold"])
def test_settings_do_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
