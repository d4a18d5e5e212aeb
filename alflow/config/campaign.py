"""The settings of a campaign. Machine details never stand here: they belong to the site."""

import warnings
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from alflow.core.elements import atomic_number
from alflow.core.errors import SettingsError
from alflow.registry import PluginSection, Settings

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _element(symbol: str) -> str:
    try:
        atomic_number(symbol)
    except SettingsError as error:
        raise PydanticCustomError(
            "element", "{reason}", {"reason": error.message}
        ) from error
    return symbol


def _distinct(symbols: tuple[str, ...]) -> tuple[str, ...]:
    twice = [symbol for k, symbol in enumerate(symbols) if symbol in symbols[:k]]
    if twice:
        raise PydanticCustomError("twice", "{symbol} is here twice", {"symbol": twice[0]})
    return symbols


def _empty_section(value: object) -> object:
    """A key with nothing behind it means a section with its defaults."""
    return {} if value is None else value


Element = Annotated[str, AfterValidator(_element)]
Builder = Annotated[Any, PluginSection("builders")]
Level = Annotated[Any, PluginSection("labelers")]
Suite = Annotated[Any, PluginSection("validation")]


class SystemSettings(Settings):
    """What is studied."""

    elements: Annotated[tuple[Element, ...], AfterValidator(_distinct)] = Field(
        min_length=1
    )
    """Chemical symbols of every element that may occur."""
    builders: tuple[Builder, ...] = Field(min_length=1)
    """What makes starting structures; each entry is a builder's settings."""


class AuditSettings(Settings):
    """Labels that are computed again, more carefully: how much noise there is, and which are wrong.

    Beside a random share these are labels that members which were not trained on them strongly
    contradict. A label that is refuted is put aside, and the generation is trained again without.
    """

    fraction: float = Field(default=0.01, ge=0, le=1)
    """Share of all labels, chosen at random."""
    suspects: float = Field(default=0.02, ge=0, le=1)
    """Share of all labels, at least two, that an iteration may doubt; each that is refuted allows
    for four more. 0 doubts none."""
    sigma: float = Field(default=8.0, gt=0)
    """A label is doubted if its error on members that held it out is more than this many robust
    standard deviations off."""
    energy_tolerance_eV: float = Field(default=0.02, gt=0)
    """A label is refuted if the energy of the other calculation, divided by √(number of atoms),
    differs by more [eV]."""
    force_tolerance_eV_per_A: float = Field(default=0.1, gt=0)
    """It is also refuted if the root mean square difference of force components is larger [eV/Å].
    """
    changes: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings of the labeler for audits, for example {settings: {kpts: {density: 5}}}. By default
    `pyscf` takes a finer grid, a tighter convergence and two starts; programs behind `ase` and
    `command` compute the same again."""


class LabelSettings(Settings):
    """How structures get their reference energies and forces."""

    primary: str
    """Name of the level of theory that the ensemble learns."""
    levels: dict[str, Level] = Field(min_length=1)
    """Levels of theory by name; each is a labeler's settings."""
    batch_size: int | None = Field(default=None, ge=1)
    """Structures in one label task; each is committed as soon as it is done. Null: as many as
    their measured costs suggest, 4 while there are none."""
    batch_s: float = Field(default=60.0, gt=0)
    """Time that a label task should take where `batch_size` is null [s]."""
    timeout_s: Annotated[float, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Time for one structure [s], after which its calculation is killed, with all that it started;
    it is tried once more with twice as much. `auto`: 50 times what 99 % of such labels take, by
    those that were measured, at least ten minutes and at most a day. Null sets no limit."""
    memory_MB: float | None = Field(default=None, gt=0)
    """Memory for one structure [MB], beyond which the same happens; null sets no limit."""
    audit: AuditSettings | None = AuditSettings()
    """Which labels of the primary level are computed again, more carefully; null: none."""


class TestSettings(Settings):
    """The fixed set on which every generation is tested. It is never trained on."""

    __test__ = False

    count: int = Field(default=40, ge=1)
    """Number of test structures."""
    builders: tuple[Builder, ...] = Field(min_length=1)
    """What makes the test structures; each entry is a builder's settings."""


class GateSettings(Settings):
    """When a new generation replaces the one before it: unless it is worse on the test set.

    The squared errors of both are subtracted, structure by structure (of forces; of energies per
    atom where the level has no forces).
    """

    sigma: float | None = Field(default=2.0, ge=0)
    """A generation is refused if the mean of the differences is positive by more than this many
    standard errors, or if a prediction is not finite; null refuses none."""
    minimum_structures: int = Field(default=10, ge=2)
    """With fewer test structures than this nothing is refused for its error."""
    scratch_after: int = Field(default=2, ge=1)
    """After this many refused generations in a row the next one does not start from the one that
    serves, but as generation 0 did."""


class LoopSettings(Settings):
    """How the campaign walks."""

    mode: Literal["generational", "asynchronous"] = "generational"
    """Order of the stages. Generational: sample, label and train one after the other; the same
    campaign gives the same results, however often it was interrupted. Asynchronous: the next
    iteration samples with the newest generation while labels are computed and networks trained, so
    that no worker waits for others; which labels a generation learnt from depends on what took how
    long."""
    open_iterations: int = Field(default=3, ge=2)
    """Asynchronous: iterations that may be under way at a time. More of them keep more workers
    busy, and choose with generations that are further behind."""
    waiting_labels: int | None = Field(default=None, ge=1)
    """Asynchronous: frames are chosen for labels when no more than this number of labels are
    still to come, so that the choice is by the newest generation; more than there are workers for
    labels. Default half of `acquire.per_iteration`."""
    bootstrap: int = Field(default=64, ge=1)
    """Number of structures that are built and labelled before the first training."""
    growth: float | None = Field(default=None, gt=0)
    """No iteration asks for more labels than this share of those asked for before it: what an
    ensemble of few labels chooses is hardly better than chance. Null: as many as
    `acquire.per_iteration` from the first."""
    max_iterations: int = Field(default=20, ge=0)
    """Number of the last iteration; 0 trains on the bootstrap structures alone."""
    gate: Annotated[GateSettings, BeforeValidator(_empty_section)] = GateSettings()
    """When a new generation replaces the one before it."""
    scratch_every: int | None = Field(default=None, ge=1)
    """The generations of every so many iterations start as generation 0 did, not from the one
    that serves; null: none."""


class BudgetSettings(Settings):
    """What the campaign may spend."""

    labels: int | None = Field(default=None, ge=1)
    """Largest number of label calculations asked for; null sets no limit."""
    core_hours: float | None = Field(default=None, gt=0)
    """Time that workers may compute, failed attempts included, times their threads [h]; looked at
    after each iteration. Null sets no limit."""
    wall_hours: float | None = Field(default=None, gt=0)
    """Time from the first task to the last one [h], pauses included; looked at after each
    iteration. Null sets no limit."""


class AuditBoundSettings(Settings):
    """Convergence by frames drawn at random: hardly any has an error beyond a tolerance.

    The bound on their share holds at every look (Robbins, Annals of Mathematical Statistics 41,
    1397 (1970)), and from each start of the window, so that stopping at the first good one does
    not flatter. Without exceedance 15 frames bound the share by 0.34, 50 by 0.14, 100 by 0.078, at
    a confidence of 0.95; by 0.47, 0.19 and 0.11 when the window has moved on four times.
    """

    force_eV_per_A: float | None = Field(default=None, gt=0)
    """Error of the forces, the mean over the atoms of a frame, that is fine [eV/Å]; null leaves
    forces out."""
    energy_meV: float | None = Field(default=None, gt=0)
    """Error of the energy, divided by the square root of the number of atoms, that is fine [meV];
    null leaves energies out."""
    share: float = Field(default=0.2, gt=0, lt=1)
    """Share of frames that may be beyond."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Probability that the bound on that share holds."""
    window: int = Field(default=5, ge=1)
    """Number of the last iterations whose frames count."""

    @model_validator(mode="after")
    def _has_tolerance(self) -> "AuditBoundSettings":
        if self.force_eV_per_A is None and self.energy_meV is None:
            raise ValueError(
                "neither force_eV_per_A nor energy_meV is given: nothing to bound"
            )
        return self


class PlateauSettings(Settings):
    """Convergence by the error on the test set: it does not fall any more."""

    iterations: int = Field(default=3, ge=1)
    """Number of the last iterations that brought no better generation."""
    improvement: float = Field(default=0.05, ge=0, lt=1)
    """Share of the best error before them by which they would have had to be better."""


class ConvergedSettings(Settings):
    """When the campaign is good enough; one criterion that is met is sufficient."""

    force_rmse_eV_per_A: float | None = Field(default=None, gt=0)
    """Root mean square force error on the test set [eV/Å]; null leaves the criterion out."""
    survival_ps: float | None = Field(default=None, gt=0)
    """Simulated time [ps] for which no replica may meet a frame that the ensemble does not
    know; null leaves the criterion out."""
    audit: AuditBoundSettings | None = None
    """A bound on the share of wrong frames among those drawn at random; null leaves it out."""
    plateau: PlateauSettings | None = None
    """An error on the test set that has stopped falling; null leaves it out."""
    stalled: int | None = Field(default=None, ge=1)
    """Number of iterations in a row that are short of flagged frames at limits no looser than the
    tolerance (`acquire.kind: calibrated`); null leaves the criterion out."""


class StopSettings(Settings):
    """When the campaign ends."""

    budget: Annotated[BudgetSettings, BeforeValidator(_empty_section)] = BudgetSettings()
    """What may be spent."""
    converged: Annotated[ConvergedSettings, BeforeValidator(_empty_section)] = (
        ConvergedSettings()
    )
    """When it is good enough."""


class PromoteSettings(Settings):
    """How what was learnt is carried over to a better level of theory, when the campaign ends well.

    Structures that the committee disagrees about, and that are unlike each other, get a label at
    that level, and a last generation is trained on those labels alone, from the one before.
    """

    level: str
    """Name of the better level of theory, in `label.levels`."""
    labels: int = Field(default=100, ge=2)
    """Largest number of label calculations at that level, those to test on included."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Fraction of them, drawn at random, that is not trained on but tested on."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Settings of `train` that differ. Layers 0 and 2 are frozen unless `frozen_layers` says
    otherwise."""


class ValidateSettings(Settings):
    """Properties that generations are asked for, beside what is known about them.

    `alflow validate` computes them; with `every` the campaign does so by itself.
    """

    suites: tuple[Suite, ...] = ()
    """What is computed; each entry is the settings of a validation suite."""
    every: int | None = Field(default=None, ge=1)
    """The generations of every so many iterations are asked, beside the next iteration; null: only
    on command."""
    reference: str | None = None
    """Name of a level of theory, in `label.levels`, that is asked the same once; null: none."""
    given: dict[str, float] = Field(default_factory=dict)
    """Known values by the name of the property, in its unit; they go before those of `reference`.
    """


class _Sections(Settings):
    """All of a campaign file but `validate`."""

    name: str = Field(pattern=NAME_PATTERN, max_length=64)
    """Name of the campaign: letters, digits, dot, dash and underscore."""
    seed: int = Field(ge=0, lt=2**63)
    """Seed from which every random number of the campaign derives."""
    system: SystemSettings
    """What is studied."""
    label: LabelSettings
    """How structures get their reference energies and forces."""
    model: Annotated[Any, PluginSection("models", "ani")] = Field(default_factory=dict)
    """The ensemble of interatomic potentials."""
    train: Annotated[Any, PluginSection("trainers", "stacked")] = Field(
        default_factory=dict
    )
    """How the ensemble is fitted."""
    sample: Annotated[Any, PluginSection("samplers", "nemd")] = Field(default_factory=dict)
    """How new structures are found."""
    acquire: Annotated[Any, PluginSection("acquisition", "threshold")] = Field(
        default_factory=dict
    )
    """Which of them are worth a label."""
    test: TestSettings | None = None
    """The fixed set on which every generation is tested; null tests on none."""
    loop: Annotated[LoopSettings, BeforeValidator(_empty_section)] = LoopSettings()
    """How the campaign walks."""
    stop: Annotated[StopSettings, BeforeValidator(_empty_section)] = StopSettings()
    """When the campaign ends."""
    promote: PromoteSettings | None = None
    """Carries the outcome over to a better level of theory; null: does not."""


_Validate = Annotated[ValidateSettings, BeforeValidator(_empty_section)]

with warnings.catch_warnings():
    # pydantic still has a method of this name, which nobody calls; the warning is about that
    warnings.simplefilter("ignore", UserWarning)

    class CampaignSettings(_Sections):
        """A whole campaign file.

        `model`, `train`, `sample`, `acquire`, and the entries of `builders`, `levels` and
        `suites` are the settings of plug-ins; their `kind` names the plug-in.
        """

        validate: _Validate = ValidateSettings()  # type: ignore[assignment]
        """Properties that generations are asked for."""


def plugin_section(name: str) -> PluginSection | None:
    """How the top-level section `name` finds its plug-in; None if it is not a plug-in's."""
    return section_in(CampaignSettings.model_fields[name].metadata)


def section_in(metadata: Iterable[object]) -> PluginSection | None:
    """The plug-in mark among the metadata of a field or annotation."""
    return next((mark for mark in metadata if isinstance(mark, PluginSection)), None)
