"""Where work runs: named sites, each a small Python file with a function `site()`.

    # site_configs/mine.py
    \"\"\"My workstation: eight workers for labels, one with four threads for training.\"\"\"

    from alflow.execution.sites import Site, local_pool

    def site() -> Site:
        train = local_pool("train", workers=1, threads=4)
        return Site("mine", pools={"train": train, "*": local_pool(workers=8)})

Any Parsl `HighThroughputExecutor` can be a pool: `Pool("gpu", workers=4, make=function)` with
a function of no arguments that returns it. Labels, launch commands, the environment of the
workers and the handling of errors are set by alflow. Parsl is imported only when a site
starts.
"""

import ast
import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import alflow
from alflow.core.errors import SiteError, closest

WORKERS_VARIABLE = "ALFLOW_LOCAL_WORKERS"
"""Environment variable with the number of workers of the local pool."""
EVERY_OTHER_KIND = "*"
"""Key in `Site.pools` for the task kinds that are not named."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A group of equal workers.

    Attributes:
        label: Name, unique in its site.
        workers: Number of attempts that it runs at the same time at its full size.
        make: Makes its Parsl executor; called each time the site starts.
        threads: Threads that one attempt may use.
    """

    label: str
    workers: int
    make: Callable[[], Any]
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse what could not run."""
        if re.fullmatch(r"[A-Za-z][0-9A-Za-z_-]{0,40}", self.label) is None:
            raise SiteError(f"pool label {self.label!r} is not a plain word")
        if self.workers < 1 or self.threads < 1:
            raise SiteError(
                f"pool {self.label!r} has {self.workers} workers of {self.threads} threads; "
                "it needs at least one of each"
            )


@dataclass(frozen=True, slots=True)
class Site:
    """A machine, or an account on one, as a set of pools.

    Attributes:
        name: Name of the site.
        pools: Task kind to the pool that runs it; the key `*` stands for every other kind.
            Several kinds may share one pool.
        environment: Environment variables of all workers.
        strategy: How Parsl scales the number of blocks: `simple`, `htex_auto_scale`, `none`.
        strategy_period_s: How often it does so [s].
        max_idle_s: Age of an idle block at which it may be given back [s].
    """

    name: str
    pools: Mapping[str, Pool]
    environment: Mapping[str, str] = field(default_factory=dict)
    strategy: str = "simple"
    strategy_period_s: float = 1.0
    max_idle_s: float = 120.0

    def __post_init__(self) -> None:
        """Refuse two pools with one label."""
        labels = [pool.label for pool in self.distinct_pools()]
        if len(set(labels)) < len(labels):
            raise SiteError(
                f"site {self.name!r} has two pools with one label: {sorted(labels)}"
            )

    def distinct_pools(self) -> tuple[Pool, ...]:
        """Each pool once, in the order of the site file."""
        return tuple(dict.fromkeys(self.pools.values()))

    def serves(self, kind: str) -> bool:
        """Whether some pool runs a task kind."""
        return kind in self.pools or EVERY_OTHER_KIND in self.pools

    def pool_of(self, kind: str) -> Pool:
        """The pool that runs a task kind.

        Raises:
            SiteError: If no pool does.
        """
        pool = self.pools.get(kind, self.pools.get(EVERY_OTHER_KIND))
        if pool is None:
            raise SiteError(
                f"site {self.name!r} has no pool for tasks of kind {kind!r}",
                next_step=f"add {kind!r} or {EVERY_OTHER_KIND!r} to `pools` of the site file",
            )
        return pool


def local_pool(
    label: str = "local",
    *,
    workers: int | None = None,
    threads: int = 1,
    heartbeat_s: int = 2,
    patience_s: int = 30,
) -> Pool:
    """Workers on this machine.

    Args:
        label: Name of the pool.
        workers: How many; by default $ALFLOW_LOCAL_WORKERS, or as many as this process may
            use cores, divided by `threads`.
        threads: Threads that one attempt may use.
        heartbeat_s: Time in which the death of a worker is noticed [s].
        patience_s: Silence after which workers and dispatcher give each other up [s].

    Raises:
        SiteError: If a number cannot be used.
    """
    count = _default_workers(threads) if workers is None else workers
    make = partial(
        _local_executor,
        label=label,
        workers=count,
        heartbeat_s=heartbeat_s,
        patience_s=patience_s,
    )
    return Pool(label, count, make, threads)


def list_sites() -> dict[str, str]:
    """Names of the sites that come with alflow, each with its first line of documentation."""
    return {path.stem: _summary(path) for path in sorted(_shipped().glob("[!_.]*.py"))}


def load_site(name_or_path: str) -> Site:
    """Load a site by the name of a shipped one or by the path of a site file.

    Raises:
        SiteError: If there is no such site, or its file does not define one.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix != ".py":
        known = list_sites()
        if name_or_path not in known:
            hint = closest(name_or_path, known)
            raise SiteError(
                f"there is no site {name_or_path!r}"
                + (f"; did you mean {hint!r}?" if hint else ""),
                next_step=f"known sites: {', '.join(known)}; or the path of a site file (.py)",
            )
        path = _shipped() / f"{name_or_path}.py"
    return _load(path)


def _load(path: Path) -> Site:
    if not path.is_file():
        raise SiteError(f"there is no site file {path}")
    spec = importlib.util.spec_from_file_location(f"alflow_site_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SiteError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        site = module.site()
    except SiteError:
        raise
    except Exception as error:
        raise SiteError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(site, Site):
        raise SiteError(f"{path}: site() returned a {type(site).__name__}, not a Site")
    return site


def _shipped() -> Path:
    """Folder of the shipped site files: inside the wheel, or beside the package in a clone."""
    package = Path(alflow.__file__).resolve().parent
    inside = package / "_shipped" / "site_configs"
    return inside if inside.is_dir() else package.parent / "site_configs"


def _summary(path: Path) -> str:
    try:
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    except (OSError, SyntaxError, ValueError):
        return ""
    return text.partition("\n")[0]


def _default_workers(threads: int) -> int:
    text = os.environ.get(WORKERS_VARIABLE)
    if text is None:
        return max(1, _usable_cores() // max(1, threads))
    if not text.isdecimal():
        raise SiteError(f"{WORKERS_VARIABLE} is {text!r}; it must be a whole number")
    return int(text)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _local_executor(*, label: str, workers: int, heartbeat_s: int, patience_s: int) -> Any:
    from parsl.executors import HighThroughputExecutor

    from alflow.execution.providers import ThisMachine

    return HighThroughputExecutor(
        label=label,
        address="127.0.0.1",
        provider=ThisMachine(),
        max_workers_per_node=workers,
        # Parsl also divides the cores of the machine by this; the number of workers decides.
        cores_per_worker=1e-3,
        heartbeat_period=heartbeat_s,
        heartbeat_threshold=patience_s,
        encrypted=True,
    )
