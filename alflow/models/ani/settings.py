"""Settings of the model family `ani`. Imports no torch: `create` and `load` do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from alflow.core.canonical import sha256_hex
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.models.ani.constants import (
    ANI_1X,
    ANI_AL,
    AniConstants,
    linear_shifts,
    sections,
)
from alflow.models.ani.pretrained import (
    AniPretrained,
    content_of,
    part_of,
    read_pretrained,
)
from alflow.registry import Settings, refused

if TYPE_CHECKING:
    from alflow.models.ani.ensemble import AniEnsemble

Activation = Literal["silu", "celu", "gelu"]
Precision = Literal["float32", "float64"]

PUBLISHED = {"ani-1x": ANI_1X, "ani-al": ANI_AL}
RADIAL_SMOOTHNESS = 0.5
"""Default radial eta times the square of the spacing of the shifts."""
ANGULAR_SMOOTHNESS = 0.7
"""Default angular eta times the square of the spacing of the shifts."""


MAX_WIDTH = 4096
DESCRIPTOR_FIELDS = frozenset(
    (
        "radial_cutoff_A",
        "angular_cutoff_A",
        "first_shift_A",
        "radial_shifts",
        "angular_shifts",
        "angular_sections",
        "radial_eta_per_A2",
        "angular_eta_per_A2",
        "zeta",
    )
)
ARCHITECTURE_FIELDS = DESCRIPTOR_FIELDS | {
    *("hidden", "activation", "dtype", "preset", "repulsion")
}
"""Fields that pretrained weights fix."""


class AniSettings(Settings):
    """An ensemble of ANI networks."""

    kind: Literal["ani"] = "ani"
    members: int = Field(default=8, ge=2, le=64)
    """Number of networks in the ensemble; their spread is the uncertainty."""
    hidden: tuple[int, ...] = Field(default=(64, 48), min_length=1, max_length=8)
    """Widths of the hidden layers of each network."""
    activation: Activation = "silu"
    """Activation function; silu is smooth to all orders, celu is what published ANI uses."""
    dtype: Precision = "float32"
    """Floating-point type of the arithmetic; energies are always summed in float64."""
    preset: Literal["smooth", "ani-1x", "ani-al"] = "smooth"
    """Constants of the descriptor: smooth takes the fields below, the others are published
    sets in which the fields below must not be given."""
    radial_cutoff_A: float = Field(default=6.5, gt=0, le=20)
    """Reach of the radial part [Å]."""
    angular_cutoff_A: float = Field(default=5.0, gt=0, le=20)
    """Reach of the angular part [Å]; at most the radial cutoff."""
    first_shift_A: float = Field(default=0.9, ge=0)
    """Innermost centre of the radial and angular Gaussians [Å]; about the shortest distance."""
    radial_shifts: int = Field(default=16, ge=1, le=256)
    """Number of radial Gaussians between the first shift and the radial cutoff."""
    angular_shifts: int = Field(default=8, ge=1, le=64)
    """Number of Gaussians of the mean distance of a triple."""
    angular_sections: int = Field(default=4, ge=1, le=64)
    """Number of angular functions on the half turn."""
    radial_eta_per_A2: float | None = Field(default=None, gt=0)
    """Exponent of the radial Gaussians [1/Å²]; default 0.5 over the squared spacing."""
    angular_eta_per_A2: float | None = Field(default=None, gt=0)
    """Exponent of the angular shells [1/Å²]; default 0.7 over the squared spacing."""
    zeta: float = Field(default=16.0, ge=1, le=1000)
    """Sharpness of the angular functions."""
    repulsion: Literal["zbl", "fitted"] | None = "zbl"
    """Repulsion of atoms below the networks, which keeps them apart where there are no data: zbl is
    that of Ziegler, Biersack and Littmark, up to 0.8 sums of covalent radii; fitted has further
    terms, fitted to the labels when networks are trained from random weights. Null: none."""
    pretrained: Annotated[
        AniPretrained | None,
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ] = None
    """File of weights that generation 0 starts from, as `alflow models import` and `export` write
    them; relative to the campaign file. It fixes everything above but `members`, which may take
    the first ones of it. Elements that the campaign does not use are left out."""

    @model_validator(mode="before")
    @classmethod
    def _reads_weights(cls, values: Any) -> Any:
        """Look into the file of weights, where one is named by its path."""
        if not isinstance(values, Mapping) or not isinstance(
            values.get("pretrained"), str | Path
        ):
            return values
        try:
            found = read_pretrained(str(values["pretrained"]))
        except SettingsError as error:
            raise refused(error, "pretrained") from error
        return {"members": found["members"], **values, "pretrained": found}

    @model_validator(mode="after")
    def _fits_weights(self) -> "AniSettings":
        if self.pretrained is None:
            return self
        if fixed := sorted(ARCHITECTURE_FIELDS & self.model_fields_set):
            raise ValueError(
                f"pretrained: the file fixes {', '.join(fixed)}: leave them out"
            )
        if self.members > self.pretrained.members:
            raise ValueError(
                f"members: {self.members} are asked for, "
                f"the pretrained weights have {self.pretrained.members}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_fixed(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """What can be validated again: without the fields that a preset or weights fix."""
        values = handler(self)
        fixed: frozenset[str] = frozenset()
        if self.pretrained is not None:
            fixed = ARCHITECTURE_FIELDS
        elif self.preset != "smooth":
            fixed = DESCRIPTOR_FIELDS
        return {name: value for name, value in values.items() if name not in fixed}

    @model_validator(mode="after")
    def _is_descriptor(self) -> "AniSettings":
        if self.preset == "smooth":
            if self.first_shift_A >= self.angular_cutoff_A:
                raise ValueError(
                    f"first_shift_A ({self.first_shift_A} Å) is not below "
                    f"angular_cutoff_A ({self.angular_cutoff_A} Å)"
                )
            if self.angular_cutoff_A > self.radial_cutoff_A:
                raise ValueError(
                    f"angular_cutoff_A: is {self.angular_cutoff_A} Å, beyond "
                    f"radial_cutoff_A ({self.radial_cutoff_A} Å)"
                )
        elif fixed := sorted(DESCRIPTOR_FIELDS & self.model_fields_set):
            raise ValueError(
                f"preset {self.preset} fixes {', '.join(fixed)}: leave them out"
            )
        return self

    @model_validator(mode="after")
    def _has_layers(self) -> "AniSettings":
        if not all(0 < width <= MAX_WIDTH for width in self.hidden):
            raise ValueError(f"hidden widths must be between 1 and {MAX_WIDTH}")
        return self

    @property
    def n_layers(self) -> int:
        """Layers of each network that have weights, the last one too."""
        given = self.pretrained
        hidden = self.hidden if given is None else given.hidden[given.elements[0]]
        return len(hidden) + 1

    def constants(self) -> AniConstants:
        """Constants of the descriptor."""
        if self.pretrained is not None:
            return self.pretrained.constants()
        if self.preset != "smooth":
            return PUBLISHED[self.preset]
        first = self.first_shift_A
        radial_step = (self.radial_cutoff_A - first) / self.radial_shifts
        angular_step = (self.angular_cutoff_A - first) / self.angular_shifts
        return AniConstants(
            self.radial_cutoff_A,
            self.angular_cutoff_A,
            self.radial_eta_per_A2 or RADIAL_SMOOTHNESS / radial_step**2,
            linear_shifts(first, self.radial_cutoff_A, self.radial_shifts),
            self.angular_eta_per_A2 or ANGULAR_SMOOTHNESS / angular_step**2,
            self.zeta,
            linear_shifts(first, self.angular_cutoff_A, self.angular_shifts),
            sections(self.angular_sections),
        )

    def problems(self, elements: Sequence[str]) -> Iterator[Finding]:
        """What is wrong with these settings in a campaign with these elements."""
        known = () if self.pretrained is None else self.pretrained.elements
        for symbol in elements:
            if known and symbol not in known:
                yield Finding(
                    ("pretrained",),
                    f"the weights do not know {symbol}; they know {', '.join(known)}",
                    "take it out of system.elements, or start from random weights",
                    "AL121",
                )

    def pretrained_bytes(self) -> bytes | None:
        """Content of the file that generation 0 starts from, or None if there is none.

        Raises:
            SettingsError: If it cannot be read, or has changed since the settings were made.
        """
        if self.pretrained is None:
            return None
        content = content_of(Path(self.pretrained.file))
        if sha256_hex(content) != self.pretrained.sha256:
            raise SettingsError(
                f"{self.pretrained.file} has changed since it was looked at",
                consequence="Nothing was started.",
                next_step="start again",
            )
        return content

    def starting_weights(self, content: bytes, elements: Sequence[str]) -> bytes:
        """What generation 0 starts from: the part of the file that a campaign needs.

        Args:
            content: Content of the file.
            elements: Chemical symbols of the campaign.
        """
        return part_of(content, elements, self.members)

    def create(self, elements: Sequence[int], seed: int) -> "AniEnsemble":
        """A fresh ensemble, self energies zero.

        Args:
            elements: Atomic numbers.
            seed: Member m is initialised from `child_seed(seed, "member", m)` and nothing else.
        """
        from alflow.models.ani.ensemble import fresh_ensemble

        return fresh_ensemble(self, elements, seed)

    @classmethod
    def load(cls, weights: bytes) -> "AniEnsemble":
        """The ensemble in the bytes of a safetensors file.

        Raises:
            SettingsError: If they are not of an ANI ensemble, or of a newer format.
        """
        from alflow.models.ani.ensemble import AniEnsemble

        return AniEnsemble.from_bytes(weights)
