"""A density-functional calculation of ordinary size, timed: `python -m alflow.labelers.reference`.

How its time falls with the number of threads says how many cores a label task should have.
"""

import sys
import time


def seconds() -> float:
    """Time of one energy and its forces [s]: four waters, PBE/def2-SVP."""
    from pyscf import dft, gto, lib

    atoms = [
        f"{symbol} {x + shift} {y} {z}"
        for shift in (0.0, 3.0, 6.0, 9.0)
        for symbol, x, y, z in (
            ("O", 0, 0, 0.1),
            ("H", 0, 0.76, -0.48),
            ("H", 0, -0.76, -0.48),
        )
    ]
    molecule = gto.M(atom="; ".join(atoms), basis="def2-svp", verbose=0)
    begun = time.perf_counter()
    method = dft.RKS(molecule, xc="pbe")
    method.kernel()
    method.nuc_grad_method().kernel()
    elapsed = time.perf_counter() - begun
    if not method.converged or lib.num_threads() < 1:
        raise RuntimeError("the reference calculation did not converge")
    return elapsed


if __name__ == "__main__":
    sys.stdout.write(f"{seconds():.4f}\n")
