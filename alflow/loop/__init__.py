"""The loop manager: a pure plan, the manager that carries it out, and when to stop."""
