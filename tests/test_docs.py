"""What users can type, set, read and meet is documented, and what documents it is up to date."""

import importlib.util
import platform
import re
from pathlib import Path

import pytest
import typer

from alflow import registry
from alflow.cli.main import app
from alflow.config.loading import load_campaign
from alflow.core import errors
from alflow.loop.campaign import run_campaign
from alflow.store.schema import metadata

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
CODE = re.compile(r"\bAL\d{3}\b")


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generator():
    return script("generate")


def all_commands(group):
    for command in group.commands.values():
        yield command
        yield from all_commands(command) if hasattr(command, "commands") else ()


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))
def test_every_command_is_in_the_guide(command):
    assert f"`alflow {command}" in (DOCS / "guide.md").read_text()


def test_every_command_argument_and_option_says_what_it_is():
    for command in all_commands(typer.main.get_command(app)):
        silent = [one.name for one in command.params if not one.hidden and not one.help]
        assert command.help, command.name
        assert not silent, command.name


@pytest.mark.parametrize("point", registry.POINTS)
def test_every_kind_of_plugin_is_documented(point):
    assert f"`alflow.{point}`" in (DOCS / "plugins.md").read_text()


@pytest.mark.parametrize("kind", sorted(registry.available("builders")))
def test_every_builder_is_in_the_guide(kind):
    assert f"| `{kind}` |" in (DOCS / "guide.md").read_text()


def test_every_kind_of_plugin_with_settings_is_in_the_reference():
    without_settings = {"ase_samplers", "tasks"}
    assert set(generator().PLUGINS) == set(registry.POINTS) - without_settings


def test_every_setting_says_what_it_is():
    rows = re.findall(r"^\| `(\S+)` \|.*\| (.*) \|$", generator().reference(), re.MULTILINE)
    assert len(rows) > 500
    assert [name for name, meaning in rows if not meaning] == []


@pytest.mark.parametrize("page", ["reference.md", "commands.md", "errors.md"])
def test_a_generated_page_is_up_to_date(page):
    """If not: python docs/generate.py."""
    assert (DOCS / page).read_text() == generator().pages()[page]


def test_every_code_of_an_error_is_explained_and_every_explained_one_is_used():
    sources = {path: path.read_text() for path in (ROOT / "alflow").rglob("*.py")}
    del sources[ROOT / "alflow" / "core" / "errors.py"]
    used = {code for text in sources.values() for code in CODE.findall(text)}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.AlflowError):
            is_named = any(re.search(rf"\b{error.__name__}\b", t) for t in sources.values())
            used |= {error.default_code} if is_named else set()
    assert used == set(errors.EXPLANATIONS)


def documented_columns():
    """Columns by the tables that share a heading in docs/database.md."""
    text = (
        (DOCS / "database.md").read_text().partition("## Tables")[2].partition("\n## ")[0]
    )
    parts = re.split(r"^((?:.*)\*\*`.*)$", text, flags=re.MULTILINE)[1:]
    found = {}
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        cells = re.findall(r"^\| (`.*?) \|", body, re.MULTILINE)
        tables = tuple(re.findall(r"\*\*`(\w+)`\*\*", heading))
        found[tables] = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    return found


def test_every_table_and_column_of_the_database_is_documented_once():
    found = documented_columns()
    named = [name for tables in found for name in tables]
    assert sorted(named) == sorted(metadata.tables)
    for tables, columns in found.items():
        real = {column.name for name in tables for column in metadata.tables[name].columns}
        assert sorted(columns) == sorted(real), tables


def anchors(page):
    """What links into a page can name: its headings, as GitHub makes anchors of them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^()\s]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        other = (page.parent / file) if file else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_readme_names_every_page(page):
    assert f"](docs/{page})" in (ROOT / "README.md").read_text()


def test_pictures_are_small_and_shown():
    pictures = sorted((DOCS / "images").iterdir())
    readme = (ROOT / "README.md").read_text()
    assert sum(path.stat().st_size for path in pictures) < 400_000
    assert all(f"](docs/images/{path.name})" in readme for path in pictures)


def test_the_picture_of_the_live_view_names_no_host_and_fetches_nothing(tmp_path):
    settings = load_campaign(ROOT / "workflows" / "water" / "campaign.yaml")
    with run_campaign(tmp_path / "water.db", settings):
        pass
    script("pictures").live_picture(tmp_path / "water.db", tmp_path / "live.svg")
    drawn = (tmp_path / "live.svg").read_text()
    assert "alflow" in drawn
    assert "water" in drawn
    assert str(tmp_path) not in drawn
    assert "url(http" not in drawn
    assert f"{platform.node()} (pid" not in drawn.replace("&#160;", " ")
