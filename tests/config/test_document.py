"""What is wrong with the file itself, before anything in it has a meaning."""

import pytest

from alflow.config.document import ABSENT, child, read_document
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError


def test_a_good_file_has_no_problems(problems_of):
    assert problems_of() == []


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("", 1, 1, "the file is empty", "alflow init"),
        ("# only a comment\n", 1, 1, "the file is empty", "alflow init"),
        ("- a\n- b\n", 1, 1, "must be a mapping", ""),
        ("word\n", 1, 1, "must be a mapping", ""),
        ("name: x\nsystem: [H, O\n", 3, 1, "expected ',' or ']'", "bracket"),
        ("name: x\nsystem:\n\tseed: 1\n", 3, 1, "'\\t'", "spaces"),
        ("name: x\n seed: 1\n", 2, 6, "mapping values are not allowed", "indentation"),
        ("name: 'x\n", 2, 1, "unexpected end of stream", "quote"),
        ("name: *x\n", 1, 7, "undefined alias", "quote"),
        ("name: %x\n", 1, 7, "found character '%'", "quote"),
        ("name: x\n---\nname: y\n", 2, 1, "another document", "one campaign"),
        ("name: x\nseed: &a [*a]\n", 2, 7, "an alias contains itself", ""),
        ("name: \x01\n", 1, 7, "0x01 is not allowed", ""),
        (b"name: x\nseed: \xb5\n", 2, 7, "byte 0xb5 is not UTF-8", "UTF-8"),
        ("name: x".encode("utf-16"), 1, 1, "byte 0xff is not UTF-8", "UTF-8"),
    ],
)
def test_unusable_files(problems_of, *, text, line, column, message, hint):
    (problem,) = problems_of(text=text)
    assert (problem.line, problem.column) == (line, column)
    assert message in problem.message
    assert hint in problem.hint
    assert problem.code == "AL102"


def test_a_missing_file_names_others(tmp_path):
    (tmp_path / "other.yaml").write_text("name: x\n")
    with pytest.raises(CampaignFileError, match="there is no such file") as caught:
        load_campaign(tmp_path / "campaign.yaml")
    (problem,) = caught.value.problems
    assert problem.code == "AL103"
    assert problem.line == 0
    assert "other.yaml" in str(caught.value)


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(CampaignFileError, match="does not exist"):
        load_campaign(tmp_path / "nowhere" / "campaign.yaml")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(CampaignFileError, match="cannot be read"):
        load_campaign(tmp_path)


def test_every_duplicate_key_is_told_with_its_first_line(problems_of):
    found = problems_of(
        ("seed: 7\n", "seed: 7\nname: again\n"), ("count: 3", "count: 3\n      count: 4")
    )
    assert [(p.line, p.column, p.path) for p in found] == [
        (3, 1, "name"),
        (10, 7, "system.builders[0].count"),
    ]
    assert found[0].message == "'name' is here twice; first in line 1"
    assert found[1].message == "'count' is here twice; first in line 9"


def test_foreign_tags_and_strange_keys_are_refused(problems_of):
    found = problems_of(
        ("seed: 7", "seed: !!python/object:os.system 7"), ("label:", "? [a]\n: 1\nlabel:")
    )
    assert {(p.line, p.column) for p in found} == {(2, 7), (9, 3)}


def test_yaml_1_2_reads_what_chemists_write(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "a: [N, Y, No, on, 1e-3, 12:30:00, 2026-01-01, true, ~, 0x10, .5]\n1: {null: x}\n"
    )
    data = read_document(path).data
    assert data["a"] == [
        "N", "Y", "No", "on", 1e-3, "12:30:00", "2026-01-01", True, None, 16, 0.5,
    ]  # fmt: skip
    assert data["1"] == {"null": "x"}


def test_characters_that_json_writes_as_two_escapes(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text('{"a": "\\ud83d\\ude00", "b": "\\ud83d"}')
    assert read_document(path).data == {"a": "\U0001f600", "b": "\ufffd"}


def test_a_byte_order_mark_is_skipped(problems_of, good):
    assert problems_of(text=good.encode("utf-8-sig")) == []


def test_aliases_are_expanded_and_limited(problems_of, tmp_path):
    assert problems_of(("[O, H]", "&e [O, H]"), ("[50, 600]", "[50, 600]")) == []
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, inner in zip("bcdef", "abcde", strict=True):
        bomb += f"{name}: &{name} [{', '.join(['*' + inner] * 10)}]\n"
    (problem,) = problems_of(text=bomb)
    assert "more than 10000 values" in problem.message


def test_child_tells_nothing_from_null():
    assert child({"a": None}, "a") is None
    assert child({"a": None}, "b") is ABSENT
    assert child([1], 1) is ABSENT
    assert child([1], "x") is ABSENT
    assert child(5, 0) is ABSENT


def test_positions_by_path(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a:\n  - b: 1\n    c: {d: 2}\n")
    document = read_document(path)
    assert document.keys["a", 0, "c", "d"] == (3, 9)
    assert document.values["a", 0, "c", "d"] == (3, 12)
    assert document.value(("a", 0, "c", "d")) == 2
    assert document.value(("a", 1)) is None
