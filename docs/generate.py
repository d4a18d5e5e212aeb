"""Writes the pages of the documentation that follow from the code.

    python docs/generate.py

`tests/test_docs.py` compares them with what this writes.
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel

from alflow import registry
from alflow.cli.main import app
from alflow.cli.plugins import settings_rows
from alflow.config.campaign import CampaignSettings, plugin_section
from alflow.config.plugins import SINGULAR
from alflow.core.errors import EXPLANATIONS, AlflowError
from alflow.execution import schedulers, sites, slurm

FOLDER = Path(__file__).parent
MARK = "<!-- Written by `python docs/generate.py`: what you change here is lost. -->"
DISTRIBUTION = "alflow"

PLUGINS = {
    "builders": "entries of `system.builders` and `test.builders`",
    "labelers": "values of `label.levels`",
    "models": "`model`",
    "trainers": "`train`",
    "samplers": "`sample`",
    "acquisition": "`acquire`",
    "validation": "entries of `validate.suites`",
}
"""Where a campaign file has the settings of each kind of plug-in."""

POOLS: tuple[Callable[..., Any], ...] = (
    sites.local_pool,
    slurm.slurm_pool,
    schedulers.pbs_pool,
    schedulers.lsf_pool,
    schedulers.flux_pool,
    schedulers.kubernetes_pool,
)

REFERENCE = """# Reference of the campaign file

Every setting there is, from the code that reads it; the [guide](guide.md) says what they are for.
A key with dots is nested: `loop.gate.sigma` is written `loop: {gate: {sigma: 2.0}}`. *required* has
no default, `null` is a value that can be written, unknown keys are errors. Where samplers draw
from a range `[low, high]`, one number stands for a range of no width; where a limit has `base` and
`per_force`, one number is a limit that does not grow.

`alflow plugins KIND NAME` prints the same for one plug-in, those that you installed from elsewhere
too, and `alflow check --schema` all of it as a JSON schema, by which editors complete and check
campaign files.
"""
COMMANDS = """# Reference of the commands

`alflow COMMAND --help` prints the same. The [guide](guide.md#commands) says how they go together,
and what the [exit codes](guide.md#exit-codes) are. Data goes to stdout, everything else to stderr.
"""
ERRORS = """# Error codes

A message of an error has a code in brackets; `alflow explain CODE` prints what stands here.
"""


def pages() -> dict[str, str]:
    """Names of the generated pages with their content."""
    return {"reference.md": reference(), "commands.md": commands(), "errors.md": errors()}


def reference() -> str:
    """All settings of a campaign file, of every plug-in that comes with alflow, and of pools."""
    parts = [REFERENCE, "## Sections\n"]
    rows = list(settings_rows(CampaignSettings))
    top = [row for row in rows if "." not in row[0]]
    parts.append(_settings_table(top))
    for name in (row[0] for row in top):
        inner = [row for row in rows if row[0].startswith(f"{name}.")]
        if inner:
            parts += [f"### {name}\n", _section_words(name), _settings_table(inner)]
    for point, where in PLUGINS.items():
        parts += _plugin_parts(point, where)
    parts += _pool_parts()
    return _page(parts)


def _section_words(name: str) -> str:
    model = CampaignSettings.model_fields[name].annotation
    arms = [model, *get_args(model)]
    found = next(a for a in arms if isinstance(a, type) and issubclass(a, BaseModel))
    return _prose(found.__doc__)


def _plugin_parts(point: str, where: str) -> Iterator[str]:
    one = SINGULAR[point]
    yield f"## {one.capitalize()}s\n"
    default = next(
        (
            section.default
            for name in CampaignSettings.model_fields
            if (section := plugin_section(name)) is not None and section.point == point
        ),
        None,
    )
    chosen = "" if default is None else f" Without `kind`: `{default}`."
    yield f"{where[0].upper()}{where[1:]}; `kind` names the {one}.{chosen}\n"
    for name, entry in registry.available(point).items():
        if entry.dist is None or entry.dist.name != DISTRIBUTION:
            continue
        model = registry.find(point, name)
        yield f"### {one} `{name}`\n"
        yield _prose(model.__doc__)
        yield _settings_table(row for row in settings_rows(model) if row[0] != "kind")


def _pool_parts() -> Iterator[str]:
    yield "## Pools of a site file\n"
    yield (
        "Machine details stand in a [site file](sites.md), which is Python. These functions make\n"
        "its pools; all arguments but `label` are given by name.\n"
    )
    for function in POOLS:
        yield f"### {function.__name__}\n"
        yield _prose(function.__doc__)
        yield _table(("argument", "default", "meaning"), _argument_rows(function))
    yield "### What pools of PBS, LSF, Flux and Kubernetes have in common\n"
    meanings = _documented(schedulers.BlockOptions.__doc__, "Attributes").items()
    yield _table(("argument", "meaning"), [(f"`{name}`", text) for name, text in meanings])


def _argument_rows(function: Callable[..., Any]) -> Iterator[tuple[str, ...]]:
    meanings = _documented(function.__doc__, "Args")
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            yield "...", "", "what such pools have in common: see below"
            continue
        default = "required"
        if parameter.default is not parameter.empty:
            default = f"`{parameter.default!r}`"
        yield f"`{name}`", default, meanings[name]


def _documented(docstring: str | None, section: str) -> dict[str, str]:
    """Names with their meanings, from one section of a docstring."""
    text = inspect.cleandoc(docstring or "").partition(f"\n{section}:\n")[2]
    lines = text.partition("\n\n")[0].splitlines()
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if (entry := re.match(r" {4}\*{0,2}(\w+): (.*)", line)) is not None:
            name, words = entry.groups()
            found[name] = words
        elif name:
            found[name] += " " + line.strip()
    return found


def commands() -> str:
    """Every command of `alflow`, with its arguments and options."""
    parts = [COMMANDS]
    root = typer.main.get_command(app)
    listed = [
        (f"[`{' '.join(path)}`](#{'-'.join(path)})", _first_sentence(command.help))
        for path, command in _all_commands(root, ("alflow",))
    ]
    parts.append(_table(("command", "does"), listed))
    parts += ["## Options of all commands\n", "They stand before the command.\n"]
    parts.append(_parameter_table(root))
    for path, command in _all_commands(root, ("alflow",)):
        parts += [f"## {' '.join(path)}\n", _prose(command.help)]
        if command.params:
            parts += [f"```\n{_usage(path, command)}\n```\n", _parameter_table(command)]
    return _page(parts)


def _all_commands(
    group: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Commands that can be called, by the words that call them, in alphabetical order."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _all_commands(command, (*path, name))
        else:
            yield (*path, name), command


def _usage(path: Sequence[str], command: Any) -> str:
    words = list(path)
    for parameter in _shown(command):
        if parameter.param_type_name == "argument":
            name = _argument_name(parameter)
            words.append(name if parameter.required else f"[{name}]")
        elif parameter.required:
            words.append(f"{parameter.opts[0]} {_value_word(parameter, command)}")
    if any(one.param_type_name == "option" and not one.required for one in _shown(command)):
        words.append("[OPTIONS]")
    return " ".join(words)


def _argument_name(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    name = re.sub(r"^\[([^]]*)\](\.\.\.)?$", r"\1\2", word)
    is_list = argument.nargs == -1 and "..." not in name
    return f"{name}..." if is_list else name


def _shown(command: Any) -> list[Any]:
    left_out = {"help", "install_completion", "show_completion"}
    return [one for one in command.params if not one.hidden and one.name not in left_out]


def _parameter_table(command: Any) -> str:
    rows = []
    for parameter in _shown(command):
        if parameter.param_type_name == "argument":
            shown = f"`{_argument_name(parameter)}`"
        else:
            value = _value_word(parameter, command)
            shown = ", ".join(
                f"`{option} {value}`" if value else f"`{option}`"
                for option in (*parameter.opts, *parameter.secondary_opts)
            )
        rows.append((shown, _parameter_default(parameter), parameter.help or ""))
    return _table(("argument or option", "default", "meaning"), rows)


def _parameter_default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    is_count = getattr(parameter, "count", False)
    if default is None or default is False or is_count or default in ("", (), []):
        return ""
    if default is True:
        return f"`{parameter.opts[0]}`"
    return f"`{default.value if isinstance(default, Enum) else default}`"


def _value_word(option: Any, command: Any) -> str:
    """What stands behind an option: its choices or the kind of its value; nothing for a flag."""
    if option.is_flag or option.count:
        return ""
    if option.metavar:
        return str(option.metavar)
    hints = typing.get_type_hints(command.callback)
    return _type_word(hints[option.name])


def _type_word(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type_word(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "|".join(str(argument) for argument in get_args(annotation))
    if arms := [arm for arm in get_args(annotation) if arm is not NoneType]:
        return _type_word(arms[0])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    words = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH"}
    return words[annotation]


def errors() -> str:
    """Every error code with its explanation."""
    by_code: dict[str, list[str]] = {}
    for error in _below(AlflowError):
        by_code.setdefault(error.default_code, []).append(f"`{error.__name__}`")
    rows = [
        (f"`{code}`", text + _class_words(by_code.get(code, ())))
        for code, text in EXPLANATIONS.items()
    ]
    return _page([ERRORS, _table(("code", "meaning"), rows)])


def _class_words(names: Sequence[str]) -> str:
    return f" (In Python: {', '.join(names)}.)" if names else ""


def _below(error: type[AlflowError]) -> Iterator[type[AlflowError]]:
    yield error
    for child in error.__subclasses__():
        if child.__module__ == error.__module__:
            yield from _below(child)


def _settings_table(rows: Iterable[Sequence[str]]) -> str:
    shown = [
        (f"`{key}`", kind, default if default == "required" else f"`{default}`", meaning)
        for key, kind, default, meaning in rows
    ]
    if not shown:
        return "It has no settings.\n"
    return _table(("setting", "type", "default", "meaning"), shown)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("\\[", "[")
    return plain.replace("|", "\\|").replace("<", "&lt;")


def _prose(docstring: str | None) -> str:
    """A docstring without its sections about arguments and errors."""
    text = inspect.cleandoc(docstring or "")
    return re.split(r"\n\n(?:Args|Raises|Returns|Attributes):\n", text)[0] + "\n"


def _first_sentence(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\n\n")[0]


def _page(parts: Iterable[str]) -> str:
    title, *rest = parts
    head, _, introduction = title.partition("\n")
    return "\n".join([head, "", MARK, introduction, *rest])


def main() -> None:
    """Write the pages."""
    for name, content in pages().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
