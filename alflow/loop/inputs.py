"""Input files of tasks: copies of what the store holds, made again where they are gone or damaged.

A worker compares the checksum of every input that it reads, and so fails on a damaged one; before
the task is handed out again, its inputs are compared here too. Datasets are the training cache of
a campaign, and like every cache may be deleted at any time.
"""

from collections.abc import Callable

from alflow.config.resolution import settings_from_resolved
from alflow.core.batches import pack_dataset, pack_structures
from alflow.core.canonical import sha256_hex
from alflow.core.errors import AlflowError
from alflow.execution.files import CampaignFiles
from alflow.loop.pretrained import starting_weights
from alflow.loop.publish import POOL, asks_about
from alflow.store import Split, Store, TaskRow


class Inputs:
    """Sees that the inputs of a task are there before it is handed out."""

    def __init__(self, store: Store, files: CampaignFiles, level: str) -> None:
        """Make files from `store` in `files`; `level` is the one that is trained on."""
        self._store = store
        self._files = files
        self._level = level
        self._makers: dict[tuple[str, str], Callable[[TaskRow], bytes]] = {
            ("label", "structures"): self._structures,
            ("train", "dataset"): self._snapshot,
            ("train", "initial"): self._initial,
            ("validate", "dataset"): self._dataset,
        }

    def ensure(self, task: TaskRow) -> list[str]:
        """Names of the inputs that were made again."""
        return [name for name in task.spec.inputs if self._ensure(task, name)]

    def _ensure(self, task: TaskRow, name: str) -> bool:
        sha = task.spec.inputs[name]
        # At the first attempt the file has just been written; a look at its name is enough.
        if self._files.has_blob(sha, compare=task.attempts > 0):
            return False
        make = self._makers.get((task.spec.kind, name))
        try:
            content = self._store.blob(sha) if make is None else make(task)
        except AlflowError:
            return False  # the worker will say what is missing
        if sha256_hex(content) != sha:
            return False
        self._files.write_blob(content)
        return True

    def _structures(self, task: TaskRow) -> bytes:
        return pack_structures(self._store.structures(task.spec.items))

    def _snapshot(self, task: TaskRow) -> bytes:
        return pack_dataset(
            self._store.dataset(
                Split.TRAIN, self._store.level_of(task.iteration), generation=task.iteration
            )
        )

    def _initial(self, task: TaskRow) -> bytes:
        """Weights of a generation, or a part of those that the campaign began from."""
        settings = settings_from_resolved(self._store.campaign().config)
        begun = starting_weights(self._store, settings)
        sha = task.spec.inputs["initial"]
        is_begun = begun is not None and sha256_hex(begun) == sha
        return begun if begun is not None and is_begun else self._store.blob(sha)

    def _dataset(self, task: TaskRow) -> bytes:
        about, generation = asks_about(task.spec.key), task.spec.settings["generation"]
        if about == POOL:
            return pack_dataset(self._store.dataset(Split.TRAIN, self._level))
        if about == "test":
            level = self._store.level_of(generation)
            own = None if level == self._level else generation
            return pack_dataset(self._store.dataset(Split.TEST, level, generation=own))
        return pack_dataset(
            self._store.dataset(Split.TRAIN, self._level, iteration=task.iteration)
        )
