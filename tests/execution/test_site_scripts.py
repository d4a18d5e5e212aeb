"""What every site submits, letter by letter.

After a change that is meant, write the files anew and read the difference:

    alflow sites show SITE --scripts
"""

from pathlib import Path

import pytest

from alflow.execution.schedulers import flux_pool
from alflow.execution.scripts import submit_script
from alflow.execution.sites import list_sites, load_site, local_pool

# Parsl leaves sockets open when it looks for the addresses of this machine.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

GOLDEN = Path(__file__).parent / "golden"
SITES = sorted(set(list_sites()) - {"local"})


def golden(name):
    """The stored script of a pool, `SITE.POOL.sh` or `.json`."""
    [path] = GOLDEN.glob(f"{name}.*")
    return path.read_text("utf-8")


@pytest.mark.parametrize("name", SITES)
def test_a_site_submits_what_is_stored(name):
    for pool in load_site(name, is_draft=True).distinct_pools():
        assert submit_script(pool) == golden(f"{name}.{pool.label}")


def test_a_pool_of_flux_submits_what_is_stored():
    pool = flux_pool(
        "gpu", bank="mine", queue="pbatch", nodes=2, directives=["--dependency=x"]
    )
    assert submit_script(pool) == golden("flux.gpu")


def test_nothing_is_stored_for_what_is_not_there():
    names = {".".join(path.name.split(".")[:2]) for path in GOLDEN.iterdir()}
    pools = {
        f"{name}.{pool.label}"
        for name in SITES
        for pool in load_site(name, is_draft=True).distinct_pools()
    }
    assert names == {*pools, "flux.gpu"}


def test_workers_of_this_machine_are_not_submitted():
    assert submit_script(local_pool()) is None
