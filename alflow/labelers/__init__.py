"""Labelers: structures in, energies and forces of a level of theory out."""
