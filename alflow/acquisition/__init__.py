"""Acquisition rules: which candidates are worth a label."""
