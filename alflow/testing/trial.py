"""The process of the crash test: it has imported everything, opened nothing, and forks the rest.

It reads its settings from standard input and writes what came of it to standard output, as JSON.
"""

import gc
import importlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alflow.core.errors import AlflowError, SettingsError
from alflow.execution.forkserver import PRELOAD_VARIABLE, preload
from alflow.store import open_store
from alflow.testing.actors import PROCESS, Stage
from alflow.testing.audit import Findings, audit, missing
from alflow.testing.chaos import ChaosResult, ChaosSettings
from alflow.testing.places import NewPlace, make_places
from alflow.testing.torment import Tally, Torment
from alflow.testing.toy import CAMPAIGN, NAME

_MOST_CAMPAIGNS = 1000
_BODIES = (
    "torch._dynamo",
    "alflow.builders.random_box",
    "alflow.labelers.analytic",
    "alflow.models.ani.ensemble",
    "alflow.models.gupta",
    "alflow.samplers.nemd_run",
    "alflow.acquisition.threshold_rule",
    "alflow.training.fit",
)
"""What the bodies of a toy campaign import, half of it by a detour: seconds, for each of them."""


class Trial:
    """A reference campaign, then tormented ones until enough has been killed."""

    def __init__(
        self,
        settings: ChaosSettings,
        folder: Path,
        new_place: NewPlace,
        say: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            settings: What to try.
            folder: An empty folder to work in.
            new_place: Makes databases.
            say: Tells the user how far it is.
        """
        self._settings = settings
        self._folder = folder
        self._new_place = new_place
        self._say = say
        self._rng = random.Random(settings.seed)  # noqa: S311 - nobody has to guess it
        self._tally = Tally()
        self._lost: list[str] = []
        self._duplicates: list[str] = []
        self._found: list[Findings] = []

    def run(self) -> ChaosResult:
        """Do it all.

        Raises:
            AlflowError: If a campaign does not come to an end.
        """
        begun = time.monotonic()
        reference = self._play("reference", kills=0)
        calm_s = time.monotonic() - begun
        self._say(f"undisturbed: {calm_s:.1f} s, {reference.n_done} pieces of work")
        wanted = self._settings.kills
        while self._tally.kills < wanted and len(self._found) < _MOST_CAMPAIGNS:
            found = self._play(f"campaign-{len(self._found) + 1}", kills=wanted)
            self._lost += [*found.lost, *missing(reference, found)]
            self._duplicates += found.duplicates
            self._found.append(found)
            equal = "equal" if found.digest == reference.digest else "DIFFERENT"
            self._say(
                f"campaign {len(self._found)}: {min(self._tally.kills, wanted)} of {wanted} "
                f"kills, content {equal}"
            )
        return self._result(reference, time.monotonic() - begun)

    def _play(self, name: str, kills: int) -> Findings:
        folder = self._folder / name
        folder.mkdir()
        (folder / "campaign.yaml").write_text(CAMPAIGN)
        stage = Stage(folder, self._new_place(folder), self._settings.site)
        try:
            Torment(stage, self._rng, self._tally, kills).run()
        except (TimeoutError, RuntimeError) as error:
            raise AlflowError(
                f"the campaign {name} did not come to its end: {error}",
                next_step=f"look into {folder}",
            ) from error
        return audit(stage.database, folder / NAME)

    def _result(self, reference: Findings, seconds: float) -> ChaosResult:
        tally = self._tally
        n_done = sum(one.n_done for one in self._found)
        n_executed = sum(one.n_executed for one in self._found)
        recoveries = tally.recoveries
        for what in (*self._lost, *self._duplicates):
            self._say(what)
        return ChaosResult(
            kills=tally.kills,
            pauses=tally.pauses,
            lost=len(self._lost),
            duplicates=len(self._duplicates),
            digest_equal=all(one.digest == reference.digest for one in self._found),
            extra_executions=round(n_executed / n_done - 1, 4) if n_done else 0.0,
            recovery_s_median=round(statistics.median(recoveries), 3)
            if recoveries
            else None,
            campaigns=len(self._found),
            backend="postgresql" if self._settings.database else "sqlite",
            seconds=round(seconds, 1),
            points=len(tally.points),
            fenced=tally.fenced,
            failures=tally.bugs,
            digest=reference.digest,
        )


def run_trial(settings: ChaosSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """The crash test in this process; the result, or what went wrong, JSON-like.

    Raises:
        AlflowError: If it cannot be run here.
    """
    directory = Path(settings.directory).absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="alflow-chaos-", dir=directory))
    except OSError as error:
        raise SettingsError(
            f"{directory}: {error.strerror or error}",
            next_step="name a folder that can be written to: alflow chaos DIR",
        ) from error
    is_kept = True
    try:
        warm_up(folder, settings)
        with make_places(settings.database, keep=settings.keep) as new_place:
            result = Trial(settings, folder, new_place, say).run()
        is_kept = settings.keep or not result.is_good
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    return {**asdict(result), "folder": str(folder) if is_kept else ""}


def warm_up(folder: Path, settings: ChaosSettings) -> None:
    """Import what managers and bodies will need, and leave nothing open."""
    os.environ[PRELOAD_VARIABLE] = ",".join(_BODIES)
    preload()
    if settings.site != PROCESS:
        importlib.import_module("alflow.execution.parsl")
    # Says right away if a database cannot be kept here.
    with open_store(folder / "warm.db", create=True):
        pass
    gc.collect()
    gc.freeze()


def main() -> None:
    """Read settings from standard input, write the result to standard output."""
    settings = ChaosSettings(**json.load(sys.stdin))
    sys.stdin.close()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is a program

    try:
        answer = run_trial(settings, say)
    except AlflowError as error:
        answer = {
            "error": error.message,
            "code": error.code,
            "consequence": error.consequence,
            "next_step": error.next_step,
        }
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main()
