"""ALCF Polaris: PBS, four A100 and 32 cores a node.

Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.schedulers import pbs_pool
from alflow.execution.sites import Site

ACCOUNT = "YOUR_ACCOUNT"  # project that pays: sbank-list-allocations
QUEUE = "preemptable"
FILE_SYSTEMS = "-l filesystems=home:eagle"  # where the campaign directory and Python lie
LAUNCHER = "mpiexec -n {nodes} --ppn 1 --cpu-bind none"
# Nodes are not shared with other jobs; PBS does not name their GPUs.
SETUP = "export CUDA_VISIBLE_DEVICES=0,1,2,3"


def site() -> Site:
    """Whole nodes: an A100 and 8 cores for each attempt, or 4 cores."""
    gpu = pbs_pool(
        "gpu",
        account=ACCOUNT,
        queue=QUEUE,
        select="system=polaris",
        directives=[FILE_SYSTEMS, "-l place=scatter"],
        launcher=LAUNCHER,
        workers_per_node=4,
        threads=8,
        walltime="02:00:00",
        max_blocks=1,
        setup=SETUP,
        interface="bond0",
    )
    cpu = pbs_pool(
        "cpu",
        account=ACCOUNT,
        queue=QUEUE,
        select="system=polaris",
        directives=[FILE_SYSTEMS, "-l place=scatter"],
        launcher=LAUNCHER,
        workers_per_node=8,
        threads=4,
        walltime="02:00:00",
        max_blocks=2,
        interface="bond0",
    )
    return Site("polaris", {"train": gpu, "sample": gpu, "*": cpu})
