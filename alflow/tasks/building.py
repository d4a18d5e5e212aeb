"""Starting structures from a campaign's builders, shared by the tasks that need some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alflow import registry
from alflow.core.errors import PluginError
from alflow.core.protocols import Builder
from alflow.core.seeds import generator
from alflow.core.structures import Structure


@dataclass(frozen=True, slots=True)
class BuiltStructure:
    """A structure and the builder that made it.

    Attributes:
        structure: The structure.
        builder: Kind of the builder.
    """

    structure: Structure
    builder: str


def build_structures(
    builders: Sequence[Mapping[str, Any]], count: int, seed: int
) -> list[BuiltStructure]:
    """Draw `count` structures from several builders, in proportion to their `count` setting.

    The share of each builder is fixed (largest remainders), and each has its own random stream,
    so that adding a builder does not change what another one makes first.

    Raises:
        PluginError: If a builder hands back another number of structures than asked for.
    """
    shares = apportion(count, [float(settings.get("count", 1)) for settings in builders])
    built = []
    for position, (settings, share) in enumerate(zip(builders, shares, strict=True)):
        kind = str(settings["kind"])
        builder: Builder = registry.find("builders", kind).model_validate(settings).create()
        structures = builder.build(generator(seed, "builder", position), share)
        if len(structures) != share:
            raise PluginError(
                f"builder {kind!r} made {len(structures)} structures, not {share}"
            )
        built += [BuiltStructure(structure, kind) for structure in structures]
    return built


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split `total` into whole shares in proportion to weights, by largest remainders."""
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda k: (shares[k] - exact[k], k))
    for k in by_remainder[: total - sum(shares)]:
        shares[k] += 1
    return shares
