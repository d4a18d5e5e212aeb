"""Imports PySCF without letting it execute files from the working directory."""

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from alflow.core.errors import SiteError

_VARIABLES = ("PYSCF_CONFIG_FILE", "PYSCF_ARGPARSE")
_CONFIGURATION = Path(__file__).with_name("pyscf_configuration.py")


def load(module: str = "pyscf") -> Any:
    """Import PySCF or a module of it under a neutral configuration.

    The first import decides, so anything that preloads PySCF must do it through this.

    Args:
        module: Dotted name, for example `pyscf.dft`.

    Raises:
        SiteError: If PySCF is not installed.
    """
    if "pyscf" not in sys.modules:
        _first_import()
    return importlib.import_module(module)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PySCF compute on one thread, without advice on packages to install."""
    with load("pyscf.lib").with_omp_threads(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Basis may be available", UserWarning)
        # Hückel's guess asks for it, atom by atom.
        warnings.filterwarnings("ignore", "remove_linear_dep_", DeprecationWarning)
        yield


def version() -> str:
    """Name and version of PySCF, without importing it.

    Raises:
        SiteError: If PySCF is not installed.
    """
    try:
        return f"pyscf {installed_version('pyscf')}"
    except PackageNotFoundError as error:
        raise _missing() from error


def _first_import() -> None:
    before = {name: os.environ.pop(name, None) for name in _VARIABLES}
    os.environ["PYSCF_CONFIG_FILE"] = str(_CONFIGURATION)
    try:
        importlib.import_module("pyscf")
    except ModuleNotFoundError as error:
        if error.name != "pyscf":
            raise
        raise _missing() from error
    finally:
        del os.environ["PYSCF_CONFIG_FILE"]
        os.environ.update(
            {name: value for name, value in before.items() if value is not None}
        )


def _missing() -> SiteError:
    return SiteError(
        "PySCF is not installed here", code="AL201", next_step="python -m pip install pyscf"
    )
