"""Writes setfl files of Gupta potentials, which are embedded-atom potentials."""

import numpy as np
import torch

from alflow.core.elements import MASSES_AMU, atomic_number
from alflow.models.gupta import SWITCH_END, _switch
from alflow.models.gupta_parameters import CLERI_ROSATO


def pair_functions(first, second, r):
    """Density that one brings to the other, and φ, as in `GuptaPotential`."""
    a, b = CLERI_ROSATO[first], CLERI_ROSATO[second]
    r0, p, q = (a.r0_A + b.r0_A) / 2, (a.p + b.p) / 2, (a.q + b.q) / 2
    switch = _switch(torch.from_numpy(r / r0))[0].numpy()
    repulsion = np.sqrt(a.repulsion_eV * b.repulsion_eV) * np.exp(-p * (r / r0 - 1))
    density = a.hopping_eV * b.hopping_eV * np.exp(-2 * q * (r / r0 - 1))
    return density * switch, 2 * repulsion * switch


def setfl(symbols, *, fs, nr=4000, nrho=4000, largest_rho=80.0, offset_eV=0.0):
    """Text of a file; without `fs` an element brings all others what it brings its own kind."""
    cutoff = max(CLERI_ROSATO[symbol].r0_A for symbol in symbols) * SWITCH_END
    dr, drho = cutoff / (nr - 1), largest_rho / (nrho - 1)
    r, rho = dr * np.arange(nr), drho * np.arange(nrho)
    lines = ["Gupta potentials", "tabulated by a test", "eV, Angstrom"]
    lines.append(f"{len(symbols)} {' '.join(symbols)}")
    lines.append(f"{nrho} {drho!r} {nr} {dr!r} {cutoff!r}")

    def table(values):
        lines.extend(" ".join(f"{v:.17g}" for v in row) for row in values.reshape(-1, 5))

    for symbol in symbols:
        z = atomic_number(symbol)
        lines.append(f"{z} {MASSES_AMU[z]} 4.0 fcc")
        table(offset_eV - np.sqrt(rho))
        for other in symbols if fs else [symbol]:
            table(pair_functions(symbol, other, r)[0])
    for i, symbol in enumerate(symbols):
        for other in symbols[: i + 1]:
            table(r * pair_functions(symbol, other, r)[1])
    return "\n".join(lines).replace("np.float64(", "").replace(")", "") + "\n"
