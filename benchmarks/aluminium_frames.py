"""Frames that a potential of a face-centred metal is tested on: twelve states, by the reference.

Crystals cold and warm, strained, other phases, a vacancy, two surfaces, and melts from cool to hot
and dense. No campaign starts from any of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc100, fcc111

from alflow.builders.random_box import RandomBoxSettings
from alflow.core.seeds import child_seed, generator
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.md.langevin import Bath
from alflow.md.state import State
from alflow.md.velocities import draw_noise, with_thermal_velocities
from alflow.models.potential import Potential

REPLICAS, FRAMES_EACH = 2, 6
"""Trajectories of a group, and frames of each."""
EQUILIBRATION_STEPS, SPACING_STEPS = 500, 100
TIMESTEP_FS, FRICTION_PER_FS = 2.0, 0.01

Make = Callable[[np.random.Generator], Structure]


@dataclass(frozen=True, slots=True)
class Group:
    """A state that frames are taken from.

    Attributes:
        temperature_K: Its temperature [K].
        make: Makes a start.
    """

    temperature_K: float
    make: Make


def groups(symbol: str, lattice_A: float) -> Mapping[str, Group]:
    """The twelve groups by name.

    Args:
        symbol: The metal.
        lattice_A: Lattice constant of its face-centred cubic crystal [Å].
    """
    a = lattice_A

    def crystal(atoms: Atoms, strain: float = 0.0) -> Make:
        def make(rng: np.random.Generator) -> Structure:
            strained = atoms.copy()
            change = rng.uniform(-strain, strain, (3, 3))
            cell = np.array(atoms.cell) @ (np.eye(3) + (change + change.T) / 2)
            strained.set_cell(cell, scale_atoms=True)
            return _structure(strained)

        return make

    def melt(density: float) -> Make:
        box = RandomBoxSettings(
            composition={symbol: 1.0},
            atoms=(64, 80),
            density_g_per_cm3=(density, density),
            distance_factor=(0.8, 0.95),
        ).create()
        return lambda rng: box.build(rng, 1)[0]

    fcc = bulk(symbol, "fcc", a, cubic=True) * (3, 3, 2)
    vacancy = bulk(symbol, "fcc", a, cubic=True) * (3, 3, 3)
    del vacancy[0]
    hcp = bulk(symbol, "hcp", a / np.sqrt(2), a / np.sqrt(2) * np.sqrt(8 / 3)) * (4, 4, 2)
    bcc = bulk(symbol, "bcc", a * 0.8, cubic=True) * (3, 3, 3)
    slabs = [
        facet(symbol, (3, 3, 7), a, vacuum=6.0, periodic=True) for facet in (fcc100, fcc111)
    ]
    return {
        "fcc 300 K": Group(300, crystal(fcc)),
        "fcc 900 K": Group(900, crystal(fcc)),
        "fcc strained": Group(300, crystal(fcc, 0.04)),
        "hcp": Group(300, crystal(hcp)),
        "bcc": Group(300, crystal(bcc)),
        "vacancy": Group(600, crystal(vacancy)),
        "slab 100": Group(500, crystal(slabs[0])),
        "slab 111": Group(500, crystal(slabs[1])),
        "melt 1000 K": Group(1000, melt(2.35)),
        "melt 1500 K": Group(1500, melt(2.2)),
        "melt 2500 K thin": Group(2500, melt(1.95)),
        "melt 2500 K dense": Group(2500, melt(3.2)),
    }


def reference_frames(
    reference: Potential, wanted: Mapping[str, Group], seed: int
) -> dict[str, list[Structure]]:
    """Frames of Langevin dynamics by the reference, by group; all groups run side by side."""
    names = [name for name in wanted for _ in range(REPLICAS)]
    streams = [generator(child_seed(seed, k)) for k in range(len(names))]
    starts = [wanted[name].make(rng) for name, rng in zip(names, streams, strict=True)]
    target_K = torch.tensor(
        [wanted[name].temperature_K for name in names], dtype=torch.float64
    )
    state = with_thermal_velocities(State.from_structures(starts), 2 * target_K, streams)
    engine = Engine(reference, Motion(TIMESTEP_FS, FRICTION_PER_FS))
    moment = engine.start(state, Bath(target_K))
    frames: dict[str, list[Structure]] = {name: [] for name in wanted}
    for step in range(1, EQUILIBRATION_STEPS + FRAMES_EACH * SPACING_STEPS + 1):
        noise = torch.from_numpy(draw_noise(streams, moment.state.sizes))
        moment = engine.advance(moment, Bath(target_K, noise))
        if moment.stopped:
            stopped = {names[k]: str(why) for k, why in moment.stopped.items()}
            raise SystemExit(f"dynamics by the reference broke down: {stopped}")
        if step > EQUILIBRATION_STEPS and not step % SPACING_STEPS:
            for k, name in enumerate(names):
                frames[name].append(moment.state.structure(k, starts[k]))
    return frames


def _structure(atoms: Atoms) -> Structure:
    numbers = atoms.numbers.astype(np.uint8)
    odd = int(numbers.sum()) % 2
    pbc = np.ones(3, bool)
    return Structure(
        numbers, atoms.positions, np.array(atoms.cell), pbc, multiplicity=1 + odd
    )
