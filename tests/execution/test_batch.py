"""Blocks of every scheduler through their life, on imitations of its commands."""

import os
import signal
import subprocess
import time

import pytest
from parsl.jobs.states import JobState

from alflow.core.errors import SiteError
from alflow.execution import batch
from alflow.execution.batch import DialectQueue, queue_of
from alflow.execution.block_provider import BlockProvider
from alflow.execution.blocks import BlockFiles
from alflow.execution.breaker import CircuitBreaker
from alflow.execution.dialects import Block, Flux, Lsf, Pbs, Request
from alflow.execution.kubernetes import Kubernetes
from alflow.execution.parsl import ParslExecutor
from alflow.execution.queues import SchedulerSilent
from alflow.execution.schedulers import flux_pool
from alflow.execution.sites import Site
from alflow.execution.stale import StaleBlocks

SCHEDULERS = [Pbs(), Lsf(), Flux(), Kubernetes("image", {"claim": "/data"})]


@pytest.fixture(params=SCHEDULERS, ids=lambda scheduler: scheduler.title)
def scheduler(request):
    return request.param


@pytest.fixture
def provider(scheduler, tmp_path, block_files, fake_scheduler):
    provider = BlockProvider(
        DialectQueue(scheduler),
        Request(scheduler, Block(setup="export WHAT=done")),
        blocks=(0, 3),
        status_period_s=0.0,
        breaker=CircuitBreaker(),
    )
    provider.script_dir = str(tmp_path)
    provider.attach(block_files, "pool")
    return provider


@pytest.fixture
def block_files(tmp_path):
    return BlockFiles(tmp_path)


@pytest.fixture
def state(provider):
    def state(job):
        [status] = provider.status([job])
        return status.state

    return state


def test_a_block_is_submitted_runs_and_ends(
    provider, state, until, tmp_path, fake_scheduler, block_files
):
    (fake_scheduler / "hold").touch()
    job = provider.submit("sleep 0.2; echo $WHAT, $((ALFLOW_BLOCK_END > 3600))", 1)
    assert state(job) is JobState.PENDING
    (fake_scheduler / "hold").unlink()
    assert state(job) is JobState.RUNNING
    until(lambda: state(job) is JobState.COMPLETED)
    logs = [*tmp_path.glob("alflow-*.log"), *fake_scheduler.glob("jobs/*/log")]
    assert [log.read_text() for log in logs] == ["done, 1\n"]
    [block] = block_files.ended()
    assert (block.job, block.state) == (job, "COMPLETED")
    calls = (fake_scheduler / "calls").read_text().splitlines()
    assert state(job) is JobState.COMPLETED
    assert (fake_scheduler / "calls").read_text().splitlines() == calls


def test_a_block_that_fails_says_why(provider, state, until, block_files):
    job = provider.submit("sh -c 'exit 7'", 1)
    until(lambda: state(job) is JobState.FAILED)
    [block] = block_files.ended()
    assert block.reason in ("exit status 7", f"exit status 7; a comment\non {job}") or (
        block.reason == "BackoffLimitExceeded"
    )


def test_blocks_are_cancelled(provider, state, until, fake_scheduler):
    running, other = (provider.submit("sleep 60", 1) for _ in range(2))
    assert [state(running), state(other)] == [JobState.RUNNING, JobState.RUNNING]
    (fake_scheduler / "hold").touch()
    waiting = provider.submit("sleep 60", 1)
    assert provider.cancel([running, waiting]) == [True, True]
    until(lambda: state(running) is JobState.CANCELLED)
    until(lambda: state(waiting) is JobState.CANCELLED)
    assert state(other) is JobState.RUNNING
    assert provider.cancel([running]) == [True]
    assert provider.cancel([other]) == [True]
    pids = [int(path.read_text()) for path in fake_scheduler.glob("jobs/*/pid")]
    assert len(pids) == 2
    until(lambda: not any(map(runs, pids)))


def runs(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    answer = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()[:1] not in ("", "Z")


def test_a_block_that_ended_in_the_meantime_is_cancelled_without_complaint(
    provider, until, fake_scheduler
):
    job = provider.submit("true", 1)
    until(lambda: list(fake_scheduler.glob("jobs/*/exit")))
    assert provider.cancel([job]) == [True]
    assert not [text for text in provider.news() if "could not" in text]


def test_closing_ends_what_waits_or_everything(provider, until, fake_scheduler):
    running = provider.submit("sleep 60", 1)
    (fake_scheduler / "hold").touch()
    waiting = provider.submit("sleep 60", 1)
    provider.close(cancel=False)
    [still, gone] = provider.status([running, waiting])
    assert (still.state, gone.state) == (JobState.RUNNING, JobState.CANCELLED)
    provider.close(cancel=True)
    [pid] = [int(path.read_text()) for path in fake_scheduler.glob("jobs/*/pid")]
    until(lambda: not runs(pid))


def test_a_refusal_is_an_error_with_the_words_of_the_scheduler(
    provider, fake_scheduler, block_files
):
    (fake_scheduler / "refuse").touch()
    with pytest.raises(SiteError, match="would exceed the limit of this queue"):
        provider.submit("true", 1)
    assert [block.state for block in block_files.ended()] == ["REFUSED"]


def test_a_scheduler_that_is_silent_changes_nothing(provider, state, fake_scheduler):
    job = provider.submit("sleep 60", 1)
    assert state(job) is JobState.RUNNING
    (fake_scheduler / "silent").touch()
    for _ in range(3):
        assert state(job) is JobState.RUNNING
    assert provider.cancel([job]) in ([True], [False])
    (fake_scheduler / "silent").unlink()


def test_a_job_that_is_forgotten_is_over(provider, fake_scheduler):
    job, other = provider.submit("sleep 60", 1), provider.submit("sleep 60", 1)
    folders = {path.name: path for path in fake_scheduler.glob("jobs/*")}
    [folder] = [path for name, path in folders.items() if job.endswith(name)] or [
        path
        for name, path in folders.items()
        if f'"name": "{job}"' in (path / "script").read_text()
    ]
    os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)
    folder.rename(fake_scheduler / "forgotten")
    [gone, still] = provider.status([job, other])
    assert (gone.state, still.state) == (JobState.COMPLETED, JobState.RUNNING)
    assert any("knows it no more" in text for text in provider.news())


def test_a_command_that_hangs_or_is_not_there_is_no_answer(provider, state, monkeypatch):
    job = provider.submit("sleep 60", 1)
    monkeypatch.setattr(batch, "COMMAND_TIMEOUT_S", 0.0)
    assert state(job) is JobState.PENDING
    assert provider.cancel([job]) == [False]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SiteError, match=r"does not answer: .*No such file"):
        provider.submit("true", 1)


def test_a_job_whose_number_was_never_heard_is_found_by_its_name(
    provider, scheduler, block_files, fake_scheduler, monkeypatch
):
    """The scheduler takes the job, and its answer is lost: the next look ends the job."""
    (fake_scheduler / "hold").touch()
    real = batch._run

    def lost(command, text=""):
        answer = real(command, text)
        return batch.Answer(-1, "", "timed out") if text else answer

    with monkeypatch.context() as context:
        context.setattr(batch, "_run", lost)
        with pytest.raises(SiteError, match=f"{scheduler.title} does not answer"):
            provider.submit("sleep 60", 1)
    [block] = block_files.open()
    assert list(queue_of(block.scheduler).find([block.name])) == [block.name]
    provider.status([])
    assert queue_of(block.scheduler).find([block.name]) == {}
    assert block_files.open() == []


def test_blocks_of_a_dead_manager_are_ended(
    provider, block_files, fake_scheduler, until, monkeypatch
):
    provider.submit("sleep 60", 1)
    [path] = fake_scheduler.glob("jobs/*/pid")
    StaleBlocks(block_files).release([])
    until(lambda: not runs(int(path.read_text())))
    until(lambda: [block.state for block in block_files.ended()] == ["STALE"])


def test_a_search_without_an_answer_finds_nothing_and_says_so(
    scheduler, fake_scheduler, monkeypatch
):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SchedulerSilent):
        DialectQueue(scheduler).find(["name"])
    assert queue_of("oar") is None


def test_several_nodes_need_a_launcher(tmp_path):
    block = Block(nodes=2)
    with pytest.raises(SiteError, match="needs a launcher"):
        Pbs().script(block, "name", tmp_path, "workers")
    script = Pbs(launcher="mpiexec -n {nodes}").script(block, "name", tmp_path, "workers")
    assert "#PBS -l select=2\n" in script
    assert script.endswith("mpiexec -n 2 workers\n")
    with pytest.raises(SiteError, match="one pod"):
        Kubernetes("image", {}).script(block, "name", tmp_path, "workers")


@pytest.mark.slow
@pytest.mark.parsl
# Parsl leaves sockets open when it looks for the addresses of this machine.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_attempts_run_in_jobs(files, publish, fake_scheduler, until):
    """Real Parsl workers, in a job of an imitated scheduler, through its launcher."""
    pool = flux_pool("flux", bank="me", status_period_s=1.0, interface="lo")
    executor = ParslExecutor(files, Site("flux", {"*": pool}))
    executor.start()
    try:
        attempts = [publish("echo"), publish("fail"), publish("look")]
        for attempt in attempts:
            executor.submit(attempt)
        end = time.monotonic() + 90
        while not all(map(files.has_result, attempts)):
            assert time.monotonic() < end
            executor.wait(0.2)
            assert not executor.lost()
    finally:
        executor.close(cancel=True)
    failures = [files.read_result(attempt).failure for attempt in attempts]
    assert [failure and failure.message for failure in failures] == [None, "no luck", None]
    [job] = fake_scheduler.glob("jobs/*")
    assert "--bank=me" in (job / "script").read_text()
    until(lambda: not runs(int((job / "pid").read_text())))
    [block] = BlockFiles(files.root).ended()
    assert block.state == "CANCELLED"
