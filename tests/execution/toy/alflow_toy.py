"""Task bodies for tests; installed by `conftest.py` as a distribution of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from alflow.core.errors import PassingTrouble
from alflow.core.labels import Failure, FailureKind


class PoisonError(Exception):
    """Cannot be unpickled: its constructor needs more than its `args`."""

    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


def echo(spec, context):
    sys.stdout.write("hello\n")
    sys.stderr.write("oops\n")
    texts = [context.blob(sha256).decode() for sha256 in spec.inputs.values()]
    context.output("joined.txt", "".join(texts).encode())
    return {"seed": spec.seed, "inputs": sorted(spec.inputs), **spec.settings}


def fail(spec, context):
    return Failure(FailureKind.NOT_CONVERGED, "no luck", {"cycles": 50})


def poison(spec, context):
    how = spec.settings["how"]
    if how == "exception":
        raise PoisonError("one", "two")
    if how == "exit":
        sys.exit(3)
    if how == "memory":
        raise MemoryError
    if how == "disk":
        raise OSError(28, "No space left on device")
    if how == "licence":
        raise PassingTrouble("no licence is free")
    if how == "value":
        return {"object": object()}
    return {"number": float("nan")}


def crash(spec, context):
    if spec.settings["how"] == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(7)


def batch(spec, context):
    """Commit items one by one; end by SIGKILL after `kill_after` of them."""
    done = context.done_items()
    computed = [item for item in spec.items if item not in done]
    for count, item in enumerate(computed):
        if count == spec.settings.get("kill_after"):
            os.kill(os.getpid(), signal.SIGKILL)
        context.commit_item(item, {"length": len(item)})
        context.progress({"done": count + 1})
    return {"computed": computed}


def sleep(spec, context):
    """Sleep, with a grandchild; both write their process number where the test finds it."""
    seconds = spec.settings["seconds"]
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    context.progress({"pids": [os.getpid(), child.pid]})
    time.sleep(seconds)
    child.wait()
    return {"slept": seconds}


def look(spec, context):
    """What a body sees of its surroundings."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED", "MKL_CBWR", "TMPDIR")
    Path("left-behind").write_text("scratch")
    return {
        "cwd": str(Path.cwd()),
        "variables": {name: os.environ.get(name, "") for name in names},
        "is_group_leader": os.getpgrp() == os.getpid(),
        "hash": hash("alflow"),
        "pid": os.getpid(),
    }


def unreadable():
    """Return something that is pickled well and cannot be unpickled; no task body."""
    return PoisonError("one", "two")
