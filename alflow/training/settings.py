"""Settings of the stacked trainer."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.registry import Settings

if TYPE_CHECKING:
    from alflow.core.protocols import Trainer
    from alflow.models.ani.settings import AniSettings

ATOMS_PER_STEP = 128
"""Small steps learn more from the same data, but cost the more the fewer atoms they have."""


class StackedSettings(Settings):
    """Trains all members of an ensemble at once, on energies and forces.

    The loss of one structure is
    `energy_weight * (dE / n_atoms / 0.1 eV)² + force_weight * mean(dF / (1 eV/Å))² +
    stress_weight * mean(dS / (0.1 eV/Å³))²`, where the means go over atoms and x, y, z, and over
    the nine components of the stress.
    """

    kind: Literal["stacked"] = "stacked"
    epochs: int = Field(default=200, ge=1)
    """Passes over the data when training starts from random weights."""
    warm_epochs: int = Field(default=100, ge=1)
    """Passes over the data when training starts from the parent generation's weights."""
    batch_size: int | None = Field(default=None, ge=1)
    """Structures per optimiser step; default as many as have 128 atoms together, 4 to 16."""
    minimum_steps: int = Field(default=2000, ge=0)
    """Epochs are added until there are this many optimiser steps, so that small data sets
    are trained to the end too. A warm start scales it like its epochs."""
    energy_weight: float = Field(default=1.0, ge=0)
    """Weight of energy errors, counted in units of 0.1 eV per atom."""
    force_weight: float = Field(default=1.0, ge=0)
    """Weight of force errors, counted in units of 1 eV/Å; 0 trains on energies alone."""
    stress_weight: float = Field(default=0.0, ge=0)
    """Weight of stress errors, counted in units of 0.1 eV/Å³ (16 GPa); labels without a stress, or
    not periodic in all directions, do not count in it. 0 leaves stresses out."""
    robust_energy_eV_per_atom: float | None = Field(default=None, gt=0)
    """Energy errors beyond this [eV/atom] count linearly, no longer as squares, so that a few wrong
    labels do not rule (Huber); null takes all as they are."""
    robust_force_eV_per_A: float | None = Field(default=None, gt=0)
    """Structures whose root mean square force error is beyond this [eV/Å] count linearly in it;
    null takes all as they are."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Running means of the weights are judged on the hold-out and kept, with this factor for what
    was before at each step, for example 0.99; null keeps the weights themselves."""
    max_force_eV_per_A: float | None = Field(default=30.0, gt=0)
    """Structures with a larger force on any atom [eV/Å] are not trained on: atoms that close are
    of no use, and rule the loss. They stay in the store. Null trains on all."""
    frame_force_scale_eV_per_A: float | None = Field(default=None, gt=0)
    """Structures of large forces count less: weight 1 / (1 + (F_rms / scale)²). Null weighs
    all alike."""
    optimizer: Literal["soap", "adam"] = "soap"
    """How parameters follow the gradient: SOAP (Vyas et al., arXiv 2409.11321), which is Adam along
    the axes of the gradient's second moments and comes as far in a third of the epochs, or Adam
    itself (Kingma and Ba, arXiv 1412.6980)."""
    learning_rate: float = Field(default=6e-3, gt=0)
    """Learning rate at the start."""
    warm_learning_rate: float = Field(default=3e-3, gt=0)
    """Learning rate at the start, when training starts from the parent's weights."""
    minimum_learning_rate: float = Field(default=1e-5, gt=0)
    """Learning rate at the end of the cosine, or the one at which a member stops halving."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """Learning rate along the epochs: a half cosine over all of them, or constant and halved,
    member by member, when the hold-out error stands still."""
    patience_epochs: int = Field(default=30, ge=1)
    """With schedule `plateau`: epochs without a better hold-out error before a member's
    learning rate is halved."""
    early_stop_epochs: int | None = Field(default=None, ge=1)
    """Epochs without a better hold-out error before a member stops; null trains to the end.
    Weights of the best epoch are what is kept in any case."""
    gradient_clip: float | None = Field(default=10.0, gt=0)
    """Largest norm of one member's gradient; null does not clip."""
    folds: int = Field(default=8, ge=0)
    """Data is split into this many folds and member m never trains on fold m modulo this
    number; 0 holds nothing out."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the folds. It is not the seed of the training, so that a hold-out is kept over
    generations that start from each other."""
    warm_start: bool = True
    """Whether to start from the parent generation's weights where there are any."""
    force_gradient: Literal["jvp", "finite_difference", "autograd"] = "jvp"
    """How the loss of forces is differentiated in the parameters: by products with the derivative
    of the descriptor (exact, and fastest where the descriptor has nothing to train), by finite
    differences of energies (Smith et al., arXiv 2006.05475), or by torch twice backwards (exact,
    slow: to check the others)."""
    finite_difference_step_A: float = Field(default=1e-3, gt=0, le=0.1)
    """With `finite_difference`: how far the atom that moves most is moved [Å]; in float32 between
    0.001 and 0.01 Å errors are smallest."""
    frozen_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Layers of the networks, 0 first, that training from the parent's weights leaves as they are.
    ANI-1ccx kept 0 and 2 of its four layers when it went from DFT to coupled cluster (Smith et al.,
    Nature Communications 10, 2903 (2019)). Training from random weights ignores it."""
    jacobian_budget_MB: float = Field(default=2048, ge=0)
    """Memory for descriptor derivatives [MB]. What does not fit is computed again in every
    epoch, which gives the same numbers more slowly."""
    checkpoint_minutes: float | None = Field(default=2.0, ge=0)
    """Time between two checkpoints [min], from which training goes on after its worker was killed,
    with the same result; 0 saves one after every epoch, null saves none."""
    retries: int = Field(default=2, ge=0)
    """How often a member that diverged, or is a copy of another one, is trained again from random
    weights of a new seed."""
    minimum_members: int | None = Field(default=None, ge=2)
    """With fewer members than this, because the others diverged at every try, training has failed;
    default: half of them, and at least 2."""
    clone_floor: float = Field(default=0.01, ge=0, lt=1)
    """Two members are copies of each other if they disagree by less than this fraction: root mean
    square of the difference of the slopes of their energies in the standardised features, over
    that of the slopes. Members of their own disagree by about 1; 0 never looks."""

    @model_validator(mode="after")
    def _learns_something(self) -> "StackedSettings":
        if not self.energy_weight + self.force_weight + self.stress_weight:
            raise ValueError(
                "energy_weight: 0, as force_weight and stress_weight are: nothing to train on"
            )
        for name in ("learning_rate", "warm_learning_rate"):
            start = getattr(self, name)
            if self.minimum_learning_rate > start:
                raise ValueError(
                    f"minimum_learning_rate: {self.minimum_learning_rate:g} is above "
                    f"{name}, {start:g}"
                )
        if len(set(self.frozen_layers)) < len(self.frozen_layers):
            raise ValueError(
                f"frozen_layers: {list(self.frozen_layers)} names a layer twice"
            )
        return self

    def model_problems(self, model: BaseModel) -> Iterator[Finding]:
        """What is wrong with these settings for a model with those.

        Args:
            model: Settings of the model; `members` and `n_layers` are looked at, where it has them.
        """
        members = getattr(model, "members", None)
        if members is not None and (self.minimum_members or 0) > members:
            yield Finding(
                ("minimum_members",),
                f"is {self.minimum_members}, but model.members is {members}",
                f"at most {members}",
            )
        n_layers, frozen = getattr(model, "n_layers", None), self.frozen_layers
        if n_layers is None:
            return
        unknown = [layer for layer in frozen if layer >= n_layers]
        if unknown or len(set(frozen)) == n_layers:
            yield Finding(
                ("frozen_layers",),
                f"is {list(frozen)}, but the networks have the layers "
                + ", ".join(map(str, range(n_layers)))
                + ("" if unknown else ": nothing is left to train"),
                "name some of them; 0 and 2 are what ANI-1ccx froze",
            )

    def structures_per_step(self, mean_atoms: float) -> int:
        """The batch size for structures of so many atoms on average."""
        if self.batch_size is not None:
            return self.batch_size
        return round(min(max(ATOMS_PER_STEP / mean_atoms, 4), 16))

    def least_members(self, members: int) -> int:
        """How many of so many members must be trained well."""
        return self.minimum_members or max(2, (members + 1) // 2)

    def create(self, model_settings: "AniSettings") -> "Trainer":
        """Make the trainer of ensembles with these model settings.

        Raises:
            SettingsError: If it could not train such ensembles.
        """
        for found in self.model_problems(model_settings):
            raise SettingsError(
                f"train.{found.path[0]} {found.message}",
                consequence="Nothing was trained.",
                next_step=found.hint,
            )
        from alflow.training.fit import StackedTrainer

        return StackedTrainer(self, model_settings)
