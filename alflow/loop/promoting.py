"""Carries out the actions of a promotion."""

from collections.abc import Callable

import numpy as np

from alflow.acquisition.promotion import Promoted, Stored, choose, held_out
from alflow.config.campaign import CampaignSettings, PromoteSettings
from alflow.config.promotion import transfer_settings
from alflow.core.batches import pack_dataset, read_arrays
from alflow.core.errors import StoreError
from alflow.core.seeds import child_seed
from alflow.core.tasks import TaskState
from alflow.execution.files import CampaignFiles
from alflow.loop import publish
from alflow.loop.batching import Known
from alflow.loop.plan import Action
from alflow.loop.promotion import BUDGET, Phase, Predicted, is_promotion, parent_errors
from alflow.loop.serving import TRANSFER, serving
from alflow.loop.statistics import iteration_statistics
from alflow.store import NewTask, Severity, Snapshot, Split, Store, TaskRow
from alflow.store.views import Progress


class Promoting:
    """What each action of a promotion does to the store and the campaign directory."""

    def __init__(
        self,
        store: Store,
        settings: CampaignSettings,
        files: CampaignFiles,
        known: Callable[[str], Known],
    ) -> None:
        """Act on `store` and `files` as `settings` ask; `known` tells what a level costs."""
        self._known = known
        self._store = store
        self._settings = settings
        self._files = files

    def begin(self, action: Action, view: Progress) -> None:
        """Let the generation that serves predict all structures that may be chosen."""
        pool = self._store.dataset(Split.TRAIN, self._settings.label.primary)
        number = serving(view, action.iteration)
        task = publish.pool_task(
            self._settings,
            number,
            action.iteration,
            self._weights(number),
            self._files.write_blob(pack_dataset(pool)),
        )
        self._store.begin_iteration(action.iteration, Phase.PROMOTE, [task])

    def choose(self, action: Action, view: Progress) -> None:
        """Decide which structures get a label at the better level, and which of them test."""
        number, promote = action.iteration, self._promote()
        arrays = self._predictions(number)
        structures = [
            one.structure for one in self._store.batch(arrays["label_id"].tolist())
        ]
        by_hash = {one.hash: one for one in structures}
        known = self._store.requested(list(by_hash), promote.level)
        stored = [
            Stored(one.hash, float(spread), fingerprint, one.hash in known)
            for one, spread, fingerprint in zip(
                structures, arrays["energy_spread"], arrays["fingerprint"], strict=True
            )
        ]
        asked = sum(len(task.spec.items) for task in self._asked(view))
        chosen = choose(stored, max(0, promote.labels - asked))
        seed = child_seed(self._settings.seed, f"promote/i{number}")
        tested = held_out([one.id for one in chosen], promote.test_fraction, seed)
        tasks: list[NewTask] = []
        costs, write = self._known(promote.level), self._files.write_blob
        for part, is_test in (("train", False), ("test", True)):
            some = [by_hash[one.id] for one in chosen if (one.id in tested) == is_test]
            tasks += publish.label_tasks(
                self._settings, number, some, write, (promote.level, part), costs
            )
        with self._store.together():
            self._store.add_structures([], tasks, iteration=number, phase=Phase.RELABEL)
            told = {"level": promote.level, "structures": [_told(one) for one in chosen]}
            self._store.event("structures-promoted", Severity.INFO, f"i{number}", told)

    def train(self, action: Action, view: Progress) -> None:
        """Train a generation on labels of the better level, from the one that serves."""
        number, promote = action.iteration, self._promote()
        parent = serving(view, number)
        initial = self._weights(parent)
        train = transfer_settings(self._settings)

        def tasks(snapshot: Snapshot) -> list[NewTask]:
            dataset = self._files.write_blob(pack_dataset(snapshot.items))
            return [publish.train_task(self._settings, number, dataset, initial, train)]

        tested = {
            item
            for task in self._asked(view)
            if publish.is_held_out(task.spec.key)
            for item in task.spec.items
        }
        labelled = [one.structure.hash for one in self._store.dataset(None, promote.level)]
        # Better untested than untrained, if no other label could be computed.
        is_enough = any(one not in tested for one in labelled)
        self._store.begin_generation(
            number,
            number,
            promote.level,
            self._settings.model.model_dump(mode="json"),
            tasks,
            parent=parent,
            relation=TRANSFER,
            held_out=sorted(tested) if is_enough else (),
            phase=Phase.TRANSFER,
        )

    def compare(self, action: Action, _view: Progress) -> None:
        """Let the new generation predict the held-out structures."""
        number = action.iteration
        held = self._store.dataset(Split.TEST, self._promote().level, generation=number)
        task = publish.validate_task(
            self._settings,
            number,
            number,
            self._weights(number),
            self._files.write_blob(pack_dataset(held)),
        )
        self._store.publish([task], phase=Phase.COMPARE)

    def end(self, action: Action, view: Progress) -> None:
        """Close the iteration with the errors of the new generation and of its parent."""
        number, promote = action.iteration, self._promote()
        train, test = (
            list(self._store.dataset(split, promote.level, generation=number))
            for split in (Split.TRAIN, Split.TEST)
        )
        done = self._store.tasks(number, "validate", TaskState.DONE)
        self._store.end_iteration(
            number,
            {
                **iteration_statistics(done, view.iterations[-1], {}),
                **parent_errors(train, test, self._predicted(number)),
                "transfer_n_train": float(len(train)),
                BUDGET: float(promote.labels),
            },
        )

    def _promote(self) -> PromoteSettings:
        if self._settings.promote is None:
            raise StoreError(
                "the campaign is in the middle of a promotion, but its settings have no "
                "section 'promote' any more",
                next_step="put it back into the campaign file",
            )
        return self._settings.promote

    def _asked(self, view: Progress) -> list[TaskRow]:
        """Label tasks of all promotions."""
        return [
            task
            for one in view.iterations
            if is_promotion(one)
            for task in self._store.tasks(one.number, "label")
        ]

    def _predictions(self, number: int) -> dict[str, np.ndarray]:
        """What the generation that serves said about the structures that may be chosen."""
        for task in self._store.tasks(number, "validate", TaskState.DONE):
            if publish.asks_about(task.spec.key) == publish.POOL and task.last_attempt:
                content = self._files.read_output(task.last_attempt, "predictions")
                return dict(read_arrays(content))
        raise StoreError(f"iteration i{number} has no predictions to choose by")

    def _predicted(self, number: int) -> Predicted:
        arrays = self._predictions(number)
        ends = np.cumsum(arrays["n_atoms"])[:-1]
        forces = np.split(arrays["forces"], ends)
        items = self._store.batch(arrays["label_id"].tolist())
        return {
            item.structure.hash: (float(energy), one)
            for item, energy, one in zip(items, arrays["energy"], forces, strict=True)
        }

    def _weights(self, generation: int) -> str:
        return self._files.write_blob(self._store.weights(generation))


def _told(one: Promoted) -> dict[str, float | str | None]:
    distance = round(one.distance, 4) if np.isfinite(one.distance) else None
    return {
        "structure": one.id[:12],
        "energy_spread_meV": round(1e3 * one.spread, 4),
        "distance": distance,
    }
