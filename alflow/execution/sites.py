"""Where work runs: named sites, each a small Python file with a function `site()`.

    # site_configs/mine.py
    \"\"\"My workstation: eight workers for labels, one with four threads for training.\"\"\"

    from alflow.execution.sites import Site, local_pool

    def site() -> Site:
        train = local_pool("train", workers=1, threads=4)
        return Site("mine", pools={"train": train, "*": local_pool(workers=8)})

A string `"YOUR_..."` in a site file is a placeholder: the site does not start before it is
replaced. The comment behind it says what to write.

Any Parsl `HighThroughputExecutor` can be a pool: `Pool("gpu", workers=4, make=function)` with
a function of no arguments that returns it. Labels, launch commands, the environment of the
workers and the handling of errors are set by alflow. Parsl is imported only when a site
starts.
"""

import importlib.util
import os
import re
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import alflow
from alflow.core.errors import SiteError, closest
from alflow.core.filenames import similar
from alflow.execution.placeholders import placeholders, site_text
from alflow.registry import available

WORKERS_VARIABLE = "ALFLOW_LOCAL_WORKERS"
"""Environment variable with the number of workers of the local pool."""
SITES_VARIABLE = "ALFLOW_SITES"
"""Environment variable with the folder of one's own site files."""
EVERY_OTHER_KIND = "*"
"""Key in `Site.pools` for the task kinds that are not named."""
LARGER_SUFFIX = ":larger"
"""Ending of a key in `Site.pools` for second tries with more."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A group of equal workers.

    Attributes:
        label: Name, unique in its site.
        workers: Number of attempts that it runs at the same time at its full size.
        make: Makes its Parsl executor; called each time the site starts.
        threads: Threads that one attempt may use.
        is_here: Whether its workers are on the machine of the manager.
        programs: Programs of a scheduler that the manager needs on its PATH.
    """

    label: str
    workers: int
    make: Callable[[], Any]
    threads: int = 1
    is_here: bool = False
    programs: tuple[str, ...] = ()

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
            Several kinds may share one pool. A pool for `KIND:larger` gets the second try of
            tasks that failed for lack of memory or time.
        environment: Environment variables of all workers.
        strategy: How Parsl scales the number of blocks: `simple` or `none`.
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
        """Refuse what could not run."""
        labels = [pool.label for pool in self.distinct_pools()]
        if len(set(labels)) < len(labels):
            raise SiteError(
                f"site {self.name!r} has two pools with one label: {sorted(labels)}"
            )
        # Parsl's third way, `htex_auto_scale`, cancels blocks that still wait when there are
        # fewer tasks than a block has workers, and asks for others at once, for ever.
        if self.strategy not in ("simple", "none"):
            raise SiteError(
                f"site {self.name!r} has strategy {self.strategy!r}",
                next_step="strategies are 'simple' and 'none'",
            )

    def distinct_pools(self) -> tuple[Pool, ...]:
        """Each pool once, in the order of the site file."""
        return tuple(dict.fromkeys(self.pools.values()))

    def serves(self, kind: str) -> bool:
        """Whether some pool runs a task kind."""
        return kind in self.pools or EVERY_OTHER_KIND in self.pools

    def pool_of(self, kind: str, *, larger: bool = False) -> Pool:
        """The pool that runs a task kind.

        Args:
            kind: The kind.
            larger: Whether an attempt failed for lack of memory or time before.

        Raises:
            SiteError: If no pool does.
        """
        pool = self.pools.get(kind, self.pools.get(EVERY_OTHER_KIND))
        if larger:
            pool = self.pools.get(kind + LARGER_SUFFIX, pool)
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
    return Pool(label, count, make, threads, is_here=True)


def own_sites() -> Path:
    """Folder of one's own site files, which are found by name: $ALFLOW_SITES, or below home."""
    given = os.environ.get(SITES_VARIABLE)
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(given or f"{home}/alflow/sites").expanduser()


def site_files() -> dict[str, Path]:
    """Sites that are found by name; one's own hide those that come with alflow."""
    folders = (_shipped(), own_sites())
    paths = [path for folder in folders for path in sorted(folder.glob("[!_.]*.py"))]
    return {path.stem: path for path in paths}


def list_sites() -> dict[str, str]:
    """Names of the sites that are found by name, each with its first line of documentation."""
    return {name: site_text(path)[0] for name, path in sorted(site_files().items())}


def site_file(name_or_path: str) -> Path:
    """The file of a site, by its name or by its path.

    Raises:
        SiteError: If there is no such site.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == ".py":
        if not path.is_file():
            match = similar(path, (".py",))
            raise SiteError(
                f"there is no site file {path}"
                + (f"; did you mean {match!r}?" if match else ""),
                consequence="Nothing was started.",
                next_step="sites that are there: alflow sites list",
            )
        return path
    known = site_files()
    if name_or_path not in known:
        hint = closest(name_or_path, known)
        raise SiteError(
            f"there is no site {name_or_path!r}"
            + (f"; did you mean {hint!r}?" if hint else ""),
            consequence="Nothing was started.",
            next_step=f"known sites: {', '.join(sorted(known))}; "
            "or the path of a site file (.py)",
        )
    return known[name_or_path]


def load_site(name_or_path: str, *, is_draft: bool = False) -> Site:
    """Load a site by its name or by the path of a site file.

    Args:
        name_or_path: Name or path.
        is_draft: Whether to accept placeholders, to look at the site only.

    Raises:
        SiteError: If there is no such site, its file does not define one, or the file has
            placeholders in it.
    """
    path = site_file(name_or_path)
    missing = [] if is_draft else placeholders(path)
    if missing:
        lines = [
            f"{path}:{one.line}: {one.word}: {one.meaning or 'replace it'}"
            for one in missing
        ]
        is_shipped = path.parent == _shipped()
        raise SiteError(
            "\n".join(("the site file has placeholders in it:", *lines)),
            consequence="Nothing was started.",
            next_step=(
                f"alflow sites copy {path.stem}  (a file of your own, to write into)"
                if is_shipped
                else "write what is missing into the file"
            ),
        )
    return _load(path)


def _load(path: Path) -> Site:
    spec = importlib.util.spec_from_file_location(f"alflow_site_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SiteError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        site = module.site() if hasattr(module, "site") else None
    except SiteError as error:
        # In a file that came with alflow it is the environment that is wrong.
        where = "" if path.parent == _shipped() else f"{_place(path, error)}: "
        raise SiteError(
            f"{where}{error.message}",
            code=error.code,
            consequence=error.consequence or "Nothing was started.",
            next_step=error.next_step,
        ) from error
    except Exception as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise SiteError(
            f"{_place(path, error)}: {type(error).__name__}: {reason}",
            consequence="Nothing was started.",
            next_step=f"mend that line; to try it: alflow sites show {path}",
        ) from error
    if not isinstance(site, Site):
        found = f"site() returned a {type(site).__name__}, not a Site"
        raise SiteError(
            f"{path}: {found if hasattr(module, 'site') else 'it has no function site()'}",
            consequence="Nothing was started.",
            next_step="a file to begin with: alflow sites copy local",
        )
    _check_kinds(site, path)
    return site


def usable_site(name_or_path: str) -> Site:
    """Load a site to work on it from this machine.

    Args:
        name_or_path: Name or path.

    Raises:
        SiteError: If it cannot be loaded, or a program of its scheduler is not here.
    """
    site = load_site(name_or_path)
    if missing := missing_programs(site):
        raise SiteError(
            f"site {site.name!r} cannot be used from here: {missing}",
            consequence="Nothing was started.",
            next_step="run alflow where jobs are submitted (a login node), or take another site: "
            "alflow sites list",
        )
    return site


def missing_programs(site: Site) -> str:
    """Which programs of which pools are not on PATH, or an empty string."""
    lacking = {
        pool.label: [one for one in pool.programs if shutil.which(one) is None]
        for pool in site.distinct_pools()
    }
    return "; ".join(
        f"pool {label!r} needs {', '.join(names)}, not found on PATH"
        for label, names in lacking.items()
        if names
    )


def _place(path: Path, error: Exception) -> str:
    """The site file and the line of it that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename == str(path.absolute()):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [one.lineno for one in frames if one.filename == str(path.absolute())]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _check_kinds(site: Site, path: Path) -> None:
    """Refuse pools for tasks that do not exist: what they are for would have none."""
    known = available("tasks")
    for kind in site.pools:
        base = kind.removesuffix(LARGER_SUFFIX)
        if base != EVERY_OTHER_KIND and base not in known:
            match = closest(base, known)
            hint = f"did you mean {match!r}? " if match else ""
            raise SiteError(
                f"{path}: there is no task kind {base!r}",
                consequence="Nothing was started.",
                next_step=f"{hint}kinds: {', '.join(sorted(known))}, "
                f"or {EVERY_OTHER_KIND!r} for all others",
            )
    unserved = sorted(kind for kind in known if not site.serves(kind))
    if unserved:
        raise SiteError(
            f"{path}: no pool runs tasks of kind {', '.join(unserved)}",
            next_step=f"add them, or {EVERY_OTHER_KIND!r} for all others, to `pools`",
        )


def _shipped() -> Path:
    """Folder of the shipped site files: inside the wheel, or beside the package in a clone."""
    package = Path(alflow.__file__).resolve().parent
    inside = package / "_shipped" / "site_configs"
    return inside if inside.is_dir() else package.parent / "site_configs"


def _default_workers(threads: int) -> int:
    text = os.environ.get(WORKERS_VARIABLE)
    if text is None:
        return max(1, _usable_cores() // max(1, threads))
    if not text.isdecimal():
        raise SiteError(
            f"{WORKERS_VARIABLE} is {text!r}; it must be a whole number",
            next_step=f"for example: export {WORKERS_VARIABLE}=4",
        )
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
