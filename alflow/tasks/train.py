"""Task `train`: a whole ensemble on one snapshot.

Settings: `train` (trainer settings), `model` (model family settings).
Inputs: `dataset` (labelled structures), optionally `initial` (weights of the parent).
Output files: `weights`; `held_out`, how far members are off on labels that they were not trained on
(arrays of `alflow.core.held_out.HeldOutErrors`), if the trainer tells. Values: `members`, `epochs`.
"""

from collections.abc import Mapping
from typing import Any

from alflow import registry
from alflow.core.batches import unpack_dataset, write_arrays
from alflow.core.labels import Failure
from alflow.core.protocols import JudgesLabels, TaskContext, Trainer
from alflow.core.tasks import TaskSpec


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any] | Failure:
    """Train one generation."""
    train, model = spec.settings["train"], spec.settings["model"]
    model_settings = registry.find("models", model["kind"]).model_validate(model)
    settings = registry.find("trainers", train["kind"]).model_validate(train)
    trainer: Trainer = settings.create(model_settings)
    initial = context.blob(spec.inputs["initial"]) if "initial" in spec.inputs else None
    data = unpack_dataset(context.mapped(spec.inputs["dataset"]), is_verified=True)
    result = trainer.train(data, spec.seed, initial, context.progress, context)
    if isinstance(result, Failure):
        return result
    context.output("weights", result.weights)
    if isinstance(result, JudgesLabels):
        context.output("held_out", write_arrays(result.held_out.arrays()))
    return {"members": result.members, "epochs": result.epochs}
