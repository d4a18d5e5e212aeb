"""ALCF Aurora: PBS, six Intel Max GPUs of two tiles and 104 cores a node.

Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.schedulers import pbs_pool
from alflow.execution.sites import Site

ACCOUNT = "YOUR_ACCOUNT"  # project that pays: sbank-list-allocations
QUEUE = "prod"
FILE_SYSTEMS = "-l filesystems=home:flare"  # where the campaign directory and Python lie
LAUNCHER = "mpiexec -n {nodes} --ppn 1 --cpu-bind none"
# Nodes are not shared with other jobs; PBS does not name their tiles.
SETUP = "export ZE_FLAT_DEVICE_HIERARCHY=FLAT ZE_AFFINITY_MASK=0,1,2,3,4,5,6,7,8,9,10,11"


def site() -> Site:
    """Whole nodes: a tile and 8 cores for each attempt, or 8 cores."""
    gpu = pbs_pool(
        "gpu",
        account=ACCOUNT,
        queue=QUEUE,
        select="system=aurora",
        directives=[FILE_SYSTEMS, "-l place=scatter"],
        launcher=LAUNCHER,
        workers_per_node=12,
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
        select="system=aurora",
        directives=[FILE_SYSTEMS, "-l place=scatter"],
        launcher=LAUNCHER,
        workers_per_node=12,
        threads=8,
        walltime="02:00:00",
        max_blocks=2,
        interface="bond0",
    )
    return Site("aurora", {"train": gpu, "sample": gpu, "*": cpu})
