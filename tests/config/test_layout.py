"""Which settings class stands where."""

from alflow.config.campaign import LabelSettings, LoopSettings, TestSettings, plugin_section
from alflow.config.layout import plugin_sections, settings_class_at, type_at

DATA = {
    "system": {"builders": [{"kind": "blob"}, {"kind": "nothing"}, 5]},
    "label": {"levels": {"dft": {"kind": "program"}}},
    "sample": {"temperature_K": {"start": [1, 2]}},
    "test": {"count": 3, "builders": [{"kind": "third"}]},
}


def name_at(*path):
    found = settings_class_at(DATA, path)
    return None if found is None else found.__name__


def test_classes_by_path():
    assert name_at() == "CampaignSettings"
    assert name_at("label") == LabelSettings.__name__
    assert name_at("loop") == LoopSettings.__name__
    assert name_at("test") == TestSettings.__name__
    assert name_at("system", "builders", 0) == "Blob"
    assert name_at("test", "builders", 0) == "Third"
    assert name_at("label", "levels", "dft") == "Program"
    assert name_at("sample") == "Walk"
    assert name_at("sample", "temperature_K") == "Ramp"
    assert name_at("model") == "Net"


def test_places_that_have_no_settings():
    assert name_at("system", "builders", 1) is None
    assert name_at("system", "builders") is None
    assert name_at("system", "builders", 0, "smiles", 0) is None
    assert name_at("nothing", "at", "all") is None
    assert name_at("name", 0) is None


def test_types_by_path():
    assert type_at(DATA, ("seed",)) is int
    assert type_at(DATA, ("stop", "budget", "labels")) is int
    assert type_at(DATA, ("sample", "temperature_K", "start", 0)) is float
    assert type_at(DATA, ("system", "builders", 0, "density_g_per_cm3")) is None


def test_every_plugin_section_is_found():
    found = {path: mark.point for path, mark, _ in plugin_sections(DATA)}
    assert found == {
        ("system", "builders", 0): "builders",
        ("system", "builders", 1): "builders",
        ("system", "builders", 2): "builders",
        ("label", "levels", "dft"): "labelers",
        ("model",): "models",
        ("train",): "trainers",
        ("sample",): "samplers",
        ("acquire",): "acquisition",
        ("test", "builders", 0): "builders",
    }


def test_top_level_sections_of_plugins():
    section = plugin_section("sample")
    assert section is not None
    assert (section.point, section.default) == ("samplers", "nemd")
    assert plugin_section("loop") is None
