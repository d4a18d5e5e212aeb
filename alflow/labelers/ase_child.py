"""Runs one calculator of ASE: a script for any Python with ASE, which need not have alflow.

It reads `calculation.json` in its working folder and writes `label.json` there, with the energy
and forces or with what was raised. Whether to believe them is decided elsewhere.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

JOB, ANSWER = "calculation.json", "label.json"


def main() -> None:
    """Calculate what the file in this folder asks for."""
    job = json.loads(Path(JOB).read_text(encoding="utf-8"))
    try:
        answer = _calculated(job)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent judges it
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        answer = {"failure": {"kind": "crash", "message": message}}
    from ase.parallel import world

    if world.rank == 0:
        # Without MPI in its Python every rank is the first one: each has its own file.
        new = Path(f"{ANSWER}.{os.getpid()}")
        new.write_text(json.dumps(answer), encoding="utf-8")
        new.replace(ANSWER)


def _calculated(job: dict[str, Any]) -> dict[str, Any]:
    import ase
    from ase.calculators.calculator import get_calculator_class

    atoms = _atoms(job)
    calculator = get_calculator_class(job["calculator"])(**job["settings"])
    known = calculator.implemented_properties
    began = time.perf_counter()
    results = _results(calculator, atoms, [name for name in job["wanted"] if name in known])
    # A shell that stays open has not written all of its output yet.
    if callable(close := getattr(calculator, "close", None)):
        close()
    energy = results.get("free_energy" if job["energy"] == "free" else "energy")
    if energy is None and job["energy"] == "free" and results.get("energy") is not None:
        raise KeyError(
            f"the calculator {job['calculator']!r} tells no free energy; if nothing is "
            "smeared, write `energy: total`"
        )
    if energy is None:
        raise KeyError("the calculator tells no energy")
    took_s = round(time.perf_counter() - began, 3)
    extras: dict[str, Any] = {"ase": ase.__version__, "calculation_s": took_s}
    # Programs that are modules of Python have their version there.
    if said := getattr(sys.modules.get(job["calculator"]), "__version__", None):
        extras["program"] = str(said)
    for name in ("energy", "free_energy", "magmom"):
        value = results.get(name)
        if value is not None and _is_finite(value):
            extras[f"{name}_eV" if "energy" in name else name] = float(value)
    converged = getattr(calculator, "converged", None)
    if converged is None or isinstance(converged, bool) or hasattr(converged, "item"):
        extras["converged"] = None if converged is None else bool(converged)
    answer: dict[str, Any] = {"energy": float(energy), "extras": extras}
    for name in ("forces", "stress"):
        if results.get(name) is not None and name in job["wanted"]:
            answer[name] = _plain(name, results[name])
    return answer


def _results(calculator: Any, atoms: Any, wanted: list[str]) -> dict[str, Any]:
    """All properties of one run: programs behind ASE run anew for each that is asked alone."""
    from ase.calculators.calculator import BaseCalculator, all_changes

    if isinstance(calculator, BaseCalculator) and hasattr(calculator, "calculate"):
        calculator.calculate(atoms, wanted, all_changes)
        return dict(calculator.results)
    atoms.calc = calculator
    return {name: calculator.get_property(name, atoms) for name in wanted}


def _atoms(job: dict[str, Any]) -> Any:
    from ase import Atoms

    structure = job["structure"]
    atoms = Atoms(
        structure["numbers"],
        structure["positions"],
        cell=structure["cell"],
        pbc=structure["pbc"],
    )
    if job["magnetic_moments"] is not None:
        atoms.set_initial_magnetic_moments(job["magnetic_moments"])
    return atoms


def _plain(name: str, values: Any) -> Any:
    import numpy as np
    from ase.stress import full_3x3_to_voigt_6_stress

    array = np.asarray(values, dtype=float)
    if name == "stress" and array.shape == (3, 3):
        array = full_3x3_to_voigt_6_stress(array)
    return array.tolist()


def _is_finite(value: Any) -> bool:
    return abs(float(value)) < float("inf")


if __name__ == "__main__":
    # Neither the neighbours of this file nor files of a scratch folder are modules here.
    strange = ("", str(Path.cwd()), str(Path(__file__).parent))
    sys.path[:] = [entry for entry in sys.path if entry not in strange]
    main()
    sys.stdout.flush()
    # Threads or shells that a calculator left behind must not keep the answer waiting.
    os._exit(0)
