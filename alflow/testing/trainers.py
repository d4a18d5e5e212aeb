"""The contract of a trainer, as tests that a plug-in inherits.

    class TestMine(TrainerTests):
        trainer = MyTrainerSettings(epochs=2)
        model = MyFamilySettings(members=2)
        elements = ("H", "O")

Choose few epochs and a small model: each test trains once or twice.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from alflow.core.batches import LabelledStructure
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, Label
from alflow.core.protocols import JudgesLabels, Trainer, TrainingContext, TrainingResult
from alflow.testing.samples import labelled, must, numbers_of

_COUNT = 12


class Kept:
    """A context that keeps checkpoints and notes in memory."""

    def __init__(self, saved: bytes | None = None) -> None:
        """Begin with a checkpoint of an earlier attempt, or with none."""
        self.saved = saved
        self.notes: list[str] = []

    def checkpoint(self) -> bytes | None:
        """What was saved last."""
        return self.saved

    def save_checkpoint(self, content: bytes) -> None:
        """Keep this instead."""
        self.saved = content

    def note(self, text: str) -> None:
        """Keep a sentence."""
        self.notes.append(text)


class TrainerTests:
    """What must hold for every trainer; inherit it and give `trainer`, `model`, `elements`.

    Attributes:
        trainer: Settings of the trainer.
        model: Settings of a model family that it can train.
        elements: Chemical symbols of the structures to train on.
        uses_initial: Whether these settings start from the weights of a parent.
    """

    trainer: ClassVar[Any] = None
    model: ClassVar[Any] = None
    elements: ClassVar[Sequence[str]] = ()
    uses_initial: ClassVar[bool] = True

    def data(self) -> list[LabelledStructure]:
        """Labelled structures: small clusters of springs."""
        return labelled(self.elements, _COUNT)

    def train(
        self,
        data: Sequence[LabelledStructure],
        seed: int = 1,
        initial: bytes | None = None,
        told: list[Mapping[str, float]] | None = None,
        context: TrainingContext | None = None,
    ) -> TrainingResult:
        """Train; what is told of progress goes into a list."""
        trainer: Trainer = self.trainer.create(self.model)
        must(isinstance(trainer, Trainer), "create() gives no Trainer")
        progress = [] if told is None else told
        result = trainer.train(data, seed, initial, progress.append, context)
        if isinstance(result, Failure):
            raise AssertionError(f"training failed: {result.message}")  # noqa: TRY004
        return result

    def test_the_result_has_its_parts(self) -> None:
        """Weights that load, members with their seeds, epochs; JSON throughout."""
        result = self.train(self.data())
        must(isinstance(result, TrainingResult), "the result lacks a part")
        potential = self.model.load(result.weights)
        must(potential.n_members == self.model.members, "members are lost")
        missing = set(numbers_of(self.elements)) - set(potential.elements)
        must(not missing, f"the trained ensemble does not know {missing}")
        must(len(result.members) == self.model.members, "not one entry for each member")
        for member in result.members:
            must({"seed", "best_epoch"} <= set(member), f"a member says only {member}")
        seeds = [member["seed"] for member in result.members]
        must(len(set(seeds)) == len(seeds), "two members have the same seed")
        must(result.epochs, "nothing is said about epochs")
        text = json.dumps([result.members, result.epochs])
        must("NaN" not in text and "Infinity" not in text, "a metric is not finite")

    def test_errors_are_told_by_label(self) -> None:
        """Wrong labels are looked for by the errors of members that held them out."""
        data = [replace(item, label_id=7 * k + 3) for k, item in enumerate(self.data())]
        result = self.train(data)
        if not isinstance(result, JudgesLabels):
            return
        found = result.held_out
        known = {item.label_id for item in data}
        strange = set(found.label_id.tolist()) - known
        must(
            not strange, f"there are errors of labels {strange}, which are not in the data"
        )
        must(
            len(found.label_id) == len(found.energy) == len(found.force),
            "held-out errors are not one for each label",
        )
        must(np.isfinite(found.energy).any(), "no label was held out by any member")

    def test_the_same_seed_gives_the_same_bytes(self) -> None:
        """The loop counts on it: a task that is run again is the same task."""
        data = self.data()
        first, second = self.train(data), self.train(data)
        must(first.weights == second.weights, "the same arguments gave other weights")

    def test_another_seed_gives_other_weights(self) -> None:
        """Else members and generations could not be told apart."""
        data = self.data()
        must(
            self.train(data, 1).weights != self.train(data, 2).weights,
            "two seeds gave the same weights",
        )

    def test_the_labels_decide_the_weights(self) -> None:
        """What does not look at the labels does not learn."""
        data = self.data()
        other = [
            replace(item, label=Label(item.label.energy + 0.1 * k, item.label.forces))
            for k, item in enumerate(data)
        ]
        must(
            self.train(data).weights != self.train(other).weights,
            "other labels gave the same weights",
        )

    def test_a_warm_start_begins_at_the_parent(self) -> None:
        """The weights of the parent matter, and what comes out can be a parent again."""
        if not self.uses_initial:
            return
        data = self.data()
        parents = [self.train(data, seed).weights for seed in (1, 2)]
        children = [self.train(data, 3, initial=parent).weights for parent in parents]
        must(children[0] != children[1], "other parents gave the same child")
        must(children[0] not in parents, "a child is its parent: nothing was trained")
        must(self.train(data, 4, initial=children[0]).weights, "a child cannot be a parent")

    def test_labels_that_are_no_numbers_are_refused(self) -> None:
        """A SettingsError, and before any training."""
        for what, broken in self._broken().items():
            told: list[Mapping[str, float]] = []
            try:
                self.train([broken, *self.data()[1:]], told=told)
            except SettingsError:
                must(not told, f"training began with {what}")
                continue
            raise AssertionError(f"{what} was trained on")

    def test_a_training_goes_on_where_it_was_interrupted(self) -> None:
        """Checkpoints change no bit; one of something else, or damaged, is ignored."""
        data, kept = self.data(), Kept()
        whole = self.train(data).weights
        same = self.train(data, context=kept).weights == whole
        must(same, "training with a context gave other weights")
        again = self.train(data, context=Kept(kept.saved)).weights
        must(again == whole, "going on from a checkpoint gave other weights")
        foreign = Kept()
        self.train(data, 2, context=foreign)
        for what, saved in {
            "a checkpoint of another seed": foreign.saved,
            "a damaged checkpoint": b"these bytes are no checkpoint",
        }.items():
            found = self.train(data, context=Kept(saved)).weights
            must(found == whole, f"{what} changed the weights")

    def test_progress_is_told(self) -> None:
        """Numbers by name, while it trains: a person watches."""
        told: list[Mapping[str, float]] = []
        self.train(self.data(), told=told)
        must(told, "progress was never told")
        for values in told:
            must(values, "progress is told without numbers")
            for name, value in dict[str, Any](values).items():
                must(isinstance(value, int | float), f"progress tells {name}={value!r}")

    def test_energies_alone_can_be_trained_on(self) -> None:
        """Some levels of theory have no forces."""
        data = [replace(item, label=Label(item.label.energy)) for item in self.data()]
        must(self.train(data).weights, "there are no weights without forces")

    def _broken(self) -> dict[str, LabelledStructure]:
        """Labels with a NaN, however it got there."""
        good = self.data()[0]
        if good.label.forces is None:
            raise AssertionError("the sample label has no forces")
        forces = good.label.forces.copy()
        forces[0, 0] = np.nan
        return {
            "an energy of NaN": replace(good, label=Label(float("nan"), good.label.forces)),
            "a force of NaN": replace(good, label=Label(good.label.energy, forces)),
        }
