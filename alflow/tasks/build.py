"""Task `build`: structures from builders.

Settings: `builders` (list of builder settings), `count`.
Output file: `structures` (a batch). Values: `sources`, the builder's kind for each structure.
"""

from collections.abc import Mapping
from typing import Any

from alflow.core.batches import pack_structures
from alflow.core.protocols import TaskContext
from alflow.core.tasks import TaskSpec
from alflow.tasks.building import build_structures


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any]:
    """Build the structures of one task."""
    built = build_structures(spec.settings["builders"], spec.settings["count"], spec.seed)
    context.output("structures", pack_structures([item.structure for item in built]))
    return {"sources": [item.builder for item in built]}
