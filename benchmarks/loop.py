"""What the manager costs: a campaign of ten thousand tasks that do nothing, and some that wait.

    python benchmarks/loop.py [--tasks 10000] [--waits 240] [--labels 1000] [--json FILE]

The site is `local` (Parsl), the store a SQLite file, and nothing is left out: every task is
published, leased, written to disk, dispatched, claimed by a worker, run in a process of its own,
committed and taken in. Three campaigns, each with a manager in a fresh process:

    idle     tasks that do nothing, one after the other on few workers
    label    label tasks of one structure each, with an analytic potential
    wait     tasks of two seconds, to see what a worker loses between them

CPU time is that of the whole process of the manager, threads included, from before the first task
is published until the campaign has ended. Memory is its resident set. The time that workers lose is
the share of worker time between the first and the last task in which no task body ran; what it
takes to start the workers once is not counted. The `interchange` of Parsl is another process.
"""

import argparse
import cProfile
import itertools
import json
import os
import platform
import pstats
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import arguments

KIND = "benchmark-wait"
WAIT_S = 2.0
TARGETS = {
    "manager CPU per task [ms]": 5.0,
    "memory growth [MB]": 50.0,
    "worker time lost, tasks of 2 s [%]": 5.0,
}
"""What must not be exceeded."""

CAMPAIGN = """\
name: benchmark
seed: 1
system:
  elements: [Al]
  builders:
    - {{kind: random_box, composition: {{Al: 1}}, atoms: [4, 8], density_g_per_cm3: [1.6, 2.4]}}
label:
  primary: gupta
  batch_size: 1
  levels: {{gupta: {{kind: analytic}}}}
model: {{kind: ani, members: 2, hidden: [8], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5}}
sample: {{kind: nemd, duration_ps: 0.1, temperature_K: {{start: 300, end: 300}}}}
acquire: {{kind: threshold, per_iteration: 24}}
loop: {{bootstrap: {bootstrap}, max_iterations: 0}}
"""


@dataclass(slots=True)
class Course:
    """What happened when in a campaign.

    Attributes:
        kind: Kind of the tasks that count.
        wanted: Number of them.
        ended: Time at which each was taken in [s].
        memory_MB: Resident set of the manager at some of those times [MB].
    """

    kind: str
    wanted: int
    ended: list[float] = field(default_factory=list)
    memory_MB: list[float] = field(default_factory=list)


def install_kind(folder: Path) -> None:
    """Make the task kind known to every process started from here, as a plug-in does."""
    metadata = folder / "alflow_benchmark-1.0.dist-info"
    metadata.mkdir(parents=True)
    text = "Metadata-Version: 2.1\nName: alflow-benchmark\nVersion: 1.0\n"
    (metadata / "METADATA").write_text(text)
    body = "import time\n\n\ndef wait(spec, context):\n    "
    body += "time.sleep(spec.settings['seconds'])\n    return {}\n"
    (folder / "alflow_benchmark.py").write_text(body)
    points = f"[alflow.tasks]\n{KIND} = alflow_benchmark:wait\n"
    (metadata / "entry_points.txt").write_text(points)


def run_campaign_of(options: dict[str, Any]) -> dict[str, Any]:
    """Run one campaign in this process; what it took."""
    from alflow.config.loading import load_campaign
    from alflow.execution.parsl import ParslExecutor
    from alflow.execution.sites import Site, local_pool
    from alflow.loop.campaign import run_campaign
    from alflow.loop.ingest import Notice
    from alflow.loop.manager import Manager, StopSignal

    folder = Path(options["folder"])
    n_tasks, seconds = int(options["tasks"]), float(options["seconds"])
    is_label = options["what"] == "label"
    file = folder / "campaign.yaml"
    file.write_text(CAMPAIGN.format(bootstrap=n_tasks if is_label else 1))
    course = Course("label" if is_label else KIND, n_tasks)
    stop = StopSignal()

    def note(notice: Notice) -> None:
        prefix = "label/" if is_label else "wait/"
        if notice.kind != "done" or not notice.text.startswith(prefix):
            return
        course.ended.append(time.monotonic())
        if len(course.ended) % max(1, n_tasks // 200) == 0:
            course.memory_MB.append(memory_MB())
        if is_label and len(course.ended) == n_tasks:
            stop.press()  # what would follow is training

    site = Site("local", pools={"*": local_pool(workers=int(options["workers"]))})
    with run_campaign(str(folder / "store.db"), load_campaign(file)) as campaign:
        executor = ParslExecutor(campaign.files, site)
        executor.start()
        try:
            cpu, begun = time.process_time(), time.monotonic()
            if not is_label:
                publish(campaign, n_tasks, seconds)
            published_s, published_cpu = time.monotonic() - begun, time.process_time() - cpu
            before_MB = memory_MB()
            Manager(campaign, executor, note, stop).run()
            cpu = time.process_time() - cpu
        finally:
            executor.close(cancel=True)
        attempts = attempts_of(campaign, course.kind)
    if len(course.ended) != n_tasks:
        raise SystemExit(f"{len(course.ended)} of {n_tasks} tasks ended")
    return {
        **rates(course, n_tasks),
        **memory(course, before_MB),
        **losses(attempts, int(options["workers"])),
        "cpu_per_task_ms": 1e3 * cpu / n_tasks,
        "publish_cpu_per_task_ms": 1e3 * published_cpu / n_tasks,
        "publish_s": published_s,
        "database_MB": (folder / "store.db").stat().st_size / 1e6,
        "interchange_cpu_per_task_ms": 1e3 * children_cpu_s() / n_tasks,
    }


def publish(campaign: Any, n_tasks: int, seconds: float) -> None:
    """Begin an iteration with tasks that are followed by nothing."""
    from alflow.core.tasks import TaskSpec
    from alflow.store import NewTask

    specs = [TaskSpec(KIND, f"wait/{k}", k, {"seconds": seconds}) for k in range(n_tasks)]
    campaign.store.begin_iteration(0, "train", [NewTask(spec, 0) for spec in specs])


def attempts_of(campaign: Any, kind: str) -> list[tuple[float, float, float, str]]:
    """Claim and commit of every attempt, by the clock of the file system, and its worker."""
    from alflow.store.listings import Filters, listing

    found = []
    for row in listing(campaign.store, "tasks", Filters(None, kind, None, None)):
        root = campaign.files.root / "tasks" / str(row["id"]) / "attempts"
        for attempt in root.iterdir():
            claim = attempt / "claim.json"
            result = attempt / "result.json"
            content = json.loads(result.read_bytes())
            worker = str(json.loads(claim.read_bytes())["pid"])
            times = (claim.stat().st_mtime, result.stat().st_mtime)
            found.append((*times, content["wall_s"], worker))
    return found


def rates(course: Course, n_tasks: int) -> dict[str, float]:
    """Tasks a second, in twenty parts of the campaign without the first."""
    size = max(1, n_tasks // 20)
    marks = course.ended[size - 1 :: size]
    found = [size / (b - a) for a, b in itertools.pairwise(marks) if b > a]
    found = found or [0.0]
    tenth = max(1, len(found) // 10)
    first, last = statistics.mean(found[:tenth]), statistics.mean(found[-tenth:])
    return {
        "tasks_per_s": statistics.median(found),
        "slowest_part_per_s": min(found),
        "last_to_first": last / first if first else 0.0,
    }


def memory(course: Course, before_MB: float) -> dict[str, float]:
    """Growth of the manager, from its start and from the fifth of its tasks on."""
    fifth = course.memory_MB[len(course.memory_MB) // 5] if course.memory_MB else before_MB
    largest = max(course.memory_MB, default=before_MB)
    return {
        "memory_start_MB": before_MB,
        "memory_growth_MB": largest - before_MB,
        "memory_growth_late_MB": largest - fifth,
    }


def losses(
    attempts: Sequence[tuple[float, float, float, str]], workers: int
) -> dict[str, float]:
    """Share of worker time without a task body, per worker from its first claim to its end."""
    by_worker: dict[str, list[tuple[float, float, float]]] = {}
    for claimed, committed, wall_s, worker in attempts:
        by_worker.setdefault(worker, []).append((claimed, committed, wall_s))
    # The first task of a worker waits for imports; its end is where the count begins. The count
    # ends with the last task that the first worker to run dry has ended.
    begin = max(min(committed for _, committed, _ in own) for own in by_worker.values())
    end = min(max(committed for _, committed, _ in own) for own in by_worker.values())
    span, busy, n = 0.0, 0.0, 0
    for own in by_worker.values():
        inside = sorted(one for one in own if begin <= one[1] <= end)
        if len(inside) > 1:
            span += inside[-1][1] - inside[0][1]
            busy += sum(wall_s for _, _, wall_s in inside[1:])
            n += len(inside) - 1
    return {
        "workers_seen": float(len(by_worker)),
        "workers": float(workers),
        "lost_share": 1 - busy / span if span else 0.0,
        "lost_per_task_ms": 1e3 * (span - busy) / max(1, n),
        "turnaround_ms": 1e3
        * statistics.median(committed - claimed for claimed, committed, _, _ in attempts),
    }


def memory_MB() -> float:
    """Resident set of this process [MB]."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def children_cpu_s() -> float:
    """CPU time of children that have ended: the interchange [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(what: str, tasks: int, options: argparse.Namespace) -> dict[str, float]:
    """Run one campaign in a fresh process."""
    with tempfile.TemporaryDirectory(
        prefix="alflow-benchmark-", dir=options.directory
    ) as name:
        folder = Path(name)
        install_kind(folder / "plugin")
        request = {
            "what": what,
            "folder": name,
            "tasks": tasks,
            "seconds": WAIT_S if what == "wait" else 0.0,
            "workers": options.wait_workers if what == "wait" else options.workers,
            "profile": options.profile,
        }
        path = [str(folder / "plugin"), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [sys.executable, __file__, "--campaign", json.dumps(request)],
            check=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        )
        return dict(json.loads(done.stdout))


def run_here(request: dict[str, Any]) -> dict[str, Any]:
    """Run one campaign, under a profiler if asked for."""
    if not request["profile"]:
        return run_campaign_of(request)
    profiler = cProfile.Profile(time.thread_time)
    found = profiler.runcall(run_campaign_of, request)
    statistics_of = pstats.Stats(profiler, stream=sys.stderr)
    statistics_of.sort_stats("cumulative").print_stats(70)
    statistics_of.sort_stats("tottime").print_stats(40)
    print(f"threads: {[thread.name for thread in threading.enumerate()]}", file=sys.stderr)
    return found


def tell(found: dict[str, dict[str, float]], named: dict[str, float]) -> None:
    """Print what was measured, then the targets."""
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    print(f"{'':28s}" + "".join(f"{what:>12s}" for what in found))
    for name in names:
        row = "".join(
            f"{values.get(name, float('nan')):12,.2f}" for values in found.values()
        )
        print(f"{name:28s}{row}")
    print()
    for name, value in named.items():
        target = TARGETS[name]
        verdict = "met" if value <= target else "MISSED"
        print(f"{name:38s}{value:10.2f}   <= {target:g}  {verdict}")


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """What the targets speak of."""
    named = {}
    if "idle" in found:
        named["manager CPU per task [ms]"] = found["idle"]["cpu_per_task_ms"]
        named["memory growth [MB]"] = found["idle"]["memory_growth_MB"]
    if "wait" in found:
        lost = 100 * found["wait"]["lost_share"]
        named["worker time lost, tasks of 2 s [%]"] = lost
    return named


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--tasks", type=arguments.or_none, default=10_000, help="0: leave them out"
    )
    parser.add_argument(
        "--labels", type=arguments.or_none, default=1000, help="0: leave them out"
    )
    parser.add_argument(
        "--waits", type=arguments.or_none, default=240, help="0: leave them out"
    )
    parser.add_argument("--workers", type=arguments.count, default=2)
    parser.add_argument("--wait-workers", type=arguments.count, default=4)
    parser.add_argument("--directory", type=Path, help="where to run; on a real disk")
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    parser.add_argument("--profile", action="store_true", help="profile the manager")
    parser.add_argument("--campaign", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.campaign:
        print(json.dumps(run_here(json.loads(options.campaign))))
        return
    load = os.getloadavg()
    wanted = {"idle": options.tasks, "label": options.labels, "wait": options.waits}
    found = {
        what: measured(what, tasks, options) for what, tasks in wanted.items() if tasks
    }
    named = ratios(found)
    tell(found, named)
    about = {
        "tasks": wanted,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": load,
        "load_after": os.getloadavg(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    print(f"\n{json.dumps(about)}", file=sys.stderr)
    if options.json:
        text = json.dumps({"about": about, "found": found, "targets": named}, indent=1)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
