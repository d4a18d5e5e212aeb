"""A batch behind ASE: one Python imports, each structure has a fork of it that leaves nothing."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers.ase import AseSettings
from alflow.labelers.isolated import IsolatedLabeler, Limits

MODULE = '''
"""In the place of GPAW: the effective-medium theory of ASE, and what a test adds to a structure."""

import ctypes, json, mmap, os, signal, subprocess, sys, threading, time
from pathlib import Path

from ase.calculators.emt import EMT

SEEN = []
LOG = Path(os.environ["LOG"])
{at_import}


def act(number):
    with LOG.open("a") as log:
        state = [SEEN, os.environ.get("LEFT"), len(os.listdir("/proc/self/fd"))]
        parents = [os.getpid(), os.getppid()]
        log.write(json.dumps([*parents, os.getcwd(), *state]) + chr(10))
    SEEN.append(number)
    {acts}


def apart():
    """Starts a process in a session of its own, whose parent is gone; its number."""
    start = "subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=-3).pid"
    command = [sys.executable, "-c", f"import subprocess; print({start})"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


class GPAW(EMT):
    def __init__(self, txt, **settings):
        super().__init__()
        Path(txt).write_text("Converged after 5 iterations")

    def calculate(self, atoms=None, properties=(), changes=()):
        act(round(atoms.cell.volume))
        super().calculate(atoms, properties, changes)
'''
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="a fork for each structure needs /proc"
)


def aluminium(volume: float) -> Structure:
    """Four atoms in a cell of a volume [Å³], by which a script knows it."""
    atoms = bulk("Al", cubic=True, a=volume ** (1 / 3))
    atoms.rattle(0.05, seed=round(volume))
    numbers = atoms.numbers.astype(np.uint8)
    return Structure(numbers, atoms.positions, np.array(atoms.cell), atoms.pbc)


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """A labeler whose calculator does something beside its work: by volume, lines of Python."""

    def make(acts=None, at_import="", python=sys.executable, **settings):
        lines = [f"if number == {volume}: {act}" for volume, act in (acts or {}).items()]
        text = MODULE.replace("{acts}", "\n    ".join(lines))
        (tmp_path / "modules").mkdir(exist_ok=True)
        module = tmp_path / "modules" / "gpaw.py"
        module.write_text(text.replace("{at_import}", at_import))
        (tmp_path / "config.ini").write_text(
            f"[gpaw]\npython = {python}\nscratch = {tmp_path / 'scratch'}\n"
        )
        monkeypatch.setenv("ASE_CONFIG_PATH", str(tmp_path / "config.ini"))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
        monkeypatch.setenv("LOG", str(tmp_path / "log"))
        return AseSettings(
            calculator="gpaw", settings={"mode": "pw", "xc": "PBE", "kpts": 1}, **settings
        )

    return make


@pytest.fixture
def log(tmp_path):
    """What each calculation found: its process and its parent's, folder, and what was left."""

    def read():
        return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    return read


def kinds(labeler, *volumes):
    """A label, or the kind of failure, of each structure."""
    answers = [labeler.label(aluminium(volume)) for volume in volumes]
    return [getattr(answer, "kind", Label) for answer in answers]


def wait_until(condition, within_s=20.0):
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_numbers_do_not_depend_on_what_was_calculated_before(scripted):
    labeler = scripted().create()
    for volume in (66, 70, 66):
        label, structure = labeler.label(aluminium(volume)), aluminium(volume)
        atoms = bulk("Al", cubic=True)
        atoms.set_cell(structure.cell)
        atoms.positions, atoms.calc = structure.positions, EMT()
        assert label.energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(label.forces, atoms.get_forces())
        np.testing.assert_array_equal(label.stress, atoms.get_stress())


def test_a_batch_has_one_import_and_each_structure_a_folder(scripted, log, tmp_path):
    at_import = "Path(os.environ['LOG'] + '-imports').open('a').write('x')"
    assert kinds(scripted(at_import=at_import).create(), 66, 67, 68) == [Label] * 3
    assert (tmp_path / "log-imports").read_text() == "x"
    processes, parents, folders = ({one[column] for one in log()} for column in range(3))
    assert (len(processes), len(parents), len(folders)) == (3, 1, 3)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_a_calculation_leaves_behind_does_not_reach_the_next(scripted, log):
    leave = (
        "os.environ['LEFT'] = 'x'; os.chdir('/'); SEEN.extend(range(10**6)); "
        "SEEN.append(open('/dev/zero')); threading.Thread(target=time.sleep, args=(600,)).start()"
    )
    assert kinds(scripted({67: leave}).create(), 66, 67, 68) == [Label] * 3
    before, _, after = (one[3:] for one in log())
    assert after == before == [[], None, before[2]]


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", FailureKind.CRASH),
        ("os.kill(os.getpid(), signal.SIGKILL)", FailureKind.RESOURCE),
        ("os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)", FailureKind.RESOURCE),
        ("os._exit(0)", FailureKind.CRASH),
        ("sys.exit(3)", FailureKind.CRASH),
        ("raise ValueError('no')", FailureKind.CRASH),
    ],
)
def test_a_crash_costs_one_structure(scripted, tmp_path, act, kind):
    labeler = scripted({67: act}).create()
    assert kinds(labeler, 66, 67, 68) == [Label, kind, Label]
    [kept] = (tmp_path / "scratch").iterdir()
    assert (kept / "calculation.json").is_file()


def test_a_hang_costs_one_structure_and_dies_with_all_that_it_started(
    scripted, log, tmp_path
):
    hang = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"Path({str(tmp_path / 'pid')!r}).write_text(str(apart())); "
        "ctypes.PyDLL(None).sleep(600)"
    )
    labeler = scripted({67: hang}, timeout_s=6.0).create()
    assert kinds(labeler, 66, 67, 68) == [Label, FailureKind.RESOURCE, Label]
    first, hung, after = log()
    assert first[1] == hung[1] != after[1]
    left = (*hung[:2], int((tmp_path / "pid").read_text()))
    wait_until(lambda: not any(map(is_running, left)))


def test_what_a_calculation_leaves_running_dies_before_the_next(scripted, tmp_path):
    pid = tmp_path / "pid"
    leave = f"Path({str(pid)!r}).write_text(str(apart()))"
    check = f"os.kill(int(Path({str(pid)!r}).read_text()), 0)"
    labeler = scripted({66: leave, 67: check}).create()
    first = labeler.label(aluminium(66))
    assert isinstance(first, Label)
    wait_until(lambda: not is_running(int(pid.read_text())), 1.0)
    second = labeler.label(aluminium(67))
    assert isinstance(second, Failure)
    assert "ProcessLookupError" in second.message


def test_the_child_ends_with_its_labeler(scripted, log):
    labeler = scripted().create()
    assert kinds(labeler, 66) == [Label]
    [[_, child, *_]] = log()
    assert is_running(child)
    del labeler
    gc.collect()
    assert not is_running(child)


def test_the_child_ends_with_its_batch(scripted, log):
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    with closing(IsolatedLabeler(scripted().create(), Limits())) as isolated:
        assert kinds(isolated, 66, 67) == [Label, Label]
        child = log()[0][1]
        assert is_running(child)
        now = {one.pid for one in psutil.Process().children(recursive=True)}
        started = now - before
        assert child in started
    wait_until(lambda: not any(map(is_running, started)))


@pytest.mark.parametrize("is_busy", [False, True])
def test_the_child_does_not_outlive_its_worker(scripted, log, tmp_path, is_busy):
    settings = scripted({66: "time.sleep(600)"} if is_busy else {})
    code = (
        "import time\n"
        "import numpy as np\n"
        "from alflow.core.structures import Structure\n"
        "from alflow.labelers.ase import AseSettings\n"
        f"settings = AseSettings.model_validate_json({settings.model_dump_json()!r})\n"
        "cell = 66 ** (1 / 3) * np.eye(3)\n"
        "one = Structure(np.array([13], np.uint8), np.zeros((1, 3)), cell, np.ones(3, bool))\n"
        "labeler = settings.create()\n"
        "labeler.label(one)\n"
        f"open({str(tmp_path / 'idle')!r}, 'w').close()\n"
        "time.sleep(600)\n"
    )
    package = str(Path(sys.modules["alflow"].__file__).parents[1])
    paths = os.pathsep.join((os.environ["PYTHONPATH"], package))
    worker = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        wait_until((tmp_path / ("log" if is_busy else "idle")).exists)
        wait_until(lambda: len(log()) == 1)
        [[calculation, child, *_]] = log()
        assert is_running(child)
        assert is_running(calculation) == is_busy
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not is_running(child) and not is_running(calculation))


def test_a_launcher_has_a_process_for_each_structure(scripted, log):
    labeler = scripted(python=f"env {sys.executable}").create()
    assert kinds(labeler, 66, 67) == [Label, Label]
    assert {one[1] for one in log()} == {os.getpid()}


def test_no_process_with_mpi_in_it_is_forked(scripted, log, tmp_path):
    library = tmp_path / "libmpi.so.40"
    library.write_bytes(b"x" * 4096)
    mapped = f"FILE = open({str(library)!r}, 'r+b'); HELD = mmap.mmap(FILE.fileno(), 0)"
    labeler = scripted({67: "sys.exit(3)"}, mapped).create()
    assert kinds(labeler, 66, 67, 68) == [Label, FailureKind.CRASH, Label]
    assert {one[1] for one in log()} == {os.getpid()}
    assert len({one[0] for one in log()}) == 3


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW is not installed")
def test_live_gpaw_has_no_history():
    settings = AseSettings(
        calculator="gpaw",
        settings={
            "mode": {"name": "pw", "ecut": 200},
            "xc": "PBE",
            "kpts": {"density": 1.0},
            "occupations": {"name": "fermi-dirac", "width": 0.15},
        },
    )
    labeler = settings.create()
    for volume in (66, 60, 66):
        found = labeler.label(aluminium(volume))
        fresh = settings.create().label(aluminium(volume))
        assert found.energy == pytest.approx(fresh.energy, abs=1e-10)
        np.testing.assert_allclose(found.forces, fresh.forces, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.stress, fresh.stress, rtol=0, atol=1e-10)
