"""OLCF Frontier: Slurm, eight GPU dies (four MI250X) and 56 cores a node.

Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

ACCOUNT = "YOUR_ACCOUNT"  # project that pays, for example abc123: myOLCF
SETUP = ""  # lines of shell before the workers start, for example "module load rocm"


def site() -> Site:
    """Whole nodes: a GPU die and 7 cores for each attempt, or 7 cores."""
    gpu = slurm_pool(
        "gpu",
        partition="batch",
        account=ACCOUNT,
        gpus_per_node=8,
        workers_per_node=8,
        threads=7,
        walltime="02:00:00",
        max_blocks=2,
        setup=SETUP,
    )
    cpu = slurm_pool(
        "cpu",
        partition="batch",
        account=ACCOUNT,
        workers_per_node=8,
        threads=7,
        walltime="02:00:00",
        max_blocks=4,
        setup=SETUP,
    )
    return Site("frontier", {"train": gpu, "sample": gpu, "*": cpu})
