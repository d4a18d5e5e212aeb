"""Interatomic potentials: what samplers and training see, and the families that provide it."""
