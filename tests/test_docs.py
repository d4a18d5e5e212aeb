"""What users can type is documented."""

from pathlib import Path

import pytest
import typer

from alflow import registry
from alflow.cli.main import app

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))
def test_every_command_is_in_the_guide(command):
    assert f"`alflow {command}" in (DOCS / "guide.md").read_text()


@pytest.mark.parametrize("point", registry.POINTS)
def test_every_kind_of_plugin_is_documented(point):
    assert f"`alflow.{point}`" in (DOCS / "plugins.md").read_text()


@pytest.mark.parametrize("kind", sorted(registry.available("builders")))
def test_every_builder_is_in_the_guide(kind):
    assert f"| `{kind}` |" in (DOCS / "guide.md").read_text()
