"""Labels from any program: real scripts that behave well, badly and not at all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from pydantic import ValidationError

from alflow import registry
from alflow.core.errors import SiteError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers import scratch
from alflow.labelers.command import CommandSettings
from alflow.labelers.exchange import structure_extxyz
from alflow.labelers.level import level_digest

LEVEL = {"method": "springs", "version": 1}
WATER = Structure(
    np.array([8, 1, 1], np.uint8),
    np.array([[0, 0, 0], [0.12345678, 0.76, 0.59], [0, -0.76, 0.59]]),
    charge=1,
    multiplicity=2,
)
CRYSTAL = Structure(
    np.array([13, 29], np.uint8),
    np.array([[0, 0, 0], [2.1, 1.9, 0.3]]),
    np.array([[4.0, 0.1, 0], [0, 4.2, 0], [0.3, 0, 4.4]]),
    np.array([True, True, False]),
)
SPRINGS = """
import json
atoms = json.load(open("structure.json"))
x = atoms["positions"]
label = {"energy": sum(c * c for row in x for c in row) / 2,
         "forces": [[-c for c in row] for row in x],
         "stress": [1, 2, 3, 4, 5, 6.5], "extras": {"seen": atoms, "version": "springs 1.0"}}
json.dump(label, open("label.json", "w"))
"""
ANSWERS = "import sys; open('label.json', 'w').write({answer!r})"
GOOD = {"energy": -1.0, "forces": [[0.0, 0.0, 0.0]] * 3}


@pytest.fixture
def settings_of(tmp_path):
    def make(code, **settings):
        script = tmp_path / "program.py"
        script.write_text(code)
        command = (sys.executable, str(script))
        room = {"scratch": str(tmp_path / "scratch"), "timeout_s": 100.0}
        return CommandSettings(**{"command": command, "level": LEVEL, **room, **settings})

    return make


@pytest.fixture
def answer_of(settings_of):
    def run(code, structure=WATER, **settings):
        return settings_of(code, **settings).create().label(structure)

    return run


def failure(answer):
    assert isinstance(answer, Failure), answer
    return answer


def left_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def test_entry_point_finds_it():
    assert registry.find("labelers", "command") is CommandSettings


@pytest.mark.parametrize("structure", [WATER, CRYSTAL])
def test_a_program_reads_a_structure_and_writes_a_label(answer_of, tmp_path, structure):
    label = answer_of(SPRINGS, structure)
    assert isinstance(label, Label)
    assert label.energy == pytest.approx((structure.positions**2).sum() / 2)
    np.testing.assert_array_equal(label.forces, -structure.positions)
    assert label.stress.tolist() == [1, 2, 3, 4, 5, 6.5]
    assert label.extras["version"] == "springs 1.0"
    seen = label.extras["seen"]
    again = Structure(
        np.array(seen["numbers"], np.uint8),
        np.array(seen["positions"]),
        None if seen["cell"] is None else np.array(seen["cell"]),
        np.array(seen["pbc"]),
        seen["charge"],
        seen["multiplicity"],
    )
    assert again.hash == structure.hash
    assert left_in(tmp_path / "scratch") == []


@pytest.mark.parametrize("structure", [WATER, CRYSTAL])
def test_extended_xyz_is_what_ase_reads(answer_of, tmp_path, structure):
    copies = "import shutil; shutil.copy('structure.extxyz', {!r})\n".format(
        str(tmp_path / "seen.extxyz")
    )
    answer = {**GOOD, "forces": [[0, 0, 0]] * structure.n_atoms}
    code = copies + ANSWERS.format(answer=json.dumps(answer))
    assert isinstance(answer_of(code, structure, input="extxyz"), Label)
    atoms = ase.io.read(tmp_path / "seen.extxyz")
    cell = np.array(atoms.cell) if atoms.pbc.any() else None
    again = Structure(
        atoms.numbers.astype(np.uint8),
        atoms.positions,
        cell,
        atoms.pbc,
        int(atoms.info["charge"]),
        int(atoms.info["multiplicity"]),
    )
    assert again.hash == structure.hash
    assert (tmp_path / "seen.extxyz").read_text() == structure_extxyz(structure)


def test_labels_without_forces_are_for_those_who_want_them(answer_of):
    code = ANSWERS.format(answer='{"energy": -2, "forces": null}')
    answer = failure(answer_of(code))
    assert answer.kind is FailureKind.SUSPICIOUS
    assert "energy_only" in answer.message
    label = answer_of(code, energy_only=True)
    assert isinstance(label, Label)
    assert (label.energy, label.forces, label.stress) == (-2.0, None, None)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ("", "crash", "label.json is not JSON"),
        ('{"energy": 1', "crash", "label.json is not JSON"),
        ("[" * 100_000, "crash", "label.json is not JSON"),
        ("[1]", "crash", "is not a mapping"),
        ({"forces": GOOD["forces"]}, "crash", "there is no energy"),
        ({**GOOD, "energy": "-1"}, "crash", "'energy' is not made of numbers"),
        ({**GOOD, "energy": True}, "crash", "'energy' is not made of numbers"),
        ({**GOOD, "energy": [1.0]}, "crash", "'energy' has the shape [1], expected []"),
        ({**GOOD, "forces": [[0, 0, 0]] * 2}, "crash", "shape [2, 3], expected [3, 3]"),
        ({**GOOD, "forces": [[0, 0, 0], [0, 0], [0]]}, "crash", "rows of one length"),
        ({**GOOD, "forces": [["0"] * 3] * 3}, "crash", "'forces' is not made of numbers"),
        (
            {**GOOD, "forces": [[0, 0, None]] * 3},
            "crash",
            "'forces' is not made of numbers",
        ),
        ({**GOOD, "stress": [[0] * 3] * 3}, "crash", "shape [3, 3], expected [6]"),
        ({**GOOD, "extras": [1]}, "crash", "'extras' is not a mapping"),
        ({**GOOD, "extras": {"x": float("inf")}}, "crash", "'extras' holds a number"),
        ({**GOOD, "force": []}, "crash", "has the key 'force'"),
        (
            {"failure": {"kind": "tired", "message": ""}},
            "crash",
            "a kind of: invalid-input",
        ),
        ({**GOOD, "energy": float("nan")}, "suspicious-label", "energy is not a finite"),
        (
            {**GOOD, "forces": [[0, 0, float("inf")]] * 3},
            "suspicious-label",
            "a force is not",
        ),
        ({**GOOD, "stress": [float("nan")] * 6}, "suspicious-label", "a stress is not"),
        ({**GOOD, "forces": [[90, 0, 0]] * 3}, "suspicious-label", "exceeds the cap of 50"),
        (
            {"failure": {"kind": "not-converged", "message": "after 99 cycles"}},
            "not-converged",
            "after 99 cycles",
        ),
    ],
)
def test_an_answer_that_is_no_label_is_a_failure(answer_of, answer, kind, message):
    text = answer if isinstance(answer, str) else json.dumps(answer)
    found = failure(answer_of(ANSWERS.format(answer=text)))
    assert (found.kind, found.is_retryable) == (kind, kind == "crash")
    assert message in found.message
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "wrote no label.json"),
        ("import os; os.mkdir('label.json')", "wrote no label.json"),
        ("import os; os.symlink('/etc/passwd', 'label.json')", "wrote no label.json"),
        ("open('label.json', 'wb').truncate(2**26 + 1)", "exceeds 64 MiB"),
    ],
)
def test_an_answer_that_is_not_there_is_a_failure(answer_of, code, message):
    found = failure(answer_of(code))
    assert found.kind is FailureKind.CRASH
    assert message in found.message


def test_a_crash_tells_what_the_program_said_last(answer_of, tmp_path):
    code = (
        "import sys\n"
        "print('hello')\n"
        "for k in range(200_000): print('noise', k, file=sys.stderr)\n"
        "sys.stderr.buffer.write(b'\\xff the basis is missing\\n')\n"
        "sys.exit(3)\n"
    )
    found = failure(answer_of(code))
    assert found.kind is FailureKind.CRASH
    assert "ended with status 3: \ufffd the basis is missing" in found.message
    assert found.details["stdout"] == "hello\n"
    assert len(found.details["stderr"]) == 2000
    assert found.details["stderr"].endswith("noise 199999\n\ufffd the basis is missing\n")
    kept = Path(found.details["scratch"])
    assert kept.parent == tmp_path / "scratch"
    assert left_in(kept) == ["stderr.txt", "stdout.txt", "structure.json"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGSEGV, FailureKind.CRASH), (signal.SIGKILL, FailureKind.RESOURCE)],
)
def test_a_signal_is_classified(answer_of, number, kind):
    code = f"import os; os.kill(os.getpid(), {int(number)})"
    assert failure(answer_of(code)).kind is kind


HANGS = """
import os, signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf])
signal.signal(signal.SIGTERM, {handler})
with open({file!r} + ".new", "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}}")
os.rename({file!r} + ".new", {file!r})
time.sleep(600)
"""


RANKS = """
import os, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], process_group=0)
with open({file!r} + ".new", "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}}")
os.rename({file!r} + ".new", {file!r})
{then}
"""
"""As MPI starts programs: each in a process group of its own, in the session of the launcher."""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_ranks_in_groups_of_their_own_die_too(answer_of, tmp_path):
    pids = tmp_path / "pids"
    code = RANKS.format(file=str(pids), then="time.sleep(600)")
    assert failure(answer_of(code, timeout_s=3.0)).kind is FailureKind.RESOURCE
    launcher, rank = map(int, pids.read_text().split())
    assert not is_running(launcher)
    wait_until(lambda: not is_running(rank))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_ranks_do_not_outlive_their_worker(settings_of, tmp_path):
    pids = tmp_path / "pids"
    settings = settings_of(RANKS.format(file=str(pids), then="time.sleep(600)"))
    code = (
        "import numpy as np\n"
        "from alflow.core.structures import Structure\n"
        "from alflow.labelers.command import CommandSettings\n"
        f"settings = CommandSettings.model_validate_json({settings.model_dump_json()!r})\n"
        "settings.create().label(Structure(np.array([1], np.uint8), np.zeros((1, 3))))\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        wait_until(pids.exists)
        launcher, rank = map(int, pids.read_text().split())
        assert is_running(rank)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not is_running(launcher) and not is_running(rank))


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "signal.SIG_DFL"])
def test_at_its_deadline_a_program_dies_with_its_children(answer_of, tmp_path, handler):
    pids = tmp_path / "pids"
    found = failure(answer_of(HANGS.format(file=str(pids), handler=handler), timeout_s=3.0))
    assert found.kind is FailureKind.RESOURCE
    assert "timeout_s is 3 s" in found.message
    program, child = map(int, pids.read_text().split())
    assert not is_running(program)
    wait_until(lambda: not is_running(child))


def test_what_a_program_leaves_running_dies_with_it(answer_of, tmp_path):
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
    )
    label = answer_of(code + ANSWERS.format(answer=json.dumps(GOOD)))
    assert isinstance(label, Label)
    wait_until(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_a_program_does_not_outlive_its_worker(settings_of, tmp_path):
    pids = tmp_path / "pids"
    settings = settings_of(HANGS.format(file=str(pids), handler="signal.SIG_IGN"))
    code = (
        "import numpy as np\n"
        "from alflow.core.structures import Structure\n"
        "from alflow.labelers.command import CommandSettings\n"
        f"settings = CommandSettings.model_validate_json({settings.model_dump_json()!r})\n"
        "settings.create().label(Structure(np.array([1], np.uint8), np.zeros((1, 3))))\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        wait_until(pids.exists)
        program, child = map(int, pids.read_text().split())
        assert is_running(program)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not is_running(program) and not is_running(child))
    # The folder that the worker left is removed with the next structure.
    assert len(left_in(tmp_path / "scratch")) == 1
    settings_of(ANSWERS.format(answer=json.dumps(GOOD))).create().label(WATER)
    assert left_in(tmp_path / "scratch") == []


def test_failures_are_kept_within_the_quota(answer_of, tmp_path):
    code = "open('large', 'wb').truncate(400_000)"
    kept = [
        failure(answer_of(code, keep_failed_MB=1.0)).details["scratch"] for _ in range(4)
    ]
    assert [Path(folder).exists() for folder in kept] == [False, False, True, True]
    assert failure(answer_of(code, keep_failed_MB=0.1)).details["scratch"] is None
    assert len(left_in(tmp_path / "scratch")) == 2


def test_folders_are_private(answer_of):
    code = "import os; raise SystemExit(oct(os.stat('.').st_mode & 0o777))"
    assert "0o700" in failure(answer_of(code)).message


def test_a_taken_name_in_the_temporary_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: str(tmp_path))
    base = scratch.scratch_base(None)
    assert base.stat().st_mode & 0o777 == 0o700
    base.rmdir()
    (tmp_path / "theirs").mkdir()
    base.symlink_to(tmp_path / "theirs")
    with pytest.raises(SiteError, match="belongs to somebody else"):
        scratch.scratch_base(None)
    (tmp_path / "file").write_text("")
    with pytest.raises(SiteError, match="cannot make the folder"):
        scratch.scratch_base(str(tmp_path / "file" / "below"))


def test_no_shell_reads_the_arguments(answer_of, settings_of, tmp_path):
    code = "import sys; raise SystemExit(sys.argv[1])"
    command = (*settings_of(code).command, "$HOME; touch x")
    assert "status 1: $HOME; touch x" in failure(answer_of(code, command=command)).message


def test_a_program_that_is_not_there_is_told(settings_of, tmp_path):
    with pytest.raises(SiteError, match="no program 'no-such-program'") as caught:
        settings_of("", command=("no-such-program",)).create()
    assert "absolute path" in caught.value.next_step
    script = tmp_path / "no-program"
    script.write_bytes(b"\0\0\0\0")
    script.chmod(0o755)
    found = failure(settings_of("", command=(str(script),)).create().label(WATER))
    assert found.kind is FailureKind.CRASH
    assert "cannot be started" in found.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": ()}, "at least 1 item"),
        ({"command": "orca input"}, "valid tuple"),
        ({"command": ("./label.py",)}, "write an absolute path"),
        ({"command": ("",)}, "has no name"),
        ({"command": ("a", "b\0")}, "zero byte"),
        ({"level": {}}, "at least 1 item"),
        ({"timeout_s": 0}, "greater than 0"),
    ],
)
def test_mistakes_in_settings_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        CommandSettings(**{"command": ("prog",), "level": LEVEL, **change})


def test_the_level_is_what_the_user_says_and_the_name_of_the_program():
    def digest(**change):
        settings = CommandSettings(
            **{"command": ("/a/prog", "x"), "level": LEVEL, **change}
        )
        return level_digest(settings)

    assert digest() == digest(command=("/b/prog", "y", "z"), timeout_s=5.0, input="extxyz")
    assert digest() != digest(command=("other",))
    assert digest() != digest(level={"method": "springs", "version": 2})


def test_settings_survive_json(settings_of):
    settings = settings_of(SPRINGS)
    assert CommandSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert settings.create().version() == f"command {Path(sys.executable).name}"
