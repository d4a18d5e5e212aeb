"""Names of files in messages."""

from pathlib import Path

from alflow.core.filenames import near, similar


def test_a_path_is_told_as_it_would_be_typed(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert near(tmp_path / "here" / "a" / "b.xyz") == "a/b.xyz"
    assert near(tmp_path / "there.xyz") == str(tmp_path / "there.xyz")


def test_a_similar_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("water.db", "water.yaml"):
        Path(name).touch()
    assert similar(Path("watr.db")) == "water.db"
    assert similar(Path("water.ymal")) == "water.yaml"
    assert similar(Path("watr.yaml"), (".py",)) == ""
    assert similar(Path("ethanol.db")) == ""
    assert similar(Path("none/water.db")) == ""
