"""This machine: as many one-thread workers as it has cores.

Run in the tests, without a scheduler.
"""

from alflow.execution.sites import Site, local_pool


def site() -> Site:
    """One pool for everything; ALFLOW_LOCAL_WORKERS overrides the number of workers."""
    return Site("local", pools={"*": local_pool()})
