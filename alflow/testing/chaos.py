"""The crash test that users run: a campaign is killed again and again, and ends all the same.

The promise is that a campaign ends with the same content whatever is killed when: nothing that
was finished is lost, nothing is done twice. `run_chaos` tries it on the file system, the database
and the site that a user has. It works in a process of its own, which has imported everything and
opened nothing, and forks managers and workers from there: a restart costs milliseconds.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from alflow.core import failpoints
from alflow.core.errors import AlflowError
from alflow.execution.worker import child_environment

LEASE_TTL_S = 1.5
"""Time without a sign of life [s] after which managers under test are taken for dead."""


@dataclass(frozen=True, slots=True)
class ChaosSettings:
    """What to try.

    Attributes:
        directory: Folder on the file system to try; a folder of its own is made in it.
        database: URL of a database server; None for SQLite in the folder.
        site: `process`, or a site of Parsl's.
        kills: How many processes to kill.
        seed: Decides what is killed when.
        keep: Whether the folder stays.
    """

    directory: str
    database: str | None = None
    site: str = "process"
    kills: int = 100
    seed: int = 0
    keep: bool = False


@dataclass(frozen=True, slots=True)
class ChaosResult:
    """What came of it.

    Attributes:
        kills: Processes killed: managers, workers, what workers ran.
        pauses: Processes stopped for a while and continued.
        lost: Results and rows that are missing in the end.
        duplicates: Effects that are there twice, and work done again though its result was there.
        digest_equal: Whether each campaign ended like the undisturbed one.
        extra_executions: Label calculations and tasks executed beyond one each, as a fraction.
        recovery_s_median: Time from the death of a manager to the first progress of the next [s].
        campaigns: How many campaigns it took.
        backend: sqlite or postgresql.
        seconds: How long it took [s].
        points: Named points at which a process was killed.
        fenced: Managers that found another one in their place.
        failures: Managers that ended as they should not have.
        digest: Checksum of the content of the undisturbed campaign.
        folder: What was kept, or empty.
    """

    kills: int
    pauses: int
    lost: int
    duplicates: int
    digest_equal: bool
    extra_executions: float
    recovery_s_median: float | None
    campaigns: int
    backend: str
    seconds: float
    points: int
    fenced: int
    failures: int
    digest: str
    folder: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the promise was kept."""
        return self.digest_equal and not (self.lost or self.duplicates or self.failures)


def run_chaos(settings: ChaosSettings) -> ChaosResult:
    """Run the crash test; what it says about its progress goes to stderr.

    Raises:
        AlflowError: If it cannot be run here, or does not come to an end.
    """
    environment = {**child_environment(), "ALFLOW_LEASE_TTL_S": str(LEASE_TTL_S)}
    environment.pop(failpoints.VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-m", "alflow.testing.trial"],
        # Not as an argument: a URL may hold a password.
        input=json.dumps(asdict(settings)).encode(),
        env=environment,
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise AlflowError(
            f"the crash test itself ended with exit code {done.returncode}"
        ) from error
    if "error" in answer:
        raise AlflowError(
            answer["error"],
            code=answer["code"],
            consequence=answer["consequence"],
            next_step=answer["next_step"],
        )
    return ChaosResult(**answer)
