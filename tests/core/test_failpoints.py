import signal
import subprocess
import sys

import pytest

from alflow.core import failpoints
from alflow.core.errors import SettingsError
from alflow.core.failpoints import NAMES, failpoint

PROGRAM = """
from alflow.core.failpoints import failpoint
for count in range(1, 4):
    failpoint("store.publish.after")
    failpoint("store.publish.before")
    print(count, flush=True)
"""


@pytest.fixture(autouse=True)
def disarmed():
    yield
    failpoints.install(None)


def run(value):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"ALFLOW_FAILPOINT": value},
        capture_output=True,
        text=True,
        check=False,
    )


def test_names_are_distinct():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("store.publish.before", ""),
        ("store.publish.before:1", ""),
        ("store.publish.before:3", "1\n2\n"),
        ("store.publish.after:2", "1\n"),
    ],
)
def test_the_variable_makes_a_process_kill_itself(value, said):
    done = run(value)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, said)


@pytest.mark.parametrize("value", ["", "store.publish.before:4", "file.item.before"])
def test_otherwise_nothing_happens(value):
    assert run(value).stdout == "1\n2\n3\n"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("store.publish.befor", "did you mean 'store.publish.before'"),
        ("store.publish.before:0", "not a number of 1 or more"),
        ("store.publish.before:x", "not a number of 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(value, words):
    with pytest.raises(SettingsError, match=words):
        failpoints.arm(value)


def test_a_hook_is_told_every_point():
    reached = []
    failpoints.install(reached.append)
    failpoint("file.item.before")
    failpoints.install(None)
    failpoint("file.item.after")
    assert reached == ["file.item.before"]
