"""`kill -9` of the manager in the middle of a campaign with real QM, then `alflow resume`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alflow.store import open_store

CAMPAIGN = """
name: small
seed: 7
system:
  elements: [H, O]
  builders:
    - {kind: molecules, smiles: [O], molecules_per_structure: [1, 2], rattle_A: [0.02, 0.1]}
label:
  primary: hf
  batch_size: 3
  levels: {hf: {kind: pyscf, method: hf, basis: 6-31g*}}
model: {kind: ani, members: 3, hidden: [16, 16]}
train: {epochs: 20, warm_epochs: 10, minimum_steps: 100, folds: 3}
sample:
  kind: nemd
  replicas: 6
  duration_ps: 0.1
  temperature_K: {start: [50, 600], end: [50, 1000]}
acquire: {kind: threshold, per_iteration: 9}
test:
  count: 6
  builders: [{kind: molecules, smiles: [O], rattle_A: [0.05, 0.15]}]
loop: {bootstrap: 12, max_iterations: 2}
"""

TABLES = {
    "structures": "SELECT id, hash FROM structure ORDER BY id",
    "labels": "SELECT id, structure_id, energy, forces FROM label ORDER BY id",
    "generations": "SELECT id, generation, weights_sha, snapshot_id FROM ensemble ORDER BY id",
    "candidates": "SELECT id, structure_id, decision, rank FROM candidate ORDER BY id",
}
DEADLINE_S = 240.0
ALFLOW = Path(sys.executable).parent / "alflow"


def _alflow(directory: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "ALFLOW_LOCAL_WORKERS": "2"}
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [ALFLOW, *arguments], cwd=directory, env=environment, stdout=log, stderr=log
        )


def _finish(process: "subprocess.Popen[bytes]", directory: Path) -> None:
    code = process.wait(DEADLINE_S)
    assert code == 0, (directory / "log").read_text()


def _tables(directory: Path) -> dict[str, list[tuple]]:
    with (
        open_store(directory / "small.db", read_only=True) as store,
        store.read() as connection,
    ):
        return {
            name: [tuple(row) for row in connection.exec_driver_sql(query)]
            for name, query in TABLES.items()
        }


def _n_labels(directory: Path) -> int:
    database = directory / "small.db"
    if not database.exists():
        return 0
    answer = subprocess.run(
        [ALFLOW, "status", str(database), "--json"],
        capture_output=True,
        check=False,
    )
    return json.loads(answer.stdout)["labels"]["ok"] if answer.returncode == 0 else 0


def _executions(directory: Path) -> dict[str, int]:
    """How often each label was committed by a worker, by level and structure hash."""
    counts: dict[str, int] = {}
    for path in (directory / "small" / "tasks").glob("*/attempts/*/out/items/*.json"):
        spec = json.loads((path.parents[4] / "spec.json").read_bytes())
        label = f"{spec['key'].partition('/i')[0]} {path.stem}"
        counts[label] = counts.get(label, 0) + 1
    return counts


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("undisturbed")
    (directory / "campaign.yaml").write_text(CAMPAIGN)
    _finish(_alflow(directory, "run", "campaign.yaml"), directory)
    return directory


@pytest.mark.slow
@pytest.mark.parsl
@pytest.mark.recovery
@pytest.mark.timeout(600)
def test_a_killed_campaign_ends_like_an_undisturbed_one(undisturbed, tmp_path):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    process = _alflow(tmp_path, "run", "campaign.yaml")
    for n_labels in (
        4,
        20,
    ):  # in the middle of the bootstrap, then in the middle of the loop
        until = time.monotonic() + DEADLINE_S
        while _n_labels(tmp_path) < n_labels and time.monotonic() < until:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = _alflow(tmp_path, "resume", "small.db")
    _finish(process, tmp_path)

    expected, found = _tables(undisturbed), _tables(tmp_path)
    assert len(found["labels"]) >= 30
    assert [row[0] for row in found["generations"]] == [1, 2, 3]
    for name in TABLES:
        assert found[name] == expected[name], name
    assert set(_executions(tmp_path).values()) == {1}
