"""Pools whose workers come as jobs of PBS, LSF, Flux or Kubernetes.

    gpu = pbs_pool(
        "gpu",
        account="my-project",
        queue="debug",
        select="system=polaris",
        workers_per_node=4,
        walltime="01:00:00",
    )

Nothing of Parsl is imported before a site starts.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NotRequired, TypedDict, Unpack

from alflow.core.errors import SiteError
from alflow.execution.dialects import Block, Flux, Lsf, Pbs, Request, Scheduler
from alflow.execution.kubernetes import Kubernetes
from alflow.execution.sites import Pool

PROGRAMS = {
    "PBS": ("qsub", "qstat", "qdel"),
    "LSF": ("bsub", "bjobs", "bkill"),
    "Flux": ("flux",),
    "Kubernetes": ("kubectl",),
}
"""What speaks to each scheduler."""


class BlockOptions(TypedDict):
    """What the blocks of every pool have in common.

    Attributes:
        nodes: Nodes of a block; 1.
        workers_per_node: Attempts that a node runs at the same time; 1. They share its GPUs:
            more workers than GPUs put several on one, fewer give several to each.
        threads: Threads of one attempt; 1.
        walltime: Time that a block may take, hours:minutes:seconds; one hour.
        longest_task: Time that a task may take, in the same form: a block that has less left
            takes no new work; by default a tenth of `walltime`.
        min_blocks: Blocks that are kept even without work; none.
        max_blocks: Most blocks at the same time; 1.
        setup: Lines of shell before the workers start: modules, environment variables.
        directives: Further options for the scheduler, as its command takes them.
        interface: Network interface of the login node that compute nodes reach, such as
            `hsn0`; by default each one is tried.
        status_period_s: How often the scheduler is asked for the state of blocks [s]; 30.
    """

    nodes: NotRequired[int]
    workers_per_node: NotRequired[int]
    threads: NotRequired[int]
    walltime: NotRequired[str]
    longest_task: NotRequired[str]
    min_blocks: NotRequired[int]
    max_blocks: NotRequired[int]
    setup: NotRequired[str]
    directives: NotRequired[Sequence[str]]
    interface: NotRequired[str | None]
    status_period_s: NotRequired[float]


def pbs_pool(
    label: str,
    *,
    account: str | None = None,
    queue: str | None = None,
    select: str = "",
    launcher: str = "",
    **block: Unpack[BlockOptions],
) -> Pool:
    """Workers in jobs of PBS Professional or OpenPBS.

    Args:
        label: Name of the pool.
        account: Who pays.
        queue: Queue.
        select: What each node of a block must have, as after `-l select=N:`.
        launcher: Command that starts another one once on every node, with `{nodes}` in it;
            not needed for one node.
        **block: See `BlockOptions`.

    Raises:
        SiteError: If a number cannot be used.
    """
    return batch_pool(label, Pbs(account, queue, select, launcher), block)


def lsf_pool(
    label: str,
    *,
    project: str | None = None,
    queue: str | None = None,
    resources: str = "-nnodes {nodes}",
    launcher: str = "",
    **block: Unpack[BlockOptions],
) -> Pool:
    """Workers in jobs of IBM Spectrum LSF.

    Args:
        label: Name of the pool.
        project: Who pays.
        queue: Queue.
        resources: Options of `bsub` that ask for the nodes of a block.
        launcher: Command that starts another one once on every node, with `{nodes}` in it.
        **block: See `BlockOptions`.

    Raises:
        SiteError: If a number cannot be used.
    """
    return batch_pool(label, Lsf(project, queue, resources, launcher), block)


def flux_pool(
    label: str,
    *,
    bank: str | None = None,
    queue: str | None = None,
    **block: Unpack[BlockOptions],
) -> Pool:
    """Workers in jobs of Flux, each with whole nodes.

    Args:
        label: Name of the pool.
        bank: Who pays.
        queue: Queue.
        **block: See `BlockOptions`.

    Raises:
        SiteError: If a number cannot be used.
    """
    return batch_pool(label, Flux(bank, queue), block)


def kubernetes_pool(
    label: str,
    *,
    image: str,
    claims: Mapping[str, str],
    resources: Mapping[str, str],
    namespace: str | None = None,
    node_selector: Mapping[str, str] | None = None,
    **block: Unpack[BlockOptions],
) -> Pool:
    """Workers in pods of Kubernetes.

    The manager runs in a pod of the same image, so that Python and alflow are at the same
    place for both, and pods reach it.

    Args:
        label: Name of the pool.
        image: Container image with alflow in it.
        claims: Persistent volume claim to the path where it is mounted; the campaign
            directory lies in one of them.
        resources: What a pod is given, for example `{"cpu": "8", "nvidia.com/gpu": "1"}`.
        namespace: Namespace; by default that of the current context.
        node_selector: Labels that nodes must have.
        **block: See `BlockOptions`.

    Raises:
        SiteError: If a number cannot be used.
    """
    scheduler = Kubernetes(image, claims, resources, namespace, node_selector or {})
    return batch_pool(label, scheduler, block)


def batch_pool(label: str, scheduler: Scheduler, options: BlockOptions) -> Pool:
    """Workers in jobs of some scheduler.

    Args:
        label: Name of the pool.
        scheduler: How it is spoken to.
        options: See `BlockOptions`.

    Raises:
        SiteError: If a number cannot be used.
    """
    block = Block(
        nodes=options.get("nodes", 1),
        walltime_s=seconds_of(options.get("walltime", "01:00:00")),
        directives=tuple(options.get("directives", ())),
        setup=options.get("setup", ""),
    )
    per_node, blocks = options.get("workers_per_node", 1), options.get("max_blocks", 1)
    if block.walltime_s <= _reserve_s(block, options):
        raise SiteError(f"pool {label!r}: a block is too short for its longest task")
    make = partial(_executor, label, scheduler, block, options)
    workers, threads = block.nodes * per_node * blocks, options.get("threads", 1)
    return Pool(label, workers, make, threads, programs=PROGRAMS.get(scheduler.title, ()))


def _executor(label: str, scheduler: Scheduler, block: Block, options: BlockOptions) -> Any:
    from alflow.execution.batch import DialectQueue, batch_executor
    from alflow.execution.block_provider import BlockProvider
    from alflow.execution.breaker import CircuitBreaker

    provider = BlockProvider(
        DialectQueue(scheduler),
        Request(scheduler, block),
        blocks=(options.get("min_blocks", 0), options.get("max_blocks", 1)),
        status_period_s=options.get("status_period_s", 30.0),
        breaker=CircuitBreaker(),
    )
    return batch_executor(
        provider,
        label=label,
        workers=options.get("workers_per_node", 1),
        interface=options.get("interface"),
        drain_s=block.walltime_s - _reserve_s(block, options),
    )


def _reserve_s(block: Block, options: BlockOptions) -> int:
    """Time before the end of a block in which nothing new is begun [s]."""
    longest = options.get("longest_task")
    return block.walltime_s // 10 if longest is None else seconds_of(longest)


def seconds_of(text: str) -> int:
    """A length of time in seconds.

    Args:
        text: Hours, minutes and seconds, as in 01:30:00.

    Raises:
        SiteError: If it is something else.
    """
    match = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", text)
    if match is None or not (seconds := _seconds(*map(int, match.groups()))):
        raise SiteError(
            f"{text!r} is not a time in hours:minutes:seconds", next_step="as in 01:30:00"
        )
    return seconds


def _seconds(hours: int, minutes: int, seconds: int) -> int:
    return hours * 3600 + minutes * 60 + seconds
