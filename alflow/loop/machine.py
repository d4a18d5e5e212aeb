"""Workers, blocks and queues as discrete events: which job runs where and when.

Nothing here knows what a campaign is, or in which order it works. A job goes to a pool, waits until
one of its workers is free, and ends after its time. The workers of a pool come in equal blocks; a
block is asked for when there are more jobs than workers, waits in the queue of a scheduler, starts,
and may be given back when it is idle or taken away when its time is up: its jobs then begin anew.
"""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from alflow.core.errors import SettingsError

Draw = Callable[[np.random.Generator], float]
"""Draws a time [s]."""


def _at_once(_: np.random.Generator) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class PoolModel:
    """A group of equal workers.

    Attributes:
        label: Its name.
        workers: Number of jobs that it runs at the same time at its full size.
        threads: Cores of each worker.
        blocks: Number of blocks that the workers come in.
        queue: Time that a block waits before it begins [s].
        start: Time from then until its workers are ready [s].
        idle_s: Time after which an idle block is given back [s]; None: never.
        walltime_s: Time after which a block ends, whatever it does [s]; None: never.
    """

    label: str
    workers: int
    threads: int = 1
    blocks: int = 1
    queue: Draw = _at_once
    start: Draw = _at_once
    idle_s: float | None = None
    walltime_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what could not run."""
        if self.blocks < 1 or self.workers < 1 or self.workers % self.blocks:
            raise SettingsError(
                f"pool {self.label!r} has {self.workers} workers in {self.blocks} blocks; "
                "each block must have as many, and at least one"
            )

    @property
    def per_block(self) -> int:
        """Workers of a block."""
        return self.workers // self.blocks


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do.

    Attributes:
        number: Tells it from others.
        kind: Under which its time is counted.
        pool: Where it runs.
        wall_s: How long [s].
        priority: Those with more go first; among equals those that came first.
    """

    number: int
    kind: str
    pool: str
    wall_s: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A job on a worker.

    Attributes:
        job: The job.
        worker: Number of the worker in its pool.
        start: When it began [s].
        end: When it ended [s].
        is_cut: Whether its block ended first: it has to begin anew.
    """

    job: Job
    worker: int
    start: float
    end: float
    is_cut: bool = False


@dataclass(slots=True)
class Usage:
    """What the workers of a pool did; the times add up to workers × time [s].

    Attributes:
        busy_s: Time that they worked, by kind.
        queue_s: Time without them while jobs waited for them: their block was in a queue.
        start_s: Time that they took to start.
        barrier_s: Time that there was nothing for them to do, whether they were there or not.
        held_s: Time that they were held, busy or not: what is paid for.
    """

    busy_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    queue_s: float = 0.0
    start_s: float = 0.0
    barrier_s: float = 0.0
    held_s: float = 0.0

    @property
    def all_busy_s(self) -> float:
        """Time that they worked [s]."""
        return sum(self.busy_s.values(), 0.0)


class _State(IntEnum):
    ABSENT = 0
    ASKED = 1
    STARTING = 2
    UP = 3


@dataclass(slots=True)
class _Block:
    """A block: `life` counts how often it has come, `idle` changes when it gets something to do."""

    number: int
    state: _State = _State.ABSENT
    life: int = 0
    idle: int = 0
    running: dict[int, tuple[int, Job, float]] = field(default_factory=dict)


_Event = Callable[[], list[Run]]


class _Pool:
    """A pool with its jobs: those that wait, and those that run in its blocks."""

    def __init__(self, model: PoolModel) -> None:
        self.model = model
        self.usage = Usage()
        self.waiting: list[tuple[int, int, Job]] = []
        self.free: list[tuple[int, int, int]] = []
        self.blocks = [_Block(number) for number in range(model.blocks)]
        self.running: Counter[str] = Counter()
        self.n_running = 0

    def count(self, *states: _State) -> int:
        """Number of blocks in these states."""
        return sum(block.state in states for block in self.blocks)

    def let_pass(self, seconds: float) -> None:
        """Account for time in which nothing changed."""
        each = self.model.per_block
        starting = each * self.count(_State.STARTING)
        up = each * self.count(_State.UP)
        missed = min(len(self.waiting), self.model.workers - up - starting)
        for kind, n in self.running.items():
            self.usage.busy_s[kind] += n * seconds
        self.usage.start_s += starting * seconds
        self.usage.queue_s += missed * seconds
        self.usage.held_s += (up + starting) * seconds
        rest = self.model.workers - starting - missed - self.n_running
        self.usage.barrier_s += rest * seconds

    def free_worker(self) -> tuple[_Block, int] | None:
        """The first worker that has nothing to do; None if all have."""
        while self.free:
            number, slot, life = heapq.heappop(self.free)
            block = self.blocks[number]
            if block.life == life and block.state is _State.UP:
                return block, slot
        return None

    def n_missing(self) -> int:
        """Number of blocks to ask for: as many as have something to do."""
        wanted = -(-(len(self.waiting) + self.n_running) // self.model.per_block)
        there = self.model.blocks - self.count(_State.ABSENT)
        return max(0, min(wanted, self.model.blocks) - there)


class Machine:
    """Pools of workers, and a clock that jumps from event to event."""

    def __init__(self, pools: Iterable[PoolModel], rng: np.random.Generator) -> None:
        """Begin at time zero without jobs and without blocks."""
        self.now = 0.0
        self.runs: list[Run] = []
        self._rng = rng
        self._pools = {model.label: _Pool(model) for model in pools}
        self._events: list[tuple[float, int, _Event]] = []
        self._order = itertools.count()

    def usage(self) -> dict[str, Usage]:
        """What the workers did so far, by pool."""
        return {label: pool.usage for label, pool in self._pools.items()}

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            SettingsError: If no block of its pool lasts long enough for it.
        """
        pool = self._pools[job.pool]
        longest = pool.model.walltime_s
        if longest is not None and job.wall_s > longest:
            raise SettingsError(
                f"a {job.kind} task of {job.wall_s:.4g} s does not fit into a block of pool "
                f"{job.pool!r}, which lasts {longest:.4g} s"
            )
        heapq.heappush(pool.waiting, (-job.priority, next(self._order), job))

    def step(self) -> Sequence[Run]:
        """Let time pass until jobs end, and return those; none if there are no jobs."""
        ended: list[Run] = []
        self._settle()
        while any(pool.waiting or pool.n_running for pool in self._pools.values()):
            if ended and self._events[0][0] > self.now:
                break
            at, _, event = heapq.heappop(self._events)
            for pool in self._pools.values():
                pool.let_pass(at - self.now)
            self.now = at
            ended += event()
            self._settle()
        return ended

    def _settle(self) -> None:
        """Give waiting jobs to free workers, and ask for blocks where that is not enough."""
        for pool in self._pools.values():
            while pool.waiting:
                found = pool.free_worker()
                if found is None:
                    break
                _, order, job = heapq.heappop(pool.waiting)
                self._begin_job(pool, *found, order, job)
            absent = [one for one in pool.blocks if one.state is _State.ABSENT]
            for block in absent[: pool.n_missing()]:
                self._ask_for(pool, block)

    def _begin_job(
        self, pool: _Pool, block: _Block, slot: int, order: int, job: Job
    ) -> None:
        block.idle += 1
        block.running[slot] = order, job, self.now
        pool.running[job.kind] += 1
        pool.n_running += 1
        life = block.life
        self._after(job.wall_s, lambda: self._end_job(pool, block, slot, life))

    def _end_job(self, pool: _Pool, block: _Block, slot: int, life: int) -> list[Run]:
        if block.life != life:
            return []  # its block ended first
        run = self._leave(pool, block, slot, is_cut=False)
        heapq.heappush(pool.free, (block.number, slot, life))
        self._look_whether_idle(pool, block)
        return [run]

    def _leave(self, pool: _Pool, block: _Block, slot: int, *, is_cut: bool) -> Run:
        order, job, start = block.running.pop(slot)
        pool.running[job.kind] -= 1
        pool.n_running -= 1
        if is_cut:
            heapq.heappush(pool.waiting, (-job.priority, order, job))
        worker = block.number * pool.model.per_block + slot
        run = Run(job, worker, start, self.now, is_cut)
        self.runs.append(run)
        return run

    def _ask_for(self, pool: _Pool, block: _Block) -> None:
        block.state = _State.ASKED
        wait_s = pool.model.queue(self._rng)
        self._after(wait_s, lambda: self._begin_block(pool, block))

    def _begin_block(self, pool: _Pool, block: _Block) -> list[Run]:
        block.state = _State.STARTING
        life, model = block.life, pool.model
        self._after(model.start(self._rng), lambda: self._come_up(pool, block, life))
        if model.walltime_s is not None:
            self._after(model.walltime_s, lambda: self._end_block(pool, block, life))
        return []

    def _come_up(self, pool: _Pool, block: _Block, life: int) -> list[Run]:
        if block.life == life:
            block.state = _State.UP
            for slot in range(pool.model.per_block):
                heapq.heappush(pool.free, (block.number, slot, life))
            self._look_whether_idle(pool, block)
        return []

    def _look_whether_idle(self, pool: _Pool, block: _Block) -> None:
        """Give a block back if it has nothing to do for a while."""
        if pool.model.idle_s is None or block.running:
            return
        life, idle = block.life, block.idle

        def give_back() -> list[Run]:
            return self._end_block(pool, block, life) if block.idle == idle else []

        self._after(pool.model.idle_s, give_back)

    def _end_block(self, pool: _Pool, block: _Block, life: int) -> list[Run]:
        if block.life == life:
            for slot in list(block.running):
                self._leave(pool, block, slot, is_cut=True)
            block.state = _State.ABSENT
            block.life += 1
        return []

    def _after(self, seconds: float, event: _Event) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))
