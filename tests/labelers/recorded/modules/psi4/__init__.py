"""Stands for Psi4 as ASE drives it: its answer is the folder `$RECORDED`."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from ase.units import Bohr, Hartree

__version__ = "1.3.2"
FOLDER = Path(os.environ["RECORDED"])
ASKED = {}


class SCFConvergenceError(Exception):
    """As Psi4 raises it."""


def _note(name):
    def note(value):
        ASKED[name] = value
        Path("asked.json").write_text(json.dumps(ASKED))

    return note


set_options, set_memory, set_num_threads = map(_note, ("options", "memory", "threads"))
geometry = _note("geometry")


def _set_output_file(name, _append):
    shutil.copy(FOLDER / "psi4-calc.dat", name)


def _gradient(_method, return_wfn):
    results = FOLDER / "results.json"
    if not results.exists():
        raise SCFConvergenceError("Could not converge SCF iterations in 3 iterations.")
    values = json.loads(results.read_text())
    gradient = -np.array(values["forces"]) * Bohr / Hartree
    return gradient, SimpleNamespace(energy=lambda: values["energy"] / Hartree)


core = SimpleNamespace(set_output_file=_set_output_file, print_out=lambda _text: None)
driver = SimpleNamespace(gradient=_gradient)
