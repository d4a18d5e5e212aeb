"""Molecular dynamics of many replicas at once, on flat arrays."""
