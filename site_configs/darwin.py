"""LANL Darwin: Slurm, many kinds of nodes that jobs share.

Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

GPU_PARTITION = "shared-gpu-ampere"
CPU_PARTITION = "skylake-gold"
GPUS = 2  # what one block asks for; Slurm says which ones they are
SETUP = ""  # lines of shell before the workers start, for example "module load cuda"


def site() -> Site:
    """A part of a node with GPUs, one for each attempt; nodes with 36 cores."""
    gpu = slurm_pool(
        "gpu",
        partition=GPU_PARTITION,
        gpus_per_node=GPUS,
        workers_per_node=GPUS,
        threads=4,
        walltime="10:00:00",
        max_blocks=2,
        setup=SETUP,
    )
    cpu = slurm_pool(
        "cpu",
        partition=CPU_PARTITION,
        workers_per_node=9,
        threads=4,
        walltime="06:00:00",
        max_blocks=2,
        setup=SETUP,
    )
    return Site("darwin", {"train": gpu, "sample": gpu, "*": cpu})
