"""Any Slurm cluster: GPUs for training and sampling, CPUs for everything else.

Run on a live scheduler: a Slurm that the tests start, with stand-ins for GPUs and the tests' own
partitions in the place of these placeholders.
`alflow init --site-from-slurm` writes such a file with the partitions of this cluster in it.
"""

from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool

ACCOUNT = (
    "YOUR_ACCOUNT"  # project that pays, or None: sacctmgr show associations user=$USER
)
GPU_PARTITION = "YOUR_GPU_PARTITION"  # partition with GPUs: sinfo -o "%P %G %c %l"
CPU_PARTITION = "YOUR_CPU_PARTITION"  # partition without
SETUP = ""  # lines of shell before the workers start, for example "module load cuda"


def site() -> Site:
    """Nodes with four GPUs, of which each attempt gets one; nodes with 32 cores."""
    gpu = slurm_pool(
        "gpu",
        partition=GPU_PARTITION,
        account=ACCOUNT,
        gpus_per_node=4,
        workers_per_node=4,
        threads=4,
        walltime="04:00:00",
        max_blocks=2,
        setup=SETUP,
    )
    cpu = slurm_pool(
        "cpu",
        partition=CPU_PARTITION,
        account=ACCOUNT,
        workers_per_node=8,
        threads=4,
        walltime="04:00:00",
        max_blocks=4,
        setup=SETUP,
    )
    return Site("slurm_gpu_cpu", {"train": gpu, "sample": gpu, "*": cpu})
