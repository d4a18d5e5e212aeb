"""What breaks under a running site: the healthy part goes on, or one line says what to do.

The traps are those of Parsl's executors: a bad one that freezes the others, an answer that cannot
be read, a pool of another version, a scheduler that never answers.
"""

import os
import platform
import sys
import threading
import time

import parsl
import pytest
from parsl.executors import HighThroughputExecutor

from alflow.core.errors import SiteError, SiteLost
from alflow.core.labels import FailureKind
from alflow.execution import kernel as kernels
from alflow.execution.parsl import ParslExecutor
from alflow.execution.prepared import prepared_executor
from alflow.execution.providers import ThisMachine
from alflow.execution.sites import Pool, Site, local_pool

pytestmark = [pytest.mark.parsl, pytest.mark.recovery]

OTHER_VERSION = """
import sys
if any("process_worker_pool" in word for word in sys.orig_argv):
    import parsl.version
    parsl.version.VERSION = "2020.1.1"
"""


class Excluding(ThisMachine):
    """Can be told not to use a host, as a batch system can."""

    excluded = ()

    def exclude(self, hosts):
        self.excluded = tuple(hosts)


class Silent(ThisMachine):
    """Never answers when it is asked about its blocks, from the second time on."""

    answers = threading.Event()
    asked = 0

    def status(self, job_ids):
        self.asked += 1
        if self.asked > 1:
            self.answers.wait(120)
        return super().status(job_ids)


def pool(label, provider=None, command=None, **changes):
    """A pool on this machine, with a provider or a launch command of its own."""

    def make():
        provider_ = provider or ThisMachine()
        for name, value in changes.items():
            setattr(provider_, name, value)
        executor = HighThroughputExecutor(
            label,
            address="127.0.0.1",
            provider=provider_,
            max_workers_per_node=1,
            cores_per_worker=1e-3,
            heartbeat_period=1,
            heartbeat_threshold=8,
        )
        if command is not None:
            executor.launch_cmd = command
        return executor

    return Pool(label, 1, make)


@pytest.fixture
def start(files):
    started = []

    def start(**pools):
        site = Site("test", pools, environment=pools.pop("environment", {}))
        executor = ParslExecutor(files, site)
        started.append(executor)
        executor.start()
        return executor

    yield start
    Silent.answers.set()
    for executor in started:
        executor.close(cancel=True)
    Silent.answers.clear()


def htex(executor, label):
    return executor._kernel._executors[label]


@pytest.mark.slow
def test_a_bad_pool_beside_a_healthy_one_costs_three_blocks_and_nothing_else(
    files, publish, start, drive
):
    executor = start(
        **{
            "toy-echo": pool("healthy", init_blocks=0),
            "*": pool("broken", command="/bin/false"),
        }
    )
    doomed = publish("look")
    executor.submit(doomed)
    lost = drive(executor, [doomed])
    assert lost[doomed].kind is FailureKind.LOST
    assert files.claim_of(doomed).is_revoked
    refusal = executor.refusals()["toy-look"]
    assert refusal.message.startswith(
        "pool 'broken' of site 'test' gets no workers: block 2"
    )
    assert "\n" not in refusal.message
    assert "resume" in refusal.next_step
    assert executor.slots() == {**executor.slots(), "toy-look": 0, "toy-echo": 1}
    told = executor.news()
    assert [one.is_closed for one in told if one.pool == "broken"][-1] is True

    # The healthy pool had no block so far: it can have one only if scaling goes on.
    good = publish("echo")
    executor.submit(good)
    assert drive(executor, [good]) == {}
    assert files.read_result(good).failure is None
    assert "toy-echo" not in executor.refusals()
    assert len(htex(executor, "broken").status_facade) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_answer_that_cannot_be_read_costs_a_restart(
    files, publish, start, drive, until, toy_distribution
):
    import alflow_toy

    executor = start(**{"*": local_pool(workers=2, heartbeat_s=1, patience_s=8)})
    running = publish("sleep", {"seconds": 6})
    executor.submit(running)
    until(lambda: files.read_progress(running), 60)
    thread = htex(executor, "local")._result_queue_thread
    executor._kernel._parsl.submit(
        alflow_toy.unreadable,
        app_args=(),
        executors=["local"],
        cache=False,
        ignore_for_cache=None,
        app_kwargs={},
    )
    until(lambda: not thread.is_alive())
    # Its worker ends with the old pool, or commits first: told in any case, and never waited for.
    lost = drive(executor, [running])
    assert all("receiver of results" in failure.message for failure in lost.values())
    assert any("receiver of results" in one.text for one in executor.news())
    after = publish("echo")
    executor.submit(after)
    assert drive(executor, [after]) == {}


def test_a_pool_of_another_version_is_told_in_one_line(
    files, publish, start, drive, tmp_path
):
    (tmp_path / "sitecustomize.py").write_text(OTHER_VERSION)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    executor = start(
        **{"*": local_pool(workers=1, heartbeat_s=1)}, environment={"PYTHONPATH": path}
    )
    attempt = publish("echo")
    executor.submit(attempt)
    assert drive(executor, [attempt])[attempt].kind is FailureKind.LOST
    refusal = executor.refusals()["toy-echo"]
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    assert refusal.message == (
        f"pool 'local' of site 'test': its workers have {python} with Parsl 2020.1.1, "
        f"the manager has {python} with Parsl {parsl.__version__}; both must be the same"
    )
    assert "install the same versions" in refusal.next_step
    assert executor.slots()["toy-echo"] == 0


@pytest.mark.slow
def test_a_scheduler_that_never_answers_is_noticed(
    files, publish, start, drive, until, monkeypatch
):
    monkeypatch.setattr(kernels, "POLLER_DEADLINE_S", 3.0)
    executor = start(**{"*": pool("silent", Silent())})
    until(executor._kernel.fault, 30)
    assert "not been looked at" in executor._kernel.fault()
    queued = publish("echo")
    executor.submit(queued)
    executor._restarts = 3
    begun = time.monotonic()

    def wait():
        # The last look before the silence may have come late.
        while time.monotonic() - begun < 30:
            executor.wait(0.1)

    with pytest.raises(SiteLost, match=r"not been looked at for \d+ s, for the 4th time"):
        wait()
    executor.close(cancel=False)
    assert time.monotonic() - begun < 30
    assert files.claim_of(queued) is not None


@pytest.mark.slow
def test_workers_on_an_excluded_host_finish_and_go_home(files, publish, start, until):
    provider = Excluding()
    executor = start(**{"*": pool("batch", provider)})
    running, queued = (publish("sleep", {"seconds": 3}) for _ in range(2))
    executor.submit(running)
    until(lambda: files.read_progress(running), 60)
    provider.max_blocks = 0  # the next block would be elsewhere
    assert executor.exclude([platform.node()]) == ["batch"]
    assert provider.excluded == (platform.node(),)
    time.sleep(0.1)
    executor.submit(queued)
    until(lambda: files.has_result(running), 30)
    assert files.read_result(running).failure is None
    until(lambda: all(block.poll() is not None for block in provider._blocks.values()), 30)


def test_a_local_pool_cannot_leave_its_own_host_out(start):
    executor = start(**{"*": local_pool(workers=1)})
    assert executor.exclude([platform.node()]) == []
    assert executor.slots()["toy-echo"] == 1


def test_a_pool_without_a_number_of_workers_is_refused():
    def make(count):
        return HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=count)

    for count in (None, 0):
        with pytest.raises(SiteError, match=r"workers per node") as caught:
            prepared_executor(Pool("x", 1, lambda count=count: make(count)), {})
        assert "max_workers_per_node" in caught.value.next_step


@pytest.mark.parametrize("options", ["#SBATCH --nodes=4", "#SBATCH -N 4", "#SBATCH -N4"])
def test_more_nodes_than_parsl_knows_of_are_refused(options):
    bad = pool("x", scheduler_options=options)
    with pytest.raises(SiteError, match="4 nodes and its provider for 1") as caught:
        prepared_executor(bad, {})
    assert "MPIExecutor" in caught.value.next_step
    prepared_executor(pool("x", scheduler_options=options, nodes_per_block=4), {})


def test_a_provider_that_raises_does_not_end_the_poll_of_others(caplog):
    executor = prepared_executor(pool("x"), {})
    executor.poll_facade()  # not started: raises inside
    assert "blocks of pool x" in caplog.text
