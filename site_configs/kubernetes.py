"""A Kubernetes cluster: pods with one GPU, and pods with eight cores.

The manager runs in a pod of the same image with the same volume.
Not run on a live scheduler yet: its job scripts are compared with stored ones, and its
commands are run against imitations of the programs of the scheduler.
"""

from alflow.execution.schedulers import kubernetes_pool
from alflow.execution.sites import Site

IMAGE = "YOUR_IMAGE"  # image with alflow in it, that of the manager
CLAIM = "YOUR_CLAIM"  # persistent volume claim that many pods can write: kubectl get pvc
MOUNT_PATH = "YOUR_MOUNT_PATH"  # where it is mounted; the campaign directory lies in there
NAMESPACE = None  # None for that of the current context


def site() -> Site:
    """A GPU and 8 cores for each attempt, or 4 cores."""
    gpu = kubernetes_pool(
        "gpu",
        image=IMAGE,
        claims={CLAIM: MOUNT_PATH},
        resources={"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"},
        namespace=NAMESPACE,
        workers_per_node=1,
        threads=8,
        walltime="04:00:00",
        max_blocks=4,
    )
    cpu = kubernetes_pool(
        "cpu",
        image=IMAGE,
        claims={CLAIM: MOUNT_PATH},
        resources={"cpu": "8", "memory": "32Gi"},
        namespace=NAMESPACE,
        workers_per_node=2,
        threads=4,
        walltime="04:00:00",
        max_blocks=4,
    )
    return Site("kubernetes", {"train": gpu, "sample": gpu, "*": cpu})
