"""A YAML 1.2 file as plain data in which every key and value knows its line and column."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from alflow.config.problems import CampaignFileError, Problem, dotted
from alflow.core.findings import Finding

LARGEST_NODE_COUNT = 10_000
"""A campaign file with more values than this, aliases expanded, is refused."""

_SQLITE = b"SQLite format 3\x00"
_TAG = "tag:yaml.org,2002:"
_CONSTRUCTED = frozenset({"int", "float", "bool", "null"})
_TEXT = frozenset({"str", "timestamp", "merge", "value"})
_SYNTAX_HINTS = {
    r"found character '\t'": "indent with spaces; YAML does not allow tabs",
    "mapping values are not allowed here": "check the indentation, or quote a text with ': '",
    "found unexpected end of stream": "a quote is opened here or above and never closed",
    "expected ',' or": "a bracket is opened above and never closed, or a comma is missing",
    "found undefined alias": "quote the text if it starts with '*'",
    "but found another document": "one file holds one campaign: remove the '---'",
    "found character": "quote the text if it starts with a special character",
    "could not find expected ':'": "a key needs ': ' and a value behind it",
}

Step = str | int
PathOf = tuple[Step, ...]
ABSENT = object()
"""Stands for a value that is not in the file; null is a value."""


@dataclass
class Document:
    """A file, its data, and where everything stands in it.

    Attributes:
        file: File name as the user gave it.
        lines: The text, by line.
        data: The content: dicts, lists and scalars.
        keys: Line and column of each key, by path; both start at 1.
        values: Line and column of each value, by path.
        findings: Problems of the file itself, such as duplicate keys.
    """

    file: str
    lines: list[str]
    data: Any = None
    keys: dict[PathOf, tuple[int, int]] = field(default_factory=dict)
    values: dict[PathOf, tuple[int, int]] = field(default_factory=dict)
    findings: list[Problem] = field(default_factory=list)

    def problem(self, finding: Finding) -> Problem:
        """Attach a place to a finding: its own, else that of the closest parent."""
        path = finding.path
        first, second = (
            (self.keys, self.values) if finding.at_key else (self.values, self.keys)
        )
        place = first.get(path) or second.get(path)
        while place is None and path:
            path = path[:-1]
            place = self.keys.get(path) or self.values.get(path)
        return self.problem_at(*(place or (1, 1)), finding)

    def problem_at(self, line: int, column: int, finding: Finding) -> Problem:
        """A finding at a known place."""
        snippet = self.lines[line - 1] if line <= len(self.lines) else ""
        path = dotted(finding.path)
        return Problem(
            self.file,
            line,
            column,
            path,
            finding.message,
            finding.hint,
            finding.code,
            snippet,
        )

    def value(self, path: Sequence[Step]) -> Any:
        """The value at a path, or None if there is none."""
        node = self.data
        for step in path:
            node = child(node, step)
        return None if node is ABSENT else node


def child(node: object, step: Step) -> Any:
    """What stands below a node at a key or list index; `ABSENT` if nothing does."""
    if isinstance(node, Mapping):
        return node.get(step, ABSENT)
    if isinstance(node, list) and isinstance(step, int) and 0 <= step < len(node):
        return node[step]
    return ABSENT


def leaves(node: object, path: PathOf = ()) -> Iterator[tuple[PathOf, object]]:
    """Every value of a tree with its path, containers before their content."""
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        CampaignFileError: If it cannot be read, is not UTF-8, is empty, or is not YAML.
    """
    document = Document(str(path), [])
    text = _read_text(path, document)
    document.lines = text.splitlines()
    root = _compose(text, document)
    if root is None:
        raise _refusal(document, (1, 1), "the file is empty", "start with: alflow init DIR")
    if not isinstance(root, MappingNode):
        raise _refusal(document, (1, 1), "the file must be a mapping of keys to values")
    document.data = _Walk(document).convert(root, ())
    return document


def _refusal(
    document: Document, place: tuple[int, int], message: str, hint: str = ""
) -> CampaignFileError:
    """The error for a file whose content cannot be looked at any further."""
    finding = Finding((), message, hint, "AL102")
    return CampaignFileError(document.file, [document.problem_at(*place, finding)])


def _read_text(path: Path, document: Document) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = (
            "there is no such file"
            if isinstance(error, FileNotFoundError)
            else error.strerror
        )
        problem = Problem(
            document.file,
            0,
            0,
            "",
            f"cannot be read: {reason}",
            _other_files(path),
            "AL103",
        )
        raise CampaignFileError(document.file, [problem]) from error
    if content.startswith(_SQLITE):
        problem = Problem(
            document.file,
            0,
            0,
            "",
            "is a database, not a campaign file",
            f"to go on with the campaign in it: alflow resume {path}",
            "AL103",
        )
        raise CampaignFileError(document.file, [problem])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        document.lines = content.decode("utf-8", errors="replace").splitlines()
        finding = Finding(
            (),
            f"byte 0x{content[error.start]:02x} is not UTF-8 text",
            "save the file with the encoding UTF-8",
            "AL102",
        )
        problem = document.problem_at(line, column, finding)
        raise CampaignFileError(document.file, [problem]) from error


def _other_files(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml")
    )
    return f"in that folder: {', '.join(names[:5])}" if names else ""


def _compose(text: str, document: Document) -> Node | None:
    root: Node | None = None
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = _syntax_message(error)
        hint = next((text for key, text in _SYNTAX_HINTS.items() if key in message), "")
        problem = document.problem_at(line, column, Finding((), message, hint, "AL102"))
        raise CampaignFileError(document.file, [problem]) from error
    except ReaderError as error:
        before = text[: error.position]
        place = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"the character 0x{ord(text[error.position]):02x} is not allowed in YAML"
        problem = document.problem_at(*place, Finding((), message, "", "AL102"))
        raise CampaignFileError(document.file, [problem]) from error
    except (YAMLError, RecursionError) as error:
        problem = document.problem_at(1, 1, Finding((), f"not YAML: {error}", "", "AL102"))
        raise CampaignFileError(document.file, [problem]) from error
    return root


def _syntax_message(error: MarkedYAMLError) -> str:
    problem = error.problem or "cannot be parsed"
    if error.context is None:
        return f"not YAML: {problem}"
    where = f" in line {error.context_mark.line + 1}" if error.context_mark else ""
    return f"not YAML: {error.context}{where}: {problem}"


def _joined(text: str) -> str:
    """Text whose surrogates, which JSON writes as two escapes, are joined to characters."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Walk:
    """Turns nodes into data and notes places, duplicates and what YAML should not hold."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = YAML(typ="safe", pure=True).constructor
        self.count = 0
        self.open: set[int] = set()

    def convert(self, node: Node, path: PathOf) -> Any:
        """The data of a node; what cannot be used becomes a problem and None."""
        place = self.place(node)
        self.document.values.setdefault(path, place)
        self.count += 1
        if self.count > LARGEST_NODE_COUNT:
            message = f"the file has more than {LARGEST_NODE_COUNT} values"
            hint = "aliases count each time they are used"
            raise _refusal(self.document, place, message, hint)
        if id(node) in self.open:
            raise _refusal(self.document, place, "an alias contains itself")
        self.open.add(id(node))
        try:
            return self.content(node, path)
        finally:
            self.open.remove(id(node))

    def content(self, node: Node, path: PathOf) -> Any:
        """Dispatch on the kind of node."""
        tag = str(node.tag).removeprefix(_TAG)
        if isinstance(node, MappingNode) and tag == "map":
            return self.mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self.convert(item, (*path, k)) for k, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and tag in _TEXT:
            return _joined(str(node.value))
        if isinstance(node, ScalarNode) and tag in _CONSTRUCTED:
            return self.scalar(node, path)
        self.report(
            node, Finding(path, f"the YAML tag {tag!r} is not used here", "remove it")
        )
        return None

    def mapping(self, node: MappingNode, path: PathOf) -> dict[str, Any]:
        """A dict; of duplicate keys the first counts."""
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.report(
                    key_node, Finding(path, "a key must be a word", "quote '{' and '['")
                )
                continue
            key = _joined(str(key_node.value))
            here = (*path, key)
            if key in found:
                first = self.document.keys[here][0]
                message = f"{key!r} is here twice; first in line {first}"
                finding = Finding(here, message, "remove one of the two")
                self.report(key_node, finding)
                continue
            self.document.keys[here] = self.place(key_node)
            if isinstance(value_node, ScalarNode) and not value_node.value:
                # YAML puts an empty value at whatever comes next.
                self.document.values[here] = self.place(key_node)
            found[key] = self.convert(value_node, here)
        return found

    def scalar(self, node: ScalarNode, path: PathOf) -> Any:
        """A number, boolean or null."""
        try:
            return self.constructor.construct_object(node)
        except (ValueError, YAMLError):
            self.report(
                node, Finding(path, f"{node.value!r} is not a number", "quote a text")
            )
            return None

    def report(self, node: Node, finding: Finding) -> None:
        """Note a problem at the place of a node."""
        self.document.findings.append(self.document.problem_at(*self.place(node), finding))

    @staticmethod
    def place(node: Node) -> tuple[int, int]:
        """Line and column of a node, from 1."""
        return node.start_mark.line + 1, node.start_mark.column + 1
