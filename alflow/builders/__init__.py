"""Builders: starting structures, drawn at random from a generator and nothing else."""
