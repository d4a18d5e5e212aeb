"""Which accelerators a worker uses: its share of those that its node was given.

The scheduler says which devices a job may use, in a variable of the driver. The workers of a
node share that list: worker 1 of 2 uses 2,3 of 0,1,2,3, and workers 2 and 3 of 8 both use 1.
Devices are never counted instead: on a node that is shared with other jobs, the first ones
belong to somebody else.
"""

from collections.abc import Mapping, Sequence

DEVICES_VARIABLE = "ALFLOW_DEVICES"
"""Environment variable with devices of a node, where the scheduler does not say or is wrong."""
DRIVER_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""Lists that the drivers of NVIDIA, AMD and Intel obey; schedulers set them."""

MPS = r"""export CUDA_VISIBLE_DEVICES=$(
  nvidia-smi ${CUDA_VISIBLE_DEVICES:+-i "$CUDA_VISIBLE_DEVICES"} \
    --query-gpu=uuid --format=csv,noheader | paste -sd , -
)
export CUDA_MPS_PIPE_DIRECTORY=$(mktemp -d) CUDA_MPS_LOG_DIRECTORY=$(mktemp -d)
nvidia-cuda-mps-control -d
"""
"""Lines for the `setup` of a pool with more workers than NVIDIA GPUs, in blocks of one node.

They start a server that lets several processes compute on a GPU at the same time. Devices are named
by what they are, because the server and its clients would count numbers differently.
"""

_RANK_VARIABLE = "PARSL_WORKER_RANK"
_COUNT_VARIABLE = "PARSL_WORKER_COUNT"
_NONE = ("-1", "NoDevFiles")


def share(devices: Sequence[str], rank: int, count: int) -> list[str]:
    """The devices of one of the workers of a node.

    Args:
        devices: Devices of the node; at least one.
        rank: Which worker, from 0.
        count: Number of workers.
    """
    first = rank * len(devices) // count
    last = (rank + 1) * len(devices) // count
    return list(devices[first : max(first + 1, last)])


def devices_of_worker(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that give a worker its share; none outside of a worker of a pool.

    Args:
        environment: Environment of the worker.
    """
    rank, count = environment.get(_RANK_VARIABLE, ""), environment.get(_COUNT_VARIABLE, "")
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        return {}
    given = {name: environment[name] for name in DRIVER_VARIABLES if name in environment}
    if ours := environment.get(DEVICES_VARIABLE):
        given = dict.fromkeys(given or DRIVER_VARIABLES[:1], ours)
    lists = {name: _devices(text) for name, text in given.items()}
    return {
        name: ",".join(share(devices, int(rank), int(count)))
        for name, devices in lists.items()
        if devices
    }


def visible_devices(environment: Mapping[str, str]) -> str:
    """The devices that a process with this environment may use, for people; or empty."""
    return next((environment[name] for name in DRIVER_VARIABLES if name in environment), "")


def _devices(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    return [name for name in names if name and name not in _NONE]
