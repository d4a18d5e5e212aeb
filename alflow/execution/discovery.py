"""Asks Slurm what it has, and writes a site file of it."""

import getpass
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from alflow.core.errors import SiteError

_TIMEOUT_S = 60
_LONGEST_S = 4 * 3600
_FEW_CORES = 4

_FILE = '''"""A cluster with Slurm, as Slurm described it.

Written by `alflow init --site-from-slurm`; its numbers are a start, change them.
Partitions found:
{table}
"""

from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

ACCOUNT = {account}
SETUP = ""  # lines of shell before the workers start, for example "module load cuda"


def site() -> Site:
    """{summary}"""
{pools}
    return Site("slurm", {{{kinds}}})
'''


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of a cluster; where its nodes differ, what the smallest has.

    Attributes:
        name: Name.
        is_default: Whether jobs that name no partition go there.
        n_nodes: Number of nodes.
        cores: Cores of a node.
        gpus: GPUs of a node.
        limit_s: Longest time that a job may take [s]; None for no limit.
    """

    name: str
    is_default: bool
    n_nodes: int
    cores: int
    gpus: int
    limit_s: int | None


def site_from_slurm() -> str:
    """Text of a site file for the cluster of this machine.

    Raises:
        SiteError: If there is no Slurm here, or it has no partition that can be used.
    """
    partitions = parse_partitions(_ask("sinfo", "-h", "-o", "%P|%a|%D|%c|%G|%l"))
    if not partitions:
        raise SiteError("Slurm names no partition that is up")
    user = getpass.getuser()
    try:
        told = _ask(
            "sacctmgr", "-nP", "show", "associations", f"user={user}", "format=account"
        )
    except SiteError:  # no accounting: nobody pays
        told = ""
    return site_text(partitions, list(dict.fromkeys(told.split())))


def parse_partitions(text: str) -> list[Partition]:
    """Partitions that are up, from `sinfo -h -o "%P|%a|%D|%c|%G|%l"`.

    Args:
        text: What it printed; nodes that differ stand in lines of their own.
    """
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, state, nodes, cores, gres, limit = line.split("|")
        if state != "up":
            continue
        gpus = sum(map(int, re.findall(r"gpu(?::[^,:(]+)?:(\d+)", gres)))
        one = Partition(
            name.rstrip("*"),
            name.endswith("*"),
            int(nodes),
            int(cores.rstrip("+")),
            gpus,
            _seconds(limit),
        )
        other = found.get(one.name)
        if other is not None:
            one = Partition(
                one.name,
                one.is_default,
                one.n_nodes + other.n_nodes,
                min(one.cores, other.cores),
                min(one.gpus, other.gpus),
                one.limit_s,
            )
        found[one.name] = one
    return list(found.values())


def site_text(partitions: Sequence[Partition], accounts: Sequence[str]) -> str:
    """A site file: GPUs for training and sampling, if there are any; CPUs for the rest.

    Args:
        partitions: What there is; at least one.
        accounts: Who may pay. With several a placeholder is left, because it is not for us
            to choose.
    """
    gpu = _best([partition for partition in partitions if partition.gpus])
    cpu = (
        _best([partition for partition in partitions if not partition.gpus])
        or partitions[0]
    )
    pools = [_gpu_pool(gpu)] if gpu else []
    kinds = '"train": gpu, "sample": gpu, "*": cpu' if gpu else '"*": cpu'
    summary = (
        "One GPU for each attempt at training and sampling; cores for everything else."
        if gpu
        else "Cores for everything."
    )
    return _FILE.format(
        table="\n".join(map(_described, partitions)),
        account=_account(accounts),
        summary=summary,
        pools="\n".join([*pools, _cpu_pool(cpu)]),
        kinds=kinds,
    )


def _best(partitions: Sequence[Partition]) -> Partition | None:
    """The default one, else the one with the most nodes."""
    return max(partitions, key=lambda one: (one.is_default, one.n_nodes), default=None)


def _account(accounts: Sequence[str]) -> str:
    if not accounts:
        return "None"
    if len(accounts) == 1:
        return json.dumps(accounts[0])
    return f'"YOUR_ACCOUNT"  # project that pays: one of {", ".join(accounts)}'


def _gpu_pool(partition: Partition) -> str:
    threads = max(1, partition.cores // partition.gpus)
    more = [f"gpus_per_node={partition.gpus},"]
    return _pool("gpu", partition, partition.gpus, threads, more)


def _cpu_pool(partition: Partition) -> str:
    threads = min(_FEW_CORES, partition.cores)
    return _pool("cpu", partition, partition.cores // threads, threads, [])


def _pool(
    label: str, partition: Partition, workers: int, threads: int, more: Sequence[str]
) -> str:
    limit_s = min(_LONGEST_S, partition.limit_s or _LONGEST_S)
    lines = [
        f'"{label}",',
        f"partition={json.dumps(partition.name)},",
        "account=ACCOUNT,",
        *more,
        f"workers_per_node={workers},",
        f"threads={threads},",
        f'walltime="{_clock(limit_s)}",',
        f"max_blocks={min(2, partition.n_nodes)},",
        "setup=SETUP,",
    ]
    body = "".join(f"        {line}\n" for line in lines)
    return f"    {label} = slurm_pool(\n{body}    )"


def _described(partition: Partition) -> str:
    gpus = f", {partition.gpus} GPUs" if partition.gpus else ""
    limit = (
        "no limit" if partition.limit_s is None else f"at most {_clock(partition.limit_s)}"
    )
    default = " (default)" if partition.is_default else ""
    size = f"{partition.n_nodes} nodes of {partition.cores} cores{gpus}"
    return f"    {partition.name}{default}: {size}, {limit}"


def _seconds(limit: str) -> int | None:
    """A time limit as Slurm prints it: days-hours:minutes:seconds, the front left out."""
    if not limit[:1].isdigit():
        return None
    days, _, clock = limit.rpartition("-")
    parts = [0, 0, *map(int, clock.split(":"))][-3:]
    return int(days or 0) * 86400 + parts[0] * 3600 + parts[1] * 60 + parts[2]


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - commands of Slurm, no shell
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SiteError(
            f"{command[0]} cannot be run: {error}",
            consequence="Nothing was written.",
            next_step="call this on a login node of the cluster",
        ) from error
    if done.returncode:
        raise SiteError(
            f"{command[0]}: {done.stderr.strip()[-500:]}",
            consequence="Nothing was written.",
        )
    return done.stdout
