"""Task `label`: a batch of structures at one level of theory, each committed when it is done.

Settings: `labeler` (settings of the level's labeler).
Input: `structures` (a batch). Items: the structures' hashes, in order.
Each item's result: `{"label": ... | null, "failure": ... | null, "program": version}`.
"""

import time
from collections.abc import Mapping
from typing import Any

from alflow import registry
from alflow.core.batches import unpack_structures
from alflow.core.labels import Failure, Label
from alflow.core.protocols import Labeler, TaskContext
from alflow.core.structures import Structure
from alflow.core.tasks import TaskSpec


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any]:
    """Label every structure of the batch that no earlier attempt has committed."""
    settings = spec.settings["labeler"]
    labeler: Labeler = (
        registry.find("labelers", settings["kind"]).model_validate(settings).create()
    )
    done = context.done_items()
    for structure in unpack_structures(context.blob(spec.inputs["structures"])):
        if structure.hash not in done:
            context.commit_item(structure.hash, _result(labeler, structure))
    return {}


def result_of_item(value: Mapping[str, Any]) -> Label | Failure:
    """The label or failure that a committed item holds."""
    if value["failure"] is not None:
        return Failure.from_json(value["failure"])
    return Label.from_json(value["label"])


def _result(labeler: Labeler, structure: Structure) -> dict[str, Any]:
    began = time.perf_counter()
    answer = labeler.label(structure)
    result: dict[str, Any] = {"label": None, "failure": None, "program": labeler.version()}
    result["failure" if isinstance(answer, Failure) else "label"] = answer.to_json()
    result["wall_s"] = round(time.perf_counter() - began, 4)
    return result
