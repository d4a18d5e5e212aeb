"""What can go wrong with the blocks of a pool, one by one, without a campaign around it."""

import os
import time
from dataclasses import replace

import pytest

from alflow import registry
from alflow.core.tasks import AttemptRef, TaskSpec
from alflow.execution import slurm_queue
from alflow.execution.blocks import BlockFiles
from alflow.execution.files import CampaignFiles
from alflow.execution.parsl import ParslExecutor
from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.parsl, pytest.mark.recovery]

QUICK = {"address": "127.0.0.1", "status_period_s": 1.0, "heartbeat_s": 1, "patience_s": 5}
DEADLINE_S = 60.0


class Bench:
    """An executor on Slurm, and attempts for it."""

    def __init__(self, root):
        self.files = CampaignFiles(root)
        self.blocks = BlockFiles(root)
        self.executors = []
        self.told = []
        self._n_tasks = 0

    def start(self, *pools, **options):
        """Start an executor; the first pool is for all kinds that have none of their own."""
        kinds = dict(zip(("*", "toy-train", "toy-wait"), pools, strict=False))
        executor = ParslExecutor(
            self.files, Site("test", kinds, strategy_period_s=0.3, **options)
        )
        self.executors.append(executor)
        executor.start()
        return executor

    def task(self, seconds=0.0, kind="toy-sleep", items=()):
        self._n_tasks += 1
        spec = TaskSpec(
            kind, f"{kind}/{self._n_tasks}", 7, {"seconds": seconds}, items=items
        )
        self.files.write_spec(self._n_tasks, spec)
        return AttemptRef(self._n_tasks, 1, "abc", kind)

    def turn(self, executor):
        executor.wait(0.1)
        self.told += executor.news()
        return dict(executor.lost())

    def texts(self):
        return [one.text for one in self.told]

    def progress(self, executor, attempt):
        """What an attempt told when it had begun."""
        return self.until(executor, lambda: self.files.read_progress(attempt))

    def until(self, executor, condition, deadline_s=DEADLINE_S):
        """Turn until something is true."""
        limit = time.monotonic() + deadline_s
        while not (found := condition()):
            assert time.monotonic() < limit, self.texts()
            self.turn(executor)
        return found

    def drive(self, executor, attempts, deadline_s=DEADLINE_S):
        """Turn until each attempt has a result or is lost; those lost are tried again, once."""
        limit = time.monotonic() + deadline_s
        lost = {}
        waiting = set(attempts)
        while waiting:
            assert time.monotonic() < limit, self.texts()
            for attempt, failure in self.turn(executor).items():
                lost[attempt] = failure
                waiting.discard(attempt)
            waiting = {attempt for attempt in waiting if not self.files.has_result(attempt)}
        for attempt in attempts:
            result = self.files.read_result(attempt)
            if result is not None and result.failure is not None:
                lost[attempt] = result.failure
        return lost

    def again(self, executor, attempt):
        """Another attempt of the same task, to its end; what it returned."""
        for number in range(attempt.number + 1, attempt.number + 5):
            attempt = replace(attempt, number=number)
            executor.submit(attempt)
            if not self.drive(executor, [attempt]):
                return self.files.read_result(attempt).values
        pytest.fail(f"lost again and again: {self.texts()}")

    def close(self):
        for executor in self.executors:
            executor.close(cancel=True)


@pytest.fixture
def bench(slurm, toy_distribution, tmp_path, monkeypatch):
    path = [str(toy_distribution), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("ALFLOW_PRELOAD", "")
    monkeypatch.syspath_prepend(str(toy_distribution))
    registry.available.cache_clear()
    slurm_queue.slurm_queue.cache_clear()
    one = Bench(tmp_path / "campaign")
    yield one
    one.close()
    registry.available.cache_clear()
    slurm.run("scancel", "--user=root")


@pytest.mark.timeout(240)
def test_a_pool_works_beside_one_that_waits_and_one_that_cannot_be(slurm, bench):
    slurm.hold("--partition=gpu", "--gpus-per-node=2")
    gpu = {"partition": "gpu", "gpus_per_node": 2, "workers_per_node": 2}
    executor = bench.start(
        slurm_pool("gpu", **gpu, **QUICK),
        slurm_pool("never", partition="gpu", gpus_per_node=9, pauses_s=[0.5, 0.5], **QUICK),
        slurm_pool("later", directives=["--begin=now+1hour"], **QUICK),
    )
    doomed, waiting = bench.task(kind="toy-train"), bench.task(kind="toy-wait")
    good = [bench.task(1.0) for _ in range(4)]
    for attempt in (doomed, waiting, *good):
        executor.submit(attempt)
    assert bench.drive(executor, good).keys() <= {doomed}
    # Devices 0 and 1 belong to somebody else.
    devices = [bench.files.claim_of(attempt).devices for attempt in good]
    assert set(",".join(devices).split(",")) == {"2", "3"}

    bench.until(executor, executor.refusals)
    [(kind, error)] = executor.refusals().items()
    assert kind == "toy-train"
    assert "sbatch: error: Batch job submission failed" in str(error)
    assert "mend the site file" in str(error)
    # Three, then one after each pause: nobody is banned for spamming the scheduler.
    refused = [block for block in bench.blocks.ended() if block.state == "REFUSED"]
    assert len(refused) == 5
    slots = executor.slots()
    assert (slots["toy-train"], slots["toy-wait"], slots["toy-sleep"]) == (0, 1, 2)

    bench.until(
        executor, lambda: any("waits (BeginTime)" in text for text in bench.texts())
    )
    [block] = [block for block in bench.blocks.open() if block.pool == "later"]
    assert (block.state, block.reason) == ("PENDING", "BeginTime")
    assert not bench.files.has_result(waiting)
    assert bench.files.claim_of(waiting) is None
    executor.close(cancel=True)
    assert bench.blocks.open() == []
    assert slurm.jobs("--partition=cpu") == []


@pytest.mark.timeout(240)
def test_blocks_that_are_cancelled_or_out_of_time_are_replaced(slurm, bench):
    executor = bench.start(slurm_pool("cpu", max_blocks=2, **QUICK))
    attempts = [bench.task(90.0), bench.task(90.0)]
    for attempt in attempts:
        executor.submit(attempt)
    late, unwanted = (
        bench.progress(executor, attempt)["SLURM_JOB_ID"] for attempt in attempts
    )
    slurm.run("scontrol", "update", f"jobid={late}", "EndTime=now+1")
    slurm.run("scancel", unwanted)
    lost = bench.drive(executor, attempts)
    assert [lost[attempt].kind for attempt in attempts] == ["lost", "lost"]
    bench.until(executor, lambda: len(bench.blocks.ended()) >= 2)
    states = {block.job: block.state for block in bench.blocks.ended()}
    assert states == {late: "TIMEOUT", unwanted: "CANCELLED"}
    assert executor.refusals() == {}
    short = bench.task()
    executor.submit(short)
    bench.drive(executor, [short])
    assert bench.again(executor, short)["SLURM_JOB_ID"] not in (late, unwanted)


@pytest.mark.timeout(240)
def test_work_drains_into_the_next_block(bench):
    # Of its two minutes a block takes new work for 12 s.
    pool = slurm_pool("cpu", walltime="00:02:00", longest_task="00:01:48", **QUICK)
    executor = bench.start(pool)
    done, jobs = [], set()
    limit = time.monotonic() + 2 * DEADLINE_S
    while len(jobs) < 2:
        assert time.monotonic() < limit, bench.texts()
        attempts = [bench.task(1.0), bench.task(1.0)]
        for attempt in attempts:
            executor.submit(attempt)
        # Nothing is lost when a block leaves.
        assert bench.drive(executor, attempts) == {}
        done += attempts
        jobs = {bench.files.claim_of(attempt).job for attempt in done}
    # On a slow machine the second one may have left, too.
    assert {block.state for block in bench.blocks.ended()} == {"COMPLETED"}
    block_end = float(bench.files.read_result(done[0]).values["ALFLOW_BLOCK_END"])
    assert 0 < block_end - time.time() < 120


@pytest.mark.timeout(240)
def test_slurm_falls_silent_for_a_while(slurm, bench):
    executor = bench.start(slurm_pool("cpu", workers_per_node=2, max_blocks=2, **QUICK))
    attempts = [bench.task(3.0) for _ in range(8)]
    executor.submit(attempts[0])
    bench.progress(executor, attempts[0])
    slurm.stop_controller()
    try:
        silent = time.monotonic()
        for attempt in attempts[1:]:
            executor.submit(attempt)
        lost = {}
        while time.monotonic() - silent < 20:
            lost.update(bench.turn(executor))
        assert lost == {}
        assert executor.refusals() == {}
        assert executor.slots()["toy-sleep"] > 0
        # What has workers goes on without Slurm.
        assert sum(map(bench.files.has_result, attempts)) >= 3
    finally:
        slurm.start_controller()
    assert bench.drive(executor, attempts) == {}
