"""Six cases that a self-consistent field finds hard: outcome, rung, energy.

    python benchmarks/hard_scf.py [--method b3lyp] [--basis def2-svp] [--json FILE]

A stretched bond, a molecule far from its minimum, two oxides of transition metals with many
solutions, a carbon dimer, and a broken bond for which the closed shell converges without complaint
to a state that is electronvolts too high. Each is labelled with each policy for unstable closed
shells; what has no label tells why.
"""

import argparse
import json
import os
import time
from typing import Any

import arguments
import numpy as np
from ase import Atoms
from ase.build import molecule

from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.labelers.pyscf import PyscfSettings

POLICIES = ("reject", "relabel")
MALONALDEHYDE = [
    ("O", -1.28, -1.13, 0.0),
    ("O", 1.28, -1.13, 0.0),
    ("C", -1.20, 0.20, 0.0),
    ("C", 0.0, 0.90, 0.0),
    ("C", 1.20, 0.10, 0.0),
    ("H", -0.34, -1.45, 0.0),
    ("H", -2.16, 0.72, 0.0),
    ("H", 0.02, 1.98, 0.0),
    ("H", 2.18, 0.62, 0.0),
]


def cases() -> dict[str, Structure]:
    """The structures by name."""
    water = molecule("H2O")
    water.positions[1] = water.positions[0] + 2.6 * (
        water.positions[1] - water.positions[0]
    )
    noisy = Atoms([row[0] for row in MALONALDEHYDE], [row[1:] for row in MALONALDEHYDE])
    noisy.positions += np.random.default_rng(3).normal(0, 0.25, noisy.positions.shape)
    apart = Atoms("HOOH", [[0, 0.92, 0.3], [0, 0, 0], [3.5, 0, 0], [3.5, -0.92, 0.3]])
    return {
        "H2O, one bond 2.6 times as long": _structure(water),
        "malonaldehyde, 0.25 Å of noise": _structure(noisy),
        "FeO, quintet, 1.62 Å": _structure(Atoms("FeO", [[0, 0, 0], [0, 0, 1.62]]), 5),
        "CrO, quintet, 1.62 Å": _structure(Atoms("CrO", [[0, 0, 0], [0, 0, 1.62]]), 5),
        "C2, 1.6 Å": _structure(Atoms("C2", [[0, 0, 0], [0, 0, 1.6]])),
        "HO..OH, 3.5 Å": _structure(apart),
    }


def _structure(atoms: Atoms, multiplicity: int = 1) -> Structure:
    numbers = atoms.numbers.astype(np.uint8)
    return Structure(numbers, atoms.positions, multiplicity=multiplicity)


def labelled(settings: PyscfSettings, structure: Structure) -> dict[str, Any]:
    """What came of one structure."""
    began = time.process_time()
    answer = settings.create().label(structure)
    found: dict[str, Any] = {"cpu_s": round(time.process_time() - began, 1)}
    if not isinstance(answer, Label):
        return found | {"outcome": str(answer.kind), "message": answer.message}
    kept = ("rung", "spin_square", "instability_eV", "other_start_eV")
    extras = {key: answer.extras[key] for key in kept if key in answer.extras}
    return (
        found
        | {"outcome": "label", "energy_hartree": answer.energy / EV_PER_HARTREE}
        | extras
    )


def main() -> None:
    """Label, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--method", default="b3lyp")
    parser.add_argument("--basis", default="def2-svp")
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the results"
    )
    options = parser.parse_args()
    table: dict[str, dict[str, Any]] = {}
    for name, structure in cases().items():
        for policy in POLICIES:
            settings = PyscfSettings(
                method=options.method,
                basis=options.basis,
                stability=policy,
                force_cap_eV_per_A=1e3,
            )
            found = labelled(settings, structure)
            table[f"{name}/{policy}"] = found
            values = [
                f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in found.items()
                if key not in ("outcome", "energy_hartree")
            ]
            energy = found.get("energy_hartree")
            shown = "" if energy is None else f"{energy:15.6f} Eh"
            print(
                f"{name:33s}{policy:9s}{found['outcome']:18s}{shown}  {', '.join(values)}",
                flush=True,
            )
    print(f"\nload {os.getloadavg()[0]:.1f}")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
