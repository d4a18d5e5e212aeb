"""The layer contract is enforced: an import upwards is caught."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINT = Path(sys.executable).parent / "lint-imports"


def _lint(directory: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [LINT, "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/units.py", "import alflow.store\n", "Layers"),
        ("store/rows.py", "import alflow.execution.files\n", "Layers"),
        ("loop/plan.py", "import parsl\n", "Parsl is known to execution alone"),
        ("core/units.py", "import torch\n", "The core needs numpy only"),
    ],
)
def test_a_forbidden_import_is_caught(tmp_path, module, line, contract):
    shutil.copytree(ROOT / "alflow", tmp_path / "alflow")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "alflow" / module
    path.write_text(path.read_text() + line)
    answer = _lint(tmp_path)
    assert answer.returncode == 1
    assert f"{contract} BROKEN" in answer.stdout
