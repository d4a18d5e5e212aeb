"""Task `label`: a batch of structures at one level of theory, each committed when it is done.

Settings: `labeler` (settings of the level's labeler), `limits` (what one structure may use:
`timeout_s`, `memory_MB`), `more` (by how much a further try may use more; not there for 1).
Input: `structures` (a batch). Items: the structures' hashes, in order.
Each item's result: `{"label": ... | null, "failure": ... | null, "program": version}`. Extras of
labels tell what they took: `wall_s` [s] and `cores`.

Failures that another try might mend are not committed: the others of the batch are labelled, then
the task fails with the results of those under `items`, and its next attempt has only them to do.
Checkpoint: finished parts of those, where labels have parts that take long.
"""

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from alflow import registry
from alflow.core.batches import unpack_structures
from alflow.core.canonical import canonical_json
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.protocols import Labeler, ResumableLabeler, TaskContext, TrainingContext
from alflow.core.structures import Structure
from alflow.core.tasks import TaskSpec
from alflow.labelers.isolated import IsolatedLabeler, Limits
from alflow.labelers.level import has_forces
from alflow.labelers.quality import judge
from alflow.models.threads import kernel_threads

LIMITS = ("timeout_s", "memory_MB", "max_memory_MB")
"""Settings that limit what a calculation may use, and change no number."""
WORTH_KEEPING_S = 1.0
"""Parts are written down once this much was spent on them since the last time [s]."""
_WORST_FIRST = (FailureKind.RESOURCE, FailureKind.CRASH)


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any] | Failure:
    """Label every structure of the batch that no earlier attempt has committed."""
    more = float(spec.settings.get("more", 1.0))
    settings = _with_more(spec.settings["labeler"], more)
    given = _with_more(spec.settings.get("limits", {}), more)
    limits = Limits(**{name: value and float(value) for name, value in given.items()})
    level = registry.find("labelers", settings["kind"]).model_validate(settings)
    labeler: Labeler = level.create()
    bench = _bench(context, labeler)
    done = context.done_items()
    left: dict[str, dict[str, Any]] = {}
    with closing(IsolatedLabeler(labeler, limits)) as isolated:
        for structure in unpack_structures(context.blob(spec.inputs["structures"])):
            if structure.hash in done:
                continue
            result = _result(isolated, structure, bench, with_forces=has_forces(level))
            answer = result_of_item(result)
            if isinstance(answer, Failure) and answer.is_retryable:
                left[structure.hash] = result
            else:
                context.commit_item(structure.hash, result)
                if bench is not None:
                    bench.forget(structure)
    return _left_over(left) if left else {}


def result_of_item(value: Mapping[str, Any]) -> Label | Failure:
    """The label or failure that a committed item holds."""
    if value["failure"] is not None:
        return Failure.from_json(value["failure"])
    return Label.from_json(value["label"])


class Bench:
    """Finished parts of labels in work, kept for the next attempt in case this one ends."""

    def __init__(self, context: TrainingContext, program: str) -> None:
        """Take up what an earlier attempt left, if it had the same versions of programs."""
        self._context = context
        self._program = program
        self._kept_at = time.perf_counter()
        kept = json.loads(context.checkpoint() or b"{}")
        is_same = kept.get("program") == program
        self._parts: dict[str, Any] = kept["parts"] if is_same else {}

    def finished(self, structure: Structure) -> dict[str, Label]:
        """Parts of a structure's label that are there, by name."""
        kept = self._parts.get(structure.hash, {})
        return {name: Label.from_json(one) for name, one in kept.items()}

    def keep(self, structure: Structure, parts: Mapping[str, Label]) -> None:
        """Write all finished parts down, unless it would take longer than to compute them."""
        told = {name: label.to_json() for name, label in parts.items()}
        self._parts[structure.hash] = told
        if time.perf_counter() - self._kept_at < WORTH_KEEPING_S:
            return
        content = canonical_json({"program": self._program, "parts": self._parts})
        self._context.save_checkpoint(content.encode())
        self._kept_at = time.perf_counter()

    def forget(self, structure: Structure) -> None:
        """Its label is committed."""
        self._parts.pop(structure.hash, None)


def _left_over(left: Mapping[str, Mapping[str, Any]]) -> Failure:
    """What the task fails with for structures that are worth another try."""
    failures = [Failure.from_json(result["failure"]) for result in left.values()]
    kinds = [failure.kind for failure in failures]
    kind = next((kind for kind in _WORST_FIRST if kind in kinds), kinds[0])
    first = failures[kinds.index(kind)]
    n_others = len(failures) - 1
    others = f" (and {n_others} more of the batch without a label)" if n_others else ""
    return Failure(kind, first.message + others, {**first.details, "items": dict(left)})


def _with_more(settings: Mapping[str, Any], more: float) -> dict[str, Any]:
    """Settings with limits so many times larger, those of labelers inside a labeler as well."""
    found = dict(settings)
    if more == 1:
        return found
    found |= {name: more * settings[name] for name in LIMITS if settings.get(name)}
    if isinstance(parts := settings.get("parts"), Mapping):
        found["parts"] = {name: _with_more(part, more) for name, part in parts.items()}
    if isinstance(inner := settings.get("of"), Mapping):
        found["of"] = _with_more(inner, more)
    return found


def _bench(context: TrainingContext, labeler: Labeler) -> Bench | None:
    if isinstance(labeler, ResumableLabeler):
        return Bench(context, labeler.version())
    return None


def _result(
    labeler: IsolatedLabeler,
    structure: Structure,
    bench: Bench | None,
    *,
    with_forces: bool | None,
) -> dict[str, Any]:
    began = time.perf_counter()
    if bench is None:
        answer = labeler.label(structure)
    else:
        keep = partial(bench.keep, structure)
        answer = labeler.resume(structure, bench.finished(structure), keep)
    if isinstance(answer, Label):
        answer = judge(answer, structure, has_forces=with_forces) or answer
    if isinstance(answer, Label):
        # A labeler that tells its time knows better: parts may be from an earlier attempt.
        spent = {"wall_s": round(time.perf_counter() - began, 6), "cores": kernel_threads()}
        answer = replace(answer, extras={**spent, **answer.extras})
    result: dict[str, Any] = {"label": None, "failure": None, "program": labeler.version()}
    result["failure" if isinstance(answer, Failure) else "label"] = answer.to_json()
    return result
