"""What is done once for all tasks of a worker."""

import subprocess
import sys

CHILD = """
import sys
from alflow.models import compiled
compiled.warm_up()
ready = set(sys.modules)
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.core.structures import Structure
import numpy as np
batch = Batch.from_structures([Structure(np.array([1, 1], np.uint8), np.eye(3)[:2])])
assert len(neighbour_pairs(batch, 3.0).i) == 2
print(sum(name.startswith("numba") for name in set(sys.modules) - ready))
"""


def test_a_first_function_imports_next_to_nothing_after_the_warm_up():
    found = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True
    )
    cold = subprocess.run(
        [sys.executable, "-c", CHILD.replace("compiled.warm_up()", "import numba")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(found.stdout) < 20 < int(cold.stdout)
