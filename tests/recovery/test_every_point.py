"""A campaign killed at a failpoint, any of them, and resumed ends like an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alflow.core.failpoints import NAMES

PROGRAM = Path(__file__).with_name("every_point.py")
N_PROCESSES = 2
"""As many as the smallest machine has cores."""


@pytest.fixture(scope="module")
def stories(tmp_path_factory) -> dict[str, dict]:
    """What became of a campaign that was killed at each point and resumed, and the reference."""
    environment = {**os.environ, "ALFLOW_LEASE_TTL_S": "0.6", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                PROGRAM,
                tmp_path_factory.mktemp("points"),
                str(k),
                str(N_PROCESSES),
            ],
            env=environment,
            stdout=subprocess.PIPE,
        )
        for k in range(N_PROCESSES)
    ]
    try:
        answers = [json.loads(process.communicate()[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert len({answer["digest"] for answer in answers}) == 1
    found = {name: story for answer in answers for name, story in answer["points"].items()}
    return {"": {"ends": [0, 0], "digest": answers[0]["digest"]}, **found}


@pytest.mark.slow
@pytest.mark.recovery
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_killed_there_and_resumed_it_ends_the_same(stories, name):
    assert stories[name]["ends"] == [-signal.SIGKILL, 0], (
        "it is reached, and recovered from"
    )
    assert stories[name]["digest"] == stories[""]["digest"]
