"""Samplers: how configuration space is explored with an ensemble."""
