"""The fixtures of the tests of molecular dynamics."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parent.parent / "md" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("md_fixtures", _PATH)
_FIXTURES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_FIXTURES)

potentials = _FIXTURES.potentials
crystal = _FIXTURES.crystal
