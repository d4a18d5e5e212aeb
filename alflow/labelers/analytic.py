"""Labels from an analytic potential: exact, deterministic, in milliseconds.

Stands in for a first-principles method in tests and small campaigns.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.models.gupta_parameters import CLERI_ROSATO, GuptaParameters
from alflow.registry import Settings

if TYPE_CHECKING:
    from alflow.models.gupta import GuptaPotential


class AnalyticSettings(Settings):
    """Labels from the Gupta potential (fcc metals)."""

    kind: Literal["analytic"] = "analytic"
    potential: Literal["gupta"] = "gupta"
    """Which potential: the second-moment approximation of tight binding."""
    elements: tuple[str, ...] = Field(default=("Al",), min_length=1)
    """Chemical symbols that structures may contain."""
    parameters: dict[str, GuptaParameters] = Field(default_factory=dict)
    """Own parameters by chemical symbol; elements without take those of Cleri and Rosato 1993."""

    @field_validator("elements")
    @classmethod
    def _sorted(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(elements)))

    def resolved(self) -> dict[str, GuptaParameters]:
        """Parameters of each element.

        Raises:
            SettingsError: If an element has neither own nor published parameters.
        """
        known = {**CLERI_ROSATO, **self.parameters}
        missing = [symbol for symbol in self.elements if symbol not in known]
        if missing:
            raise SettingsError(
                f"the Gupta potential has no parameters for {', '.join(missing)}",
                next_step=f"published: {', '.join(CLERI_ROSATO)}; or set 'parameters'",
            )
        return {symbol: known[symbol] for symbol in self.elements}

    @property
    def has_forces(self) -> bool:
        """Whether its labels have forces."""
        return True

    def level_identity(self) -> dict[str, Any]:
        """The potential and the parameters of each element."""
        parameters = {
            symbol: values.model_dump(mode="json")
            for symbol, values in self.resolved().items()
        }
        return {"kind": self.kind, "potential": self.potential, "parameters": parameters}

    def create(self) -> "AnalyticLabeler":
        """The labeler with these settings."""
        from alflow.models.gupta import GuptaPotential
        from alflow.models.neighbours import prepare_search

        prepare_search()  # here, not in the time that a structure may take
        return AnalyticLabeler(GuptaPotential(self.resolved()))


class AnalyticLabeler:
    """Evaluates a potential as if it were the truth."""

    def __init__(self, potential: "GuptaPotential") -> None:
        """Keep the potential."""
        self._potential = potential

    def label(self, structure: Structure) -> Label | Failure:
        """Energy, forces and, where all directions are periodic, stress."""
        from alflow.core.elements import SYMBOLS
        from alflow.models.neighbours import neighbour_pairs
        from alflow.models.potential import Batch

        strange = sorted(set(structure.numbers.tolist()) - set(self._potential.elements))
        if strange:
            names = ", ".join(SYMBOLS[number] for number in strange)
            return Failure(FailureKind.INVALID_INPUT, f"no parameters for {names}")
        batch = Batch.from_structures([structure])
        pairs = neighbour_pairs(batch, self._potential.cutoff_A)
        result = self._potential.evaluate(batch, pairs)
        if result.forces is None or not bool(result.forces.isfinite().all()):
            return Failure(
                FailureKind.BAD_GEOMETRY, "forces are not finite: atoms coincide"
            )
        stress = None
        if structure.pbc.all():
            s = self._potential.stresses(batch, pairs)[0].numpy()
            stress = s[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return Label(float(result.energies[0, 0]), result.forces.numpy(), stress)

    def as_potential(self) -> "GuptaPotential":
        """The potential itself, for dynamics."""
        return self._potential

    def version(self) -> str:
        """Name and version of the program."""
        return f"alflow {version('alflow')}"
