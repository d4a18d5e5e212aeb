"""Checks between sections and of the size of quantities."""

import pytest
from ruamel.yaml import YAML

from alflow.config.chemistry import element_findings, smiles_symbols
from alflow.config.molecules import file_findings, molecule_findings
from alflow.config.problems import dotted

SAMPLE = "  duration_ps: 2.0\n"
CELL = "count: 3\n      is_periodic: true"


@pytest.mark.parametrize(
    ("old", "new", "path", "message", "hint"),
    [
        (
            SAMPLE,
            SAMPLE + "  timestep_fs: 10\n",
            "sample.timestep_fs",
            "is 10 fs; with hydrogen present at most 1.0 fs",
            "allow_large_timestep: true",
        ),
        (
            SAMPLE,
            SAMPLE + "  timestep_fs: 0.0005\n",
            "sample.timestep_fs",
            "looks like ps",
            "did you mean 0.5?",
        ),
        (
            SAMPLE,
            SAMPLE + "  timestep_fs: 5e-16\n",
            "sample.timestep_fs",
            "looks like s",
            "did you mean 0.5?",
        ),
        (
            "[50, 600]",
            "[600, 50]",
            "sample.temperature_K.start",
            "[600, 50] is upside down",
            "[50, 600]",
        ),
        ("[50, 600]", "[50, 6e5]", "sample.temperature_K.start[1]", "hotter than", "in K"),
        (
            "count: 3",
            "density_g_per_cm3: 2700",
            "system.builders[0].density_g_per_cm3",
            "denser than any matter",
            "g/cm³ expected; did you mean 2.7?",
        ),
        (
            "count: 3",
            "density_g_per_cm3: [1.0, 997]",
            "system.builders[0].density_g_per_cm3[1]",
            "denser",
            "did you mean 0.997?",
        ),
        (
            "[O, H]",
            "[O, C]",
            "system.builders[0].elements[1]",
            "makes C, which is not in system.elements [H, O]",
            "add C",
        ),
        (
            "[O, H]",
            "[O, Hx]",
            "system.builders[0].elements[1]",
            "no element 'Hx'",
            "did you mean",
        ),
        (
            "count: 3",
            "composition: {Al: 3}",
            "system.builders[0].composition.Al",
            "makes Al",
            "",
        ),
        ("count: 3", "smiles: [O, CO]", "system.builders[0].smiles[1]", "makes C", ""),
        ("count: 3", "formula: NaCl", "system.builders[0].formula", "makes Cl", ""),
        ("acquire:", "model: {members: 1}\nacquire:", "model.members", "at least 2", "8"),
        (
            "acquire:",
            "stop: {converged: {force_rmse_eV_per_A: 0.1}}\nacquire:",
            "stop.converged.force_rmse_eV_per_A",
            "the campaign has none",
            "test:",
        ),
        (
            "acquire:",
            "stop: {converged: {survival_ps: 5}}\nacquire:",
            "stop.converged.survival_ps",
            "no trajectory is longer than 2 ps",
            "2",
        ),
        ("[H, O]", "[H, O, He]", "sample.duration_ps", "helium does not walk", "run"),
        ("[H, O]", "[H, O, Ne]", "acquire.per_iteration", "neon is never picked", ""),
        (
            "basis: big",
            "basis: big, elements: [H]",
            "label.levels.dft.elements",
            "does not know O",
            "elements",
        ),
        ("basis: big", "basis: none", "label.levels.dft", "no basis for that", ""),
    ],
)
def test_one_mistake(problems_of, *, old, new, path, message, hint):
    found = problems_of((old, new))
    matching = [problem for problem in found if problem.path == path]
    assert matching, [str(problem) for problem in found]
    assert message in matching[0].message
    assert hint in matching[0].hint


def test_a_large_timestep_can_be_asked_for(problems_of):
    override = SAMPLE + "  timestep_fs: 1.5\n  allow_large_timestep: true\n"
    assert problems_of((SAMPLE, override)) == []


@pytest.mark.parametrize(
    ("elements", "timestep", "n_problems"),
    [("[H]", 1.0, 0), ("[H]", 1.01, 1), ("[O]", 3.9, 0), ("[O]", 4.1, 1), ("[Al]", 5.1, 1)],
)
def test_the_limit_grows_with_the_lightest_mass(
    problems_of, elements, timestep, n_problems
):
    found = problems_of(
        ("[H, O]", elements),
        ("elements: [O, H]\n", "elements: []\n"),
        (SAMPLE, f"{SAMPLE}  timestep_fs: {timestep}\n"),
    )
    assert [p.path for p in found] == ["sample.timestep_fs"] * n_problems
    assert all(p.code == "AL121" for p in found)


def test_a_molecular_level_refuses_cells(problems_of):
    level = ("basis: big", "basis: big, handles_periodic: false")
    assert problems_of(level) == []
    (problem,) = problems_of(level, ("count: 3", CELL))
    assert problem.path == "system.builders[0].kind"
    assert "level 'dft' (program) takes molecules only" in problem.message
    assert problems_of(("count: 3", CELL)) == []


@pytest.mark.parametrize(
    ("builder", "path", "message"),
    [
        (
            "{kind: crystal, element: [H, C], lattice: rocksalt, lattice_A: 4}",
            "element[1]",
            "makes C",
        ),
        (
            "{kind: slab, element: O, lattice: fcc, lattice_A: 4, guests: [H, Au]}",
            "guests[1]",
            "makes Au",
        ),
        ("{kind: crystal, path: absent.cif}", "path", "there is no file 'absent.cif'"),
        ("{kind: dimers, elements: [H, N]}", "elements[1]", "makes N"),
        (
            "{kind: molecular_box, smiles: [CO], density_g_per_cm3: 1}",
            "smiles[0]",
            "C is not in system.elements",
        ),
    ],
)
def test_what_builders_are_made_of_is_in_the_system(builder, path, message):
    data = {"system": {"elements": ["H", "O"], "builders": [YAML().load(builder)]}}
    finders = (element_findings, molecule_findings, file_findings)
    (finding,) = [found for find in finders for found in find(data)]
    assert dotted(finding.path) == f"system.builders[0].{path}"
    assert message in finding.message


def test_a_test_set_satisfies_the_force_criterion(problems_of):
    stop = "stop: {converged: {force_rmse_eV_per_A: 0.1}}\n"
    test = "test: {count: 5, builders: [{kind: blob}]}\n"
    assert problems_of(("acquire:", stop + test + "acquire:")) == []


def test_plugins_without_the_optional_parts_are_fine(problems_of):
    third = (
        "    - kind: blob\n      elements: [O, H]\n      count: 3",
        "    - kind: third",
    )
    level = ("{kind: program, basis: big}", "{kind: third}")
    assert problems_of(third, level) == []


def test_checks_look_beside_sections_with_other_problems(problems_of):
    found = problems_of(
        (SAMPLE, SAMPLE + "  timestep_fs: 2\n  replicaz: 3\n"), ("seed: 7", "seed: x")
    )
    assert [problem.path for problem in found] == [
        "seed",
        "sample.timestep_fs",
        "sample.replicaz",
    ]


def test_a_misspelt_element_is_told_once(problems_of):
    (problem,) = problems_of(("[H, O]", "[H, Oo]"))
    assert problem.code == "AL120"


@pytest.mark.parametrize(
    ("smiles", "symbols"),
    [
        ("O", ["O"]),
        ("CCO", ["C", "O"]),
        ("c1ccccc1Cl", ["C", "Cl"]),
        ("[Na+].[Cl-]", ["Na", "Cl"]),
        ("[13CH3][OH]", ["C", "O"]),
        ("[H][H]", ["H"]),
        ("C[Si](C)(C)Br", ["C", "Si", "Br"]),
        ("[nH]1cccc1", ["N", "C"]),
    ],
)
def test_symbols_in_smiles(smiles, symbols):
    assert smiles_symbols(smiles) == symbols


def test_of_two_that_say_the_same_the_exact_one_stays(problems_of):
    (problem,) = problems_of(("count: 3", "composition: {Xx: 1}\n      strict: true"))
    assert (problem.path, problem.code) == ("system.builders[0].composition.Xx", "AL120")
    assert (problem.line, problem.column) == (8, 25)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("formula: H2O\n      multiplicity: 1", None),
        (
            "formula: H2O\n      multiplicity: 2",
            "is 2, but H2O with charge +0 has 10 electrons",
        ),
        ("formula: H2O\n      multiplicity: 3", None),
        ("formula: OH\n      multiplicity: 1", "has 9 electrons"),
        ("formula: OH\n      multiplicity: 1\n      charge: -1", None),
        (
            "formula: H3O\n      multiplicity: 2\n      charge: 1",
            "charge +1 has 10 electrons",
        ),
        ("formula: (OH)2\n      multiplicity: 2", None),
        ("formula: H2O", None),
    ],
)
def test_electrons_and_multiplicity(problems_of, text, expected):
    found = problems_of(("count: 3", text))
    assert [p.path for p in found] == ["system.builders[0].multiplicity"] * bool(expected)
    assert all(expected in p.message for p in found)


@pytest.mark.parametrize(
    ("audit", "path", "message"),
    [
        ("{changes: {bassis: huge}}", "label.audit.changes.bassis", "bassis"),
        ("{changes: {basis: [1]}}", "label.audit.changes.basis", "must be text"),
        ("{changes: {kind: third}}", "label.audit.changes.kind", "labeler of the level"),
        ("{fraction: 2}", "label.audit.fraction", "1"),
    ],
)
def test_audits_are_computed_with_settings_that_the_labeler_knows(
    problems_of, audit, path, message
):
    (problem,) = problems_of(("  primary: dft\n", f"  primary: dft\n  audit: {audit}\n"))
    assert problem.path == path
    assert message in problem.message


def test_audits_may_change_any_setting_and_may_be_left_out(problems_of):
    for audit in ("{changes: {basis: huge}}", "null", "{suspects: 0}"):
        changed = ("  primary: dft\n", f"  primary: dft\n  audit: {audit}\n")
        assert problems_of(changed) == []


def test_a_level_must_not_be_taken_for_an_audit(problems_of):
    (problem,) = problems_of(("    dft: {", "    dft/audit: {kind: third}\n    dft: {"))
    assert problem.path == "label.levels.dft/audit"
    assert "audits" in problem.message


@pytest.mark.parametrize(
    ("section", "path", "message"),
    [
        ("{reference: dtf}", "validate.reference", "no level 'dtf' is defined"),
        ("{every: 2}", "validate.every", "there are no suites to run"),
    ],
)
def test_what_cannot_be_validated_is_told(problems_of, section, path, message):
    (problem,) = problems_of(("seed: 7", f"seed: 7\nvalidate: {section}"))
    assert problem.path == path
    assert message in problem.message
