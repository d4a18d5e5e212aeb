"""Computes the parts of a composite level one after the other, and adds them up."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.labelers.composite import CompositeSettings
from alflow.labelers.formula import part_of

Parts = Mapping[str, Label]
"""Labels of parts, by name."""


class CompositeLabeler:
    """Labels with all parts in turn; the first that fails is the failure of the whole."""

    def __init__(self, settings: CompositeSettings) -> None:
        """Create the labelers of the parts.

        Raises:
            SiteError: If the program of a part is not installed.
            SettingsError: If a part cannot be what its settings say.
        """
        self._weights = {
            source: weight for source, weight in settings.weights().items() if weight
        }
        self._parts = {
            name: part.create()  # type: ignore[attr-defined]
            for name, part in settings.all_parts().items()
        }

    def label(self, structure: Structure) -> Label | Failure:
        """The sum of the parts, or why there is none."""
        return self.resume(structure, {}, lambda _finished: None)

    def resume(
        self, structure: Structure, finished: Parts, keep: Callable[[Parts], None]
    ) -> Label | Failure:
        """The same as `label`, without what was finished before.

        Args:
            structure: What is to be labelled.
            finished: Labels of the parts that are there, by this version of the programs.
            keep: Called with all finished parts after each one.
        """
        labels = {name: label for name, label in finished.items() if name in self._parts}
        for name, labeler in self._parts.items():
            if name in labels:
                continue
            began = time.perf_counter()
            answer = labeler.label(structure)
            if isinstance(answer, Failure):
                return _failed(name, answer, labels)
            seconds = round(time.perf_counter() - began, 3)
            extras = {"program": labeler.version(), "wall_s": seconds, **answer.extras}
            labels[name] = Label(answer.energy, answer.forces, answer.stress, extras)
            keep(labels)
        return self._sum(labels)

    def version(self) -> str:
        """Names and versions of the programs."""
        return ", ".join(dict.fromkeys(one.version() for one in self._parts.values()))

    def _sum(self, labels: Parts) -> Label | Failure:
        terms = []
        for source, weight in self._weights.items():
            energy = _energy_eV(source, labels)
            if isinstance(energy, Failure):
                return energy
            terms.append(weight * energy)
        energy_eV = math.fsum(terms)
        told: dict[str, Any] = {"components": _told(labels), "program": self.version()}
        if not math.isfinite(energy_eV):
            message = "the energy of the parts taken together is not a finite number"
            return Failure(FailureKind.SUSPICIOUS, message, told)
        forces = self._combined({name: label.forces for name, label in labels.items()})
        stress = self._combined({name: label.stress for name, label in labels.items()})
        spent = [one.extras["wall_s"] for one in labels.values() if "wall_s" in one.extras]
        if len(spent) == len(labels):
            told["wall_s"] = round(sum(spent), 3)
        return Label(energy_eV, forces, stress, told)

    def _combined(
        self, arrays: Mapping[str, Float[np.ndarray, "..."] | None]
    ) -> Float[np.ndarray, "..."] | None:
        """Weighted sum of what every part that counts has; None where one lacks it."""
        total: np.ndarray | None = None
        for source, weight in self._weights.items():
            name, component = part_of(source)
            array = arrays[name]
            if component is not None or array is None:
                return None
            total = weight * array if total is None else total + weight * array
        return total


def _energy_eV(source: str, labels: Parts) -> float | Failure:
    """Energy that a source of the formula names [eV]."""
    name, component = part_of(source)
    if component is None:
        return labels[name].energy
    known: dict[str, Any] = {}
    for place in ("byproducts", "components"):
        told = labels[name].extras.get(place)
        known |= told if isinstance(told, Mapping) else {}
    for unit, factor in (("hartree", EV_PER_HARTREE), ("eV", 1.0)):
        value = known.get(f"{component}_{unit}")
        if isinstance(value, int | float):
            return float(value) * factor
    there = ", ".join(key.rpartition("_")[0] or key for key in known) or "none"
    return Failure(
        FailureKind.INVALID_INPUT,
        f"part {name!r}: the label has no component {component!r} (it has: {there})",
        {"part": name, "components": _told(labels)},
    )


def _failed(name: str, failure: Failure, finished: Parts) -> Failure:
    """The failure of a part, with its name and what the parts before it gave."""
    details = {**failure.details, "part": name, "finished": _told(finished)}
    return Failure(failure.kind, f"part {name!r}: {failure.message}", details)


def _told(labels: Parts) -> dict[str, dict[str, Any]]:
    """What is stored of each part: its energy, and all that its labeler told."""
    return {
        name: {"energy_eV": label.energy, **label.extras} for name, label in labels.items()
    }
