"""How batch schedulers are spoken to: text to submit, commands to run, answers to read.

Nothing is run here. `alflow.execution.batch` runs the commands; a scheduler that is not here
is added by writing the methods of `Scheduler`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from alflow.core.errors import SiteError
from alflow.execution.deadlines import BLOCK_END_VARIABLE
from alflow.execution.queues import Job


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command of a scheduler printed, and its exit status; negative: it did not end."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Request:
    """A block, and the scheduler that is asked for it."""

    scheduler: "Scheduler"
    block: "Block"

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.block.nodes

    def script(
        self, name: str, log: Path, command: str, excluded: Sequence[str] = ()
    ) -> str:
        """What is submitted."""
        del excluded  # their dispatcher sends workers on such hosts home
        return self.scheduler.script(self.block, name, log, command)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of nodes to ask for.

    Attributes:
        nodes: Number of nodes.
        walltime_s: How long it may run [s].
        directives: Further options for the scheduler, as its command takes them.
        setup: Lines of shell that are run before the workers start.
    """

    nodes: int = 1
    walltime_s: int = 3600
    directives: tuple[str, ...] = ()
    setup: str = ""

    def shell(self, command: str) -> str:
        """What the job runs, from the setup to the workers."""
        end = f'export {BLOCK_END_VARIABLE}="$(($(date +%s) + {self.walltime_s}))"'
        return "\n".join(filter(None, (end, self.setup.strip("\n"), command)))

    def script(self, mark: str, options: Sequence[str], command: str) -> str:
        """A job script: options of the scheduler behind its mark, setup, workers."""
        lines = [f"{mark} {option}" for option in (*options, *self.directives) if option]
        return "\n".join(("#!/bin/bash", *lines, "", self.shell(command), ""))


@runtime_checkable
class Scheduler(Protocol):
    """One kind of batch scheduler."""

    commands: ClassVar[tuple[str, ...]]
    """Programs that must be there."""

    @property
    def title(self) -> str:
        """Names the scheduler to people."""
        ...

    def script(self, block: Block, name: str, log: Path, command: str) -> str:
        """What is submitted: it runs `command` once on every node and prints into `log`."""
        ...

    def submission(self) -> list[str]:
        """Command that takes a script from its standard input."""
        ...

    def job_id(self, printed: str) -> str | None:
        """Number of the job that was submitted, or None if the answer does not tell."""
        ...

    def question(self, job_ids: Sequence[str]) -> list[str]:
        """Command that asks for the state of jobs."""
        ...

    def reports(self, answer: Answer) -> dict[str, Job] | None:
        """States of the jobs that the scheduler still knows; None if this is no answer."""
        ...

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Command that ends jobs."""
        ...

    def search(self, name: str) -> list[str]:
        """Command that prints the numbers of the jobs of a name that have not ended."""
        ...


@dataclass(frozen=True, slots=True)
class Pbs:
    """PBS Professional and OpenPBS."""

    account: str | None = None
    queue: str | None = None
    select: str = ""
    launcher: str = ""

    commands: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel", "qselect")
    title: ClassVar[str] = "PBS"
    _queued: ClassVar[str] = "QHWTS"

    def script(self, block: Block, name: str, log: Path, command: str) -> str:
        """What is submitted."""
        options = (
            f"-N {name}",
            f"-A {self.account}" if self.account else "",
            f"-q {self.queue}" if self.queue else "",
            f"-l select={block.nodes}{self.select and f':{self.select}'}",
            f"-l walltime={_clock(block.walltime_s)}",
            "-r n",
            "-j oe",
            f"-o {log}",
        )
        return block.script("#PBS", options, _launched(self.launcher, block, command))

    def submission(self) -> list[str]:
        """Command that takes a script."""
        return ["qsub"]

    def job_id(self, printed: str) -> str | None:
        """Number of the job; the name of the server is not always told in the same way."""
        found = re.search(r"^(\d+)(?:\.\S+)?\s*$", printed, re.MULTILINE)
        return found and found[1]

    def question(self, job_ids: Sequence[str]) -> list[str]:
        """Command that asks; `-x`: for jobs that have ended, too."""
        return ["qstat", "-x", "-f", "-F", "json", *job_ids]

    def reports(self, answer: Answer) -> dict[str, Job] | None:
        """States of jobs."""
        if answer.code != 0 and "Unknown Job Id" not in answer.err:
            return None
        try:
            # Comments of users may hold line breaks, which JSON forbids.
            jobs = json.loads(answer.out or "{}", strict=False).get("Jobs", {})
            return {name.partition(".")[0]: self._report(job) for name, job in jobs.items()}
        except (ValueError, AttributeError):
            return None

    def _report(self, job: Mapping[str, Any]) -> Job:
        state, reason = str(job.get("job_state", "")), str(job.get("comment", ""))
        if state not in ("F", "X"):
            is_queued = state != "" and state in self._queued
            return Job("PENDING" if is_queued else "RUNNING", reason)
        code = job.get("Exit_status")
        if code is None:  # it never ran
            return Job("CANCELLED", reason)
        asked = str(job.get("Resource_List", {}).get("walltime", "~"))
        used = str(job.get("resources_used", {}).get("walltime", ""))
        if code != 0 and used >= asked:  # both as HH:MM:SS
            return Job("TIMEOUT", reason)
        return _ended(str(code), reason)

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Command that ends jobs."""
        return ["qdel", *job_ids]

    def search(self, name: str) -> list[str]:
        """Command that looks for a name."""
        return ["qselect", "-N", name]


@dataclass(frozen=True, slots=True)
class Lsf:
    """IBM Spectrum LSF."""

    project: str | None = None
    queue: str | None = None
    resources: str = "-nnodes {nodes}"
    launcher: str = ""

    commands: ClassVar[tuple[str, ...]] = ("bsub", "bjobs", "bkill")
    title: ClassVar[str] = "LSF"
    # Suspended ones hold their nodes and go on later.
    _states: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("PEND", "PSUSP", "WAIT", "PROV"), "PENDING"),
        **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN"), "RUNNING"),
        "DONE": "COMPLETED",
        **dict.fromkeys(("EXIT", "ZOMBI"), "FAILED"),
    }

    def script(self, block: Block, name: str, log: Path, command: str) -> str:
        """What is submitted."""
        minutes = ceil(block.walltime_s / 60)
        options = (
            f"-J {name}",
            f"-P {self.project}" if self.project else "",
            f"-q {self.queue}" if self.queue else "",
            f"{self.resources.format(nodes=block.nodes)}",
            f"-W {minutes // 60}:{minutes % 60:02}",
            f"-o {log}",
        )
        return block.script("#BSUB", options, _launched(self.launcher, block, command))

    def submission(self) -> list[str]:
        """Command that takes a script; given its name instead, it would not read directives."""
        return ["bsub"]

    def job_id(self, printed: str) -> str | None:
        """Number of the job."""
        found = re.search(r"^(?:Job <)?(\d+)", printed, re.MULTILINE)
        return found and found[1]

    def question(self, job_ids: Sequence[str]) -> list[str]:
        """Command that asks."""
        columns = "jobid stat exit_code exit_reason pend_reason delimiter='|'"
        return ["bjobs", "-noheader", "-o", columns, *job_ids]

    def reports(self, answer: Answer) -> dict[str, Job] | None:
        """States of jobs."""
        if answer.code != 0 and "is not found" not in answer.err:
            return None
        reports = {}
        for line in answer.out.splitlines():
            fields = [field.strip(" -") for field in (*line.split("|"), "", "", "")]
            job_id, name, code, *reasons = fields
            reason = "; ".join(filter(None, reasons))
            if (state := self._states.get(name)) == "FAILED":
                reports[job_id] = _ended(code or "unknown", reason)
                if "TERM_RUNLIMIT" in reason:
                    reports[job_id] = Job("TIMEOUT", reason)
            elif state is not None:
                reports[job_id] = Job(state, reason)
        return reports

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Command that ends jobs."""
        return ["bkill", *job_ids]

    def search(self, name: str) -> list[str]:
        """Command that looks for a name."""
        return ["bjobs", "-noheader", "-J", name, "-o", "jobid"]


@dataclass(frozen=True, slots=True)
class Flux:
    """Flux, of a whole machine or inside of an allocation."""

    bank: str | None = None
    queue: str | None = None
    launcher: str = "flux run -N {nodes} -n {nodes} --exclusive"

    commands: ClassVar[tuple[str, ...]] = ("flux",)
    title: ClassVar[str] = "Flux"
    _states: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("PENDING", "DEPEND", "PRIORITY", "SCHED", "NEW"), "PENDING"),
        **dict.fromkeys(("RUNNING", "RUN", "CLEANUP"), "RUNNING"),
        "COMPLETED": "COMPLETED",
        "FAILED": "FAILED",
        "TIMEOUT": "TIMEOUT",
        "CANCELED": "CANCELLED",
    }

    def script(self, block: Block, name: str, log: Path, command: str) -> str:
        """What is submitted."""
        options = (
            f"--job-name={name}",
            f"--bank={self.bank}" if self.bank else "",
            f"--queue={self.queue}" if self.queue else "",
            f"--nodes={block.nodes}",
            "--exclusive",
            f"--time-limit={block.walltime_s}s",
            f"--output={log}",
        )
        return block.script("#flux:", options, _launched(self.launcher, block, command))

    def submission(self) -> list[str]:
        """Command that takes a script."""
        return ["flux", "batch"]

    def job_id(self, printed: str) -> str | None:
        """Number of the job, in plain letters."""
        found = re.search(r"^[ƒf]([0-9A-Za-z]+)\s*$", printed, re.MULTILINE)
        return found and f"f{found[1]}"

    def question(self, job_ids: Sequence[str]) -> list[str]:
        """Command that asks."""
        columns = "{id.f58}|{status}|{returncode}|{exception.note}"
        return ["flux", "jobs", "-n", f"--format={columns}", *job_ids]

    def reports(self, answer: Answer) -> dict[str, Job] | None:
        """States of jobs."""
        if answer.code != 0 and "unknown" not in answer.err.lower():
            return None
        reports = {}
        for line in answer.out.splitlines():
            job_id, name, code, reason = (*line.split("|", 3), "", "", "")[:4]
            if (state := self._states.get(name)) == "FAILED":
                reports["f" + job_id.strip()[1:]] = _ended(code, reason)
            elif state is not None:
                reports["f" + job_id.strip()[1:]] = Job(state, reason)
        return reports

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Command that ends jobs."""
        return ["flux", "cancel", *job_ids]

    def search(self, name: str) -> list[str]:
        """Command that looks for a name."""
        return ["flux", "jobs", "-n", f"--name={name}", "--format={id.f58}"]


def _launched(launcher: str, block: Block, command: str) -> str:
    """A command on every node of a block; without a launcher, on the node of the script."""
    if not launcher and block.nodes > 1:
        raise SiteError(
            f"a block of {block.nodes} nodes needs a launcher that starts its workers",
            next_step="for example launcher='mpiexec -n {nodes} --ppn 1 --cpu-bind none'",
        )
    return f"{launcher.format(nodes=block.nodes)} {command}".strip()


def _ended(code: str, reason: str) -> Job:
    if code == "0":
        return Job("COMPLETED", reason)
    told = (f"exit status {code}", reason)
    return Job("FAILED", "; ".join(filter(None, told)))


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
