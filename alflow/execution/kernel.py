"""Parsl, brought up, watched and taken down so that it cannot hang the manager.

Parsl is a dispatcher here and nothing more: what happened to an attempt stands in its files.
So nothing of Parsl is ever repaired; a kernel that shows a fault is abandoned and replaced.
Its own clean-up is not used: with a dead interchange it never returns.
"""

import atexit
import contextlib
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import astuple
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.utils import Timer

from alflow.core.errors import SiteError
from alflow.core.tasks import AttemptRef
from alflow.execution.blocks import BatchBlocks, BlockFiles
from alflow.execution.guard import PoolGuard
from alflow.execution.interchange import EXCLUDED_HOSTS
from alflow.execution.prepared import prepared_executor
from alflow.execution.sites import Site
from alflow.execution.worker import run_attempt

POLLER_DEADLINE_S = 600.0
"""Time in which the state of all blocks must have been looked at [s]. A command of a scheduler may
take minutes; one that never returns would stop all scaling without a word."""

_LOG_BYTES = 5_000_000
_CLOSE_DEADLINE_S = 30.0
_JOIN_DEADLINE_S = 5.0
_LAST_WORDS_S = 2.0
_abandoned: list[object] = []
"""Connections that a thread which never returned still uses; kept to the end of the process."""


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
            pool.label: prepared_executor(pool, site.environment)
            for pool in site.distinct_pools()
        }
        self._guards = {
            label: PoolGuard(label, executor.provider)
            for label, executor in self._executors.items()
        }
        self._batches: list[BatchBlocks] = []
        for label, executor in self._executors.items():
            provider: object = executor.provider
            if isinstance(provider, BatchBlocks):
                provider.attach(BlockFiles(log_directory.parent), label)
                self._batches.append(provider)
                executor.interchange_launch_cmd = [
                    *executor.interchange_launch_cmd,
                    str(log_directory.parent),
                ]
            executor.block_error_handler = self._guards[label].handle
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
        """Queue an attempt at a pool; the future says only that it may have ended.

        It goes to the executor itself: what Parsl's kernel would add to that (dependencies,
        memoization, retries) is the manager's own business, and costs more than all of that.
        """
        arguments = astuple(attempt)
        try:
            queued: Future[Any] = self._executors[label].submit(
                run_attempt, {}, str(root), *arguments
            )
        except Exception as error:  # noqa: BLE001 - of an executor that was given up: anything
            queued = Future()
            queued.set_exception(error)
        return queued

    def fault(self) -> str | None:
        """What is broken for good, or None.

        Without this look a dead interchange would never be noticed: its futures never end and
        submission goes on without an error.
        """
        for label, executor in self._executors.items():
            if executor.bad_state_is_set:
                continue
            interchange = executor.interchange_proc
            thread = executor._result_queue_thread  # noqa: SLF001 - Parsl has no other way to ask
            if interchange is None or interchange.poll() is not None:
                # It may have said why before it ended.
                if thread is not None:
                    thread.join(_LAST_WORDS_S)
                if not executor.bad_state_is_set:
                    return f"the dispatcher of pool {label!r} died"
            elif thread is None or not thread.is_alive():
                return f"the receiver of results of pool {label!r} died"
        silent_s = time.monotonic() - min(guard.looked for guard in self._guards.values())
        if silent_s > POLLER_DEADLINE_S or not self._poller_lives():
            return f"the state of blocks has not been looked at for {silent_s:.0f} s"
        return None

    def refusals(self) -> dict[str, SiteError]:
        """Pools that get no workers, each with an error that says why and what to do."""
        found = {}
        for label, executor in self._executors.items():
            if executor.bad_state_is_set:
                found[label] = self._refusal(label, executor.executor_exception)
            elif (reason := self._guards[label].refusal()) is not None:
                found[label] = self._refusal(label, reason)
        return found

    def paused(self) -> frozenset[str]:
        """Pools that get no workers for the time being."""
        return frozenset(label for label, guard in self._guards.items() if guard.is_paused)

    def worked(self, label: str) -> None:
        """Say that an attempt ended well at a pool."""
        self._guards[label].worked()

    def news(self) -> list[tuple[str, str]]:
        """Pool and sentence, for what happened to blocks since the last call."""
        return [
            (label, text) for label, guard in self._guards.items() for text in guard.news()
        ]

    def exclude(self, hosts: Sequence[str]) -> list[str]:
        """Give these hosts no more work; labels of the pools where that can be done."""
        labels = [label for label, guard in self._guards.items() if guard.exclude(hosts)]
        for label in labels:
            # Its dispatcher reads this, and sends the workers there home when they are idle.
            folder = Path(self._executors[label].logdir)
            (folder / EXCLUDED_HOSTS).write_text("\n".join(hosts), "utf-8")
        return labels

    def _poller_lives(self) -> bool:
        return bool(self._parsl.job_status_poller._thread.is_alive())  # noqa: SLF001 - see above

    def _refusal(self, label: str, why: object) -> SiteError:
        pool = f"pool {label!r} of site {self._site.name!r}"
        if isinstance(why, VersionMismatch):
            return SiteError(
                f"{pool}: its workers have {_versions(why.manager_version)}, the manager has "
                f"{_versions(why.interchange_version)}; both must be the same",
                code="AL202",
                consequence="What is finished is kept.",
                next_step="install the same versions where the workers run, or start them from "
                "the environment of the manager; then run `alflow resume`",
            )
        return SiteError(
            f"{pool} gets no workers: {why}",
            code="AL202",
            consequence="What is finished is kept.",
            next_step="mend the site file, then run `alflow resume`",
        )

    def close(self, *, cancel: bool) -> None:
        """Let go of Parsl; returns within a deadline whatever state it is in.

        Args:
            cancel: End workers and what they run. Otherwise the interchanges become lame
                ducks: what runs goes on to its end, then everything leaves by itself.
        """
        atexit.unregister(self._parsl.atexit_cleanup)
        poller = self._parsl.job_status_poller
        # Not the poller's own close: that one cancels all blocks.
        Timer.close(poller, timeout=_JOIN_DEADLINE_S)
        is_quiet = not self._poller_lives()
        if cancel:
            _within(_CLOSE_DEADLINE_S, self._cancel_blocks)
            self._kill_dispatchers()
        else:
            self._dismiss_dispatchers()
        for blocks in self._batches:
            _within(_CLOSE_DEADLINE_S, partial(blocks.close, cancel=cancel))
        for executor in self._executors.values():
            _disconnect(executor, with_commands=is_quiet)
        self._parsl.executors["_parsl_internal"].shutdown()
        self._parsl._task_launch_pool.shutdown(wait=False)  # noqa: SLF001 - cleanup() hangs
        self._parsl.memoizer.close()
        self._parsl.cleanup_called = True

    def _cancel_blocks(self) -> None:
        for executor in self._executors.values():
            provider = executor.provider
            if provider is not None and not isinstance(provider, BatchBlocks):
                provider.cancel(list(executor.job_ids_to_block))

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


def _disconnect(executor: HighThroughputExecutor, *, with_commands: bool) -> None:
    """Close the sockets of an executor without waiting for messages to be delivered."""
    executor._result_queue_thread_exit.set()  # noqa: SLF001 - shutdown() waits for ever
    thread = executor._result_queue_thread  # noqa: SLF001
    if thread is not None:
        thread.join(_JOIN_DEADLINE_S)
        if not thread.is_alive():
            # It closes its own connection, unless it ended by an error.
            executor.incoming_q.zmq_context.destroy(linger=0)
    executor.outgoing_q.zmq_context.destroy(linger=0)
    client = executor.command_client
    if with_commands:
        client.zmq_context.destroy(linger=0)
    else:
        # The poller is still inside. Destroyed by the garbage collector it would wait for that.
        _abandoned.append(client)


def _versions(text: str) -> str:
    """Parsl's `py.v=3.11 parsl.v=2026.10.26` in words."""
    python, _, parsl = text.partition(" ")
    return f"Python {python.rpartition('=')[2]} with Parsl {parsl.rpartition('=')[2]}"


def _within(deadline_s: float, action: Callable[[], None]) -> None:
    """Run something that may hang; go on without it after the deadline."""

    def run() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=run, name="close", daemon=True)
    thread.start()
    thread.join(deadline_s)
