"""Fits whole ensembles to labelled structures, and measures what they got right."""
