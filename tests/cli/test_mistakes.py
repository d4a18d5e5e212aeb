"""Mistakes and what alflow answers; the page docs/mistakes.md is made of these answers.

After a change of an answer: ALFLOW_WRITE_DOCS=1 python -m pytest tests/cli/test_mistakes.py
"""

import os
import re
import shlex
import socket
from difflib import SequenceMatcher
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import alflow as package
from alflow.cli.failures import CODE_COLUMN

PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
IS_WRITTEN = os.environ.get("ALFLOW_WRITE_DOCS") == "1"
HOW = "make the page anew: ALFLOW_WRITE_DOCS=1 python -m pytest tests/cli/test_mistakes.py"
LONGEST_INPUT = 12
"""Lines of a file that the page shows."""

_SPEC = spec_from_file_location("mistakes", Path(__file__).with_name("mistakes.py"))
given = module_from_spec(_SPEC)
_SPEC.loader.exec_module(given)
ALL = [mistake for some in given.THEMES.values() for mistake in some]

INTRO = """\
# Mistakes, and what alflow answers

A test makes each of these {count} mistakes, and this page of the answers. They are verbatim; only
numbers of versions, names of machines and what other programs say are put differently.

An answer says where the mistake is (file, line and column), what is wrong with it, what came of it,
and what to do next. Its code, such as `AL102`, is expanded by `alflow explain AL102`. All problems
of a campaign file are told at once, and nothing is started before they are mended. The command
ends with exit code 2, with 4 where another manager runs the campaign.

The examples change these two files:

{files}
"""


@pytest.fixture(scope="module")
def sections():
    """What is shown of each mistake; written to the page in the end, if that is wanted."""
    made = {}
    yield made
    if IS_WRITTEN:
        shown = {**_committed(), **made}
        if lacking := [mistake.title for mistake in ALL if mistake.title not in shown]:
            pytest.fail(f"the page is not written, it would lack {lacking}")
        PAGE.write_text(_page(shown))


@pytest.fixture
def quiet_machine(monkeypatch, tmp_path_factory):
    """No programs, no sites and no settings of this user."""
    nothing = tmp_path_factory.mktemp("nothing")
    (nothing / "config.ini").touch()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ALFLOW_SITES", str(nothing))
    monkeypatch.setenv("ASE_CONFIG_PATH", str(nothing / "config.ini"))
    for name in ("ALFLOW_KERNELS", "ALFLOW_LOCAL_WORKERS", "PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("quiet_machine")
@pytest.mark.parametrize("mistake", ALL, ids=lambda one: one.title)
def test_the_answer_to(mistake, alflow, request, sections, tmp_path):
    pytest.importorskip(mistake.needs)
    text = given.FILES[mistake.base]
    if mistake.wrong:
        assert text.count(mistake.wrong[0]) == 1
        text = text.replace(*mistake.wrong)
    Path(mistake.base).write_text(text)
    if mistake.file:
        Path(mistake.file[0]).write_text(mistake.file[1])
    if mistake.before:
        mistake.before(request)
    before = _files(tmp_path)

    _, *arguments = shlex.split(mistake.command)
    result = alflow(*arguments)

    answer = _plain(result.out + result.err)
    assert result.code == mistake.exit_code, answer
    assert f"[{mistake.tag}]" in result.err
    for words in (*mistake.told, mistake.way_out):
        assert words in answer
    for private in (str(tmp_path), str(Path.home()), socket.gethostname(), "Traceback"):
        assert not re.search(rf"(?<!\w){re.escape(private)}(?!\w)", answer)
    assert _files(tmp_path) == before, "it left something"
    sections[mistake.title] = _section(mistake, answer)
    assert IS_WRITTEN or _committed().get(mistake.title) == sections[mistake.title], HOW


@pytest.mark.skipif(IS_WRITTEN, reason="the page is being written")
def test_the_page_has_every_mistake_and_nothing_else():
    committed = _committed()
    assert list(committed) == [mistake.title for mistake in ALL], HOW
    assert PAGE.read_text() == _page(committed), HOW


def test_the_page_is_linked():
    root = PAGE.parents[1]
    assert "(docs/mistakes.md)" in (root / "README.md").read_text()
    assert "(mistakes.md)" in (root / "docs" / "guide.md").read_text()


def _files(folder: Path) -> list[str]:
    """Names in a folder, but for those that readers of a database need."""
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if not name.endswith(("-wal", "-shm")))


def _plain(answer: str) -> str:
    """An answer without what differs from machine to machine, or from day to day."""
    answer = answer.replace(f"alflow {package.__version__}", "alflow …")
    answer = re.sub(
        r"(?m)^(.* by) \S+ \(pid \d+\), last sign .* ago +(\[AL310\])$", _held, answer
    )
    return re.sub(r"(?m)^In detail: .*$", "In detail: …", answer)


def _held(line: re.Match[str]) -> str:
    head = f"{line[1]} login3 (pid 41201), last sign of life 4 s ago"
    return head.ljust(CODE_COLUMN - len(line[2])) + line[2]


def _section(mistake, answer: str) -> str:
    """What the page shows of a mistake."""
    parts = [f"### {mistake.title}"]
    if mistake.note:
        parts.append(mistake.note)
    if lines := _wrong_lines(mistake):
        parts.append(_block(lines, "yaml"))
    if mistake.file and mistake.file[1]:
        name, content = mistake.file
        lines = content.splitlines()
        more = ["..."] if len(lines) > LONGEST_INPUT else []
        parts += [f"`{name}`:", _block([*lines[:LONGEST_INPUT], *more])]
    parts.append(_block([f"$ {mistake.command}", *answer.rstrip().splitlines()]))
    return "\n\n".join(parts)


def _wrong_lines(mistake) -> list[str]:
    """The lines of the campaign file that differ from the right one, and the one before them."""
    if mistake.wrong is None:
        return []
    right = given.FILES[mistake.base]
    wrong = right.replace(*mistake.wrong).splitlines()
    changes = SequenceMatcher(None, right.splitlines(), wrong, autojunk=False).get_opcodes()
    places = [(first, last) for tag, _, _, first, last in changes if tag != "equal"]
    if all(first == last for first, last in places):
        return []
    return wrong[max(0, places[0][0] - 1) : places[-1][1]]


def _block(lines: list[str], language: str = "") -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _page(shown: dict[str, str]) -> str:
    files = "\n\n".join(
        f"`{name}`:\n\n{_block(text.splitlines(), 'yaml')}"
        for name, text in given.FILES.items()
    )
    parts = [INTRO.format(count=len(ALL), files=files).rstrip()]
    for theme, mistakes in given.THEMES.items():
        parts.append(f"## {theme}")
        parts += [shown[mistake.title] for mistake in mistakes]
    return "\n\n".join(parts) + "\n"


def _committed() -> dict[str, str]:
    """The sections of the page as it is, by title."""
    text = PAGE.read_text() if PAGE.exists() else ""
    found = re.findall(r"(?ms)^### .*?(?=\n\n##|\n\Z)", text)
    return {one.splitlines()[0].removeprefix("### "): one for one in found}
