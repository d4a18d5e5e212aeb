"""A Slurm for the tests: two nodes on this machine, one of them with four fake GPUs.

Everything of it lies in one temporary folder and listens on ports of its own: a Slurm that is
installed here for real is not touched. It needs root and the packages of Debian; where something
is missing the tests are skipped, in CI (ALFLOW_CI=1) they fail.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr")
DEADLINE_S = 60.0

CONFIGURATION = """
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=5
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
GresTypes=gpu
KillWait=3
MinJobAge={forget_s}
NodeName=cn1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=8000
NodeName=gn1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=8000 \
Gres=gpu:fake:4
PartitionName=cpu Nodes=cn1 Default=YES MaxTime=60 State=UP
PartitionName=gpu Nodes=gn1 MaxTime=60 State=UP
"""
WITHOUT = "AccountingStorageType=accounting_storage/none\n"
WITH = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass={folder}/munge.socket
AccountingStoragePort={ports[3]}
"""
DATABASE = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[3]}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[4]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
GPUS = """AutoDetect=off
NodeName=gn1 Name=gpu Type=fake File={folder}/gpu[0-3]
"""


@dataclass
class Slurm:
    """A running Slurm."""

    folder: Path
    has_accounting: bool
    ports: list[int]
    environment: dict[str, str] = field(default_factory=dict)
    children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def run(self, *command: str, deadline_s: float = DEADLINE_S) -> str:
        """Run one of its commands; what it printed."""
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            env=self.environment,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, *options: str, form: str = "%i") -> list[str]:
        """Jobs that are not over, a line each."""
        return self.run("squeue", "--noheader", f"--format={form}", *options).splitlines()

    def wait_until_empty(self) -> None:
        """Fail unless no job is left; what was cancelled needs a moment to complete."""
        _until(lambda: not self.jobs())

    def hold(self, *options: str) -> str:
        """Start a job that does nothing for long; its number."""
        script = self.folder / "hold.sh"
        script.write_text("#!/bin/sh\nexec sleep 600\n")
        log = f"--output={self.folder}/hold.log"
        job = self.run("sbatch", "--parsable", log, *options, str(script))
        _until(lambda: self.jobs(f"--jobs={job}", "--states=RUNNING"))
        return job

    def start_controller(self) -> None:
        self.run("slurmctld")

    def stop_controller(self) -> None:
        end(self.folder / "slurmctld.pid")


def _until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> object:
    """Wait until something is true; the test fails at the deadline."""
    limit = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > limit:
            pytest.fail(f"not true within {deadline_s} s")
        time.sleep(0.1)
    return found


def end(pid_file: Path) -> None:
    """End a daemon: SIGTERM, and SIGKILL when it does not listen."""
    with suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        limit = time.monotonic() + 5
        while time.monotonic() < limit:
            os.kill(pid, 0)
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)


def _absent(reason: str) -> None:
    if os.environ.get("ALFLOW_CI") == "1":
        pytest.fail(f"{reason}; CI must not skip the tests that need it")
    pytest.skip(reason)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session", params=["accounting", "no-accounting"])
def slurm(request) -> Iterator[Slurm]:
    """A Slurm of this test session, with and without accounting."""
    has_accounting = request.param == "accounting"
    wanted = (*DAEMONS, *(ACCOUNTING if has_accounting else ()))
    # Daemons are not on the path of every user.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        _absent(f"no Slurm is installed here: {', '.join(missing)} missing")
    if os.geteuid() != 0:
        _absent("only root can start a Slurm of its own")
    # Not pytest's own folder: its name is too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="alflow-slurm-"))
    folder.chmod(0o755)  # munged insists
    ours = Slurm(folder, has_accounting, _free_ports(5))
    try:
        _start(ours)
        yield ours
    finally:
        _stop(ours)
        shutil.rmtree(folder, ignore_errors=True)


def _start(ours: Slurm) -> None:
    folder = ours.folder
    for name in ("state", "spool/cn1", "spool/gn1", "mysql"):
        (folder / name).mkdir(parents=True)
    for number in range(4):
        os.mknod(folder / f"gpu{number}", 0o20666, os.makedev(1, 3))
    values = {
        "host": socket.gethostname().partition(".")[0],
        "folder": folder,
        "ports": ours.ports,
        # What the controller forgets, the accounting is asked about. Without accounting it has
        # to remember for longer than a slow machine takes to ask.
        "forget_s": 5 if ours.has_accounting else 60,
    }
    text = CONFIGURATION + (WITH if ours.has_accounting else WITHOUT)
    (folder / "slurm.conf").write_text(text.format(**values))
    (folder / "gres.conf").write_text(GPUS.format(**values))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    ours.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    ours.run(
        "munged",
        *(f"--socket={folder}/munge.socket", f"--key-file={key}"),
        *(f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log"),
        f"--seed-file={folder}/munged.seed",
    )
    if ours.has_accounting:
        _start_accounting(ours, values)
    ours.start_controller()
    for node in ("cn1", "gn1"):
        ours.run("slurmd", "-N", node)
    idle = ("sinfo", "--noheader", "-N", "--states=idle", "--format=%N")
    _until(lambda: len(set(ours.run(*idle).split())) == 2)


def _start_accounting(ours: Slurm, values: dict) -> None:
    folder = ours.folder
    config = folder / "slurmdbd.conf"
    config.write_text(DATABASE.format(**values))
    config.chmod(0o600)
    options = ["--no-defaults", f"--datadir={folder}/mysql", "--user=root"]
    ours.run("mariadb-install-db", *options, "--auth-root-authentication-method=normal")
    where = (f"--socket={folder}/mysql.socket", f"--port={ours.ports[4]}")
    fast = ("--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve")
    with (folder / "mariadb.log").open("wb") as log:
        database = subprocess.Popen(
            ["mariadbd", *options, *where, *fast, "--bind-address=127.0.0.1"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    ours.children.append(database)
    client = ("mariadb", "--no-defaults", f"--socket={folder}/mysql.socket", "--user=root")
    _until((folder / "mysql.socket").exists)
    user = "slurm@127.0.0.1"
    ours.run(
        *(*client, "--execute"),
        f"CREATE DATABASE slurm_acct_db; CREATE USER {user} IDENTIFIED BY 'slurm';"
        f"GRANT ALL ON slurm_acct_db.* TO {user}",
    )
    ours.run("slurmdbd")

    def answers() -> bool:
        asked = subprocess.run(
            ["sacctmgr", "-n", "list", "cluster"],
            check=False,
            capture_output=True,
            env=ours.environment,
        )
        return asked.returncode == 0

    _until(answers)
    ours.run("sacctmgr", "-i", "-Q", "add", "cluster", "ci")


def _stop(ours: Slurm) -> None:
    if (ours.folder / "slurmctld.pid").exists():
        with suppress(AssertionError, OSError, subprocess.SubprocessError):
            ours.run("scancel", "--user=root", deadline_s=10)
            time.sleep(0.5)
    for name in ("slurmctld", "slurmd-cn1", "slurmd-gn1", "slurmdbd", "munged"):
        with suppress(OSError, ValueError):
            os.kill(int((ours.folder / f"{name}.pid").read_text()), signal.SIGKILL)
    for child in ours.children:
        child.kill()
        child.wait()


SITE = '''
"""The Slurm of the tests."""

from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

QUICK = {{"address": "127.0.0.1", "status_period_s": 1.0, "heartbeat_s": 1, "patience_s": 6}}


def site():
    cpu = slurm_pool("cpu", **{{**QUICK, "partition": "cpu", "workers_per_node": 2, **{cpu}}})
    gpu = slurm_pool("gpu", **{{**QUICK, "partition": "gpu", "workers_per_node": 2,
                               "gpus_per_node": 2, **{gpu}}})
    pools = {{"train": gpu, "sample": gpu, "*": cpu}}
    return Site("test-slurm", pools, {environment}, strategy_period_s=0.3)
'''

CAMPAIGN = """
name: toy
seed: 7
system:
  elements: [Al]
  builders:
    - {{kind: random_box, composition: {{Al: 1}}, atoms: [4, 8], density_g_per_cm3: [1.6, 2.4]}}
label:
  primary: slow
  batch_size: {batch_size}
  levels: {{slow: {{kind: slow, pause_file: "{folder}/pause"}}}}
model: {{kind: ani, members: 2, hidden: [8], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5}}
train: {{epochs: 2, warm_epochs: 2, minimum_steps: 0, folds: 2}}
sample:
  kind: nemd
  tasks: 2
  replicas: 4
  rounds: 1
  timestep_fs: 2.0
  duration_ps: 0.05
  temperature_K: {{start: [300, 900], end: [300, 900]}}
acquire:
  kind: threshold
  per_iteration: 6
  grace_fs: 0
  energy_spread_meV: 0.001
  rejected_factor: 1.0e+9
test:
  count: 4
  builders:
    - {{kind: random_box, composition: {{Al: 1}}, atoms: [4, 8], density_g_per_cm3: [1.6, 2.4]}}
loop: {{bootstrap: {bootstrap}, max_iterations: {iterations}}}
"""


@dataclass
class Play:
    """A campaign in a folder of its own, and the managers that run it."""

    folder: Path
    environment: dict[str, str]
    managers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "toy"

    def write(
        self,
        cpu: dict | None = None,
        gpu: dict | None = None,
        environment: dict | None = None,
        *,
        batch_size: int = 4,
        bootstrap: int = 8,
        iterations: int = 1,
    ) -> None:
        """Write the campaign file and the site file."""
        site = SITE.format(cpu=cpu or {}, gpu=gpu or {}, environment=environment or {})
        (self.folder / "site.py").write_text(site)
        text = CAMPAIGN.format(
            folder=self.folder,
            batch_size=batch_size,
            bootstrap=bootstrap,
            iterations=iterations,
        )
        (self.folder / "campaign.yaml").write_text(text)

    def pause(self, seconds: float) -> None:
        """Make each label take this long."""
        (self.folder / "pause").write_text(str(seconds))

    def hurry(self) -> None:
        (self.folder / "pause").unlink()

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a manager."""
        program = "import sys; from alflow.cli.main import main; sys.exit(main())"
        with (self.folder / "log").open("ab") as log:
            manager = subprocess.Popen(
                [sys.executable, "-c", program, *arguments, "--site", "site.py"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.managers.append(manager)
        return manager

    def run(self) -> "subprocess.Popen[bytes]":
        return self.start("run", "campaign.yaml")

    def resume(self) -> "subprocess.Popen[bytes]":
        return self.start("resume", "toy.db")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def finish(self, manager: "subprocess.Popen[bytes]", deadline_s: float = 200.0) -> None:
        """Wait until a manager has brought the campaign to its end."""
        assert manager.wait(deadline_s) == 0, self.log

    def claims(self) -> list[dict]:
        """Claims that workers have laid, of all attempts."""
        found = [
            json.loads(path.read_bytes())
            for path in self.root.glob("tasks/*/*/*/claim.json")
        ]
        return [claim for claim in found if not claim["is_revoked"]]

    def executions(self) -> list[tuple[str, str]]:
        """Level and structure of each label that a worker committed, as often as that happened."""
        found = []
        for path in self.root.glob("tasks/*/attempts/*/out/items/*.json"):
            spec = json.loads((path.parents[4] / "spec.json").read_bytes())
            found.append((spec["key"].partition("/i")[0], path.stem))
        return found

    def close(self) -> None:
        for manager in self.managers:
            manager.kill()
            manager.wait()


@pytest.fixture(scope="session")
def toy_distribution(tmp_path_factory) -> Path:
    """Folder with an importable module and the metadata that announces its entry points."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).parent / "toy" / "alflow_slow.py", folder)
    metadata = folder / "alflow_slow-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: alflow-slow\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[alflow.labelers]\nslow = alflow_slow:SlowSettings\n"
        "[alflow.tasks]\ntoy-sleep = alflow_slow:sleep\ntoy-train = alflow_slow:sleep\n"
        "toy-wait = alflow_slow:sleep\n"
    )
    return folder


@pytest.fixture
def until() -> Callable[..., object]:
    """Wait until something is true; the test fails at the deadline."""
    return _until


@pytest.fixture
def play(slurm, toy_distribution, tmp_path) -> Iterator[Play]:
    """A campaign to be run on the Slurm of the tests."""
    path = [str(toy_distribution), os.environ.get("PYTHONPATH", "")]
    environment = {
        **slurm.environment,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "OMP_NUM_THREADS": "1",
    }
    one = Play(tmp_path, environment)
    yield one
    one.close()
    slurm.run("scancel", "--user=root")
    _until(lambda: not slurm.jobs())
