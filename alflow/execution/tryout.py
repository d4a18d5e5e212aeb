"""Tries a site out: tiny tasks on each of its pools, with everything that a campaign needs."""

import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alflow.core.errors import SiteError
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.execution.files import CampaignFiles
from alflow.execution.parsl import ParslExecutor
from alflow.execution.probe import KIND
from alflow.execution.sites import Pool, Site

_LOOK_S = 0.5


@dataclass(slots=True)
class PoolTrial:
    """What became of the tasks that one pool was given.

    Attributes:
        label: Label of the pool.
        workers: Its workers.
        answers: What the workers told, in the order of the tasks.
        waited_s: Time from handing each out to a worker's taking it [s].
        took_s: Time from taking it to its result [s].
        failures: Why there is no answer.
        news: What was said about the pool, for example why its block waits.
    """

    label: str
    workers: int
    answers: list[Mapping[str, Any]] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    news: list[str] = field(default_factory=list)


class Tryout:
    """A site that has been started to be tried out."""

    def __init__(self, site: Site, files: CampaignFiles, executor: ParslExecutor) -> None:
        """Made by `tryout`."""
        self._site = site
        self._files = files
        self._executor = executor
        self._n_tasks = 0

    def ask(
        self, settings: Mapping[str, Any], deadline_s: float, *, pools: Sequence[str] = ()
    ) -> list[PoolTrial]:
        """Give each pool one task; what became of it, with those that have not ended by then.

        Args:
            settings: What to look at (see `alflow.execution.probe.run`).
            deadline_s: How long to wait [s].
            pools: Labels of the pools to ask; all if empty.
        """
        trials: dict[AttemptRef, PoolTrial] = {}
        handed_out: dict[AttemptRef, float] = {}
        for pool in self._site.distinct_pools():
            if pools and pool.label not in pools:
                continue
            trial = PoolTrial(pool.label, pool.workers)
            attempt = self._prepare(pool, settings)
            trials[attempt] = trial
            try:
                handed_out[attempt] = self._now()
                self._executor.submit(attempt)
            except SiteError as error:
                trial.failures.append(error.message)
                del handed_out[attempt]
        self._collect(trials, handed_out, time.monotonic() + deadline_s)
        return list(trials.values())

    def _prepare(self, pool: Pool, settings: Mapping[str, Any]) -> AttemptRef:
        self._n_tasks += 1
        kind = f"{KIND}:{pool.label}"
        spec = TaskSpec(kind, f"{kind}/{self._n_tasks}", 0, dict(settings))
        self._files.write_spec(self._n_tasks, spec)
        return AttemptRef(self._n_tasks, 1, "tryout", kind)

    def _collect(
        self,
        trials: Mapping[AttemptRef, PoolTrial],
        handed_out: dict[AttemptRef, float],
        end: float,
    ) -> None:
        """Wait for answers, and note what is said about pools meanwhile."""
        by_pool = {trial.label: trial for trial in trials.values()}
        while handed_out and time.monotonic() < end:
            self._executor.wait(_LOOK_S)
            for one in self._executor.news():
                if one.pool in by_pool:
                    by_pool[one.pool].news.append(one.text)
            lost = dict(self._executor.lost())
            for attempt, begun in list(handed_out.items()):
                trial = trials[attempt]
                outcome = self._files.read_result(attempt)
                if outcome is None and attempt in lost:
                    outcome = Outcome(failure=lost[attempt])
                if outcome is not None:
                    self._note(trial, attempt, outcome, begun)
                    del handed_out[attempt]

    def _note(
        self, trial: PoolTrial, attempt: AttemptRef, outcome: Outcome, begun: float
    ) -> None:
        if outcome.failure is not None:
            trial.failures.append(outcome.failure.message)
            return
        folder = self._files.attempt_directory(attempt)
        taken = (folder / "claim.json").stat().st_mtime
        trial.answers.append(outcome.values)
        trial.waited_s.append(max(0.0, taken - begun))
        trial.took_s.append((folder / "result.json").stat().st_mtime - taken)

    def _now(self) -> float:
        """The time by the clock of the file system, which gives all others."""
        clock = self._files.root / ".clock"
        clock.touch()
        return clock.stat().st_mtime


@contextmanager
def tryout(site: Site, folder: Path) -> Iterator[Tryout]:
    """A site, started in a folder that its workers can see; taken down in the end.

    Raises:
        SiteError: If it does not start.
    """
    pools = {f"{KIND}:{pool.label}": pool for pool in site.distinct_pools()}
    asked = replace(site, pools=pools)
    files = CampaignFiles(folder)
    executor = ParslExecutor(files, asked)
    executor.start()
    try:
        yield Tryout(asked, files, executor)
    finally:
        executor.close(cancel=True)


@contextmanager
def held_lock(folder: Path) -> Iterator[Path]:
    """A file in a folder that this process keeps locked."""
    path = folder / "locked"
    with path.open("w+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
