"""Parsl, brought up, watched and taken down so that it cannot hang the manager.

Parsl is a dispatcher here and nothing more: what happened to an attempt stands in its files.
So nothing of Parsl is ever repaired; a kernel that shows a fault is abandoned and replaced.
Its own clean-up is not used: with a dead interchange it never returns.
"""

import atexit
import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.utils import Timer

from alflow.core.errors import SiteError
from alflow.core.tasks import AttemptRef
from alflow.execution.sites import Pool, Site
from alflow.execution.worker import THREADS_VARIABLE, run_attempt

_POOL_SCRIPT = "process_worker_pool.py"
_POOL_MODULE = "parsl.executors.high_throughput.process_worker_pool"
_LOG_BYTES = 5_000_000
_CLOSE_DEADLINE_S = 30.0
_POLLER_DEADLINE_S = 5.0

_logger = logging.getLogger(__name__)


class Kernel:
    """One start of Parsl for a site."""

    def __init__(self, site: Site, log_directory: Path) -> None:
        """Start dispatchers and ask for workers.

        Args:
            site: What to start.
            log_directory: Where Parsl keeps its logs.

        Raises:
            SiteError: If it does not come up.
        """
        self._site = site
        self._executors = {
            pool.label: _prepared(pool, site.environment) for pool in site.distinct_pools()
        }
        config = Config(
            executors=list(self._executors.values()),
            run_dir=str(log_directory / "parsl"),
            retries=0,
            usage_tracking=0,
            initialize_logging=False,
            internal_tasks_max_threads=1,
            strategy=site.strategy,
            strategy_period=site.strategy_period_s,
            max_idletime=site.max_idle_s,
            exit_mode="skip",
        )
        try:
            self._parsl = DataFlowKernel(config)
        except Exception as error:
            self._kill_dispatchers()
            raise SiteError(
                f"site {site.name!r} does not start: {error}",
                consequence="Nothing was dispatched.",
                next_step=f"look into {log_directory}",
            ) from error

    def submit(self, label: str, root: Path, attempt: AttemptRef) -> Future[Any]:
        """Queue an attempt at a pool; the future says only that it may have ended."""
        return self._parsl.submit(
            run_attempt,
            app_args=(
                str(root),
                attempt.task_id,
                attempt.number,
                attempt.token,
                attempt.kind,
            ),
            executors=[label],
            cache=False,
            ignore_for_cache=None,
            app_kwargs={},
        )

    def fault(self) -> str | None:
        """What is broken for good, or None.

        Without this look a dead interchange would never be noticed: its futures never end and
        submission goes on without an error.
        """
        for label, executor in self._executors.items():
            interchange = executor.interchange_proc
            if interchange is None or interchange.poll() is not None:
                return f"the dispatcher of pool {label!r} died"
            thread = executor._result_queue_thread  # noqa: SLF001 - Parsl has no other way to ask
            if not executor.bad_state_is_set and (thread is None or not thread.is_alive()):
                return f"the receiver of results of pool {label!r} died"
        return None

    def refusal(self) -> SiteError | None:
        """Why a pool cannot get workers at all, or None."""
        for label, executor in self._executors.items():
            if executor.bad_state_is_set:
                return SiteError(
                    f"pool {label!r} of site {self._site.name!r} gets no workers: "
                    f"{executor.executor_exception}",
                    consequence="What is finished is kept.",
                    next_step="mend the site file, then run `alflow resume`",
                )
        return None

    def close(self, *, cancel: bool) -> None:
        """Let go of Parsl; returns within a deadline whatever state it is in.

        Args:
            cancel: End workers and what they run. Otherwise the interchanges become lame
                ducks: what runs goes on to its end, then everything leaves by itself.
        """
        atexit.unregister(self._parsl.atexit_cleanup)
        poller = self._parsl.job_status_poller
        # Not the poller's own close: that one cancels all blocks.
        Timer.close(poller, timeout=_POLLER_DEADLINE_S)
        is_quiet = not poller._thread.is_alive()  # noqa: SLF001 - see above
        if cancel:
            _within(_CLOSE_DEADLINE_S, self._cancel_blocks)
            self._kill_dispatchers()
        else:
            self._dismiss_dispatchers()
        for executor in self._executors.values():
            _disconnect(executor, with_commands=is_quiet)
        self._parsl.executors["_parsl_internal"].shutdown()
        self._parsl._task_launch_pool.shutdown(wait=False)  # noqa: SLF001 - cleanup() hangs
        self._parsl.memoizer.close()
        self._parsl.cleanup_called = True

    def _cancel_blocks(self) -> None:
        for executor in self._executors.values():
            if executor.provider is not None:
                executor.provider.cancel(list(executor.job_ids_to_block))

    def _dismiss_dispatchers(self) -> None:
        for executor in self._executors.values():
            interchange = executor.interchange_proc
            if interchange is not None and interchange.poll() is None:
                interchange.send_signal(signal.SIGUSR1)
                threading.Thread(
                    target=interchange.wait, name="lame-duck", daemon=True
                ).start()

    def _kill_dispatchers(self) -> None:
        for executor in self._executors.values():
            interchange = executor.interchange_proc
            if interchange is None:
                continue
            interchange.terminate()
            try:
                interchange.wait(2.0)
            except subprocess.TimeoutExpired:
                interchange.kill()
                interchange.wait()


def guarded_error_handler(executor: Any, status: Mapping[str, Any]) -> None:
    """Give a pool up when its last three blocks failed, once.

    Parsl calls the handler at every poll. A second call for an executor that was given up
    raises out of the poller, and no other executor gets a block any more.
    """
    if executor.bad_state_is_set:
        return
    try:
        windowed_error_handler(executor, dict(status))
    except Exception:
        _logger.exception("giving up pool %s", executor.label)


def log_to(directory: Path) -> Callable[[], None]:
    """Send Parsl's log to a rotating file; returns what undoes it."""
    directory.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(
        directory / "parsl.log", maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8"
    )
    handler.setLevel(logging.INFO)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logger = logging.getLogger("parsl")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)

    def undo() -> None:
        logger.removeHandler(handler)
        handler.close()

    return undo


def _prepared(pool: Pool, environment: Mapping[str, str]) -> HighThroughputExecutor:
    """The executor of a pool, with all that a site file need not think of."""
    executor = pool.make()
    if not isinstance(executor, HighThroughputExecutor):
        raise SiteError(
            f"pool {pool.label!r}: make() returned a {type(executor).__name__}, "
            "not a parsl HighThroughputExecutor"
        )
    executor.label = pool.label
    executor.block_error_handler = guarded_error_handler
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


def _disconnect(executor: HighThroughputExecutor, *, with_commands: bool) -> None:
    """Close the sockets of an executor without waiting for messages to be delivered."""
    executor._result_queue_thread_exit.set()  # noqa: SLF001 - shutdown() waits for ever
    thread = executor._result_queue_thread  # noqa: SLF001
    if thread is not None:
        thread.join(_POLLER_DEADLINE_S)
    executor.outgoing_q.zmq_context.destroy(linger=0)
    if with_commands:
        executor.command_client.zmq_context.destroy(linger=0)


def _within(deadline_s: float, action: Callable[[], None]) -> None:
    """Run something that may hang; go on without it after the deadline."""

    def run() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=run, name="close", daemon=True)
    thread.start()
    thread.join(deadline_s)
