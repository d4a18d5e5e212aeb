"""Makes the Parsl executor of a pool, with all that a site file need not think of."""

import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from alflow.core.errors import SiteError
from alflow.execution.sites import Pool
from alflow.execution.worker import THREADS_VARIABLE

_POOL_SCRIPT = "process_worker_pool.py"
_POOL_MODULE = "parsl.executors.high_throughput.process_worker_pool"
_NODES = re.compile(r"(?:--nodes[= ]|-N ?)(\d+)")

_logger = logging.getLogger(__name__)


def prepared_executor(pool: Pool, environment: Mapping[str, str]) -> HighThroughputExecutor:
    """The executor of a pool, not started.

    Args:
        pool: The pool.
        environment: Environment variables of its workers.

    Raises:
        SiteError: If the pool is of a kind that cannot work.
    """
    executor = pool.make()
    if not isinstance(executor, HighThroughputExecutor):
        raise SiteError(
            f"pool {pool.label!r}: make() returned a {type(executor).__name__}, "
            "not a parsl HighThroughputExecutor"
        )
    _check(pool, executor)
    executor.label = pool.label
    executor.poll_facade = _tolerant(  # type: ignore[method-assign]
        executor.poll_facade, pool.label
    )
    # By module and interpreter instead of by name: works with any PATH, or none.
    python = [sys.executable, "-P", "-m"]
    executor.interchange_launch_cmd = [
        *python,
        "alflow.execution.interchange",
        str(os.getpid()),
    ]
    if executor.launch_cmd == DEFAULT_LAUNCH_CMD:
        variables = {**environment, THREADS_VARIABLE: str(pool.threads)}
        settings = [f"{name}={value}" for name, value in sorted(variables.items())]
        command = shlex.join(["/usr/bin/env", *settings, *python, _POOL_MODULE])
        # Parsl formats the command twice.
        escaped = command.replace("{", "{{{{").replace("}", "}}}}")
        executor.launch_cmd = DEFAULT_LAUNCH_CMD.replace(_POOL_SCRIPT, escaped, 1)
    return executor


def _check(pool: Pool, executor: HighThroughputExecutor) -> None:
    """Refuse what makes Parsl count wrong: it would ask for too many blocks, or fail for ever."""
    count = executor.max_workers_per_node
    if count == float("inf") or count < 1:
        raise SiteError(
            f"pool {pool.label!r}: its executor says {count} workers per node",
            code="AL202",
            next_step="give max_workers_per_node a number of 1 or more",
        )
    options = str(getattr(executor.provider, "scheduler_options", "") or "")
    asked = [int(number) for number in _NODES.findall(options)]
    per_block = getattr(executor.provider, "nodes_per_block", 1)
    if any(number != per_block for number in asked):
        raise SiteError(
            f"pool {pool.label!r}: its scheduler options ask for {asked[-1]} nodes and its "
            f"provider for {per_block}; Parsl would count the wrong number of workers",
            code="AL202",
            next_step="set nodes_per_block, or use MPIExecutor for tasks of several nodes",
        )


def _tolerant(poll: Callable[[], Any], label: str) -> Callable[[], None]:
    """Polling that never raises: what it raises would end the poll of all other pools."""

    def tolerant() -> None:
        try:
            poll()
        except Exception:
            _logger.exception("asking for the state of the blocks of pool %s", label)

    return tolerant
