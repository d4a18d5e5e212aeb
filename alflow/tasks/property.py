"""Task `property`: what a validation suite says about a generation or about a level of theory.

Settings: `suite` (settings of the suite), and either `generation`, with the input `weights`, or
`level` (its name), `labeler` (its settings) and `elements` (atomic numbers).
Values: `properties`, `curves` and `notes` (see `alflow.core.properties.SuiteResult`). A property
that the potential does not have is a note, and no failure.
"""

from collections.abc import Mapping
from typing import Any

from alflow import registry
from alflow.core.labels import Failure
from alflow.core.properties import SuiteResult
from alflow.core.protocols import TaskContext, ValidationSuite
from alflow.core.tasks import TaskSpec
from alflow.models.loading import best_device, load_potential
from alflow.models.potential import Potential
from alflow.validation.labelled import LabelFailed, reference_potential
from alflow.validation.potentials import Unanswered


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any] | Failure:
    """Ask the potential."""
    given = spec.settings["suite"]
    suite: ValidationSuite = (
        registry.find("validation", given["kind"]).model_validate(given).create()
    )
    try:
        return suite.run(_potential(spec, context), spec.seed).to_json()
    except Unanswered as error:
        return SuiteResult((), notes=(error.message,)).to_json()
    except LabelFailed as error:
        return error.failure


def _potential(spec: TaskSpec, context: TaskContext) -> Potential:
    if "weights" in spec.inputs:
        return load_potential(context.blob(spec.inputs["weights"]), best_device())
    given = spec.settings["labeler"]
    labeler = registry.find("labelers", given["kind"]).model_validate(given).create()
    return reference_potential(labeler, spec.settings["elements"])
