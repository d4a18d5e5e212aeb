"""What `alflow doctor --site` says about the pools of a site."""

import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alflow.core.errors import AlflowError

if TYPE_CHECKING:
    from alflow.execution.sites import Pool, Site
    from alflow.execution.tryout import PoolTrial

OK, WARN, FAIL = "ok", "warn", "FAIL"

_MODULES = ("torch", "pyscf.dft", "alflow.tasks.label")
"""What workers import for training, for labels, and for tasks."""
_MUST_AGREE = ("alflow", "parsl", "python")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the table.

    Attributes:
        state: ok, warn or FAIL.
        subject: What was looked at.
        detail: What was found.
    """

    state: str
    subject: str
    detail: str


def local() -> Diagnosis:
    """What is said about a site that nobody asked for: the one of this machine, not started."""
    from alflow.execution.sites import load_site

    try:
        site = load_site("local")
    except AlflowError as error:
        return Diagnosis(FAIL, "site", error.message)
    pools = ", ".join(f"{pool.label}: {pool.workers}" for pool in site.distinct_pools())
    return Diagnosis(
        OK, "site", f"{site.name} (workers {pools}), not started: --site tries one"
    )


def diagnoses(
    directory: Path, name: str, patience_s: float, programs: Sequence[str]
) -> list[Diagnosis]:
    """Load a site, start it, and ask a worker of each pool.

    Args:
        directory: A folder that workers see.
        name: Name of the site, or path of its file.
        patience_s: Time for workers to answer [s].
        programs: Programs that workers must find.
    """
    from alflow.execution.sites import load_site

    try:
        site = load_site(name)
    except AlflowError as error:
        return [Diagnosis(FAIL, "site", error.message)]
    pools = ", ".join(f"{pool.label}: {pool.workers}" for pool in site.distinct_pools())
    found = [Diagnosis(OK, "site", f"{site.name} (workers {pools})")]
    found += [one for pool in site.distinct_pools() for one in _commands(pool)]
    if any(one.state == FAIL for one in found):
        return found
    try:
        found += _asked(directory, site, patience_s, programs)
    except AlflowError as error:
        found.append(Diagnosis(FAIL, "start", error.message))
    return found


def _asked(
    directory: Path, site: "Site", patience_s: float, programs: Sequence[str]
) -> list[Diagnosis]:
    from alflow.execution.tryout import held_lock, tryout

    folder = Path(tempfile.mkdtemp(prefix="alflow-doctor-", dir=directory)).absolute()
    try:
        with held_lock(folder) as locked, tryout(site, folder) as started:
            settings = {
                "modules": _MODULES,
                "programs": list(programs),
                "locked": str(locked),
            }
            trials = started.ask(settings, patience_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [one for trial in trials for one in _trial(trial, patience_s)]


def _commands(pool: "Pool") -> Iterator[Diagnosis]:
    """Whether the commands of a pool's scheduler are there."""
    subject = f"{pool.label}: scheduler"
    try:
        provider = pool.make().provider
    except Exception as error:  # noqa: BLE001 - a site file may raise anything
        yield Diagnosis(FAIL, subject, f"{type(error).__name__}: {error}")
        return
    title = str(getattr(getattr(provider, "_queue", None), "title", ""))
    needed = pool.programs
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        yield Diagnosis(FAIL, subject, f"{title}: not found: {', '.join(missing)}")
    elif needed:
        yield Diagnosis(OK, subject, f"{title}: {', '.join(needed)}")


def _trial(trial: "PoolTrial", patience_s: float) -> Iterator[Diagnosis]:
    """What is known of one pool."""
    subject = f"{trial.label}: workers"
    if trial.failures:
        yield Diagnosis(
            FAIL, subject, "; ".join(dict.fromkeys([*trial.failures, *trial.news]))
        )
        return
    if not trial.answers:
        why = f": {trial.news[-1]}" if trial.news else ""
        told = f"no answer within {patience_s:g} s{why}; a full queue is no fault"
        yield Diagnosis(WARN, subject, told)
        return
    answer = trial.answers[0]
    told = f"answered after {trial.waited_s[0]:.1f} s from {answer['host']}"
    yield Diagnosis(OK, subject, f"{told}, {answer['cores']:g} cores")
    yield _environment(trial.label, answer)
    yield _accelerators(trial.label, answer)
    yield _scratch(trial.label, answer)
    yield _locks(trial.label, answer)
    if answer["programs"]:
        yield _programs(trial.label, answer)


def _environment(label: str, answer: Mapping[str, Any]) -> Diagnosis:
    from alflow.execution.probe import versions

    subject = f"{label}: environment"
    here = {**versions(), "python": platform.python_version()}
    there = {**answer["versions"], "python": answer["python"]}
    broken = [f"{name}: {why}" for name, why in answer["imports"].items() if why]
    names = [name for name in here if here[name] != there[name]]
    different = [f"{name} {there[name]} there, {here[name]} here" for name in names]
    if broken:
        return Diagnosis(FAIL, subject, f"cannot import {'; '.join(broken)}")
    if different:
        is_fatal = any(name in _MUST_AGREE for name in names)
        return Diagnosis(FAIL if is_fatal else WARN, subject, "; ".join(different))
    told = ", ".join(f"{name} {version}" for name, version in here.items())
    return Diagnosis(OK, subject, f"as here: {told}")


def _accelerators(label: str, answer: Mapping[str, Any]) -> Diagnosis:
    subject, devices = f"{label}: GPUs", answer["devices"]
    if answer["gpus"] is None:
        return Diagnosis(WARN, subject, "nvidia-smi is installed there but does not answer")
    told = "; ".join(answer["gpus"]) or "none on its node"
    return Diagnosis(OK, subject, f"{told}; given: {devices or 'none'}")


def _scratch(label: str, answer: Mapping[str, Any]) -> Diagnosis:
    subject, found = f"{label}: scratch", answer["scratch"]
    if found["error"]:
        return Diagnosis(FAIL, subject, f"{found['folder']}: {found['error']}")
    told = f"{found['folder']}: {found['free_GB']:g} GB free, {found['MB_per_s']:g} MB/s"
    return Diagnosis(OK, subject, told)


def _locks(label: str, answer: Mapping[str, Any]) -> Diagnosis:
    """Attempts are claimed without locks, so that a file system without them is a warning only."""
    subject, found = f"{label}: locks", answer["lock"]
    if found == "held":
        return Diagnosis(OK, subject, "a lock that is held here keeps workers out")
    told = "a lock that is held here is not seen there" if found == "free" else found
    return Diagnosis(WARN, subject, f"{told}: keep the database on a disk of this machine")


def _programs(label: str, answer: Mapping[str, Any]) -> Diagnosis:
    subject = f"{label}: programs"
    missing = [name for name, path in answer["programs"].items() if path is None]
    if missing:
        return Diagnosis(FAIL, subject, f"not found by workers: {', '.join(missing)}")
    return Diagnosis(OK, subject, ", ".join(answer["programs"].values()))
