"""Automated active learning for machine-learned interatomic potentials."""

from importlib.metadata import version

__version__ = version("alflow")
