"""LANL Chicoma: Slurm, four A100 a GPU node, 128 cores a CPU node.

Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

ACCOUNT = "YOUR_ACCOUNT"  # project that pays for CPU nodes, for example w23_mine
GPU_ACCOUNT = "YOUR_GPU_ACCOUNT"  # project that pays for GPU nodes, for example w23_mine_g
SETUP = ""  # lines of shell before the workers start, for example "module load cudatoolkit"


def site() -> Site:
    """Whole nodes: an A100 and 16 cores for each attempt, or 8 cores."""
    gpu = slurm_pool(
        "gpu",
        partition="gpu",
        account=GPU_ACCOUNT,
        gpus_per_node=4,
        workers_per_node=4,
        threads=16,
        walltime="16:00:00",
        max_blocks=1,
        setup=SETUP,
    )
    cpu = slurm_pool(
        "cpu",
        partition="standard",
        account=ACCOUNT,
        workers_per_node=16,
        threads=8,
        walltime="16:00:00",
        max_blocks=4,
        setup=SETUP,
    )
    return Site("chicoma", {"train": gpu, "sample": gpu, "*": cpu})
