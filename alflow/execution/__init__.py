"""Runs attempts on workers; what happened is in files, executors only wake the manager."""
