"""Labels that are made of labels at other levels: basis-set limits, corrections, differences."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from alflow.core.canonical import digest_of
from alflow.core.findings import Finding
from alflow.core.protocols import Labeler
from alflow.labelers.formula import Limit, Source, part_of, total_weights
from alflow.labelers.level import has_forces, level_identity, tightened
from alflow.labelers.schemes import Scheme
from alflow.registry import PluginSection, Settings

PartName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=32)
]
Part = Annotated[Any, PluginSection("labelers")]


class CompositeSettings(Settings):
    """Sums, differences and basis-set limits of other levels of theory, each computed in turn."""

    kind: Literal["composite"] = "composite"
    scheme: Scheme | None = None
    """A ready-made level, in place of parts and a formula."""
    parts: dict[PartName, Part] = Field(default_factory=dict)
    """Labelers by a name of your choice, each with its settings, in the order in which they are
    run: put first what is cheap or fails first."""
    limits: tuple[Limit, ...] = ()
    """Basis-set limits that are added up."""
    terms: dict[Source, float] = Field(default_factory=dict)
    """Energies that are added as they are, each with its factor, for example {dz.ccsd: 1,
    dz.mp2: -1}; a factor of 0 keeps a part on the label without using it."""

    @model_validator(mode="after")
    def _is_complete(self) -> "CompositeSettings":
        if self.scheme is not None:
            if self.parts or self.limits or self.terms:
                raise ValueError(
                    "scheme: has its own parts, limits and terms: leave them out"
                )
            _resolved(self.scheme)
            return self
        if not self.parts:
            raise ValueError("parts: name the labelers, or take a 'scheme'")
        if not any(self.weights().values()):
            raise ValueError(
                "terms: the formula has no term: give 'limits', 'terms' or both"
            )
        self._check_sources()
        self._check_doubles()
        return self

    def all_parts(self) -> dict[str, Settings]:
        """Settings of each part by name, those of a scheme included."""
        if self.scheme is not None:
            return _resolved(self.scheme)
        return self.parts

    def weights(self) -> dict[str, float]:
        """Weight of each energy (`PART` or `PART.COMPONENT`) in the energy of the level."""
        if self.scheme is not None:
            scheme = self.scheme.resolved()
            return total_weights(scheme.limits, scheme.terms)
        return total_weights(self.limits, self.terms)

    @property
    def handles_periodic(self) -> bool:
        """Whether all parts take periodic structures."""
        parts = self.all_parts().values()
        return all(getattr(part, "handles_periodic", True) for part in parts)

    @property
    def has_forces(self) -> bool | None:
        """Whether its labels have forces: if all energies that count are whole parts with them."""
        parts = self.all_parts()
        named = [part_of(source) for source, weight in self.weights().items() if weight]
        if any(component is not None for _, component in named):
            return False
        known = {has_forces(parts[name]) for name, _ in named}
        return False if False in known else None if None in known else True

    def problems(self, elements: Iterable[str]) -> Iterator[Finding]:
        """What the parts of a scheme have to say; those of the file are asked where they stand."""
        if self.scheme is None:
            return
        elements = tuple(elements)
        for name, part in _resolved(self.scheme).items():
            check = getattr(part, "problems", None)
            for found in check(elements) if callable(check) else ():
                yield Finding(
                    ("scheme",), f"{name}: {found.message}", found.hint, found.code
                )

    def tightened(self) -> "CompositeSettings":
        """The same formula of parts that are tightened."""
        formula = self if self.scheme is None else self.scheme.resolved()
        parts = {name: tightened(part) for name, part in self.all_parts().items()}
        return CompositeSettings(parts=parts, limits=formula.limits, terms=formula.terms)

    def level_identity(self) -> dict[str, Any]:
        """The levels of the parts that count and the formula; names and order are free."""
        scheme = self if self.scheme is None else self.scheme.resolved()
        limits = [limit for limit in scheme.limits if limit.times]
        terms = {source: factor for source, factor in scheme.terms.items() if factor}
        used = {
            part_of(source)[0] for one in (*(x.of for x in limits), terms) for source in one
        }
        levels = {
            name: level_identity(part)
            for name, part in self.all_parts().items()
            if name in used
        }
        digests = {name: digest_of(level) for name, level in levels.items()}

        def energy(source: str) -> list[Any]:
            name, component = part_of(source)
            return [digests[name], component]

        formula: list[dict[str, Any]] = [
            {**limit.model_dump(mode="json"), "of": [energy(one) for one in limit.of]}
            for limit in limits
        ]
        formula += [{"of": [energy(one)], "times": by} for one, by in terms.items()]
        return {
            "kind": self.kind,
            "parts": sorted(levels.values(), key=digest_of),
            "formula": sorted(formula, key=digest_of),
        }

    def create(self) -> Labeler:
        """The labeler with these settings.

        Raises:
            SiteError: If the program of a part is not installed.
            SettingsError: If a part cannot be what its settings say.
        """
        from alflow.labelers.composite_run import CompositeLabeler

        return CompositeLabeler(self)

    def _check_sources(self) -> None:
        """Every energy exists as far as that is known, and every part has a use."""
        named = [("terms", source) for source in self.terms]
        named += [("limits", source) for limit in self.limits for source in limit.of]
        for place, source in named:
            part, component = part_of(source)
            if part not in self.parts:
                known = ", ".join(self.parts)
                raise ValueError(f"{place}: {source} is of no part; parts: {known}")
            components = getattr(self.parts[part], "components", None)
            if component is None or not callable(components):
                continue
            if component not in (known := components()):
                known = ", ".join(known) or "none"
                raise ValueError(
                    f"{place}: {source}: labels of part {part} have no component "
                    f"{component!r}; they have: {known}"
                )
        used = {part_of(source)[0] for _, source in named}
        idle = [name for name in self.parts if name not in used]
        if idle:
            raise ValueError(
                f"parts: nothing uses {', '.join(idle)}: leave it out, or give it the factor 0 "
                "in 'terms' to have it on the label"
            )

    def _check_doubles(self) -> None:
        """No calculation is done twice."""
        seen: dict[str, str] = {}
        for name, part in self.parts.items():
            digest = digest_of(level_identity(part))
            if digest in seen:
                raise ValueError(
                    f"parts: {seen[digest]} and {name} are the same calculation: name it once "
                    "and use it twice"
                )
            seen[digest] = name


def _resolved(scheme: Scheme) -> dict[str, Settings]:
    """Settings of the parts of a scheme.

    Raises:
        ValueError: If the further settings of the scheme are none of its parts.
    """
    section = PluginSection("labelers")
    try:
        return {name: section.resolve(raw) for name, raw in scheme.resolved().parts.items()}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"scheme: common: {place}: {first['msg']}") from error
