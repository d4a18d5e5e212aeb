"""Labels from tabulated embedded-atom potentials."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from alflow import registry
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers.analytic import AnalyticSettings
from alflow.labelers.eam import EamSettings
from alflow.labelers.level import level_digest

_SPEC = importlib.util.spec_from_file_location(
    "setfl_files", Path(__file__).with_name("setfl_files.py")
)
setfl_files = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(setfl_files)
setfl = setfl_files.setfl

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
CAMPAIGN = Path(__file__).parents[2] / "workflows" / "aluminum-gupta" / "campaign.yaml"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eam")
    texts = {
        "Al.eam.alloy": setfl(["Al"], fs=False),
        "Coarse.eam.fs": setfl(["Cu", "Ni"], fs=True, nr=250, nrho=200),
        "CuNi.eam.alloy": setfl(["Cu", "Ni"], fs=False),
        "CuNi.eam.fs": setfl(["Cu", "Ni"], fs=True),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def rough(symbols=("Al",), *, a0_A=4.0, repeats=1, seed=0, pbc=(True, True, True)):
    rng = np.random.default_rng(seed)
    shifts = np.stack(np.meshgrid(*[range(repeats)] * 3), -1).reshape(-1, 1, 3)
    positions = (FCC + shifts).reshape(-1, 3) * a0_A
    positions = positions + rng.normal(0, 0.12, positions.shape)
    strain = np.eye(3) + rng.normal(0, 0.03, (3, 3))
    numbers = [
        {"Al": 13, "Cu": 29, "Ni": 28}[s] for s in rng.choice(symbols, len(positions))
    ]
    cell = repeats * a0_A * strain
    return Structure(np.array(numbers, np.uint8), positions @ strain, cell, np.array(pbc))


def gupta_cell(number, a0_A):
    """One atom in a cell much smaller than the cutoff."""
    cell = a0_A / 2 * np.array([[0, 1, 1], [1.1, 0, 1], [1, 1, 0.0]])
    return Structure(np.array([number], np.uint8), np.zeros((1, 3)), cell, np.ones(3, bool))


def label_of(file, structure, **settings):
    label = EamSettings(file=str(file), **settings).create().label(structure)
    assert isinstance(label, Label), label
    return label


def test_entry_point_finds_it():
    assert registry.find("labelers", "eam") is EamSettings


@pytest.mark.parametrize(
    ("file", "structure"),
    [
        ("Al.eam.alloy", rough()),
        ("Al.eam.alloy", rough(repeats=2, pbc=(False, False, False))),
        ("Al.eam.alloy", rough(repeats=2, pbc=(True, True, False))),
        ("Al.eam.alloy", gupta_cell(13, 3.6)),
        ("CuNi.eam.fs", rough(("Cu", "Ni"), a0_A=3.5, repeats=2)),
        ("CuNi.eam.fs", gupta_cell(28, 3.4)),
    ],
)
def test_fine_tables_are_the_function_that_was_tabulated(files, file, structure):
    symbols = ("Al",) if file.startswith("Al") else ("Cu", "Ni")
    exact = AnalyticSettings(elements=symbols).create().label(structure)
    label = label_of(files / file, structure)
    assert label.energy == pytest.approx(exact.energy, abs=1e-7 * structure.n_atoms)
    np.testing.assert_allclose(label.forces, exact.forces, atol=1e-6)
    assert (label.stress is None) == (exact.stress is None)
    if label.stress is not None:
        np.testing.assert_allclose(label.stress, exact.stress, atol=1e-7)


@pytest.mark.parametrize(
    ("file", "structure"),
    [
        ("Al.eam.alloy", rough(repeats=2)),
        ("CuNi.eam.alloy", rough(("Cu", "Ni"), a0_A=3.55, repeats=2)),
        ("CuNi.eam.fs", rough(("Cu", "Ni"), a0_A=3.55, repeats=2)),
        ("CuNi.eam.alloy", rough(("Cu", "Ni"), repeats=2, pbc=(False, False, False))),
    ],
)
def test_ase_agrees(files, file, structure):
    from ase import Atoms
    from ase.calculators.eam import EAM

    atoms = Atoms(
        structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc
    )
    atoms.calc = EAM(potential=str(files / file))
    label = label_of(files / file, structure)
    energy = atoms.get_potential_energy()
    assert label.energy == pytest.approx(energy, abs=1e-7 * structure.n_atoms)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-5)


def test_forces_are_the_slope_of_the_energy_of_coarse_tables_too(files):
    structure = rough(("Cu", "Ni"), a0_A=3.5, repeats=1)
    labeler = EamSettings(file=str(files / "Coarse.eam.fs")).create()
    forces, step = labeler.label(structure).forces, 1e-4
    for atom in range(structure.n_atoms):
        for x in range(3):
            ends = []
            for sign in (1, -1):
                moved = structure.positions.copy()
                moved[atom, x] += sign * step
                at = Structure(structure.numbers, moved, structure.cell, structure.pbc)
                ends.append(labeler.label(at).energy)
            slope = -(ends[0] - ends[1]) / (2 * step)
            assert forces[atom, x] == pytest.approx(slope, abs=2e-5)


def test_stress_is_the_slope_of_the_energy_by_strain(files):
    structure = rough(("Cu", "Ni"), a0_A=3.5)
    labeler = EamSettings(file=str(files / "Coarse.eam.fs")).create()
    stress, step = labeler.label(structure).stress, 1e-4
    volume = abs(np.linalg.det(structure.cell))
    for k, (x, y) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[x, y] += sign * step / 2
            strain[y, x] += sign * step / 2
            at = Structure(
                structure.numbers,
                structure.positions @ strain,
                structure.cell @ strain,
                structure.pbc,
            )
            ends.append(labeler.label(at).energy)
        slope = (ends[0] - ends[1]) / (2 * step * volume)
        assert stress[k] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_an_atom_alone_has_the_energy_of_no_density(tmp_path):
    file = tmp_path / "Al.eam.alloy"
    file.write_text(setfl(["Al"], fs=False, nr=500, nrho=500, offset_eV=-0.25))
    alone = Structure(np.array([13], np.uint8), np.zeros((1, 3)))
    label = label_of(file, alone)
    assert label.energy == -0.25
    assert not label.forces.any()
    cutoff = EamSettings(file=str(file)).create()._potential.cutoff_A
    for gap, is_bound in ((-0.5, True), (1e-6, False)):
        ends = np.array([[0, 0, 0], [0, cutoff + gap, 0]])
        pair = label_of(file, Structure(np.array([13, 13], np.uint8), ends))
        assert (pair.energy != -0.5) == is_bound
        assert pair.forces.any() == is_bound


def test_beyond_the_last_density_the_energy_goes_on_straight(tmp_path):
    file = tmp_path / "Al.eam.alloy"
    crystal = gupta_cell(13, 4.0)
    file.write_text(setfl(["Al"], fs=False, nr=500, nrho=500))
    inside = label_of(file, crystal)
    assert inside.extras == {}
    file.write_text(setfl(["Al"], fs=False, nr=500, nrho=500, largest_rho=10.0))
    outside = label_of(file, crystal)
    assert outside.extras == {"atoms_beyond_tables": 1}
    # The tangent of a function that is curved upwards lies below it.
    assert inside.energy - 0.5 < outside.energy < inside.energy


@pytest.mark.parametrize("distance", [0.0, 1e-3])
def test_atoms_closer_than_the_tables_begin_are_refused(files, distance):
    ends = np.array([[0, 0, 0], [distance, 0, 0.0]])
    pair = Structure(np.array([13, 13], np.uint8), ends)
    answer = EamSettings(file=str(files / "Al.eam.alloy")).create().label(pair)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.BAD_GEOMETRY
    assert "Al0 and Al1" in answer.message


def test_the_closest_approach_can_be_set(files):
    ends = np.array([[0, 0, 0], [1.4, 0, 0.0]])
    pair = Structure(np.array([13, 13], np.uint8), ends)
    file = files / "Al.eam.alloy"
    assert label_of(file, pair).energy > 0
    wide = EamSettings(file=str(file), min_distance_A=1.5)
    answer = wide.create().label(pair)
    assert isinstance(answer, Failure)
    assert "limit 1.5 Å" in answer.message
    assert level_digest(wide) == level_digest(EamSettings(file=str(file)))


def test_what_cannot_be_labelled_is_a_failure(files):
    labeler = EamSettings(file=str(files / "CuNi.eam.fs")).create()
    strange = labeler.label(rough())
    assert isinstance(strange, Failure)
    assert strange.kind is FailureKind.INVALID_INPUT
    assert "no tables for Al" in strange.message
    cell = np.diag([5e-3, 3.0, 3.0])
    flat = Structure(np.array([29], np.uint8), np.zeros((1, 3)), cell, np.ones(3, bool))
    answer = labeler.label(flat)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.BAD_GEOMETRY


EDITS = {
    "count": (4, lambda line: "3 Cu Ni"),
    "element": (4, lambda line: "2 Cu Nj"),
    "twice": (4, lambda line: "2 Cu Cu"),
    "grid": (5, lambda line: "50 0.1 50.5 0.1 6.0"),
    "negative": (5, lambda line: "50 0.1 50 -0.1 6.0"),
    "small": (5, lambda line: "5 0.1 50 0.1 5.0"),
    "cutoff": (5, lambda line: line.rsplit(" ", 1)[0] + " 60.0"),
    "joined": (6, lambda line: line + "\n0"),
    "word": (8, lambda line: line.replace(line.split()[1], "1.0D-3")),
    "nan": (21, lambda line: "nan " + line.split(" ", 1)[1]),
    "short": (97, lambda line: line.rsplit(" ", 2)[0]),
    "long": (97, lambda line: line + " 0 0"),
    "truncated": (97, lambda line: ""),
}


def damaged(kind):
    number, edit = EDITS[kind]
    lines = setfl(["Cu", "Ni"], fs=True, nr=50, nrho=50).splitlines()
    lines[number - 1] = edit(lines[number - 1])
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "count",
            "bad.fs:4: expected the number of elements and as many symbols, found '3 Cu",
        ),
        ("element", "bad.fs:4: 'Nj' is no element"),
        ("twice", "bad.fs:4: an element is there twice"),
        ("grid", "bad.fs:5: expected nrho, drho, nr, dr and the cutoff"),
        ("negative", "bad.fs:5: expected nrho, drho, nr, dr and the cutoff, all positive"),
        ("small", "bad.fs:5: a table of fewer than 6 points"),
        ("cutoff", "bad.fs:5: the cutoff of 60 Å lies beyond the tables"),
        ("word", "bad.fs:8: '1.0D-3' is not a finite number"),
        ("nan", "bad.fs:21: 'nan' is not a finite number"),
        ("truncated", "bad.fs:96: 453 words follow line 5; 2 element(s) with nrho = 50"),
        ("joined", "bad.fs:37: expected atomic number, mass and lattice"),
        ("short", "bad.fs:97: the file ends 2 numbers too early"),
        ("long", "bad.fs:97: 2 words are left behind the last table"),
    ],
)
def test_a_malformed_file_is_told_by_name_and_line(tmp_path, kind, message):
    file = tmp_path / "bad.fs"
    file.write_text(damaged(kind))
    with pytest.raises(ValidationError) as caught:
        EamSettings(file=str(file))
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"a\nb\nc", bytes(range(256)) * 10])
def test_a_file_of_something_else_is_told(tmp_path, content):
    file = tmp_path / "bad.fs"
    file.write_bytes(content)
    with pytest.raises(
        ValidationError, match=r"bad\.fs:4: expected the number of elements"
    ):
        EamSettings(file=str(file))


def test_the_line_of_an_element_may_lack_its_lattice(files, tmp_path):
    text = (files / "CuNi.eam.fs").read_text()
    file = tmp_path / "CuNi.eam.fs"
    file.write_text(text.replace(" 4.0 fcc", "", 1).replace("4.0 fcc", "4.0 fcc # Ni"))
    structure = rough(("Cu", "Ni"), a0_A=3.5)
    label = label_of(file, structure)
    assert label.to_json() == label_of(files / "CuNi.eam.fs", structure).to_json()


def test_the_level_is_the_content_wherever_it_lies(files, tmp_path):
    settings = EamSettings(file=str(files / "Al.eam.alloy"))
    copy = tmp_path / "other.alloy"
    copy.write_bytes((files / "Al.eam.alloy").read_bytes())
    assert level_digest(EamSettings(file=str(copy))) == level_digest(settings)
    copy.write_bytes(copy.read_bytes() + b"\n")
    changed = EamSettings(file=str(copy))
    assert level_digest(changed) != level_digest(settings)
    with pytest.raises(ValidationError, match="is not the file that labels were made with"):
        EamSettings(file=str(copy), sha256=settings.sha256)


def test_workers_refuse_another_file_and_a_missing_one(files, tmp_path):
    file = tmp_path / "Al.eam.alloy"
    file.write_bytes((files / "Al.eam.alloy").read_bytes())
    sent = EamSettings(file=str(file)).model_dump(mode="json")
    assert EamSettings.model_validate(sent).create().label(rough()).energy < 0
    file.write_bytes(file.read_bytes() + b"\n")
    received = EamSettings.model_validate(sent)
    with pytest.raises(SettingsError, match="is not the file that labels were made with"):
        received.create()
    file.unlink()
    received = EamSettings.model_validate(sent)
    with pytest.raises(SettingsError, match="No such file") as caught:
        received.create()
    assert "workers read the file" in caught.value.next_step


def campaign(folder, level, elements="[Al]"):
    text = CAMPAIGN.read_text().replace("{kind: analytic, potential: gupta}", level)
    path = folder / "campaign.yaml"
    path.write_text(text.replace("elements: [Al]", f"elements: {elements}"))
    return path


def test_the_path_counts_from_the_campaign_file(files, tmp_path, monkeypatch):
    (tmp_path / "campaign").mkdir()
    (tmp_path / "campaign" / "Al.alloy").write_bytes((files / "Al.eam.alloy").read_bytes())
    path = campaign(tmp_path / "campaign", "{kind: eam, file: Al.alloy}")
    monkeypatch.chdir(tmp_path)
    level = load_campaign(path).label.levels["gupta"]
    assert level.file == str(tmp_path / "campaign" / "Al.alloy")
    assert level.file_elements == ("Al",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.alloy", "No such file"),
        ("CuNi.eam.fs", "has no tables for Al (it has Cu, Ni)"),
    ],
)
def test_mistakes_are_told_at_their_place(files, tmp_path, name, message):
    path = campaign(tmp_path, f"{{kind: eam, file: {name}}}")
    (tmp_path / "CuNi.eam.fs").write_bytes((files / "CuNi.eam.fs").read_bytes())
    with pytest.raises(CampaignFileError) as caught:
        load_campaign(path)
    problems = [p for p in caught.value.problems if message in p.message]
    assert [problem.path for problem in problems] == ["label.levels.gupta.file"]


def test_settings_import_nothing_heavy():
    code = (
        "import sys, alflow.labelers.eam as eam\n"
        "print(sorted({'torch', 'ase', 'numba', 'vesin'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_a_file_that_is_gone_is_missing_here(files, tmp_path):
    file = tmp_path / "Al.eam.alloy"
    file.write_bytes((files / "Al.eam.alloy").read_bytes())
    settings = EamSettings(file=str(file))
    assert list(settings.missing_here()) == []
    file.unlink()
    assert [finding.path for finding in settings.missing_here()] == [("file",)]


@pytest.mark.parametrize("kind", ["analytic", "eam"])
def test_what_must_be_compiled_is_compiled_before_the_clock_starts(kind, tmp_path):
    """With a deadline of seconds the first structures would be killed, each time anew."""
    file = tmp_path / "al.eam.alloy"
    file.write_text(setfl_files.setfl(["Al"], fs=False))
    given = {"kind": kind, **({"file": str(file)} if kind == "eam" else {})}
    program = (
        "import json, sys; from alflow import registry;"
        "given = json.loads(sys.argv[1]);"
        "registry.find('labelers', given['kind']).model_validate(given).create();"
        "from alflow.models.pair_search import search; print(len(search.signatures))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "1"
