"""Campaign files with the plug-ins that are installed: shipped ones and the design's example."""

import json
import os
import shutil
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from alflow.cli.check import first_iteration
from alflow.config.document import leaves
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError
from alflow.config.resolution import resolved, settings_from_resolved
from alflow.config.shipped import templates
from alflow.store import open_store

EXAMPLE = """\
name: water
seed: 20261
system:  {elements: [H, O], builders: [{kind: molecules, smiles: [O], count: 32, molecules_per_structure: [1, 3]}]}
label:   {primary: dft, levels: {dft: {kind: pyscf, method: wb97x, basis: 6-31g*}}}
model:   {kind: ani, members: 8}
train:   {epochs: 400, energy_weight: 1.0, force_weight: 1.0}
sample:  {kind: nemd, replicas: 64, timestep_fs: 0.5, duration_ps: 2.0, temperature_K: {start: [50, 600], end: [50, 1000], amplitude: [0, 500], period_ps: [0.5, 2.0]}}
acquire: {kind: threshold, per_iteration: 64, audit_fraction: 0.05}
loop:    {mode: generational, bootstrap: 64, max_iterations: 20}
stop:    {budget: {labels: 2000}, converged: {survival_ps: 2.0, force_rmse_eV_per_A: 0.05}}
test:    {count: 40, builders: [{kind: molecules, smiles: [O]}]}
"""  # noqa: E501 - as in the guide


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["H", "O", "pyscf", "nemd", "molecules", "crystal", "Al", "", "10:30", "é"]
    ),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["kind", "start", "elements", "dft", "x"]), inner),
    ),
    max_leaves=6,
)
BOX = "{kind: random_box, composition: {H: 2, O: 1}, density_g_per_cm3: D}"


@pytest.fixture
def check(tmp_path):
    """Loads a campaign file with some text replaced."""

    def load(*replacements):
        text = EXAMPLE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "campaign.yaml"
        path.write_text(text)
        return load_campaign(path)

    return load


_FILE = Path(__file__).parents[1] / "labelers" / "setfl_files.py"
_SPEC = spec_from_file_location("setfl_files", _FILE)
SETFL = module_from_spec(_SPEC)
_SPEC.loader.exec_module(SETFL)


@pytest.mark.parametrize("name", sorted(templates()))
def test_shipped_campaigns_have_no_problems(name, alflow, tmp_path):
    path = templates()[name] / "campaign.yaml"
    if name == "aluminum":  # the user brings the table
        path = shutil.copy(path, tmp_path)
        setfl = SETFL.setfl(["Al"], fs=True)
        (tmp_path / "Al_mm.eam.fs").write_text(setfl)
    campaign = load_campaign(path)
    assert settings_from_resolved(resolved(campaign)) == campaign
    result = alflow("check", path, "--site", "local")
    assert "iteration 0" in result.out
    if name == "aluminum-pbe" and find_spec("gpaw") is None:
        assert result.code == 2
        assert "cannot run here: label.levels.pbe" in result.err
    else:
        assert result.code == 0, result.err
        assert "Ready. Next: alflow run" in result.err


def test_kernels_that_there_are_not_are_told_before_a_worker_needs_them(
    alflow, monkeypatch
):
    path = templates()["water"] / "campaign.yaml"
    monkeypatch.setenv("ALFLOW_KERNELS", "nonsense")
    result = alflow("check", path)
    assert result.code == 2
    assert "ALFLOW_KERNELS is 'nonsense'" in " ".join(result.out.split())
    monkeypatch.setenv("ALFLOW_KERNELS", "Torch")
    assert alflow("check", path).code == 0


def test_the_example_of_the_guide(check):
    campaign = check()
    assert campaign.sample.replicas == 64
    assert first_iteration(campaign) == (
        "104 labels (64 bootstrap, 40 test), then training of an ensemble of 8"
    )
    by_four = campaign.label.model_copy(update={"batch_size": 4})
    assert first_iteration(campaign.model_copy(update={"label": by_four})) == (
        "104 labels (64 bootstrap, 40 test) in 26 tasks, then training of an ensemble of 8"
    )


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("timestep_fs: 0.5", "timestep_fs: 2.0", "sample.timestep_fs", "at most 1.0 fs"),
        (
            "start: [50, 600]",
            "start: [600, 50]",
            "sample.temperature_K.start",
            "upside down",
        ),
        ("members: 8", "members: 1", "model.members", "at least 2, not 1"),
        (
            "smiles: [O]",
            "smiles: [CO]",
            "system.builders[0].smiles[0]",
            "is CH4O; C is not",
        ),
        (
            "kind: pyscf, method: wb97x, basis: 6-31g*",
            "kind: analytic",
            "label.levels.dft.elements",
            "does not know H, O",
        ),
        (
            "{kind: molecules, smiles: [O]}",
            BOX.replace("D", "[0.9, 1.1]"),
            "test.builders[0].kind",
            "takes molecules only",
        ),
        (
            "{kind: molecules, smiles: [O]}",
            BOX.replace("D", "[900, 1100]"),
            "test.builders[0].density_g_per_cm3[0]",
            "denser than any matter",
        ),
        (
            "kind: threshold",
            "kind: learned",
            "acquire.kind",
            "no acquisition rule 'learned' is installed",
        ),
    ],
)
def test_one_mistake(check, *, old, new, path, message):
    with pytest.raises(CampaignFileError) as caught:
        check((old, new))
    messages = {problem.path: problem.message for problem in caught.value.problems}
    assert message in messages[path], messages


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (
            "smiles: [OO, CCQ]",
            "system.builders[0].smiles[1]",
            "'CCQ' is not among the molecules",
        ),
        (
            "names: [H2O, H3O]",
            "system.builders[0].names[1]",
            "no molecule 'H3O' in the G2 set",
        ),
        (
            "names: [CH4]",
            "system.builders[0].names[0]",
            "is CH4; C is not in system.elements",
        ),
        (
            "smiles: [O], files: [a.xyz]",
            "system.builders[0].files[0]",
            "there is no file 'a.xyz'",
        ),
    ],
)
def test_molecules_are_looked_up(check, text, path, message):
    with pytest.raises(CampaignFileError) as caught:
        check(("smiles: [O]", text))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert message in problem.message


def test_hydrogens_that_a_smiles_implies_count(check):
    with pytest.raises(CampaignFileError) as caught:
        check(("[H, O]", "[O]"))
    messages = {problem.path: problem.message for problem in caught.value.problems}
    assert messages == {
        "system.builders[0].smiles[0]": "is H2O; H is not in system.elements [O]",
        "test.builders[0].smiles[0]": "is H2O; H is not in system.elements [O]",
    }


def test_check_says_what_is_missing_here(alflow, tmp_path, monkeypatch):
    (tmp_path / "campaign.yaml").write_text(EXAMPLE)
    monkeypatch.setattr("alflow.cli.check.find_spec", lambda _name: None)
    result = alflow("check", "campaign.yaml", "--site", "nowhere")
    assert result.code == 2
    assert "program pyscf" in result.err
    assert "site" in result.err
    assert "[AL201]" in result.err
    assert "FAIL" in result.out


ELSEWHERE = """\
from alflow.execution.sites import Site, local_pool
from alflow.execution.slurm import slurm_pool


def site():
    nodes = slurm_pool("nodes", partition="x", workers_per_node=8, walltime="04:00:00")
    return Site("elsewhere", pools={"label": nodes, "*": local_pool()})
"""
PSI4 = "{kind: ase, calculator: psi4, energy: total, settings: {method: hf, basis: 6-31g*}}"


@pytest.mark.parametrize(
    ("labeler", "place", "message"),
    [
        pytest.param(
            PSI4,
            "label.levels.dft",
            "psi4 is not installed here; install it with conda",
            marks=pytest.mark.skipif(
                find_spec("psi4") is not None, reason="it is installed"
            ),
        ),
        (
            "{kind: ase, calculator: orca, settings: {orcasimpleinput: HF def2-SVP EnGrad}}",
            "label.levels.dft",
            "has no command for orca; write a section [orca]",
        ),
        (
            "{kind: faulty, of: {kind: command, command: [no-such], level: {method: hf}}}",
            "label.levels.dft.of.command",
            "no program 'no-such' is found here",
        ),
    ],
)
def test_check_looks_for_the_programs_of_labels_where_they_are_made(
    alflow, tmp_path, monkeypatch, labeler, place, message
):
    monkeypatch.setenv("ASE_CONFIG_PATH", str(tmp_path / "config.ini"))
    (tmp_path / "config.ini").touch()
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pyscf = "{kind: pyscf, method: wb97x, basis: 6-31g*}"
    (tmp_path / "campaign.yaml").write_text(EXAMPLE.replace(pyscf, labeler))
    result = alflow("check", "campaign.yaml")
    assert (result.code, f"cannot run here: {place}" in result.err) == (2, True)
    for site, state, code in (("local", "FAIL", 2), ("elsewhere.py", "warning", 0)):
        result = alflow("check", "campaign.yaml", "--site", site, "--json")
        assert result.code == code, result.err
        [row] = [
            row for row in result.json if row["what"] == place and row["state"] != "ok"
        ]
        assert (row["state"], message in row["found"]) == (state, True)


@pytest.fixture
def started(tmp_path):
    """A campaign file in this folder, and the database that was begun with it."""
    file, database = tmp_path / "campaign.yaml", tmp_path / "water.db"
    file.write_text(EXAMPLE)
    settings = load_campaign(file)
    with open_store(database, create=True) as store:
        store.create_campaign(settings.name, resolved(settings), settings.seed)
    return file, database


def test_check_looks_at_the_database_beside(alflow, started):
    states = {row["what"]: row for row in alflow("check", "campaign.yaml", "--json").json}
    assert states["database"]["found"] == "water.db: campaign 'water', running"
    started[1].write_text("no database at all")
    assert alflow("check", "campaign.yaml").code == 2


def test_check_says_what_the_database_does_not_allow(alflow, started):
    file, database = started
    file.write_text(EXAMPLE.replace("20261", "7").replace("bootstrap: 64", "bootstrap: 32"))
    before = database.read_bytes()
    result = alflow("check", "campaign.yaml")
    assert result.code == 2
    assert "water.db holds campaign 'water' at iteration 0" in result.out
    assert "[AL301]" in result.err
    (line,) = [line for line in result.err.splitlines() if line.startswith("  seed")]
    assert line.split()[:4] == ["seed", "20261", "→", "7"]
    assert "alflow resume water.db" in result.err
    assert database.read_bytes() == before


@given(data=st.data(), value=VALUES)
@settings(max_examples=20, deadline=None)
def test_whatever_stands_in_a_file_is_told_and_never_a_crash(data, value, tmp_path_factory):
    content = YAML(typ="safe", pure=True).load(EXAMPLE)
    paths = [path for path, _ in leaves(content) if path]
    path = data.draw(st.sampled_from(paths))
    node = content
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    file = tmp_path_factory.mktemp("fuzz") / "campaign.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    told = None
    try:
        loaded = load_campaign(file)
    except CampaignFileError as error:
        told = error
    if told is None:
        assert settings_from_resolved(resolved(loaded)) == loaded
    else:
        assert all(problem.message in str(told) for problem in told.problems)


@pytest.mark.parametrize("command", [("run", "campaign.yaml"), ("demo", "new")])
def test_an_unknown_site_is_told_before_anything_is_made(alflow, tmp_path, command):
    (tmp_path / "campaign.yaml").write_text(EXAMPLE)
    result = alflow(*command, "--site", "nosuch")
    assert (result.code, "there is no site 'nosuch'" in result.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["campaign.yaml"]


@pytest.mark.parametrize(
    ("wrong", "right", "place"),
    [
        ("wb97y", "wb97x", "label.levels.dft.method"),
        ("6-31g**x", "6-31g*", "label.levels.dft.basis"),
    ],
)
def test_what_pyscf_does_not_know_is_told_with_its_line(
    alflow, tmp_path, wrong, right, place
):
    (tmp_path / "campaign.yaml").write_text(EXAMPLE.replace(right, wrong))
    result = alflow("check", "campaign.yaml")
    assert result.code == 2
    assert "campaign.yaml:4:" in result.err
    assert f"{place}: PySCF knows no" in result.err
    assert "did you mean" in result.err


def test_a_misspelt_section_is_one_mistake(alflow, tmp_path):
    (tmp_path / "campaign.yaml").write_text(EXAMPLE.replace("acquire:", "acquir: "))
    result = alflow("check", "campaign.yaml")
    assert "1 problem;" in result.err
    assert "did you mean 'acquire'?" in result.err


def test_what_comes_next_has_the_options_of_the_check(alflow, tmp_path):
    (tmp_path / "campaign.yaml").write_text(EXAMPLE)
    result = alflow("check", "campaign.yaml", "--site", "local", "--db", "my water.db")
    assert "Next: alflow run campaign.yaml --site local --db 'my water.db'" in result.err


def test_a_check_fails_with_what_is_wrong_with_the_site(alflow, tmp_path, monkeypatch):
    (tmp_path / "campaign.yaml").write_text(EXAMPLE)
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = alflow("check", "campaign.yaml", "--site", "elsewhere.py")
    assert (result.code, "[AL200]" in result.err) == (2, True)
    assert "site: pool 'nodes' needs sbatch, squeue, scancel" in result.err


def test_nothing_is_begun_without_the_programs_that_make_labels(alflow, tmp_path):
    missing = "{kind: command, command: [no-such], level: {method: hf}}"
    pyscf = "{kind: pyscf, method: wb97x, basis: 6-31g*}"
    (tmp_path / "campaign.yaml").write_text(EXAMPLE.replace(pyscf, missing))
    result = alflow("run", "campaign.yaml")
    assert (result.code, "[AL201]" in result.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["campaign.yaml"]
    assert alflow("run", "campaign.yaml", "--dry-run").code == 0


def test_a_stage_that_fails_as_foreseen_shows_no_traceback(alflow, tmp_path):
    water = "3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
    (tmp_path / "start.xyz").write_text(water)
    from_file = EXAMPLE.replace(
        "{kind: molecules, smiles: [O], count: 32, molecules_per_structure: [1, 3]}",
        "{kind: from_file, path: start.xyz}",
    )
    (tmp_path / "campaign.yaml").write_text(from_file)
    result = alflow("try", "builder", "campaign.yaml")
    assert result.code == 3
    assert "start.xyz has 1 frames, 8 were asked for" in result.err
    assert "loop.bootstrap" in result.err
    assert "Traceback" not in result.err
