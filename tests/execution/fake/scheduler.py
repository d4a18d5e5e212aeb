# ruff: noqa: T201 - the commands print
"""Imitates the commands of PBS, LSF, Flux and Kubernetes: a table of jobs, run as processes here.

Called by the name of a command, from a folder `bin` in the folder of the imitation:

    hold      while this file is there, new jobs wait
    refuse    while it is there, jobs are refused
    silent    while it is there, questions are not answered
    calls     the command lines so far
    jobs/N/   script, and pid, exit, cancelled as they come about; a job is forgotten with it
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.argv[0]).parent.parent
JOBS = FOLDER / "jobs"


def is_set(word):
    return (FOLDER / word).exists()


def give_up(text, code=1):
    print(text, file=sys.stderr)
    sys.exit(code)


def submit(script):
    if is_set("refuse"):
        give_up("qsub: would exceed the limit of this queue", 38)
    number = len(list(FOLDER.glob("jobs/*"))) + 101
    job = JOBS / str(number)
    job.mkdir(parents=True)
    (job / "script").write_text(script)
    start(job)
    return number


def start(job):
    if is_set("hold") or (job / "pid").exists() or (job / "cancelled").exists():
        return
    script = job / "script"
    text = script.read_text()
    log = job / "log"
    if text.startswith("{"):
        [container] = json.loads(text)["spec"]["template"]["spec"]["containers"]
        shell, option, text = container["command"]
        assert (shell, option) == ("/bin/bash", "-c")
        script = job / "shell"
        script.write_text(text)
    else:
        [output] = [
            line.replace("=", " ").split()[-1]
            for line in text.splitlines()
            if line.startswith(("#PBS -o ", "#BSUB -o ", "#flux: --output="))
        ]
        log = Path(output)
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"/bin/bash {script}; echo $? > {job}/exit"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    (job / "pid").write_text(str(process.pid))


def state(number):
    """`queued`, `running`, `cancelled`, an exit status, or None for a job not known."""
    job = JOBS / number
    if not job.is_dir():
        return None
    start(job)
    if (job / "cancelled").exists():
        return "cancelled"
    text = (job / "exit").read_text().strip() if (job / "exit").exists() else ""
    return text or ("running" if (job / "pid").exists() else "queued")


def cancel(number):
    job = JOBS / number
    if not job.is_dir() or (job / "exit").exists():
        give_up(f"{number}: unknown, or over")
    (job / "cancelled").touch()
    if (job / "pid").exists():
        os.killpg(int((job / "pid").read_text()), signal.SIGTERM)


def named(name):
    """Jobs of a name that have not ended."""
    for job in sorted(JOBS.glob("*")):
        if is_named(job, name) and state(job.name) in ("queued", "running"):
            yield job.name


def is_named(job, name):
    lines = (job / "script").read_text().splitlines()
    marks = (f"#PBS -N {name}", f"#BSUB -J {name}", f"#flux: --job-name={name}")
    return any(line.strip() in (*marks, f'"name": "{name}"') for line in lines)


def ask(numbers, unknown):
    """Known jobs with their states; the message about another, in the scheduler's words."""
    if is_set("silent"):
        give_up("cannot connect to the server")
    states = {number: state(number) for number in numbers}
    for number, found in states.items():
        if found is None:
            print(unknown.format(number), file=sys.stderr)
    return {number: found for number, found in states.items() if found is not None}


def qsub():
    print(f"{submit(sys.stdin.read())}.pbs-01.example.org")


def qstat(*arguments):
    (*options,) = arguments[:4]
    assert options == ["-x", "-f", "-F", "json"]
    found = ask(arguments[4:], "qstat: {} Unknown Job Id")
    words = {"queued": "Q", "running": "R"}
    jobs = {}
    for number, what in found.items():
        job = {"job_state": words.get(what, "F"), "comment": f"a comment\non {number}"}
        if what not in words:
            job["Exit_status"] = 271 if what == "cancelled" else int(what)
        jobs[f"{number}.pbs-01"] = job
    # Line breaks stand in the comments as they are, as PBS does it.
    print(json.dumps({"Jobs": jobs}).replace("\\n", "\n"))
    return len(found) < len(arguments[4:]) and 153


def qselect(option, name):
    assert option == "-N"
    for number in named(name):
        print(f"{number}.pbs-01")


def qdel(*numbers):
    for number in numbers:
        cancel(number)


def bsub():
    print(f"Job <{submit(sys.stdin.read())}> is submitted to queue <batch>.")


def bjobs(noheader, option, columns, *numbers):
    if option == "-J":
        found = list(named(columns))
        for number in found:
            print(number)
        if not found:
            give_up(f"Job <{columns}> is not found", 255)
        return 0
    assert (noheader, option) == ("-noheader", "-o")
    assert columns == "jobid stat exit_code exit_reason pend_reason delimiter='|'"
    found = ask(numbers, "Job <{}> is not found")
    for number, what in found.items():
        rows = {
            "queued": "PEND|-|-|New job is waiting for scheduling",
            "running": "RUN|-|-|-",
        }
        rows |= {
            "cancelled": "EXIT|130|TERM_OWNER: job killed by owner|-",
            "0": "DONE|-|-|-",
        }
        print(f"{number}|{rows.get(what, f'EXIT|{what}|-|-')}")
    return len(found) < len(numbers) and 255


bkill = qdel


def flux(command, *arguments):
    if command == "batch":
        print(f"ƒ{submit(sys.stdin.read())}")
    elif command == "jobs":
        option, columns, *names = arguments
        assert option == "-n"
        if columns.startswith("--name="):
            for number in named(columns.removeprefix("--name=")):
                print(f"ƒ{number}")
            return 0
        assert columns == "--format={id.f58}|{status}|{returncode}|{exception.note}"
        found = ask([name[1:] for name in names], "flux-jobs: ERROR: JobID f{} unknown")
        rows = {"queued": "SCHED||", "running": "RUN||", "cancelled": "CANCELED|-15|by me"}
        rows |= {"0": "COMPLETED|0|"}
        for number, what in found.items():
            print(f"ƒ{number}|{rows.get(what, f'FAILED|{what}|')}")
        return len(found) < len(names)
    elif command == "cancel":
        for name in arguments:
            cancel(name[1:])
    else:
        assert command == "run"
        where = arguments.index("--exclusive") + 1
        os.execvp(arguments[where], arguments[where:])
    return 0


def kubectl(command, *arguments):
    """Here a job has the name that its manifest gives it."""
    if command == "create":
        assert arguments == ("-f", "-", "-o", "name")
        text = sys.stdin.read()
        submit(text)
        print(f"job.batch/{json.loads(text)['metadata']['name']}")
        return 0
    options = [word for word in arguments if word.startswith("-")]
    names = [word for word in arguments[1:] if not word.startswith("-")]
    assert arguments[0] == "jobs"
    assert "--ignore-not-found" in options
    jobs = {
        name: job.name for name in names for job in JOBS.glob("*") if is_named(job, name)
    }
    if command == "delete":
        assert "--wait=false" in options
        for number in jobs.values():
            if state(number) in ("queued", "running"):
                cancel(number)
    elif "json" in names:
        tell_kubernetes(
            ask(jobs.values(), ""),
            {job: name for name, job in jobs.items()},
            len(names) > 2,
        )
    else:
        for name, number in jobs.items():
            if state(number) in ("queued", "running"):
                print(f"job.batch/{name}")
    return 0


def tell_kubernetes(states, names, is_list):
    ends = {"0": ("Complete", ""), "cancelled": ("Failed", "Deleted")}
    items = []
    for number, what in states.items():
        status = {"active": 1, "ready": int(what == "running")}
        if what not in ("queued", "running"):
            kind, reason = ends.get(what, ("Failed", "BackoffLimitExceeded"))
            status = {"conditions": [{"type": kind, "status": "True", "reason": reason}]}
        items.append({"metadata": {"name": names[number]}, "status": status})
    if is_list:
        print(json.dumps({"kind": "List", "items": items}))
    elif items:
        print(json.dumps(items[0]))


with (FOLDER / "calls").open("a") as calls:
    calls.write(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\n")
sys.exit(globals()[Path(sys.argv[0]).name](*sys.argv[1:]) or 0)
