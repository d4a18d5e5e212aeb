"""Does a task once more, here and now, from what the store knows; the campaign is not touched."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alflow.config.resolution import settings_from_resolved
from alflow.core.errors import StoreError
from alflow.core.labels import Label
from alflow.core.tasks import MOST_ATOMS, AttemptRef, Outcome
from alflow.execution.files import CampaignFiles, Claim
from alflow.execution.surroundings import repeatable
from alflow.execution.worker import child_environment
from alflow.loop.inputs import Inputs
from alflow.store import Store, TaskRow
from alflow.store.codec import array_bytes, label_digest
from alflow.store.repeating import environment_of, label_digests, task_of
from alflow.tasks.label import result_of_item

TOKEN = "rerun"  # noqa: S105 - a word in the name of a folder


@dataclass(frozen=True, slots=True)
class Rerun:
    """A task that was done once more.

    Attributes:
        outcome: What it ended with this time.
        command: The command that did it.
        directory: Where its files are.
        compared: Number of results that the store has, too.
        differences: Names of those that are not the same, bit by bit.
    """

    outcome: Outcome
    command: list[str]
    directory: Path
    compared: int
    differences: list[str]


def rerun(store: Store, task_id: int, directory: Path) -> Rerun:
    """Do a task once more in the foreground.

    It gets the same specification, seed and inputs, and the variables of the environment that its
    last attempt ran with where they tell libraries what to do. What it prints goes to the terminal.

    Args:
        store: The store; reading is enough.
        task_id: Number of the task.
        directory: An empty folder to work in.

    Raises:
        StoreError: If there is no such task, or an input is gone.
    """
    task = task_of(store, task_id)
    files = CampaignFiles(directory.absolute())
    _provide(store, files, task)
    attempt = AttemptRef(task_id, 1, TOKEN, task.spec.kind)
    files.claim(attempt, Claim.of_this_process())
    command = [
        *(sys.executable, "-P", "-m", "alflow.execution.body"),
        *(str(files.root), str(task_id), "1", TOKEN, task.spec.kind),
    ]
    recorded = environment_of(store, task_id).get("variables", {})
    variables = {**child_environment(), **repeatable(recorded)}
    with tempfile.TemporaryDirectory(prefix="alflow-") as scratch:
        subprocess.run(  # noqa: S603 - alflow's own command, no shell
            command, check=False, cwd=scratch, env={**variables, "TMPDIR": scratch}
        )
    outcome = files.read_result(attempt)
    if outcome is None:
        raise StoreError(
            f"task t-{task_id} ended without a result", next_step=f"look into {directory}"
        )
    pairs = list(_pairs(store, files, task, outcome)) if outcome.failure is None else []
    different = [name for name, stored, found in pairs if stored != found]
    return Rerun(outcome, command, files.root, len(pairs), different)


def _provide(store: Store, files: CampaignFiles, task: TaskRow) -> None:
    """Write the specification and the inputs of a task."""
    level = settings_from_resolved(store.campaign().config).label.primary
    Inputs(store, files, level).ensure(task)
    for name, sha in task.spec.inputs.items():
        if not files.has_blob(sha, compare=False):
            raise StoreError(
                f"the input {name!r} of task t-{task.id} cannot be made again from the store"
            )
    files.write_spec(task.id, task.spec)


def _pairs(
    store: Store, files: CampaignFiles, task: TaskRow, outcome: Outcome
) -> Iterator[tuple[str, Any, Any]]:
    """Names of results with what the store has and what came out now."""
    labels = label_digests(store, task.id)
    items = files.read_items(task.id)
    for name, stored in labels.items():
        if stored is not None:
            yield f"label of {name[:12]}", stored, _digest(items.get(name))
    if task.outcome is None:
        return
    for name, value in task.outcome.values.items():
        if name == MOST_ATOMS:  # is about the machine
            continue
        yield name, value, outcome.values.get(name)
    for name, value in task.outcome.outputs.items():
        yield name, value, outcome.outputs.get(name)


def _digest(item: Mapping[str, Any] | None) -> str | None:
    result = None if item is None else result_of_item(item)
    if not isinstance(result, Label):
        return None
    forces, stress = array_bytes(result.forces), array_bytes(result.stress)
    return label_digest(float(result.energy) + 0.0, forces, stress).hex()
