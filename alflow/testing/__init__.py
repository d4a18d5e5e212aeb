"""Conformance suites for plug-ins, and the crash test that users can run themselves."""
