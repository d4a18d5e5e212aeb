"""How long the tasks of a campaign take, and where: the file behind `alflow simulate --times`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from alflow.config.document import read_document
from alflow.config.problems import CampaignFileError
from alflow.config.translation import findings_of
from alflow.registry import Settings

NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Constant(Settings):
    """Always the same."""

    kind: Literal["constant"] = "constant"
    value: NotNegative
    """The value."""


class Lognormal(Settings):
    """A number whose logarithm is normally distributed."""

    kind: Literal["lognormal"] = "lognormal"
    median: float = Field(gt=0)
    """What half of the values stay below."""
    sigma: float = Field(ge=0)
    """Standard deviation of the natural logarithm: 0.5 is a factor of 1.6 up or down."""


class Empirical(Settings):
    """One of the values that were measured, each as likely as any other."""

    kind: Literal["empirical"] = "empirical"
    values: tuple[NotNegative, ...] = Field(min_length=1)
    """The values."""
    expected: tuple[NotNegative, ...] | None = None
    """What was foretold of each before it was measured; null: the median."""

    @model_validator(mode="after")
    def _one_for_each(self) -> "Empirical":
        if self.expected is not None and len(self.expected) != len(self.values):
            raise ValueError(
                f"expected: {len(self.expected)} for {len(self.values)} values"
            )
        return self


def _plain_number(value: object) -> object:
    """A number stands for itself."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"kind": "constant", "value": value} if is_number else value


def _one_for_all(value: object) -> object:
    """What is not a list holds in every iteration."""
    return value if isinstance(value, list | tuple) else [value]


Distribution = Annotated[
    Annotated[Constant | Lognormal | Empirical, Field(discriminator="kind")],
    BeforeValidator(_plain_number),
]
ByIteration = Annotated[
    tuple[Distribution, ...], Field(min_length=1), BeforeValidator(_one_for_all)
]
"""A distribution for each iteration, from 0 on; the last one holds for all that follow."""


class PoolTimes(Settings):
    """A group of workers, and what its blocks wait for."""

    tasks: tuple[str, ...] | None = None
    """Kinds of tasks that it runs, `*` for all that no other pool runs; null: as the site says."""
    workers: int | None = Field(default=None, ge=1)
    """Number of workers of all blocks together; null: as the site says."""
    threads: int | None = Field(default=None, ge=1)
    """Cores of each worker; null: as the site says, else 1."""
    blocks: int = Field(default=1, ge=1)
    """Number of equal blocks (jobs of the scheduler) that the workers come in."""
    queue_s: Distribution = Constant(value=0.0)
    """Time that a block waits in the queue of the scheduler [s]."""
    start_s: Distribution = Constant(value=0.0)
    """Time from then until its workers are ready [s]."""
    idle_s: float | None = Field(default=None, gt=0)
    """Time after which an idle block is given back [s]; null: never."""
    walltime_s: float | None = Field(default=None, gt=0)
    """Time after which a block ends, and its tasks begin anew elsewhere [s]; null: never."""


class Times(Settings):
    """How long tasks take on one worker, and what they bring in.

    Each is a number, a distribution, or a list of those with one for each iteration.
    """

    build_s: ByIteration | None = None
    """Time of a task that builds structures [s]."""
    label_s: ByIteration | None = None
    """Time of the label of one structure [s]."""
    label_start_s: ByIteration | None = None
    """Time that each label task takes besides [s]; null: none."""
    sample_s: ByIteration | None = None
    """Time of a sample task [s]."""
    train_s: ByIteration | None = None
    """Time of a training from scratch, besides what follows from the number of labels [s]."""
    train_s_per_label: NotNegative | None = None
    """What it takes longer for each label [s]; null: nothing."""
    warm_train_s: ByIteration | None = None
    """Time of a training that begins from an earlier generation, likewise [s]; null: `train_s`."""
    warm_train_s_per_label: NotNegative | None = None
    """What that takes longer for each label [s]; null: as `train_s_per_label`."""
    validate_s: ByIteration | None = None
    """Time of a validate task [s]."""
    property_s: ByIteration | None = None
    """Time of a task that computes properties, where the campaign asks for them [s]."""
    flagged_frames: ByIteration | None = None
    """Number of flagged frames that a sample task finds."""
    chosen_share: ByIteration | None = None
    """Share of the frames that could be chosen which are chosen; null: all."""
    failed_labels_share: Share | None = None
    """Share of labels that fail; null: none."""
    lost_attempts_share: dict[str, Share] | None = None
    """Share of attempts that are lost half-way and made again, by kind; null: none."""
    pools: dict[str, PoolTimes] = Field(default_factory=dict)
    """Pools of the site by name: what is not said here is as the site says."""

    def over(self, others: "Times") -> "Times":
        """These times, and the others where these say nothing."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        return others.model_copy(update={k: v for k, v in said.items() if v is not None})


def load_times(path: Path) -> Times:
    """Read a file of times.

    Raises:
        CampaignFileError: If it has problems; each is told with line and column.
    """
    document = read_document(path)
    data: Any = document.data
    problems = list(document.findings)
    try:
        times = Times.model_validate(data)
    except ValidationError as error:
        problems += [document.problem(one) for one in findings_of(error, data)]
        raise CampaignFileError(document.file, problems) from error
    if problems:
        raise CampaignFileError(document.file, problems)
    return times
