"""ANI: fixed symmetry-function descriptors under a stacked ensemble of small networks."""
