"""The command line. All printing of alflow is here; heavy modules are imported in commands."""
