"""Small plug-ins that stand in for the real ones, and a campaign file that uses them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from alflow import registry
from alflow.config.problems import CampaignFileError, Problem
from alflow.core.errors import PluginError, SettingsError
from alflow.core.findings import Finding
from alflow.registry import Settings


class Blob(Settings):
    """A builder.

    More about it.
    """

    kind: Literal["blob"] = "blob"
    count: int = Field(default=1, ge=1)
    """Weight among the builders."""
    elements: tuple[str, ...] = ()
    """Chemical symbols."""
    composition: dict[str, int] = Field(default_factory=dict)
    """Symbol to number of atoms."""
    smiles: tuple[str, ...] = ()
    """SMILES of molecules."""
    formula: str = ""
    """Chemical formula."""
    charge: int = 0
    """Charge [e]."""
    multiplicity: int = 1
    """Spin multiplicity."""
    density_g_per_cm3: float | tuple[float, float] = 1.0
    """Density [g/cm³]."""
    is_periodic: bool = False
    """Whether cells repeat."""
    strict: bool = False
    """Whether to look at the composition."""

    @model_validator(mode="after")
    def _elements(self) -> "Blob":
        if self.strict and "Xx" in self.composition:
            raise ValueError("there is no element 'Xx'; did you mean 'Xe'?")
        return self


class Net(Settings):
    """A model."""

    kind: Literal["ani"] = "ani"
    members: int = 8
    """Number of members."""
    cutoff_A: float = Field(default=5.0, gt=0, le=20)
    """Cutoff [Å]."""


class Fit(Settings):
    """A trainer."""

    kind: Literal["stacked"] = "stacked"
    epochs: int = Field(default=100, ge=1)
    """Passes over the data."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """Learning rate over time."""


class Ramp(Settings):
    """Ranges."""

    start: tuple[float, float]
    """At the start."""
    period_ps: float = 1.0
    """Period [ps]."""

    @model_validator(mode="after")
    def _check(self) -> "Ramp":
        if self.period_ps <= 0:
            raise ValueError(f"period_ps: {self.period_ps} ps is not above 0")
        return self


class Walk(Settings):
    """A sampler."""

    kind: Literal["nemd"] = "nemd"
    timestep_fs: float = 0.5
    """Time step [fs]."""
    duration_ps: float = Field(gt=0)
    """Duration [ps]."""
    temperature_K: Ramp
    """Temperature [K]."""
    allow_large_timestep: bool = False
    """Override."""

    def problems(self, elements: tuple[str, ...]) -> list[Finding]:
        if "He" in elements:
            return [Finding(("duration_ps",), "helium does not walk", "run", "AL121")]
        return []


class Pick(Settings):
    """An acquisition rule."""

    kind: Literal["threshold"] = "threshold"
    per_iteration: int = Field(ge=1)
    """Labels of an iteration."""

    def check_elements(self, numbers: list[int]) -> None:
        if 10 in numbers:
            raise SettingsError("acquire.per_iteration: neon is never picked", code="AL121")

    @model_validator(mode="after")
    def _own_error(self) -> "Pick":
        if self.per_iteration == 666:
            raise SettingsError("this number is not picked")
        return self


class Program(Settings):
    """A labeler."""

    kind: Literal["program"] = "program"
    basis: str = "small"
    """Basis set."""
    memory_MB: int = 1000
    """Memory [MB]."""
    elements: tuple[str, ...] = ("H", "O", "He", "Ne", "Al")
    """What it knows."""
    handles_periodic: bool = True
    """Whether it takes cells."""

    def level_identity(self) -> dict[str, Any]:
        if self.basis == "none":
            raise SettingsError("there is no basis for that")
        return {"basis": self.basis}


class Third(Settings):
    """A plug-in of a third party that has no optional method."""

    kind: Literal["third"] = "third"


FAKES = {
    "builders": {"blob": Blob, "third": Third},
    "models": {"ani": Net},
    "trainers": {"stacked": Fit},
    "samplers": {"nemd": Walk},
    "acquisition": {"threshold": Pick},
    "labelers": {"program": Program, "third": Third},
    "validation": {"third": Third},
}


@pytest.fixture(autouse=True)
def plugins(monkeypatch) -> None:
    """Only the fakes are installed, and one that cannot be imported."""

    def available(point: str) -> dict[str, Any]:
        return {
            **dict.fromkeys(FAKES[point]),
            **({"broken": None} if point == "models" else {}),
        }

    def find(point: str, name: str) -> Any:
        if name == "broken":
            raise PluginError("plug-in 'broken' cannot be imported: no module 'gone'")
        return FAKES[point][name]

    monkeypatch.setattr(registry, "available", available)
    monkeypatch.setattr(registry, "find", find)


GOOD = """\
name: water
seed: 7
system:
  elements: [H, O]
  builders:
    - kind: blob
      elements: [O, H]
      count: 3
label:
  primary: dft
  levels:
    dft: {kind: program, basis: big}
sample:
  duration_ps: 2.0
  temperature_K: {start: [50, 600]}
acquire: {per_iteration: 10}
"""


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def problems_of(tmp_path) -> Callable[..., list[Problem]]:
    """Problems of a file with some text replaced in the good one, or with its own text."""
    from alflow.config.loading import load_campaign

    def load(*replacements: tuple[str, str], text: str | bytes = GOOD) -> list[Problem]:
        content = text
        for old, new in replacements:
            assert old in content
            content = content.replace(old, new, 1)
        path = Path(tmp_path) / "campaign.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        caught = None
        try:
            load_campaign(path)
        except CampaignFileError as error:
            caught = error
        if caught is None:
            return []
        assert caught.code == "AL102"
        assert all(str(problem) in str(caught) for problem in caught.problems)
        return list(caught.problems)

    return load
