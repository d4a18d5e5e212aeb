"""A machine like Summit or Lassen: LSF with jsrun, six V100 and 42 cores a node.

Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.schedulers import lsf_pool
from alflow.execution.sites import Site

PROJECT = "YOUR_PROJECT"  # project that pays, for example abc123
QUEUE = "batch"
SETUP = ""  # lines of shell before the workers start, for example "module load cuda"
# The script runs on a node of its own; jsrun gives each compute node one process with all of it.
LAUNCHER = "jsrun -n {nodes} -r 1 -a 1 -c ALL_CPUS -g ALL_GPUS -b none"


def site() -> Site:
    """Whole nodes: a V100 and 7 cores for each attempt, or 7 cores."""
    gpu = lsf_pool(
        "gpu",
        project=PROJECT,
        queue=QUEUE,
        launcher=LAUNCHER,
        workers_per_node=6,
        threads=7,
        walltime="02:00:00",
        max_blocks=2,
        setup=SETUP,
        interface="ib0",
    )
    cpu = lsf_pool(
        "cpu",
        project=PROJECT,
        queue=QUEUE,
        launcher=LAUNCHER,
        workers_per_node=6,
        threads=7,
        walltime="02:00:00",
        max_blocks=4,
        setup=SETUP,
        interface="ib0",
    )
    return Site("summit_like", {"train": gpu, "sample": gpu, "*": cpu})
