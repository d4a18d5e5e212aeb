"""A tabulated potential as an ensemble of one says what the labeler says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from alflow.core.structures import Structure
from alflow.labelers import eam_potential
from alflow.labelers.eam import EamSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential

_SPEC = importlib.util.spec_from_file_location(
    "setfl_files", Path(__file__).with_name("setfl_files.py")
)
setfl_files = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(setfl_files)

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


@pytest.fixture(scope="module", params=[False, True], ids=["alloy", "fs"])
def labeler(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("eam") / f"CuNi.eam.{'fs' if request.param else 'alloy'}"
    path.write_text(setfl_files.setfl(["Cu", "Ni"], fs=request.param))
    return EamSettings(file=str(path)).create()


def crystal(seed, pbc, n=4):
    rng = np.random.default_rng(seed)
    positions = FCC[:n] * 3.7 + rng.normal(0, 0.1, (n, 3))
    numbers = rng.choice([28, 29], n).astype(np.uint8)
    return Structure(numbers, positions, 3.7 * np.eye(3), np.array(pbc))


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("forces", ["none", "mean", "members"])
def test_a_batch_is_labelled_at_once(labeler, forces, is_compiled, monkeypatch):
    if not is_compiled:
        monkeypatch.setattr(eam_potential, "_kernels", lambda: None)
    potential = labeler.as_potential()
    assert isinstance(potential, Potential)
    assert potential.elements == (28, 29)
    systems = [
        crystal(1, (True, True, True)),
        crystal(2, (True, True, False)),
        crystal(3, (False, False, False), 1),
        crystal(4, (True, True, True), 2),
    ]
    batch = Batch.from_structures(systems)
    # a list that reaches beyond the cutoff must not matter
    pairs = neighbour_pairs(batch, potential.cutoff_A + 1.0)
    found = potential.evaluate(batch, pairs, forces=forces)
    labels = [labeler.label(system) for system in systems]
    assert found.energies[0].tolist() == pytest.approx([one.energy for one in labels])
    if forces == "none":
        assert found.forces is None
        return
    exact = np.concatenate([one.forces for one in labels])
    assert found.forces.numpy() == pytest.approx(exact, abs=1e-10)
    assert (found.member_forces is not None) == (forces == "members")


def test_its_fingerprint_counts_neighbours(labeler):
    potential = labeler.as_potential()
    batch = Batch.from_structures([crystal(1, (True,) * 3), crystal(2, (False,) * 3, 1)])
    found = potential.fingerprint(batch, neighbour_pairs(batch, potential.cutoff_A))
    assert found.shape == (2, 1)
    assert found[0, 0] >= 12
    assert found[1, 0] == 0
