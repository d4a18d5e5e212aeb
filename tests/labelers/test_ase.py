"""Labels from programs behind ASE: recorded outputs of each, and the real ones where installed."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.units import GPa
from pydantic import ValidationError

from alflow import registry
from alflow.core.errors import SettingsError, SiteError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.labelers.ase import AseSettings
from alflow.labelers.ase_codes import CODES
from alflow.labelers.composite import CompositeSettings
from alflow.labelers.eam import EamSettings
from alflow.labelers.level import level_digest

_SPEC = spec_from_file_location("setfl_files", Path(__file__).with_name("setfl_files.py"))
setfl_files = module_from_spec(_SPEC)
_SPEC.loader.exec_module(setfl_files)

RECORDED = Path(__file__).with_name("recorded")
PRINTED = {
    "espresso": "espresso.pwo",
    "cp2k": "cp2k_shell.txt",
    "orca": "orca.out",
    "aims": "aims.out",
}
"""What a program prints to its standard output, where that is read."""


def of_atoms(atoms, **spin):
    cell = np.array(atoms.cell) if atoms.pbc.any() else None
    return Structure(
        atoms.numbers.astype(np.uint8), atoms.positions, cell, atoms.pbc, **spin
    )


def aluminium():
    atoms = bulk("Al", cubic=True, a=4.05)
    atoms.rattle(0.1, seed=1)
    return of_atoms(atoms)


WATER = of_atoms(molecule("H2O"))
OXIDE = Structure(
    np.array([8, 13, 8], np.uint8),
    np.array([[0.1, 0, 0], [1.8, 0.2, 0], [3.5, 0, 0.1]]),
    6.0 * np.eye(3),
    np.ones(3, bool),
)
STRUCTURES = {
    **dict.fromkeys(("espresso", "cp2k", "gpaw"), aluminium()),
    **dict.fromkeys(("orca", "aims", "psi4"), WATER),
    "vasp": OXIDE,
}
SMEARED_CP2K = """&FORCE_EVAL
 &DFT
  &KPOINTS
   SCHEME MONKHORST-PACK 2 2 2
  &END KPOINTS
  &SCF
   ADDED_MOS 10
   MAX_SCF {cycles}
   EPS_SCF 1.0E-7
   &SMEAR
    METHOD FERMI_DIRAC
    ELECTRONIC_TEMPERATURE [K] 1000.0
   &END SMEAR
   &MIXING
    METHOD BROYDEN_MIXING
    ALPHA 0.4
   &END MIXING
  &END SCF
 &END DFT
&END FORCE_EVAL
"""
LEVELS = {
    "espresso": {
        "pseudopotentials": {"Al": "Al.pz-vbc.UPF"},
        "kpts": [2, 2, 2],
        "input_data": {
            "system": {
                "ecutwfc": 18,
                "occupations": "smearing",
                "smearing": "mv",
                "degauss": 0.02,
            },
            "electrons": {"conv_thr": 1e-8},
        },
    },
    "cp2k": {
        "xc": "PBE",
        "cutoff": 2721.0,
        "basis_set": "DZVP-MOLOPT-SR-GTH",
        "basis_set_file": "BASIS_MOLOPT",
        "pseudo_potential": "GTH-PBE",
        "potential_file": "GTH_POTENTIALS",
        "max_scf": None,
        "inp": SMEARED_CP2K.format(cycles=60),
    },
    "gpaw": {
        "mode": {"name": "pw", "ecut": 250},
        "xc": "PBE",
        "kpts": {"density": 2.0, "gamma": True},
        "occupations": {"name": "fermi-dirac", "width": 0.15},
    },
    "vasp": {
        "xc": "PBE",
        "pp": "pbe",
        "encut": 400,
        "kspacing": 0.3,
        "setups": {"Al": "", "O": "_s"},
    },
    "orca": {"orcasimpleinput": "HF def2-SVP TightSCF EnGrad"},
    "aims": {"xc": "pbe", "species_dir": "defaults_2020/light"},
    "psi4": {"method": "hf", "basis": "6-31g*"},
}
FILES = {
    "espresso": ["Al.pz-vbc.UPF"],
    "cp2k": ["BASIS_MOLOPT", "GTH_POTENTIALS"],
    "vasp": ["potpaw_PBE/Al/POTCAR", "potpaw_PBE/O_s/POTCAR"],
    "aims": ["defaults_2020/light/01_H_default", "defaults_2020/light/08_O_default"],
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Writes ASE's configuration, and files of the programs."""
    monkeypatch.setenv("ASE_CONFIG_PATH", str(tmp_path / "config.ini"))
    for variable in (
        "ASE_VASP_COMMAND",
        "VASP_PP_PATH",
        "CP2K_DATA_DIR",
        "ASE_CP2K_COMMAND",
    ):
        monkeypatch.delenv(variable, raising=False)

    def write(calculator, place="", **section):
        for name in FILES.get(calculator, []):
            path = tmp_path / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"stands for {name}\n")
        folder = (
            {CODES[calculator].folder: str(tmp_path / "files")}
            if calculator in CODES
            else {}
        )
        section = {"scratch": str(tmp_path / "scratch"), **folder, **section}
        lines = [f"{key} = {value}" for key, value in section.items()]
        text = "\n".join((f"[{place or calculator}]", *lines, ""))
        (tmp_path / "config.ini").write_text(text.replace("$", "$$"))

    return write


@pytest.fixture
def replay(machine, monkeypatch):
    """A labeler whose program answers with a recorded folder."""

    def make(calculator, recording="", status=0, **settings):
        folder = RECORDED / (recording or calculator)
        words = [sys.executable, str(RECORDED / "replay.py"), str(folder)]
        words += ["--exit", str(status)]
        if calculator in PRINTED:
            words += ["--printed", PRINTED[calculator]]
        monkeypatch.setenv("RECORDED", str(folder))
        monkeypatch.setenv("PYTHONPATH", str(RECORDED / "modules"))
        machine(calculator, command=shlex.join(words), python=sys.executable)
        return level(calculator, **settings).create()

    return make


def level(calculator, **changes):
    energy = "total" if calculator == "psi4" else "free"
    values = {**LEVELS.get(calculator, {}), **changes.pop("settings", {})}
    return AseSettings(
        **{"calculator": calculator, "settings": values, "energy": energy, **changes}
    )


def labelled(labeler, structure):
    label = labeler.label(structure)
    assert isinstance(label, Label), label
    return label


def failure(answer):
    assert isinstance(answer, Failure), answer
    json.dumps(answer.to_json(), allow_nan=False)
    return answer


def asked_of(found):
    """Files of the folder of a failed calculation, by name."""
    folder = Path(found.details["scratch"])
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def test_entry_point_finds_it():
    assert registry.find("labelers", "ase") is AseSettings


def test_quantum_espresso(replay, tmp_path):
    labeler = replay("espresso")
    label = labelled(labeler, STRUCTURES["espresso"])
    assert label.energy == pytest.approx(-225.4190208115602)
    assert label.forces[0] == pytest.approx([-0.24302, 0.89188, -0.0652970], abs=1e-5)
    # The program printed P = -48.24 kbar: under tension, which is positive here.
    assert label.stress[:3].mean() == pytest.approx(4.824 * GPa, rel=1e-4)
    assert labeler.version() == "espresso 6.7MaX"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_cp2k(replay):
    labeler = replay("cp2k")
    label = labelled(labeler, STRUCTURES["cp2k"])
    assert label.energy == pytest.approx(-224.67399963384)
    assert label.forces[3] == pytest.approx([-0.13816587, -1.06762517, 0.407080996])
    expected = [-0.0487456, 0.00524380, -0.0485759, 0.0280765, 0.00625683, 0.0309197]
    assert label.stress == pytest.approx(expected, rel=1e-5)
    assert labeler.version() == "cp2k 2023.1"


def test_gpaw_stores_the_free_energy(replay):
    labeler = replay("gpaw")
    label = labelled(labeler, STRUCTURES["gpaw"])
    assert label.energy == pytest.approx(-14.5943066)
    assert label.extras["energy_eV"] == pytest.approx(-14.5287174)
    assert label.stress[0] == pytest.approx(-0.0169228, rel=1e-5)
    assert label.extras["potentials"] == ["0292cae29f5d6237e50f6abdd43a7bdd"]
    assert labeler.version() == "gpaw 26.7.0"


def test_psi4(replay):
    labeler = replay("psi4")
    label = labelled(labeler, STRUCTURES["psi4"])
    assert label.energy == pytest.approx(-2068.33153209)
    assert label.forces[0] == pytest.approx([0, 0, -1.51008299], abs=1e-8)
    assert label.stress is None
    assert labeler.version() == "psi4 1.3.2"


def test_vasp_in_the_order_of_the_structure(replay):
    labeler = replay("vasp")  # made to the format: see recorded/README.md
    label = labelled(labeler, OXIDE)
    assert label.energy == -20.5
    assert label.extras["energy_eV"] == pytest.approx(-20.3)
    assert label.extras["converged"] is True
    expected = [[0.5, -0.1, 0.02], [-0.2, 0.3, 0.01], [-0.3, -0.2, -0.03]]
    np.testing.assert_allclose(label.forces, expected)
    np.testing.assert_allclose(label.stress, -0.1 * GPa * np.array([10, 20, 30, 3, 2, 1]))
    assert label.extras["potentials"] == ["PAW_PBE Al 04Jan2001", "PAW_PBE O 08Apr2002"]
    assert labeler.version() == "vasp 6.3.2"


def test_orca(replay):
    labeler = replay("orca")  # made to the format
    label = labelled(labeler, WATER)
    assert label.energy == pytest.approx(-76.0094 * 27.211386, rel=1e-7)
    assert label.forces[0] == pytest.approx([0, 0, -0.0293 * 51.42207], rel=1e-6)
    assert labeler.version() == "orca 5.0.4"


def test_the_level_of_ani_1ccx_adds_up(machine):
    words = [sys.executable, str(RECORDED / "orca_energies.py")]  # made to the format
    machine("orca", command=shlex.join(words))
    scheme = {"name": "CCSD(T)*/CBS", "frozen_core": True}
    settings = CompositeSettings.model_validate({"scheme": scheme})
    found = labelled(settings.create(), WATER)
    near, far = np.exp(-5.46 * 2), np.exp(-5.46 * np.sqrt(3))
    field = (near * -76.05 - far * -76.06) / (near - far)
    pairs = (4**2.51 * -0.28 - 3**2.51 * -0.26) / (4**2.51 - 3**2.51)
    correction = (-0.27 + 0.26) + (-0.211 + 0.21)
    assert found.energy == pytest.approx(
        EV_PER_HARTREE * (field + pairs + correction), abs=1e-8
    )
    assert found.forces is None
    parts = found.extras["components"]
    assert list(parts) == ["mp2_tz", "mp2_qz", "npno_dz", "tpno_dz", "npno_tz"]
    assert parts["tpno_dz"]["components"] == {
        "hf_hartree": -76.02,
        "correlation_hartree": -0.211,
    }
    inputs = [part.settings["orcasimpleinput"] for part in settings.all_parts().values()]
    assert inputs == [
        "RI-MP2 RI-JK cc-pVTZ cc-pVTZ/JK cc-pVTZ/C TightSCF FrozenCore",
        "RI-MP2 RI-JK cc-pVQZ cc-pVQZ/JK cc-pVQZ/C TightSCF FrozenCore",
        "DLPNO-CCSD(T) NormalPNO RI-JK cc-pVDZ cc-pVTZ/JK cc-pVDZ/C TightSCF FrozenCore",
        "DLPNO-CCSD(T) TightPNO RI-JK cc-pVDZ cc-pVTZ/JK cc-pVDZ/C TightSCF FrozenCore",
        "DLPNO-CCSD(T) NormalPNO RI-JK cc-pVTZ cc-pVTZ/JK cc-pVTZ/C TightSCF FrozenCore",
    ]


def test_aims(replay):
    labeler = replay("aims")  # made to the format
    label = labelled(labeler, WATER)
    assert label.energy == -2081.346  # the free one
    assert label.forces[1].tolist() == [0, -0.8, 0.75]
    assert labeler.version() == "aims 210716_3"


@pytest.mark.parametrize(
    ("calculator", "status", "message"),
    [
        ("vasp", 0, "EDIFF was not reached"),
        ("espresso", 2, "convergence NOT achieved after   2 iterations"),
        ("espresso", 0, "convergence NOT achieved after   2 iterations"),
        ("cp2k", 0, "SCF run NOT converged"),
        ("orca", 0, "Wavefunction not fully converged"),
        ("aims", 0, "Self-consistency cycle converged"),
        ("gpaw", 0, "KohnShamConvergenceError"),
        ("psi4", 0, "Could not converge SCF iterations in 3 iterations"),
    ],
)
def test_no_energy_of_an_unconverged_field_is_a_label(replay, calculator, status, message):
    labeler = replay(calculator, f"{calculator}-unconverged", status)
    found = failure(labeler.label(STRUCTURES[calculator]))
    assert found.kind is FailureKind.NOT_CONVERGED, found
    assert message in " ".join((found.message, str(found.details)))
    assert Path(found.details["scratch"]).is_dir()


@pytest.mark.parametrize("calculator", ["vasp", "espresso", "orca", "aims"])
def test_truncated_output_is_no_label(replay, calculator):
    labeler = replay(calculator, f"{calculator}-truncated")
    assert failure(labeler.label(STRUCTURES[calculator])).kind is FailureKind.CRASH


def test_an_output_without_a_word_on_convergence_is_no_label(replay, tmp_path):
    silent = tmp_path / "silent"
    shutil.copytree(RECORDED / "cp2k", silent)
    text = (silent / "cp2k.out").read_text().replace("SCF run converged", "SCF run")
    (silent / "cp2k.out").write_text(text)
    found = failure(replay("cp2k", silent).label(STRUCTURES["cp2k"]))
    assert found.kind is FailureKind.NOT_CONVERGED


def test_an_energy_without_forces_is_for_those_who_want_it(replay):
    found = failure(replay("orca", "orca-no-forces").label(WATER))
    assert found.kind is FailureKind.SUSPICIOUS
    assert "there are no forces" in found.message
    label = labelled(replay("orca", "orca-no-forces", energy_only=True), WATER)
    assert label.forces is None


def test_a_program_that_fails_is_told_with_its_words(replay, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "espresso.pwo").write_text(
        "     Error in routine setup (1):\n     no such k\n"
    )
    found = failure(replay("espresso", broken, 1).label(STRUCTURES["espresso"]))
    assert found.kind is FailureKind.CRASH
    assert "CalledProcessError" in found.message
    assert "no such k" in found.details["end of espresso.pwo"]
    (broken / "espresso.pwo").write_text("Fatal: out of memory in allocate\n")
    found = failure(replay("espresso", broken, 1).label(STRUCTURES["espresso"]))
    assert found.kind is FailureKind.RESOURCE


def test_charge_and_spin_of_molecules_are_handed_over(replay, tmp_path):
    ion = of_atoms(molecule("H2O"), charge=1, multiplicity=2)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "orca.out").write_text("")
    (empty / "aims.out").write_text("")
    orca = asked_of(failure(replay("orca", empty).label(ion)))
    assert "*xyz 1 2" in orca["orca.inp"]
    assert "%pal nprocs 1 end" in orca["orca.inp"]
    aims = asked_of(failure(replay("aims", empty).label(ion)))
    assert "charge                             1" in aims["control.in"]
    assert "fixed_spin_moment                  1" in aims["control.in"]
    assert "initial_moment" in aims["geometry.in"]
    psi4 = asked_of(failure(replay("psi4", "psi4-unconverged").label(ion)))
    asked = json.loads(psi4["asked.json"])
    assert asked["options"] == {"reference": "uhf"}
    assert "\n1 2\n" in asked["geometry"]


def test_a_density_of_k_points_reaches_quantum_espresso(replay):
    labeler = replay(
        "espresso", "espresso-unconverged", settings={"kpts": {"density": 2.0}}
    )
    asked = asked_of(failure(labeler.label(STRUCTURES["espresso"])))
    assert "K_POINTS automatic\n4 4 4  0 0 0\n" in asked["espresso.pwi"]
    assert "tprnfor          = .true." in asked["espresso.pwi"]
    centred = {"density": 2.0, "gamma": False, "even": False}
    labeler = replay("espresso", "espresso-unconverged", settings={"kpts": centred})
    asked = asked_of(failure(labeler.label(STRUCTURES["espresso"])))
    assert "K_POINTS automatic\n5 5 5  1 1 1\n" in asked["espresso.pwi"]


def test_files_of_other_calculators_are_linked(machine, tmp_path):
    file = tmp_path / "files" / "Al.eam.alloy"
    file.parent.mkdir()
    file.write_text(setfl_files.setfl(["Al"], fs=False))
    machine("eam", place="alflow", folder=str(tmp_path / "files"))
    settings = AseSettings(
        calculator="eam",
        settings={"potential": "Al.eam.alloy"},
        files={"Al.eam.alloy": ""},
        energy="free",
    )
    assert len(settings.files["Al.eam.alloy"]) == 64
    label = labelled(settings.create(), aluminium())
    own = labelled(EamSettings(file=str(file)).create(), aluminium())
    assert label.energy == pytest.approx(own.energy, abs=1e-5)
    np.testing.assert_allclose(label.forces, own.forces, atol=1e-4)
    with pytest.raises(ValidationError, match="is no SHA-256"):
        AseSettings(calculator="eam", files={"Al.eam.alloy": "abc"})


@pytest.mark.parametrize(
    ("calculator", "structure", "message"),
    [
        ("orca", aluminium(), "orca is for molecules"),
        ("espresso", WATER, "needs a periodic cell"),
        (
            "vasp",
            Structure(
                np.array([13], np.uint8),
                np.zeros((1, 3)),
                4.0 * np.eye(3),
                np.array([True, True, False]),
            ),
            "with its vacuum",
        ),
        (
            "gpaw",
            Structure(
                np.array([13], np.uint8),
                np.zeros((1, 3)),
                4.0 * np.eye(3),
                np.ones(3, bool),
                1,
            ),
            "charge 1 has no defined energy",
        ),
        (
            "espresso",
            Structure(
                np.array([26], np.uint8),
                np.zeros((1, 3)),
                3.0 * np.eye(3),
                np.ones(3, bool),
                0,
                3,
            ),
            "the lowest one (1)",
        ),
        ("orca", of_atoms(molecule("H2O"), multiplicity=2), "cannot have multiplicity 2"),
        ("mopac", of_atoms(molecule("OH"), charge=-1), "use the labeler `command`"),
    ],
)
def test_what_a_program_is_not_for_is_refused(replay, calculator, structure, message):
    found = failure(replay(calculator, "orca").label(structure))
    assert found.kind is FailureKind.INVALID_INPUT
    assert message in found.message


def test_the_rest_of_the_machine_reaches_the_program(replay, machine, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "orca.out").write_text("")
    labeler = replay("orca", empty)
    command = (tmp_path / "config.ini").read_text().split("command = ")[1].splitlines()[0]
    machine("orca", command=command, settings='{"nprocs": 4, "maxcore": 2000}')
    orca = asked_of(failure(level("orca").create().label(WATER)))
    assert "%pal nprocs 4 end" in orca["orca.inp"]
    assert "%maxcore 2000" in orca["orca.inp"]
    assert labeler.version().startswith("orca (ase ")
    machine("orca", command=command, settings='{"orcablocks": "x"}')
    with pytest.raises(SiteError, match="those of a machine are: maxcore, nprocs"):
        level("orca").create()
    machine("orca", command=command, settings="nprocs = 4")
    with pytest.raises(SiteError, match="not JSON"):
        level("orca").create()


@pytest.mark.parametrize(
    ("calculator", "change", "message"),
    [
        ("vsap", {}, "did you mean 'vasp'"),
        ("ase.calculators.vasp.Vasp", {}, "ASE has no calculator"),
        (
            "vasp",
            {"command": "mpirun vasp"},
            "belongs to the machine: write `command = ...`",
        ),
        ("vasp", {"ncore": 4}, r'settings = \{"ncore": 4\}'),
        ("vasp", {"setups": "minimal"}, "names the POTCAR of each element"),
        ("vasp", {"ibrion": 2, "nsw": 5}, "would move atoms"),
        ("espresso", {"pseudo_dir": "/x"}, "write `pseudo_dir = ...`"),
        ("espresso", {"input_data": {"ecutwfc": 1, "calculation": "relax"}}, "'relax'"),
        ("espresso", {"input_data": {}}, "input_data.ecutwfc .* is not said"),
        ("espresso", {"input_data": {"ecutwfc": 1, "tot_charge": 1}}, "set by alflow"),
        ("espresso", {"input_data": {"ecutwfc": 1, "outdir": "/x"}}, "of the machine"),
        ("espresso", {"pseudopotentials": {"Al": "../Al.UPF"}}, "named below a folder"),
        ("espresso", {"pseudopotentials": {"Al": "Al.pz-vbd.UPF"}}, "did you mean"),
        ("cp2k", {"charge": 1}, "comes from the structures"),
        ("orca", {"orcasimpleinput": "HF def2-SVP"}, "add the word EnGrad"),
        ("orca", {"orcasimpleinput": "HF EnGrad PAL4"}, "cores and memory belong"),
        ("orca", {"orcasimpleinput": "HF EnGrad Opt"}, "would move atoms"),
        ("orca", {"task": "gradient"}, "ORCA has orcasimpleinput"),
        ("aims", {"relax_geometry": "bfgs 0.01"}, "would move atoms"),
        ("psi4", {"num_threads": 4}, "belongs to the machine"),
        ("psi4", {"maxiter": 400}, "ASE would not hand it"),
        ("gpaw", {"charge": 1}, "comes from the structures"),
    ],
)
def test_mistakes_in_settings_are_refused(machine, calculator, change, message):
    machine(calculator)
    with pytest.raises(ValidationError, match=message):
        level(calculator, settings=change)


@pytest.mark.parametrize("calculator", sorted(LEVELS))
def test_what_a_program_would_choose_must_be_said(machine, calculator):
    machine(calculator)
    with pytest.raises(ValidationError, match="is not said"):
        AseSettings(calculator=calculator)


def test_an_energy_that_a_program_does_not_tell_is_refused(machine):
    machine("psi4")
    with pytest.raises(ValidationError, match="write `energy: total`"):
        level("psi4", energy="free")


def test_the_level_is_what_programs_are_told_and_the_contents_of_files(machine, tmp_path):
    machine("espresso", command="pw.x")
    first = level("espresso")
    assert list(first.files) == ["Al.pz-vbc.UPF"]
    machine("espresso", command="mpirun -np 4 pw.x")
    again = level("espresso", timeout_s=5.0, force_cap_eV_per_A=9.0)
    assert level_digest(again) == level_digest(first)
    assert level_digest(level("espresso", settings={"kpts": [3, 3, 3]})) != level_digest(
        first
    )
    (tmp_path / "files" / "Al.pz-vbc.UPF").write_text("another one")
    assert level_digest(level("espresso")) != level_digest(first)
    machine("gpaw")
    spelled = {"mode": {"ecut": 250.0, "name": "pw"}}
    assert level_digest(level("gpaw", settings=spelled)) == level_digest(level("gpaw"))
    total = level("gpaw", energy="total")
    assert level_digest(total) != level_digest(level("gpaw"))


def test_a_file_that_changed_is_refused_by_workers(replay, tmp_path):
    labeler = replay("espresso")
    settings = AseSettings.model_validate(labeler._settings.model_dump(mode="json"))
    (tmp_path / "files" / "Al.pz-vbc.UPF").write_text("another one")
    with pytest.raises(SettingsError, match="not the file that labels were made with"):
        settings.create()
    [finding] = settings.missing_here()
    assert "not the file that labels were made with" in finding.message


def test_files_that_are_elsewhere_can_be_named_by_their_digest(machine):
    machine("espresso")
    digest = level("espresso").files["Al.pz-vbc.UPF"]
    machine("espresso", pseudo_dir="")
    with pytest.raises(ValidationError, match="write `pseudo_dir = FOLDER` there"):
        level("espresso")
    named = level("espresso", files={"Al.pz-vbc.UPF": digest})
    machine("espresso")
    assert level_digest(named) == level_digest(level("espresso"))


def test_a_program_that_the_machine_does_not_name_is_told(machine):
    machine("espresso")
    with pytest.raises(SiteError, match="no command for espresso") as caught:
        level("espresso").create()
    assert "[espresso]" in caught.value.next_step
    machine("espresso", command="no-such-program -x")
    with pytest.raises(SiteError, match="no program 'no-such-program'"):
        level("espresso").create()
    machine("psi4")
    if find_spec("psi4") is None:
        with pytest.raises(SiteError, match="psi4 is not installed here"):
            level("psi4").create()
    machine("gpaw", python="mpirun-of-nobody -np 4 python3")
    with pytest.raises(SiteError, match="no program 'mpirun-of-nobody'"):
        level("gpaw").create()


def test_elements_without_a_file_are_found(machine):
    machine("vasp")
    findings = list(level("vasp").problems(["Al", "O", "Cu"]))
    assert [finding.path for finding in findings] == [("settings", "setups")]
    assert "Cu" in findings[0].message
    assert list(level("vasp").problems(["Al", "O"])) == []


def test_a_calculator_of_ase_itself(machine):
    machine("emt", place="alflow")
    label = labelled(AseSettings(calculator="emt").create(), aluminium())
    from ase.calculators.emt import EMT

    atoms = bulk("Al", cubic=True, a=4.05)
    atoms.positions = aluminium().positions
    atoms.calc = EMT()
    assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-9)
    np.testing.assert_allclose(label.stress, atoms.get_stress(), atol=1e-9)


def test_a_calculator_that_nothing_is_known_about_fails_with_its_words(machine):
    machine("nwchem", place="alflow")
    found = failure(AseSettings(calculator="nwchem").create().label(WATER))
    assert found.kind is FailureKind.CRASH
    assert found.message.startswith("nwchem: ")


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_hung_program_dies_at_its_deadline_with_its_group(machine, tmp_path):
    script = tmp_path / "hangs.sh"
    script.write_text(
        f"#!/bin/sh\ntrap '' TERM\necho $$ $PPID > {tmp_path}/new\n"
        f"mv {tmp_path}/new {tmp_path}/pids\nwhile :; do sleep 600; done\n"
    )
    script.chmod(0o755)
    machine("espresso", command=str(script))
    labeler = level("espresso", timeout_s=6.0).create()
    found = failure(labeler.label(STRUCTURES["espresso"]))
    assert found.kind is FailureKind.RESOURCE
    assert found.message.startswith("espresso: killed after ")
    assert "timeout_s is 6 s" in found.message
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    end = time.monotonic() + 30
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(is_running, pids))


def test_settings_survive_json(machine):
    machine("espresso")
    settings = level("espresso")
    assert AseSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert settings.handles_periodic
    machine("orca")
    assert not level("orca").handles_periodic


# Live: the programs themselves


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW is not installed")
def test_live_gpaw(machine):
    machine("gpaw")
    label = labelled(level("gpaw").create(), aluminium())
    assert label.energy == pytest.approx(-14.5943, abs=5e-3)
    found = level("gpaw", settings={"maxiter": 3}).create().label(aluminium())
    assert failure(found).kind is FailureKind.NOT_CONVERGED


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pw.x") is None, reason="Quantum ESPRESSO is not installed"
)
def test_live_quantum_espresso(machine):
    folder = Path("/usr/share/espresso/pseudo")
    if not (folder / "Al.pz-vbc.UPF").exists():
        pytest.skip(f"there is no Al.pz-vbc.UPF in {folder}")
    machine("espresso", command="pw.x", pseudo_dir=str(folder))
    label = labelled(level("espresso").create(), aluminium())
    assert label.energy == pytest.approx(-225.4190208, abs=1e-3)
    bad = {"input_data": {"ecutwfc": 18, "occupations": "smearing", "degauss": 0.02}}
    bad["input_data"]["electron_maxstep"] = 2
    found = level("espresso", settings=bad).create().label(aluminium())
    assert failure(found).kind is FailureKind.NOT_CONVERGED


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cp2k_shell.psmp") is None, reason="CP2K is not installed")
def test_live_cp2k(machine):
    folder = Path("/usr/share/cp2k")
    if not (folder / "BASIS_MOLOPT").exists():
        pytest.skip(f"there is no BASIS_MOLOPT in {folder}")
    machine("cp2k", command="cp2k_shell.psmp", data_dir=str(folder))
    bad = {"inp": SMEARED_CP2K.format(cycles=3)}
    found = level("cp2k", settings=bad).create().label(aluminium())
    assert failure(found).kind is FailureKind.NOT_CONVERGED


@pytest.mark.slow
@pytest.mark.skipif(find_spec("psi4") is None, reason="Psi4 is not installed")
def test_live_psi4(machine):
    machine("psi4")
    label = labelled(level("psi4").create(), WATER)
    assert label.energy == pytest.approx(-2068.33153, abs=1e-3)


def test_the_child_needs_ase_alone(tmp_path):
    """Another Python, without alflow, can be named by the machine."""
    import alflow.labelers.ase_child as child

    code = (
        "import sys, runpy\n"
        "sys.modules['alflow'] = None\n"
        f"sys.argv = [{child.__file__!r}]\n"
        f"runpy.run_path({child.__file__!r}, run_name='__main__')\n"
    )
    structure = {
        "numbers": [13],
        "positions": [[0, 0, 0]],
        "cell": None,
        "pbc": [False] * 3,
    }
    job = {
        "calculator": "emt",
        "settings": {},
        "structure": structure,
        "wanted": ["energy", "forces"],
        "energy": "total",
        "magnetic_moments": None,
        "variables": {},
    }
    (tmp_path / "calculation.json").write_text(json.dumps(job))
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    answer = json.loads((tmp_path / "label.json").read_text())
    assert answer["forces"] == [[0.0, 0.0, 0.0]]
