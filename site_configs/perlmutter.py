"""NERSC Perlmutter: Slurm, four A100 a GPU node, 128 cores a CPU node.

Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

ACCOUNT = "YOUR_ACCOUNT"  # project that pays, for example m1234: iris
SETUP = ""  # lines of shell before the workers start, for example "module load cudatoolkit"


def site() -> Site:
    """Whole nodes: an A100 and 16 cores for each attempt, or 8 cores."""
    gpu = slurm_pool(
        "gpu",
        account=ACCOUNT,
        qos="regular",
        constraint="gpu",
        gpus_per_node=4,
        workers_per_node=4,
        threads=16,
        walltime="04:00:00",
        max_blocks=2,
        setup=SETUP,
    )
    cpu = slurm_pool(
        "cpu",
        account=ACCOUNT,
        qos="regular",
        constraint="cpu",
        workers_per_node=16,
        threads=8,
        walltime="04:00:00",
        max_blocks=4,
        setup=SETUP,
    )
    return Site("perlmutter", {"train": gpu, "sample": gpu, "*": cpu})
