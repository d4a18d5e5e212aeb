"""What comes with alflow, in a clone and in a wheel."""

import pytest

from alflow.config import shipped
from alflow.core.errors import SettingsError


def test_the_templates_of_this_installation():
    found = shipped.templates()
    assert {"water", "aluminum-gupta"} <= found.keys()
    assert all(shipped.description(folder) for folder in found.values())
    assert shipped.template("water") == found["water"]


def test_an_unknown_template_names_the_closest():
    with pytest.raises(SettingsError, match="did you mean 'water'"):
        shipped.template("watr")


def test_the_wheel_comes_before_the_clone(tmp_path, monkeypatch):
    inside = tmp_path / "alflow" / "_shipped" / "workflows"
    beside = tmp_path / "workflows"
    for folder in (inside, beside):
        folder.mkdir(parents=True)
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "alflow")
    assert shipped.shipped_folder("workflows") == inside
    inside.rmdir()
    assert shipped.shipped_folder("workflows") == beside
    beside.rmdir()
    with pytest.raises(SettingsError, match="no folder 'workflows'"):
        shipped.shipped_folder("workflows")


def test_the_description_skips_the_line_for_editors(tmp_path):
    text = "# yaml-language-server: $schema=x\n# Water.\nname: water\n"
    (tmp_path / "campaign.yaml").write_text(text)
    assert shipped.description(tmp_path) == "Water."
    (tmp_path / "campaign.yaml").write_text("name: water\n")
    assert shipped.description(tmp_path) == ""
