"""Runs one calculator of ASE: a script for any Python with ASE, which need not have alflow.

It reads `calculation.json` in its working folder and writes `label.json` there, with the energy
and forces or with what was raised. Whether to believe them is decided elsewhere.

With arguments, the name of a calculator and modules that are slow to import, it stays: its standard
input is a socket, which tells it one folder after the other. Each is for a fork of this process,
which has what was imported, and nothing that an earlier calculation left behind.
"""

import ctypes
import json
import os
import re
import signal
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

JOB, ANSWER = "calculation.json", "label.json"
STDOUT, STDERR = "stdout.txt", "stderr.txt"
_LONGEST_PATH = 2**16
_UNFORKABLE = r"/lib(mpi|cuda|amdhip)"
"""Libraries that do not work in a fork of the process that loaded them."""
_PR_SET_CHILD_SUBREAPER = 36


def serve(calculator: str, modules: list[str]) -> None:
    """Calculate in each folder that the socket names, and tell it how that ended."""
    channel = os.dup(0)
    _import(calculator, modules)
    os.chdir("/")
    _redirect(os.devnull, os.devnull)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What a calculation leaves behind becomes a child of this process, and is found as such.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    while folder := os.read(channel, _LONGEST_PATH):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        fork = os.fork() if _is_forkable() else 0
        if not fork:
            os.close(channel)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(folder)
            _redirect(STDOUT, STDERR)
            main()
            return
        _, status = os.waitpid(fork, 0)
        os.write(channel, b"%d" % os.waitstatus_to_exitcode(status))


def _import(calculator: str, modules: list[str]) -> None:
    """Import what calculations need; those that need what is not there will tell."""
    with suppress(Exception):
        from ase.calculators.calculator import get_calculator_class

        get_calculator_class(calculator)
    for module in modules:
        with suppress(Exception):
            import_module(module)


def _redirect(stdout: str, stderr: str) -> None:
    """Let nothing be read, and write what is printed to the ends of two files."""
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor, file in enumerate((os.devnull, stdout, stderr)):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(opened, descriptor)
        os.close(opened)


def _is_forkable() -> bool:
    try:
        return re.search(_UNFORKABLE, Path("/proc/self/maps").read_text("utf-8")) is None
    except OSError:
        return False


def main() -> None:
    """Calculate what the file in this folder asks for."""
    folder = Path.cwd()
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    os.environ.update(job["variables"])
    try:
        answer = _calculated(job)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent judges it
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        answer = {"failure": {"kind": "crash", "message": message}}
    from ase.parallel import world

    if world.rank == 0:
        # Without MPI in its Python every rank is the first one: each has its own file.
        new = folder / f"{ANSWER}.{os.getpid()}"
        new.write_text(json.dumps(answer), encoding="utf-8")
        new.replace(folder / ANSWER)


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
    words = sys.argv[1:]
    del sys.argv[1:]  # a calculator might take them for its own
    if words:
        serve(words[0], words[1:])
    else:
        main()
    sys.stdout.flush()
    # Threads or shells that a calculator left behind must not keep the answer waiting.
    os._exit(0)
