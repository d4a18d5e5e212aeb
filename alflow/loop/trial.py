"""One task of one stage in this process, nothing stored: is this stage set up as I meant it?"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alflow.config.campaign import CampaignSettings
from alflow.core.batches import LabelledStructure, pack_dataset, unpack_structures
from alflow.core.errors import CampaignStopped
from alflow.core.labels import Failure, Label
from alflow.core.structures import Structure
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.execution.files import CampaignFiles
from alflow.execution.inline import InlineExecutor
from alflow.labelers.consistency import Slopes, compare, probes
from alflow.loop import publish
from alflow.loop.pretrained import new_weights
from alflow.tasks.label import result_of_item
from alflow.tasks.trajectories import SourcedTrajectory, unpack_trajectories

STAGES = ("builder", "labeler", "trainer", "sampler")
"""Stages that can be tried, in the order of the loop; each needs those before it."""

_STRUCTURES = {"builder": 8, "labeler": 1, "trainer": 8, "sampler": 8}


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial made, as far as it went.

    Attributes:
        structures: What the builders made.
        labels: Label or failure of each structure, in order.
        training: Values of the train task.
        trajectories: What the sampler brought back.
        slopes: Forces and stress of the first label beside differences of energies; only where
            the labeler is what is tried.
        repeat_eV: By how much the energy of the same structure differs the second time [eV]; None
            if it was not calculated twice.
        wall_s: Time each stage took [s].
    """

    structures: tuple[Structure, ...]
    labels: tuple[Label | Failure, ...]
    training: Mapping[str, Any]
    trajectories: tuple[SourcedTrajectory, ...]
    wall_s: Mapping[str, float]
    slopes: tuple[Slopes, ...] = ()
    repeat_eV: float | None = None


def try_stage(stage: str, settings: CampaignSettings) -> Trial:
    """Run one task of each stage up to `stage`, on a few structures.

    Raises:
        CampaignStopped: If a task ends without a result; the message says why.
    """
    with tempfile.TemporaryDirectory(prefix="alflow-try-") as directory:
        bench = _Bench(CampaignFiles(Path(directory)))
        depth = STAGES.index(stage)
        structures = _build(bench, settings, _STRUCTURES[stage])
        labels = _label(bench, settings, structures) if depth > 0 else ()
        training, weights = (
            _train(bench, settings, structures, labels) if depth > 1 else ({}, "")
        )
        trajectories = _sample(bench, settings, weights) if stage == "sampler" else ()
        trial = Trial(structures, labels, training, trajectories, bench.wall_s)
        if stage == "labeler" and isinstance(labels[0], Label):
            return _checked(bench, settings, trial, labels[0])
        return trial


def _checked(
    bench: "_Bench", settings: CampaignSettings, trial: Trial, label: Label
) -> Trial:
    """With what more labels, of structures nearby, say about the first one."""
    structure = trial.structures[0]
    asked = probes(structure, label)
    answers = _label(bench, settings, tuple(asked.values()))
    probed = {
        name: answer
        for name, answer in zip(asked, answers, strict=True)
        if isinstance(answer, Label)
    }
    again = probed.get("again")
    return replace(
        trial,
        slopes=tuple(compare(structure, label, probed)),
        repeat_eV=None if again is None else abs(again.energy - label.energy),
    )


class _Bench:
    """Runs single tasks one after the other, through the same files as a campaign."""

    def __init__(self, files: CampaignFiles) -> None:
        self.files = files
        self.wall_s: dict[str, float] = {}
        self._n_tasks = 0
        self._executor = InlineExecutor(files)

    def run(self, spec: TaskSpec) -> tuple[AttemptRef, Outcome]:
        """Run a task here and now; `CampaignStopped` if it ends without a result."""
        self._n_tasks += 1
        attempt = AttemptRef(self._n_tasks, 1, "try", spec.kind)
        began = time.perf_counter()
        self.files.write_spec(attempt.task_id, spec)
        self._executor.submit(attempt)
        self._executor.wait(0.0)
        outcome = self.files.read_result(attempt)
        took_s = time.perf_counter() - began
        self.wall_s[spec.kind] = self.wall_s.get(spec.kind, 0.0) + took_s
        if outcome is None or outcome.failure is not None:
            failure = outcome.failure if outcome is not None else None
            why = failure.message if failure is not None else "it left no result"
            # What alflow raised on purpose says all that there is to say.
            is_told = why.startswith("[AL")
            details = "" if failure is None else str(failure.details.get("traceback", ""))
            details = "" if is_told else details
            raise CampaignStopped(f"the {spec.kind} task failed: {why}\n{details}".rstrip())
        return attempt, outcome


def _build(bench: _Bench, settings: CampaignSettings, count: int) -> tuple[Structure, ...]:
    spec = publish.build_tasks(settings, count, 0)[0].spec
    attempt, _ = bench.run(spec)
    return tuple(unpack_structures(bench.files.read_output(attempt, "structures")))


def _label(
    bench: _Bench, settings: CampaignSettings, structures: tuple[Structure, ...]
) -> tuple[Label | Failure, ...]:
    one_batch = settings.label.model_copy(update={"batch_size": len(structures)})
    settings = settings.model_copy(update={"label": one_batch})
    tasks = publish.label_tasks(settings, 0, structures, bench.files.write_blob)
    attempt, _ = bench.run(tasks[0].spec)
    items = bench.files.read_items(attempt.task_id)
    return tuple(result_of_item(items[structure.hash]) for structure in structures)


def _train(
    bench: _Bench,
    settings: CampaignSettings,
    structures: tuple[Structure, ...],
    labels: tuple[Label | Failure, ...],
) -> tuple[Mapping[str, Any], str]:
    data = [
        LabelledStructure(structure, label, number, str(number))
        for number, (structure, label) in enumerate(zip(structures, labels, strict=True), 1)
        if isinstance(label, Label)
    ]
    blob = bench.files.write_blob(pack_dataset(data))
    content = new_weights(settings)
    initial = None
    if content is not None:
        part = settings.model.starting_weights(content, settings.system.elements)
        initial = bench.files.write_blob(part)
    attempt, outcome = bench.run(publish.train_task(settings, 0, blob, initial).spec)
    return outcome.values, bench.files.write_blob(
        bench.files.read_output(attempt, "weights")
    )


def _sample(
    bench: _Bench, settings: CampaignSettings, weights: str
) -> tuple[SourcedTrajectory, ...]:
    """One sample task, or one of each arm of a mixture."""
    gate = settings.acquire.create().gate(0)
    specs = [task.spec for task in publish.sample_tasks(settings, 1, 0, gate, weights)]
    found: list[SourcedTrajectory] = []
    for spec in {spec.settings.get("arm"): spec for spec in reversed(specs)}.values():
        attempt, _ = bench.run(spec)
        content = bench.files.read_output(attempt, "trajectories")
        found += unpack_trajectories(content)
    return tuple(found)
