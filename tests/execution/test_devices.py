import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.execution.devices import MPS, devices_of_worker, share, visible_devices


@pytest.mark.parametrize(
    ("devices", "count", "shares"),
    [
        ("0,1,2,3", 4, ["0", "1", "2", "3"]),
        ("2,3", 2, ["2", "3"]),  # what Slurm gave of a node that is shared with others
        ("0,1,2,3", 2, ["0,1", "2,3"]),  # several to each worker
        ("0,1", 4, ["0", "0", "1", "1"]),  # several workers on each
        ("0,1,2", 2, ["0", "1,2"]),
        ("GPU-a, GPU-b", 2, ["GPU-a", "GPU-b"]),
    ],
)
def test_workers_share_what_the_scheduler_gave(devices, count, shares):
    found = [
        devices_of_worker(
            {
                "CUDA_VISIBLE_DEVICES": devices,
                "PARSL_WORKER_RANK": str(rank),
                "PARSL_WORKER_COUNT": str(count),
            }
        )
        for rank in range(count)
    ]
    assert found == [{"CUDA_VISIBLE_DEVICES": each} for each in shares]


@given(st.integers(1, 16), st.integers(1, 64))
def test_every_device_is_used_and_none_is_crowded(n_devices, count):
    devices = [str(k) for k in range(n_devices)]
    shares = [share(devices, rank, count) for rank in range(count)]
    assert all(shares)
    used = [device for each in shares for device in each]
    assert set(used) == set(devices)
    most = max(map(used.count, devices))
    assert most - min(map(used.count, devices)) <= 1
    assert most <= -(-count // n_devices)


RANK = {"PARSL_WORKER_RANK": "1", "PARSL_WORKER_COUNT": "2"}


def test_lists_of_all_drivers_are_shared():
    given = {"ROCR_VISIBLE_DEVICES": "4,5", "ZE_AFFINITY_MASK": "0.0,0.1", **RANK}
    assert devices_of_worker(given) == {
        "ROCR_VISIBLE_DEVICES": "5",
        "ZE_AFFINITY_MASK": "0.1",
    }


def test_a_user_can_name_the_devices():
    assert devices_of_worker({"ALFLOW_DEVICES": "6,7", **RANK}) == {
        "CUDA_VISIBLE_DEVICES": "7"
    }
    given = {"ALFLOW_DEVICES": "6,7", "ROCR_VISIBLE_DEVICES": "0,1", **RANK}
    assert devices_of_worker(given) == {"ROCR_VISIBLE_DEVICES": "7"}


@pytest.mark.parametrize("none", ["", "-1", "NoDevFiles", " , "])
def test_a_job_without_devices_gets_none(none):
    assert devices_of_worker({"CUDA_VISIBLE_DEVICES": none, **RANK}) == {}


def test_outside_of_a_pool_nothing_is_changed():
    assert devices_of_worker({"CUDA_VISIBLE_DEVICES": "0,1"}) == {}
    strange = {"PARSL_WORKER_RANK": "2", "PARSL_WORKER_COUNT": "2"}
    assert devices_of_worker({"CUDA_VISIBLE_DEVICES": "0,1", **strange}) == {}


def test_people_are_told():
    assert visible_devices({"ROCR_VISIBLE_DEVICES": "5"}) == "5"
    assert visible_devices({}) == ""


def test_a_task_sees_the_share_of_its_worker(files, publish):
    """A worker process of rank 1 runs a task: its environment, its claim and its result agree."""
    attempt = publish("echo")
    code = (
        "import sys; from alflow.execution.worker import run_attempt;"
        f"run_attempt({str(files.root)!r}, {attempt.task_id}, 1, 'abc', 'toy-echo')"
    )
    given = {"CUDA_VISIBLE_DEVICES": "2,3", **RANK}
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **given}, check=True)
    assert files.claim_of(attempt).devices == "3"
    assert files.read_result(attempt).environment["devices"] == "3"


@pytest.mark.parametrize(
    ("given", "named"), [("2,3", "GPU-2,GPU-3"), (None, "GPU-0,GPU-1")]
)
def test_workers_behind_a_server_name_devices_by_what_they_are(tmp_path, given, named):
    (tmp_path / "nvidia-smi").write_text(
        '#!/bin/bash\n[ "$1" = -i ] && ids=${2//,/ } || ids="0 1"\n'
        '[[ "$*" = *"--query-gpu=uuid --format=csv,noheader" ]] || exit 1\n'
        'for id in $ids; do echo "GPU-$id"; done\n'
    )
    (tmp_path / "nvidia-cuda-mps-control").write_text(
        '#!/bin/bash\necho "$1 $CUDA_VISIBLE_DEVICES" > "$CUDA_MPS_LOG_DIRECTORY/called"\n'
    )
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {"PATH": path, "TMPDIR": str(tmp_path)}
    if given is not None:
        environment["CUDA_VISIBLE_DEVICES"] = given
    done = subprocess.run(
        ["/bin/bash", "-ec", f"{MPS}\necho $CUDA_VISIBLE_DEVICES"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == named
    [called] = tmp_path.glob("tmp.*/called")
    assert called.read_text().strip() == f"-d {named}"
