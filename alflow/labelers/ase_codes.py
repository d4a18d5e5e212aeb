"""What is known about each program behind ASE: what it needs, and how it says that it failed.

To add one: write a `Code` into `CODES` under its name in ASE, with the words by which its output
tells that a field did not converge, and record an output of each kind for the tests.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from alflow.core.structures import Structure
from alflow.labelers.ase_code import Code, Values, find


def _vasp_folder(settings: Values) -> str:
    """The folder below `pp_path` that ASE takes potentials from."""
    name = str(settings["pp"])
    version = settings.get("pp_version")
    suffix = f".{version}" if version else ""
    usual = {"lda": "potpaw" if not version else "potpaw_LDA", "pbe": "potpaw_PBE"}
    return usual[name.lower()] + suffix if name.lower() in usual else name


def _vasp_files(settings: Values) -> dict[str, str]:
    setups = settings.get("setups")
    if not isinstance(setups, Mapping) or not isinstance(settings.get("pp"), str):
        return {}
    folder = _vasp_folder(settings)
    return {
        element: f"{folder}/{element}{suffix}/POTCAR" for element, suffix in setups.items()
    }


def _vasp_mistake(settings: Values) -> str:
    setups = settings.get("setups")
    is_plain = isinstance(setups, Mapping) and all(
        re.fullmatch("[A-Z][a-z]?", str(key)) for key in setups
    )
    if not is_plain:
        return (
            "settings.setups names the POTCAR of each element by its suffix, "
            'for example {Al: "", O: _s}'
        )
    if settings.get("nsw") or settings.get("ibrion", -1) not in (-1, None):
        return (
            "settings.nsw and ibrion would move atoms; a label is of the structure as it is"
        )
    return ""


def _vasp_placed(settings: Values, _structure: Structure) -> dict[str, Any]:
    # An empty version keeps ASE from taking one from the environment.
    return {"pp_version": "", **settings, "ibrion": -1, "nsw": 0}


def _espresso_files(settings: Values) -> dict[str, str]:
    named = settings.get("pseudopotentials")
    return dict(named) if isinstance(named, Mapping) else {}


def _espresso_mistake(settings: Values) -> str:
    if not isinstance(settings.get("pseudopotentials"), Mapping):
        return "settings.pseudopotentials must map elements to names of files"
    kinds = [kind for kind in find(settings, "calculation") if kind != "scf"]
    if kinds:
        return f"calculation {kinds[0]!r}: a label is of the structure as it is (scf)"
    for name in ("pseudo_dir", "outdir", "wfcdir"):
        if next(find(settings, name), None) is not None:
            return f"{name} is a folder of the machine: leave it to ASE's configuration"
    for name in ("tot_charge", "tprnfor", "tstress"):
        if next(find(settings, name), None) is not None:
            return f"{name} is set by alflow, for each structure"
    return ""


def _espresso_placed(settings: Values, structure: Structure) -> dict[str, Any]:
    settings = {**settings, **_espresso_mesh(settings.get("kpts"), structure)}
    # ASE does not ask for what it is going to read.
    asked = {"tprnfor": True, "tstress": bool(structure.pbc.all())}
    given = settings.get("input_data") or {}
    sections = {str(name).lower(): value for name, value in given.items()}
    if any(isinstance(value, Mapping) for value in sections.values()):
        control = {**sections.get("control", {}), **asked}
        return {**settings, "input_data": {**sections, "control": control}}
    return {**settings, "input_data": {**sections, **asked}}


def _espresso_mesh(kpts: Any, structure: Structure) -> dict[str, Any]:
    """The mesh of a density of k-points: ASE 3.29 fails to write one for Quantum ESPRESSO."""
    if not isinstance(kpts, Mapping) or "path" in kpts:
        return {}
    from ase import Atoms
    from ase.calculators.calculator import kpts2sizeandoffsets

    atoms = Atoms(cell=structure.cell, pbc=structure.pbc)
    size, offsets = kpts2sizeandoffsets(atoms=atoms, **kpts)
    return {
        "kpts": [int(number) for number in size],
        "koffset": [int(offset != 0) for offset in offsets],
    }


def _cp2k_files(settings: Values) -> dict[str, str]:
    names = [settings.get("basis_set_file"), settings.get("potential_file")]
    return {name: name for name in names if isinstance(name, str)}


def _aims_files(settings: Values) -> dict[str, str]:
    folder = settings.get("species_dir")
    return {"species_dir": folder} if isinstance(folder, str) else {}


def _aims_mistake(settings: Values) -> str:
    if "relax_geometry" in settings:
        return (
            "settings.relax_geometry would move atoms; a label is of the structure as it is"
        )
    return ""


def _aims_placed(settings: Values, structure: Structure) -> dict[str, Any]:
    unpaired = structure.multiplicity - 1
    if structure.is_periodic:
        return dict(settings)
    spin = {"spin": "collinear", "fixed_spin_moment": unpaired} if unpaired else {}
    return {**settings, "charge": structure.charge, **spin}


def _orca_placed(settings: Values, structure: Structure) -> dict[str, Any]:
    blocks = [str(settings.get("orcablocks", ""))]
    if settings.get("maxcore"):
        blocks.append(f"%maxcore {settings['maxcore']}")
    blocks.append(f"%pal nprocs {settings.get('nprocs', 1)} end")
    return {
        "orcasimpleinput": settings["orcasimpleinput"],
        "orcablocks": "\n".join(block for block in blocks if block),
        "charge": structure.charge,
        "mult": structure.multiplicity,
    }


def _orca_mistake(settings: Values) -> str:
    words = str(settings.get("orcasimpleinput", "")).lower().split()
    blocks = str(settings.get("orcablocks", "")).lower()
    if (
        "%pal" in blocks
        or "%maxcore" in blocks
        or any(re.fullmatch(r"pal\d*", word) for word in words)
    ):
        return (
            'cores and memory belong to the machine: write `settings = {"nprocs": 4}` into '
            "the section [orca] of ASE's configuration"
        )
    if any(word.startswith(("opt", "copt", "neb", "md", "freq")) for word in words):
        return "settings.orcasimpleinput would move atoms; a label is of the structure as it is"
    if strange := settings.keys() - {"orcasimpleinput", "orcablocks"}:
        return f"settings.{min(strange)}: ORCA has orcasimpleinput and orcablocks"
    return ""


def _psi4_mistake(settings: Values) -> str:
    known = ("method", "basis", "reference", "symmetry")
    for name in settings:
        if name in ("charge", "multiplicity"):
            return f"settings.{name} comes from the structures: leave it out"
        if name not in known:
            return f"settings.{name}: ASE would not hand it to Psi4 (it knows {', '.join(known)})"
    return ""


def _psi4_placed(settings: Values, structure: Structure) -> dict[str, Any]:
    spin = {"charge": structure.charge, "multiplicity": structure.multiplicity}
    reference = "uhf" if structure.multiplicity > 1 else "rhf"
    return {"reference": reference, **settings, **spin}


def _gpaw_placed(settings: Values, _structure: Structure) -> dict[str, Any]:
    return {**settings, "txt": "gpaw.txt"}


def _refuse(*names: str) -> Callable[[Values], str]:
    """A check that settings which follow from the structure are not set."""

    def mistake(settings: Values) -> str:
        for name in names:
            if name in settings:
                return f"settings.{name} comes from the structures: leave it out"
        return ""

    return mistake


CODES: dict[str, Code] = {
    "vasp": Code(
        outputs=("OUTCAR", "vasp.out"),
        unconverged=r"EDIFF was not reached",
        finished=r"General timing and accounting",
        version=r"^ vasp\.(\S+)",
        potentials=r"TITEL\s*=\s*(.*\S)",
        needs_flag=True,
        cells="periodic",
        required=("xc|gga|metagga", "pp", "encut", "kpts|kspacing", "setups"),
        machine=frozenset({"ncore", "npar", "kpar", "nsim", "lplane", "lscalapack"}),
        folder="pp_path",
        variables=(("ASE_VASP_COMMAND", "command"), ("VASP_PP_PATH", "pp_path")),
        needs_command=True,
        placed=_vasp_placed,
        files=_vasp_files,
        mistake=_vasp_mistake,
    ),
    "espresso": Code(
        outputs=("espresso.pwo", "espresso.err"),
        unconverged=r"convergence NOT achieved",
        converged=r"convergence has been achieved",
        finished=r"JOB DONE",
        version=r"Program PWSCF v\.(\S+)",
        potentials=r"MD5 check sum:\s*(\S+)",
        cells="periodic",
        required=(
            "pseudopotentials",
            "input_data.system.ecutwfc|input_data.ecutwfc|ecutwfc",
            "kpts|kspacing",
        ),
        folder="pseudo_dir",
        needs_command=True,
        placed=_espresso_placed,
        files=_espresso_files,
        mistake=_espresso_mistake,
    ),
    "cp2k": Code(
        outputs=("cp2k.out",),
        unconverged=r"SCF run NOT converged|SCF run did not converge",
        converged=r"SCF run converged in|outer SCF loop converged",
        version=r"CP2K version (\S+)",
        cells="periodic",
        required=(
            *("xc", "cutoff", "basis_set", "basis_set_file"),
            *("pseudo_potential", "potential_file"),
        ),
        machine=frozenset({"set_pos_file", "debug", "auto_write", "print_level"}),
        folder="data_dir",
        variables=(("ASE_CP2K_COMMAND", "command"), ("CP2K_DATA_DIR", "data_dir")),
        needs_command=True,
        files=_cp2k_files,
        mistake=_refuse("charge", "multiplicity"),
    ),
    "orca": Code(
        outputs=("orca.out", "orca.err"),
        unconverged=r"Wavefunction not fully converged|SCF NOT CONVERGED"
        r"|This wavefunction IS NOT CONVERGED|not fully converged",
        converged=r"SCF CONVERGED AFTER",
        finished=r"ORCA TERMINATED NORMALLY",
        version=r"Program Version (\S+)",
        cells="molecules",
        required=("orcasimpleinput",),
        machine=frozenset({"nprocs", "maxcore"}),
        needs_command=True,
        knows_spin=True,
        placed=_orca_placed,
        mistake=_orca_mistake,
        components={
            "hf": r"Total Energy\s+:\s+(-?\d+\.\d+)\s+Eh",
            "mp2": r"MP2 CORRELATION ENERGY\s*:\s+(-?\d+\.\d+)\s+Eh",
            "correlation": r"Final correlation energy\s+\.\.\.\s+(-?\d+\.\d+)",
        },
    ),
    "aims": Code(
        outputs=("aims.out", "aims.err"),
        unconverged=r"SELF-CONSISTENCY CYCLE DID NOT CONVERGE"
        r"|Self-consistency cycle not converged|scf_solver: SCF cycle not converged",
        converged=r"Self-consistency cycle converged\.",
        finished=r"Have a nice day",
        version=r"FHI-aims version\s*:\s*(\S+)",
        required=("xc", "species_dir"),
        folder="default_species_directory",
        needs_command=True,
        knows_spin=True,
        placed=_aims_placed,
        wants_moments=True,
        files=_aims_files,
        mistake=_aims_mistake,
    ),
    "gpaw": Code(
        outputs=("gpaw.txt",),
        unconverged=r"KohnShamConvergenceError|Did not converge!",
        converged=r"Converged (in|after) \d+",
        version=r"\|\|/\\\| - (\S+)",
        potentials=r"^\s+id:\s+([0-9a-f]{32})",
        cells="periodic",
        required=("mode", "xc", "kpts"),
        machine=frozenset({"parallel"}),
        placed=_gpaw_placed,
        module=("gpaw", 'python -m pip install "alflow[gpaw]"'),
        slow_modules=("gpaw.dft",),
        mistake=_refuse("charge"),
    ),
    "psi4": Code(
        outputs=("psi4-calc.dat",),
        unconverged=r"Could not converge|SCFConvergenceError|Failed to converge",
        version=r"Psi4 (\d\S*)",
        cells="molecules",
        required=("method", "basis"),
        machine=frozenset({"num_threads", "memory", "PSI_SCRATCH"}),
        knows_spin=True,
        placed=_psi4_placed,
        scratch_variable="PSI_SCRATCH",
        has_free_energy=False,
        module=("psi4", "install it with conda"),
        mistake=_psi4_mistake,
    ),
}
"""By the name of the calculator in ASE."""


def code_of(calculator: str) -> Code:
    """What is known about a program by its name in ASE; little, if it is not in the table."""
    return CODES.get(calculator, Code())
