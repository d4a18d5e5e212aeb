"""Pools of workers in batch jobs of Slurm.

    gpu = slurm_pool("gpu", partition="gpu", gpus_per_node=4, workers_per_node=4, threads=8)

What Slurm gives is taken as it is: devices are those that it names, the end of a block is known
to its workers, a job that waits is waited for. Parsl is imported only when the site starts.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from alflow.core.errors import SiteError
from alflow.execution.deadlines import BLOCK_END_VARIABLE
from alflow.execution.sites import Pool

Launcher = Literal["srun", "single"]
"""`srun` starts one group of workers on each node, `single` one in the batch script itself."""

PROGRAMS = ("sbatch", "squeue", "scancel")
"""What speaks to Slurm."""

_TIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):(\d\d):(\d\d)")
_SHORTEST_S = 10


@dataclass(frozen=True, slots=True)
class SlurmBlock:
    """What to ask Slurm for, for each block. See `slurm_pool` for the fields."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: int = 1
    cores_per_node: int = 1
    gpus_per_node: int = 0
    memory_GB: float | None = None
    walltime: str = "01:00:00"
    setup: str = ""
    directives: tuple[str, ...] = ()
    launcher: Launcher = "srun"
    exclusive: bool = False

    @property
    def walltime_s(self) -> int:
        """Time that a block may take [s]."""
        return seconds(self.walltime)

    def script(
        self, name: str, log: Path, command: str, excluded: Sequence[str] = ()
    ) -> str:
        """The batch script of a block; see `submit_script`."""
        return submit_script(self, name, log, command, excluded)


def slurm_pool(  # noqa: PLR0913
    label: str,
    *,
    partition: str | None = None,
    account: str | None = None,
    qos: str | None = None,
    constraint: str | None = None,
    nodes: int = 1,
    workers_per_node: int = 1,
    threads: int = 1,
    gpus_per_node: int = 0,
    memory_GB: float | None = None,
    walltime: str = "01:00:00",
    longest_task: str | None = None,
    min_blocks: int = 0,
    max_blocks: int = 1,
    setup: str = "",
    directives: Sequence[str] = (),
    launcher: Launcher = "srun",
    exclusive: bool = False,
    cluster: str = "",
    address: str | None = None,
    status_period_s: float = 30.0,
    heartbeat_s: int = 30,
    patience_s: int = 300,
    pauses_s: Sequence[float] = (60.0, 300.0, 900.0),
) -> Pool:
    """Workers in batch jobs of Slurm, asked for when there is work.

    Args:
        label: Name of the pool.
        partition: `--partition`, or None for the default one.
        account: `--account`.
        qos: `--qos`.
        constraint: `--constraint`.
        nodes: Nodes of each block.
        workers_per_node: Attempts that run on a node at the same time.
        threads: Threads, and cores, of one attempt.
        gpus_per_node: GPUs of a node that a block asks for; its workers share them.
        memory_GB: Memory of a node that a block asks for [GB]; None for Slurm's default.
        walltime: Time that a block may take, `[days-]hours:minutes:seconds`.
        longest_task: Time that a task of this pool may take, in the same form: a block that has
            less left takes no new work. None for a tenth of `walltime`.
        min_blocks: Blocks to keep even without work.
        max_blocks: Blocks to have at most.
        setup: Shell commands that make alflow importable, for example `module load python`.
        directives: More lines for the head of the script, without `#SBATCH`.
        launcher: `srun` for workers on every node, `single` to start them without srun.
        exclusive: Whether nodes are not shared with other jobs.
        cluster: Name of the cluster, for a Slurm of several.
        address: Address at which nodes reach this machine; None to find out.
        status_period_s: How often Slurm is asked for the state of jobs [s].
        heartbeat_s: Time in which the death of a worker is noticed [s].
        patience_s: Silence after which workers and dispatcher give each other up [s].
        pauses_s: Waits after blocks have failed in a row [s]; after the last one the pool is
            given up.

    Raises:
        SiteError: If a value cannot be used.
    """
    if (
        min(nodes, workers_per_node, threads, max_blocks) < 1
        or min(min_blocks, gpus_per_node) < 0
    ):
        raise SiteError(
            f"pool {label!r}: a number of nodes, workers, GPUs or blocks is too small"
        )
    if launcher == "single" and nodes > 1:
        raise SiteError(
            f"pool {label!r}: the launcher 'single' is for one node, not {nodes}"
        )
    block = SlurmBlock(
        partition=partition,
        account=account,
        qos=qos,
        constraint=constraint,
        nodes=nodes,
        cores_per_node=workers_per_node * threads,
        gpus_per_node=gpus_per_node,
        memory_GB=memory_GB,
        walltime=walltime,
        setup=setup,
        directives=tuple(directives),
        launcher=launcher,
        exclusive=exclusive,
    )
    reserve_s = block.walltime_s // 10 if longest_task is None else seconds(longest_task)
    if block.walltime_s - reserve_s < _SHORTEST_S:
        raise SiteError(
            f"pool {label!r}: blocks of {walltime} are too short for tasks of {longest_task}"
        )
    make = partial(
        _executor,
        label=label,
        block=block,
        workers=workers_per_node,
        blocks=(min_blocks, max_blocks),
        address=address,
        times=(status_period_s, heartbeat_s, patience_s, block.walltime_s - reserve_s),
        cluster=cluster,
        pauses_s=tuple(pauses_s),
    )
    workers = max_blocks * nodes * workers_per_node
    return Pool(label, workers, make, threads, programs=PROGRAMS)


def seconds(text: str) -> int:
    """Seconds of a time as Slurm writes it, `[days-]hours:minutes:seconds`.

    Raises:
        SiteError: If it is not one.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise SiteError(f"{text!r} is not a time like 01:30:00 or 2-00:00:00")
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def submit_script(
    block: SlurmBlock, name: str, log: Path, command: str, excluded: Sequence[str] = ()
) -> str:
    """The batch script of a block.

    Args:
        block: What to ask for.
        name: Name of the job.
        log: File for what the job prints.
        command: Command line that starts the workers of one node.
        excluded: Hosts not to be used.
    """
    lines = _directives(block, name, log)
    if excluded:
        lines.append(f"--exclude={','.join(excluded)}")
    head = "\n".join(f"#SBATCH {line}" for line in lines)
    return f"""\
#!/bin/bash
{head}

export {BLOCK_END_VARIABLE}=${{SLURM_JOB_END_TIME:-$(( $(date +%s) + {block.walltime_s} ))}}
{block.setup}
{_launch(block, command)}
"""


def _directives(block: SlurmBlock, name: str, log: Path) -> list[str]:
    lines = {
        "job-name": name,
        "output": str(log),
        "partition": block.partition,
        "account": block.account,
        "qos": block.qos,
        "constraint": block.constraint,
        "nodes": block.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": block.cores_per_node,
        "gpus-per-node": block.gpus_per_node or None,
        "mem": None if block.memory_GB is None else f"{round(block.memory_GB * 1000)}M",
        "time": block.walltime,
    }
    flags = ["--exclusive"] if block.exclusive else []
    return [
        *(f"--{key}={value}" for key, value in lines.items() if value is not None),
        # What a block was running is given to another one; the block itself is not repeated.
        *(*flags, "--no-requeue", *block.directives),
    ]


def _launch(block: SlurmBlock, command: str) -> str:
    if block.launcher == "single":
        return f"exec {command}"
    options = (
        f"--ntasks={block.nodes} --ntasks-per-node=1 --cpus-per-task={block.cores_per_node}"
    )
    # A node that dies takes its own workers with it and no others.
    options += " --kill-on-bad-exit=0 --no-kill --label"
    return f"exec srun {options} bash -c {shlex.quote('exec ' + command)}"


def _executor(  # noqa: PLR0913
    *,
    label: str,
    block: SlurmBlock,
    workers: int,
    blocks: tuple[int, int],
    address: str | None,
    times: tuple[float, int, int, int],
    cluster: str,
    pauses_s: tuple[float, ...],
) -> Any:
    from parsl.executors import HighThroughputExecutor

    from alflow.execution.block_provider import BlockProvider
    from alflow.execution.breaker import CircuitBreaker
    from alflow.execution.slurm_queue import slurm_queue

    status_period_s, heartbeat_s, patience_s, drain_s = times
    provider = BlockProvider(
        slurm_queue(cluster),
        block,
        blocks=blocks,
        status_period_s=status_period_s,
        breaker=CircuitBreaker(pauses_s),
    )
    return HighThroughputExecutor(
        label=label,
        address=address,
        provider=provider,
        max_workers_per_node=workers,
        # Parsl also divides the cores of the machine by this; the number of workers decides.
        cores_per_worker=1e-3,
        heartbeat_period=heartbeat_s,
        heartbeat_threshold=patience_s,
        drain_period=drain_s,
        encrypted=True,
    )
