"""Whole campaigns on a Slurm, and what happens to them there."""

import json
import signal

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.parsl]


def label_attempts(play):
    """Directories of the attempts at labels that a worker has taken, the earliest first."""
    found = []
    for path in play.root.glob("tasks/*/attempts/*/claim.json"):
        spec = json.loads((path.parents[2] / "spec.json").read_bytes())
        if spec["kind"] == "label" and not json.loads(path.read_bytes())["is_revoked"]:
            found.append((path.stat().st_mtime, path.parent))
    return [directory for _, directory in sorted(found)]


def check_end(slurm, play, iterations):
    """Nothing was done twice, and nothing is left."""
    items = play.executions()
    assert len(items) == len(set(items))
    asked = [structure for level, structure in items if not level.endswith("/audit")]
    assert len(asked) == 4 + 6 + 6 * iterations
    results = [
        json.loads(path.read_bytes()) for path in play.root.glob("tasks/*/*/*/result.json")
    ]
    assert [result["failure"] for result in results] == [None] * len(results)
    assert f"the limit of {iterations} iterations is reached" in play.log
    slurm.wait_until_empty()
    assert list((play.root / "blocks").glob("*.json")) == []


@pytest.mark.timeout(240)
def test_a_campaign_runs_on_two_partitions(slurm, play):
    play.write(bootstrap=6)
    play.finish(play.run())
    check_end(slurm, play, 1)
    devices = ",".join(claim["devices"] for claim in play.claims())
    assert set(devices.split(",")) == {"", "0", "1"}
    if slurm.has_accounting:
        jobs = ",".join({claim["job"] for claim in play.claims()})
        ended = slurm.run(
            "sacct", "-X", "-n", "-P", "-o", "Partition,State", f"--jobs={jobs}"
        )
        assert {"cpu|CANCELLED by 0", "gpu|CANCELLED by 0"} == set(ended.splitlines())


@pytest.mark.recovery
@pytest.mark.timeout(400)
def test_a_killed_manager_loses_nothing_and_leaves_nothing(slurm, play, until):
    # Of two blocks only one can run at a time; the other waits in the queue.
    cpu = {"workers_per_node": 1, "exclusive": True, "max_blocks": 2}
    play.write(cpu=cpu, bootstrap=6, batch_size=2, iterations=0)
    play.pause(2.5)
    manager = play.run()
    until(lambda: label_attempts(play))
    until(lambda: slurm.jobs("--states=PENDING"))
    manager.send_signal(signal.SIGKILL)
    manager.wait()
    # What runs commits, what is queued never starts, and no job is left.
    until(lambda: not slurm.jobs())
    scripts = play.root / "logs" / "parsl" / "000" / "submit_scripts"
    assert len(list(scripts.glob("*.sh"))) == 2
    assert len(list(scripts.glob("*.log"))) == 1
    [running] = label_attempts(play)
    assert json.loads((running / "result.json").read_bytes())["failure"] is None
    assert len(play.executions()) == 2

    manager = play.resume()
    play.pause(10.0)
    until(lambda: len(label_attempts(play)) > 1)
    manager.send_signal(signal.SIGKILL)
    manager.wait()
    adopted = label_attempts(play)[1]
    assert not (adopted / "result.json").exists()
    manager = play.resume()
    play.hurry()
    play.finish(manager)
    # The job that ran it was left to finish it; idle after that, it may be cancelled.
    assert json.loads((adopted / "result.json").read_bytes())["failure"] is None
    check_end(slurm, play, 0)
    assert "Traceback" not in play.log
