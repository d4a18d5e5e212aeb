"""The campaign file: YAML to frozen settings, its problems, and its differences."""
