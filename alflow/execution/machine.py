"""What this machine offers to a campaign, found out without starting anything heavy."""

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *("numpy", "torch", "ase", "pyscf", "parsl", "sqlalchemy", "alembic", "pydantic"),
    *("safetensors", "vesin", "jaxtyping"),
)
"""Distributions that every campaign needs, or nearly."""
EXTRAS = {"psycopg": "postgres", "h5py": "hdf5", "pyarrow": "parquet", "dpdata": "deepmd"}
"""Distributions that only some need, and the extra that installs each."""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (looked at, not written)
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_NVIDIA_TIMEOUT_S = 15


def versions() -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Installed versions of `PACKAGES` and of `EXTRAS`; None for what is not there."""
    return (
        {name: _version(name) for name in PACKAGES},
        {name: _version(name) for name in EXTRAS},
    )


def usable_cores() -> float:
    """Cores that this process may use: bound by its affinity, and by a quota of its group."""
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
    try:
        limit, period = _QUOTA.read_text(encoding="ascii").split()
        return min(float(cores), int(limit) / int(period))
    except (OSError, ValueError):
        # No such group, or "max".
        return float(cores)


def asked_threads() -> int | None:
    """Threads that the environment asks torch and numpy to use; None for all cores."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def shared_memory() -> int | None:
    """Free shared memory [bytes], or None if it cannot be used."""
    if not os.access(_SHARED_MEMORY, os.W_OK):
        return None
    return shutil.disk_usage(_SHARED_MEMORY).free


def gpus() -> list[str] | None:
    """Names of the NVIDIA GPUs; None if their driver does not answer, which it should."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603 (no input of anybody)
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            check=True,
            capture_output=True,
            text=True,
            timeout=_NVIDIA_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
