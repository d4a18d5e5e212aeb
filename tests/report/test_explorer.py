import json
import re
import sys

import numpy as np
import pytest

from alflow.core.errors import SiteError
from alflow.core.structures import Structure
from alflow.report import explorer
from alflow.report.explorer import dataset, principal_components, render_explorer
from alflow.store import open_store
from alflow.store.explored import Explored

WATER = np.array([[0, 0, 0.1], [0, 0.76, -0.47], [0, -0.76, -0.47]])
NAN = float("nan")


def frame(k, **changes):
    cell = np.diag([6.0, 6.0, 6.0]) if k % 2 else None
    pbc = np.full(3, k % 2 == 1)
    values = {
        "structure_id": 100 + k,
        "structure": Structure(np.array([8, 1, 1], np.uint8), WATER, cell, pbc),
        "iteration": 1 + k // 3,
        "generation": k // 3,
        "sampler": "nemd",
        "reason": "flagged",
        "decision": "selected",
        "force_spread": 0.1 * k,
        "energy": -10.0,
        "energy_error": 0.01,
        "force_error": 0.2,
        "fingerprint": np.array([1.0 * k, 0.1 * (-1) ** k, 0.0]),
    }
    return Explored(**{**values, **changes})


def fake_chemiscope(folder, monkeypatch):
    static = folder / "chemiscope" / "sphinx" / "static"
    static.mkdir(parents=True)
    (folder / "chemiscope" / "__init__.py").write_text("raise RuntimeError")
    (static / "chemiscope.min.js").write_text('var Chemiscope = "</script>";')
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


def test_frames_as_chemiscope_takes_them():
    found = dataset("water", [frame(k) for k in range(6)])
    assert found["meta"]["name"] == "water"
    bare, boxed = found["structures"][:2]
    assert (bare["size"], bare["names"]) == (3, ["O", "H", "H"])
    assert bare["y"] == [0.0, 0.76, -0.76]
    assert "cell" not in bare
    assert boxed["cell"] == [6.0, 0, 0, 0, 6.0, 0, 0, 0, 6.0]
    assert found["properties"]["force spread"]["units"] == "eV/Å"
    assert found["properties"]["iteration"]["values"] == [1, 1, 1, 2, 2, 2]
    assert {len(one["values"]) for one in found["properties"].values()} == {6}
    assert found["settings"]["map"]["x"] == {"property": "component 1"}


def test_what_is_not_a_number_is_null_and_what_nobody_knows_is_left_out():
    found = dataset("x", [frame(0, energy=NAN, force_error=NAN), frame(1, force_error=NAN)])
    assert found["properties"]["energy"]["values"] == [None, -10.0]
    assert "force error" not in found["properties"]
    # Two frames are too few for a map by fingerprints.
    assert found["settings"]["map"]["x"] == {"property": "iteration"}
    json.dumps(found, allow_nan=False)


def test_the_map_is_along_what_differs_most():
    rng = np.random.default_rng(0)
    values = (
        rng.normal(size=(50, 1)) * np.array([3.0, 0, 0]) + rng.normal(size=(50, 3)) * 0.1
    )
    place = principal_components(list(values))
    assert place.shape == (50, 2)
    assert np.corrcoef(place[:, 0], values[:, 0])[0, 1] == pytest.approx(1.0, abs=1e-3)
    assert place.mean(axis=0) == pytest.approx(np.zeros(2), abs=1e-5)
    assert principal_components([np.zeros(0)] * 5) is None
    assert principal_components([np.ones(3), np.ones(3), np.ones(2)]) is None
    assert principal_components([np.full(3, NAN)] * 5) is None


def test_without_chemiscope_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(explorer, "find_spec", lambda _: None)
    with pytest.raises(SiteError, match="chemiscope") as caught:
        explorer.viewer()
    assert caught.value.code == "AL201"
    assert "alflow[explore]" in str(caught.value)


def test_a_page_holds_the_viewer_and_fetches_nothing(tmp_path, monkeypatch):
    fake_chemiscope(tmp_path, monkeypatch)
    with open_store(tmp_path / "a.db", create=True) as store:
        store.create_campaign("</script> & co", {"label": {"primary": "dft"}}, 1)
        page = render_explorer(store)
    assert len(re.findall("<script", page)) == len(re.findall("</script>", page)) == 3
    assert 'var Chemiscope = "\\x3c/script>";' in page
    assert "&lt;/script&gt; &amp; co" in page
    assert "default-src 'none'" in page
    assert not re.search(r"https?:", page)
    (text,) = re.findall(r'id="dataset">(.*?)</script>', page)
    assert json.loads(text)["structures"] == []
