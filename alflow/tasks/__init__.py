"""What runs on a worker, one module a kind: a spec in, small values and files out; no store."""
