"""Stresses in the loss, errors that count linearly, and running means of the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.labelers.analytic import AnalyticSettings
from alflow.md.ase_calculator import EnsembleCalculator
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.network import StackedNetworks
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.training.dataset import TrainingSet
from alflow.training.epochs import EpochLoop, Plan
from alflow.training.fit import FitResult
from alflow.training.gradient import losses_and_gradient
from alflow.training.loss import Loss, bent, member_errors
from alflow.training.optimiser import FlatNetworks
from alflow.training.settings import StackedSettings

DOUBLE = torch.float64
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def cell_of(seed: int, n_atoms: int = 4, numbers=(1, 8)) -> Structure:
    """A small skewed cell, in which atoms see their own images."""
    rng = np.random.default_rng(seed)
    cell = 3.2 * np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3))
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])[:n_atoms]
    positions = (corners + rng.uniform(-0.05, 0.05, corners.shape)) @ cell
    kinds = np.resize(np.array(numbers, np.uint8), n_atoms)
    return Structure(kinds, positions, cell, np.ones(3, bool))


def labelled(seed: int, *, stress: bool = True) -> LabelledStructure:
    rng = np.random.default_rng(100 + seed)
    structure = cell_of(seed)
    forces = rng.normal(0, 0.5, (structure.n_atoms, 3))
    label = Label(rng.normal(), forces, rng.normal(0, 0.05, 6) if stress else None)
    return LabelledStructure(structure, label, seed + 1, str(seed))


@pytest.fixture(scope="module")
def cells(make_clusters):
    """Cells with and without stresses, and free molecules."""
    return [labelled(k, stress=k != 2) for k in range(5)] + make_clusters(3)


def prepare(data, model, *, dtype=DOUBLE, budget=1000.0, way="jvp"):
    descriptor = AniDescriptor(model.constants(), (1, 8), dtype=dtype)
    prepared = TrainingSet(data, descriptor, dtype, budget, way, with_stress=True)
    prepared.subtract([-13.6, -2000.0])
    nets = StackedNetworks.initialise(
        (descriptor.n_features, 8, 6),
        2,
        [child_seed(1, "member", m) for m in range(2)],
        activation="silu",
        dtype=dtype,
    )
    return prepared, nets


def strained(batch: Batch, component: int, step: float) -> Batch:
    a, b = VOIGT[component]
    strain = torch.eye(3, dtype=DOUBLE)
    strain[a, b] += step / 2
    strain[b, a] += step / 2
    return replace(batch, positions=batch.positions @ strain, cells=batch.cells @ strain)


@pytest.mark.physics
def test_features_follow_a_strain_as_their_derivative_says(model) -> None:
    descriptor = AniDescriptor(model.constants(), (1, 8), dtype=DOUBLE)

    def features(batch: Batch) -> torch.Tensor:
        return descriptor.evaluate(batch, neighbour_pairs(batch, 3.2)).features

    batch = Batch.from_structures([cell_of(3)])
    (found,) = descriptor.strain_jacobians(batch, neighbour_pairs(batch, 3.2))
    assert found.shape == (4 * descriptor.n_features, 6)
    for k in range(6):
        step = 2e-4
        both = [features(strained(batch, k, sign * step)) for sign in (1, -1)]
        slope = ((both[0] - both[1]) / (2 * step)).flatten()
        torch.testing.assert_close(found[:, k], slope, rtol=1e-5, atol=1e-6)
        assert float(slope.abs().max()) > 0.05


@pytest.mark.physics
def test_stresses_are_those_of_the_calculator(model) -> None:
    structure = cell_of(7)
    label = Label(0.0, np.zeros((4, 3)), np.zeros(6))
    prepared, nets = prepare([LabelledStructure(structure, label)], model)
    batch = prepared.minibatch([0], with_forces=True)
    _, gradient = nets.energies_and_gradient(batch.features, batch.species_idx)
    found = batch.strained.pull(gradient)[:, 0].mean(0).detach().numpy()
    descriptor = AniDescriptor(model.constants(), (1, 8), dtype=DOUBLE)
    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True)
    atoms.calc = EnsembleCalculator(AniEnsemble(descriptor, nets, {}))
    assert found == pytest.approx(atoms.get_stress(), rel=1e-4, abs=1e-5)
    errors = member_errors(nets, batch)
    nine = batch.strained.pull(gradient)[:, 0][:, [0, 1, 2, 3, 3, 4, 4, 5, 5]]
    torch.testing.assert_close(errors.stress_square[:, 0], nine.square().mean(1))
    assert errors.n_stress.tolist() == [9.0]


def test_labels_without_a_stress_and_molecules_do_not_count(cells, model) -> None:
    prepared, nets = prepare(cells, model)
    batch = prepared.minibatch(range(8), with_forces=True)
    errors = member_errors(nets, batch)
    wanted = {0, 1, 3, 4}
    compared = [float(n) > 0 for n in errors.n_stress]
    assert compared == [k in wanted for k in batch.structure_idx.tolist()]
    assert (errors.stress_square[0] > 0).tolist() == compared
    nothing = prepared.minibatch([2, 5], with_forces=True)
    assert nothing.strained is None


def gradient_of(data, model, way, *, dtype=DOUBLE, budget=1000.0, with_forces=True):
    prepared, nets = prepare(data, model, dtype=dtype, budget=budget, way=way)
    flat = FlatNetworks(nets)
    batch = prepared.minibatch(range(len(data)), with_forces=with_forces)
    loss = Loss(0.7, 1.3 if with_forces else 0.0, 1.7)
    return losses_and_gradient(
        flat, batch, lambda errors: loss.of_structures(errors).sum(1), way, 1e-3
    )


@pytest.mark.parametrize(
    "case",
    [
        ("jvp", 1000.0, DOUBLE, 1e-11),
        ("jvp", 0.0, DOUBLE, 1e-11),
        ("jvp", 0.0, torch.float32, 1e-3),
        ("finite_difference", 0.0, DOUBLE, 1e-5),
    ],
)
@pytest.mark.parametrize("with_forces", [True, False])
def test_all_ways_agree_with_autograd(cells, model, case, with_forces) -> None:
    way, budget, dtype, tolerance = case
    expected = gradient_of(cells, model, "autograd", with_forces=with_forces)
    found = gradient_of(
        cells, model, way, dtype=dtype, budget=budget, with_forces=with_forces
    )
    for a, b in zip(found, expected, strict=True):
        assert float((a.double() - b).norm() / b.norm()) < tolerance


def test_the_gradient_is_that_of_the_loss(cells, model) -> None:
    prepared, nets = prepare(cells, model)
    flat = FlatNetworks(nets)
    batch = prepared.minibatch(range(8), with_forces=True)
    loss = Loss(0.0, 0.0, 1.0)

    def total(errors) -> torch.Tensor:
        return loss.of_structures(errors).sum(1)

    _, gradient = losses_and_gradient(flat, batch, total)
    with torch.no_grad():
        for column in np.random.default_rng(0).integers(0, flat.values.shape[1], 15):
            values = []
            for step in (1e-5, -1e-5):
                flat.values[1, column] += step
                values.append(float(total(member_errors(flat.networks, batch))[1]))
                flat.values[1, column] -= step
            slope = (values[0] - values[1]) / 2e-5
            assert float(gradient[1, column]) == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.fixture(scope="module")
def wide(model):
    """A model that reaches the neighbours in a metal."""
    return model.model_copy(update={"radial_cutoff_A": 4.5, "angular_cutoff_A": 3.5})


@pytest.fixture(scope="module")
def metal():
    """Strained aluminium with labels of an analytic potential, stresses included."""
    labeler = AnalyticSettings().create()
    rng = np.random.default_rng(4)
    found = []
    for k in range(16):
        cell = 4.05 * (np.eye(3) + rng.uniform(-0.06, 0.06, (3, 3)))
        corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        positions = corners @ cell + rng.normal(0, 0.08, (4, 3))
        structure = Structure(np.full(4, 13, np.uint8), positions, cell, np.ones(3, bool))
        found.append(LabelledStructure(structure, labeler.label(structure), k + 1, str(k)))
    return found


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def checkpoint(self) -> bytes | None:
        return None

    def save_checkpoint(self, content: bytes) -> None:
        del content

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(data, model, **changes):
    settings = StackedSettings(epochs=12, minimum_steps=0, batch_size=4, **changes)
    context = Notes()
    result = settings.create(model).train(data, 1, None, lambda _: None, context)
    assert isinstance(result, FitResult)
    return result, context.notes


def test_training_on_stresses_makes_them_better(metal, wide) -> None:
    assert metal[0].label.stress is not None
    name = "train_stress_rmse_eV_per_A3"
    weak, strong = (train(metal, wide, stress_weight=weight)[0] for weight in (1e-9, 3.0))
    assert np.mean([m[name] for m in strong.members]) < 0.8 * np.mean(
        [m[name] for m in weak.members]
    )
    assert strong.epochs[-1]["holdout_stress_rmse_meV_per_A3"] > 0
    assert "holdout_stress_rmse_eV_per_A3" in strong.members[0]


def test_a_weight_without_stresses_is_told(make_clusters, model) -> None:
    result, notes = train(make_clusters(8), model, stress_weight=1.0)
    (note,) = notes
    assert note.startswith("train.stress_weight is 1, but no label")
    assert note.endswith("has a stress: it has no effect")
    without = train(make_clusters(8), model)[0]
    assert result.weights == without.weights
    assert not [name for name in without.members[0] if "stress" in name]


def test_a_stress_that_is_not_finite_is_refused(metal, wide) -> None:
    bad = np.array(metal[0].label.stress)
    bad[3] = np.nan
    label = Label(metal[0].label.energy, metal[0].label.forces, bad)
    with pytest.raises(Exception, match=r"label 1 .* is not finite"):
        train([replace(metal[0], label=label), *metal[1:]], wide)


def test_beyond_its_width_an_error_counts_linearly() -> None:
    errors = torch.tensor([0.0, 0.5, 1.0, 3.0, 1e4], dtype=DOUBLE, requires_grad=True)
    found = bent(errors.square(), 1.0)
    assert found.tolist() == pytest.approx([0.0, 0.25, 1.0, 5.0, 2e4 - 1])
    (slope,) = torch.autograd.grad(found.sum(), errors)
    assert slope.tolist() == pytest.approx([0.0, 1.0, 2.0, 2.0, 2.0])


def test_a_wrong_label_rules_less_with_a_robust_loss(make_clusters, model) -> None:
    good = make_clusters(4)[3]
    label = Label(good.label.energy + 300.0, 200 * good.label.forces)
    prepared, nets = prepare([replace(good, label=label)], model)
    flat = FlatNetworks(nets)
    batch = prepared.minibatch([0], with_forces=True)

    def pull_of(loss: Loss) -> float:
        _, gradient = losses_and_gradient(
            flat, batch, lambda errors: loss.of_structures(errors).sum(1)
        )
        return float(gradient.norm())

    for weights in ((1.0, 0.0), (0.0, 1.0)):
        robust = Loss(*weights, energy_width=0.1, force_width=1.0)
        assert pull_of(robust) < 0.1 * pull_of(Loss(*weights))


def test_wide_widths_change_nothing(make_clusters, model) -> None:
    data = make_clusters(10)
    wide = {"robust_energy_eV_per_atom": 1e6, "robust_force_eV_per_A": 1e6}
    plain, robust = train(data, model)[0], train(data, model, **wide)[0]
    pairs = zip(
        AniEnsemble.from_bytes(plain.weights).networks.parameters(),
        AniEnsemble.from_bytes(robust.weights).networks.parameters(),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_running_means_are_judged_and_kept(make_clusters, model) -> None:
    data = make_clusters(12)
    descriptor = AniDescriptor(model.constants(), (1, 8), dtype=DOUBLE)
    prepared = TrainingSet(data, descriptor, DOUBLE, 1000.0)
    prepared.subtract([-13.6, -2000.0])
    nets = prepare(data, model)[1]
    held_out = np.zeros((2, 12), bool)
    held_out[:, :3] = True
    loop = EpochLoop(StackedSettings(ema_decay=0.8), prepared, nets, held_out)
    mean, seen = loop.flat.values.clone(), []
    step = loop._optimiser.step

    def watched(gradient, rates) -> None:
        nonlocal mean
        step(gradient, rates)
        decay = min(0.8, (1 + len(seen)) / (10 + len(seen)))
        seen.append(decay)
        mean = decay * mean + (1 - decay) * loop.flat.values

    loop._optimiser.step = watched
    plan = Plan(4, 6, 1e-2, 3)
    for epoch in range(4):
        loop.epoch(plan, epoch)
    assert len(seen) == 8
    torch.testing.assert_close(loop._mean, mean)
    assert loop.states.best_epoch.tolist() == [3, 3]
    torch.testing.assert_close(loop.states.best_values, mean)
    loop.run(plan, lambda _: None)
    held = loop.evaluate().held
    assert [one.loss for one in held] == pytest.approx(loop.states._best_score.tolist())
