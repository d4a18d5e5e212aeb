"""Settings of several samplers side by side, tried as often as they deserve."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    field_serializer,
    model_validator,
)

from alflow.registry import PluginSection, Settings

OF_THE_MIXTURE = ("tasks", "rounds")
"""Settings of a sampler that its mixture has instead."""


def _own_settings_only(arm: BaseModel) -> BaseModel:
    """An arm without what only the mixture can decide."""
    if isinstance(arm, MixtureSettings):
        raise ValueError("kind: an arm of a mixture cannot be a mixture")  # noqa: TRY004 - pydantic's
    for name in OF_THE_MIXTURE:
        if name in arm.model_fields_set:
            raise ValueError(f"{name}: belongs to the mixture, not to one of its arms")
    return arm


ArmName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=32)
]
Arm = Annotated[Any, PluginSection("samplers"), AfterValidator(_own_settings_only)]


class MixtureSettings(Settings):
    """Several samplers or schedules; the one that brings in more gets more of the tasks.

    Each sample task runs one of the arms as if it stood alone. In every round each arm gets a
    task, so that none is given up; each further task goes to the arm that wins a draw from what
    is known of their yields (Thompson sampling). The yield of an arm is the number of its flagged
    frames that were chosen and labelled, for every million atom-steps simulated: a measure of cost
    that, unlike time, is the same however often a campaign is interrupted.
    """

    kind: Literal["mixture"] = "mixture"
    tasks: int = Field(default=8, ge=1)
    """Number of sample tasks of a round, at least one for each arm."""
    rounds: int = Field(default=2, ge=1)
    """Largest number of rounds of sample tasks in one iteration."""
    memory: float = Field(default=0.5, ge=0, le=1)
    """How much an iteration counts beside the next one: what was unknown becomes known, and
    yields change. 1 forgets nothing, 0 all but the last iteration."""
    arms: dict[ArmName, Arm] = Field(min_length=1)
    """Samplers by a name of your choice; each has its own settings, `replicas` included."""

    @model_validator(mode="after")
    def _check_tasks(self) -> "MixtureSettings":
        if self.tasks < len(self.arms):
            raise ValueError(
                f"tasks: {self.tasks} tasks are too few to try {len(self.arms)} arms"
            )
        return self

    @field_serializer("arms")
    def _arms_alone(self, arms: dict[str, Any]) -> dict[str, Any]:
        left_out = set(OF_THE_MIXTURE)
        return {
            name: arm.model_dump(mode="json", exclude=left_out)
            for name, arm in arms.items()
        }
