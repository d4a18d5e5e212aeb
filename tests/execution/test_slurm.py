"""What Slurm's commands say and what is made of it; the commands are stand-ins."""

import os
import sys
import time
from dataclasses import replace

import pytest
from parsl.jobs.states import JobState, JobStatus

from alflow.core.errors import SiteError
from alflow.execution.block_provider import BlockProvider
from alflow.execution.blocks import Block, BlockFiles
from alflow.execution.breaker import CircuitBreaker
from alflow.execution.queues import SchedulerSilent
from alflow.execution.slurm import SlurmBlock, seconds, slurm_pool, submit_script
from alflow.execution.slurm_queue import SlurmQueue
from alflow.execution.stale import StaleBlocks, withdraw

STAND_IN = f"""#!{sys.executable}
import pathlib, sys
folder = pathlib.Path(__file__).parent
name = pathlib.Path(sys.argv[0]).name
with (folder / "calls").open("a") as calls:
    calls.write(" ".join([name, *sys.argv[1:]]) + "\\n")
answer = folder / (name + ".out")
sys.stdout.write(answer.read_text() if answer.exists() else "")
error = folder / (name + ".err")
if error.exists():
    sys.exit(error.read_text())
"""


class Commands:
    """Stand-ins for Slurm's commands."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("sbatch", "squeue", "scancel", "sacct"):
            (folder / name).write_text(STAND_IN)
            (folder / name).chmod(0o755)

    def say(self, name, text):
        (self.folder / f"{name}.err").unlink(missing_ok=True)
        (self.folder / f"{name}.out").write_text(text)

    def fail(self, name, text):
        (self.folder / f"{name}.err").write_text(text)

    def calls(self, name):
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def commands(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Commands(folder)


@pytest.fixture
def files(tmp_path):
    return BlockFiles(tmp_path / "water & ice")


@pytest.fixture
def provider(commands, files, tmp_path):
    """A provider that has asked for one block, job 7."""
    commands.say("sbatch", "7;ci\n")
    commands.fail("sacct", "Slurm accounting storage is disabled")
    provider = BlockProvider(
        SlurmQueue(),
        SlurmBlock(),
        blocks=(0, 2),
        status_period_s=0.0,
        breaker=CircuitBreaker([100.0, 200.0], threshold=2),
    )
    provider.script_dir = str(tmp_path)
    provider.attach(files, "cpu")
    assert provider.submit("true", 1) == "7"
    return provider


def state(provider):
    [status] = provider.status(["7"])
    return status.state


def test_a_block_is_known_before_it_is_asked_for(provider, files):
    [block] = files.open()
    assert (block.job, block.state, block.pool) == ("7", "PENDING", "cpu")
    assert block.name.startswith("alflow-water-ice-cpu-")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("PENDING", JobState.PENDING),
        ("CONFIGURING", JobState.PENDING),
        ("RUNNING", JobState.RUNNING),
        ("COMPLETING", JobState.RUNNING),
        ("SUSPENDED", JobState.RUNNING),
        ("A_WORD_OF_TOMORROW", JobState.RUNNING),
        ("OUT_OF_MEMORY", JobState.FAILED),
        ("NODE_FAIL", JobState.FAILED),
        ("PREEMPTED", JobState.TIMEOUT),
        ("TIMEOUT", JobState.TIMEOUT),
        ("CANCELLED", JobState.CANCELLED),
    ],
)
def test_every_word_of_slurm_counts_as_it_should(commands, provider, word, expected):
    commands.say("squeue", f"7|{word}|None|name\n8|RUNNING|None|other\n")
    assert state(provider) is expected


def test_a_job_that_slurm_has_forgotten_has_ended(commands, provider, files):
    commands.say("squeue", "")
    assert state(provider) is JobState.COMPLETED
    assert files.open() == []
    # What has ended is not asked about again, nor called something else later.
    n_calls = len(commands.calls("squeue"))
    commands.say("squeue", "7|RUNNING|None|name\n")
    assert state(provider) is JobState.COMPLETED
    assert len(commands.calls("squeue")) == n_calls


def test_the_accounting_says_how_a_forgotten_job_ended(commands, provider, files):
    commands.say("squeue", "")
    commands.say("sacct", "7|CANCELLED by 1000\n")
    assert state(provider) is JobState.CANCELLED
    [block] = files.ended()
    assert (block.state, block.reason) == ("CANCELLED", "by 1000")


def test_a_silent_slurm_changes_nothing(commands, provider):
    commands.say("squeue", "7|RUNNING|None|name\n")
    assert state(provider) is JobState.RUNNING
    commands.fail("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    assert state(provider) is JobState.RUNNING
    commands.fail("sbatch", "sbatch: error: Socket timed out on send/recv operation")
    with pytest.raises(SiteError, match="does not answer"):
        provider.submit("true", 1)
    assert provider.max_blocks == 0
    assert not provider.is_shut


def test_a_block_that_slurm_took_without_saying_so_is_ended(commands, provider, files):
    commands.fail("sbatch", "sbatch: error: Socket timed out on send/recv operation")
    with pytest.raises(SiteError):
        provider.submit("true", 1)
    name = next(block.name for block in files.open() if not block.job)
    commands.say("squeue", f"7|RUNNING|None|a\n9|PENDING|Priority|{name}\n")
    assert state(provider) is JobState.RUNNING
    assert commands.calls("scancel") == ["scancel --quiet 9"]
    assert [block.job for block in files.open()] == ["7"]


def test_a_block_that_waits_is_told_with_slurms_reason(commands, provider):
    commands.say("squeue", "7|PENDING|Priority|name\n")
    assert state(provider) is JobState.PENDING
    assert provider.news() == []
    commands.say("squeue", "7|PENDING|QOSMaxJobsPerUserLimit|name\n")
    assert state(provider) is JobState.PENDING
    assert provider.news() == ["job 7 waits (QOSMaxJobsPerUserLimit)"]


def failed(name, message="x"):
    return {name: JobStatus(JobState.MISSING, message)}


def test_blocks_that_fail_in_a_row_make_a_pause_and_silence_does_not(provider):
    provider.observe(failed("0", "Slurm does not answer: x"), [])
    provider.observe(failed("1"), [])
    assert provider.max_blocks == 2
    provider.observe({**failed("1"), **failed("2", "no such module")}, [])
    assert provider.max_blocks == 0
    assert provider.refusal() is None
    # Seen once, not once in every poll; and one that comes up makes all well.
    provider.observe(failed("2"), [])
    provider.observe({}, ["3"])
    assert provider.max_blocks == 2


def test_closing_ends_what_has_not_begun_or_all(commands, provider, files):
    commands.say("squeue", "7|RUNNING|None|name\n")
    provider.close(cancel=False)
    assert commands.calls("scancel") == ["scancel --quiet --state=PENDING 7"]
    assert len(files.open()) == 1
    provider.close(cancel=True)
    assert commands.calls("scancel")[1:] == ["scancel --quiet 7"]
    assert files.open() == []
    with pytest.raises(SiteError, match="came too late"):
        provider.submit("true", 1)


def test_stale_blocks_are_ended_unless_they_are_in_use(commands, files):
    used = replace(files.intend("cpu", "slurm"), job="1")
    unused = replace(files.intend("cpu", "slurm"), job="2")
    unheard = files.intend("cpu", "slurm")
    gone = replace(files.intend("cpu", "slurm"), job="4")
    for block in (used, unused, gone):
        files.save(block)
    lines = [f"{job}|RUNNING|None|{block.name}" for job, block in ((1, used), (2, unused))]
    commands.say("squeue", "\n".join([*lines, f"3|PENDING|None|{unheard.name}", ""]))
    queue = SlurmQueue()
    stale = StaleBlocks(files, lambda _: queue)
    # A block of this manager is none of its business.
    mine = files.intend("cpu", "slurm")
    stale.release(["1"])
    limit = time.monotonic() + 20
    while len(files.open()) > 2 and time.monotonic() < limit:
        time.sleep(0.01)
    assert {block.name for block in files.open()} == {used.name, mine.name}
    assert sorted(commands.calls("scancel")) == ["scancel --quiet 2", "scancel --quiet 3"]


def test_what_has_ended_meanwhile_is_cancelled_all_the_same(commands):
    commands.say("squeue", "1|COMPLETING|None|a\n2|CANCELLED|None|b\n3|RUNNING|None|c\n")
    commands.fail("scancel", "scancel: error: Invalid job id specified")
    queue = SlurmQueue()
    queue.cancel(["1", "2", "99"])
    queue.cancel(["3"], pending_only=True)
    with pytest.raises(SiteError, match="Invalid job id"):
        queue.cancel(["3"])


def test_only_blocks_that_have_not_begun_are_withdrawn(commands, files):
    mine, other = files.intend("cpu", "slurm"), files.intend("cpu", "slurm")
    files.save(replace(mine, job="1"))
    files.save(replace(other, job="2", manager=1))
    withdraw(files, os.getpid())
    assert commands.calls("scancel") == ["scancel --quiet --state=PENDING 1"]


def test_a_damaged_file_of_a_block_is_passed_over(files):
    block = files.intend("cpu", "slurm")
    (files._folder / "broken.json").write_text("{")
    assert files.open() == [block]


def test_a_refusal_is_told_as_slurm_said_it(commands):
    text = "sbatch: error: Batch job submission failed: Invalid account"
    commands.fail("sbatch", f"noise\n{text}\n")
    with pytest.raises(SiteError, match="Invalid account") as caught:
        SlurmQueue().submit(commands.folder / "script")
    assert not isinstance(caught.value, SchedulerSilent)
    commands.say("sbatch", "hello\n")
    with pytest.raises(SiteError, match="'hello' instead of a job number"):
        SlurmQueue().submit(commands.folder / "script")


def test_a_cluster_is_named_in_every_command(commands):
    commands.say("squeue", "CLUSTER: big\n5|PENDING|Priority|x\n")
    commands.say("sbatch", "5;big\n")
    queue = SlurmQueue("big")
    assert queue.name == "slurm:big"
    assert queue.submit(commands.folder / "script") == "5"
    assert queue.find(["x", "y"]) == {"x": "5"}
    queue.cancel(["5"])
    assert commands.calls("scancel") == ["scancel --clusters=big --quiet 5"]


def test_a_machine_without_slurm_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SiteError, match="no command squeue; is this a Slurm site"):
        SlurmQueue().find([])


def test_the_script_says_all_that_was_asked_for(tmp_path):
    block = SlurmBlock(
        partition="gpu",
        account="m1",
        nodes=2,
        cores_per_node=32,
        gpus_per_node=4,
        memory_GB=200.0,
        walltime="1-00:00:00",
        setup="module load python",
        directives=("--licenses=scratch",),
        exclusive=True,
    )
    text = submit_script(block, "name", tmp_path / "log", "run 'it'", ["n1", "n2"])
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    for option in (
        *("partition=gpu", "account=m1", "nodes=2", "cpus-per-task=32", "gpus-per-node=4"),
        *("mem=200000M", "time=1-00:00:00", "licenses=scratch", "exclusive", "no-requeue"),
        *("exclude=n1,n2", "job-name=name"),
    ):
        assert f"#SBATCH --{option}" in lines
    assert "$(date +%s) + 86400" in text
    assert text.index("ALFLOW_BLOCK_END") < text.index("module load") < text.index("srun")
    assert "qos" not in text
    single = submit_script(replace(block, launcher="single"), "n", tmp_path, "run it")
    assert single.splitlines()[-1] == "exec run it"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"walltime": "90"}, "'90' is not a time"),
        ({"nodes": 2, "launcher": "single"}, "for one node, not 2"),
        ({"max_blocks": 0}, "too small"),
        ({"walltime": "01:00:00", "longest_task": "00:59:55"}, "too short for tasks"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(SiteError, match=message):
        slurm_pool("cpu", **options)


def test_a_pool_knows_its_size():
    assert slurm_pool("gpu", nodes=2, workers_per_node=4, max_blocks=3).workers == 24
    assert seconds("2-01:00:05") == 2 * 86400 + 3605


def test_blocks_belong_to_one_campaign(tmp_path):
    block = BlockFiles(tmp_path / "x").intend("p", "slurm")
    assert isinstance(block, Block)
    assert BlockFiles(tmp_path / "y").open() == []
