"""What comes back of a start does not depend on the others, with an ANI ensemble, to the bit."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from ase.build import molecule

from alflow import registry
from alflow.core.sampling import Gate, Limit
from alflow.core.structures import Structure
from alflow.models.ani.ensemble import fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.samplers.ase import AseSettings
from alflow.samplers.clusters import ClustersSettings
from alflow.samplers.normal_modes import NormalModesSettings
from alflow.samplers.torsions import TorsionsSettings

pytestmark = pytest.mark.physics
HOT = {"start": [200, 300], "end": [200, 300]}


def structure(name, copies=1):
    atoms = molecule(name)
    positions = [atoms.positions + np.array([3.5 * k, 0, 0]) for k in range(copies)]
    numbers = np.tile(atoms.numbers, copies).astype(np.uint8)
    return Structure(numbers, np.concatenate(positions))


@pytest.fixture
def ensemble():
    shape = AniSettings(
        members=3, hidden=(24, 16), radial_cutoff_A=4.5, angular_cutoff_A=3.5
    )
    return fresh_ensemble(shape, [1, 8], 1)


def torsions():
    return TorsionsSettings(grid=4, random_frames=3, relax_steps=5, relax_frames=True)


def modes():
    return NormalModesSettings(frames=4, relax_steps=5)


def clusters():
    options = {"duration_ps": 0.02, "temperature_K": HOT, "check_every": 10, "slots": 2}
    return ClustersSettings.model_validate({**options, "frames": 6, "stop_factor": 1e9})


def hops():
    return AseSettings(
        driver="basin_hopping", options={"hops": 2, "relax_steps": 4, "look_every": 2}
    )


def same(one, other):
    return (
        (one.seed, one.schedule, one.trace) == (other.seed, other.schedule, other.trace)
        and (one.n_steps, one.stop_reason) == (other.n_steps, other.stop_reason)
        and len(one.frames) == len(other.frames)
        and all(
            a.structure == b.structure
            and a.spread == b.spread
            and np.array_equal(a.fingerprint, b.fingerprint)
            for a, b in zip(one.frames, other.frames, strict=True)
        )
    )


@pytest.mark.parametrize("settings", [torsions, modes, clusters, hops])
def test_bits_do_not_depend_on_the_company(ensemble, settings, monkeypatch):
    driver = EntryPoint(
        "basin_hopping",
        "alflow.samplers.ase_drivers:basin_hopping",
        "alflow.ase_samplers",
    )
    monkeypatch.setattr(registry, "available", lambda _point: {"basin_hopping": driver})
    copies = 4 if settings is clusters else 1
    starts = [structure(name, copies) for name in ("H2O2", "H2O", "H2O2")]
    sampler = settings().create()
    gate = Gate(energy=Limit(1e-4))
    together = sampler.sample(starts, ensemble, gate, 7)
    assert all(trajectory.frames for trajectory in together[::2])
    fewer = sampler.sample(starts[:1], ensemble, gate, 7)
    others = sampler.sample([starts[2], starts[0], starts[2]], ensemble, gate, 7)
    assert same(fewer[0], together[0])
    assert same(others[2], together[2])
