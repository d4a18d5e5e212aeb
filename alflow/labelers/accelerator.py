"""Whether PySCF computes on a GPU, with gpu4pyscf."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from typing import Any, Literal

from alflow.core.errors import SiteError

Device = Literal["auto", "cpu", "gpu"]
_PACKAGES = ("gpu4pyscf-cuda13x", "gpu4pyscf-cuda12x", "gpu4pyscf-cuda11x", "gpu4pyscf")


def choose(wanted: Device) -> Literal["cpu", "gpu"]:
    """Where to compute.

    Args:
        wanted: `auto` takes a GPU if there is one that can be used.

    Raises:
        SiteError: If a GPU is wanted, and none can be used.
    """
    if wanted == "cpu":
        return "cpu"
    hindrance = missing()
    if not hindrance:
        return "gpu"
    if wanted == "auto":
        return "cpu"
    raise SiteError(
        f"device: gpu cannot be had here: {hindrance}",
        code="AL201",
        next_step="install gpu4pyscf for the CUDA of the workers, or write device: auto",
    )


def missing() -> str:
    """Why no GPU can be used here, or an empty string."""
    for package in ("cupy", "gpu4pyscf"):
        if find_spec(package) is None:
            return f"{package} is not installed"
    try:
        count = int(import_module("cupy").cuda.runtime.getDeviceCount())
    except Exception as error:  # noqa: BLE001 - an error of CuPy, whose module may not be there
        return f"CUDA does not answer: {error}"
    return "" if count else "there is no device"


def version() -> str:
    """Name and version of gpu4pyscf, whichever CUDA it is for."""
    for package in _PACKAGES:
        try:
            return f"gpu4pyscf {installed_version(package)}"
        except PackageNotFoundError:
            continue
    return "gpu4pyscf"


def on_gpu(method: Any) -> Any:
    """A solver or gradient of PySCF on the GPU."""
    return method.to_gpu()


def on_cpu(method: Any) -> Any:
    """The same in main memory again, with its results."""
    return method.to_cpu()
