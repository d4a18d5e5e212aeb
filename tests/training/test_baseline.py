"""Labels less what lies below the networks."""

import numpy as np

from alflow.core.datasets import Dataset, LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.models.ani.ensemble import fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.models.repulsion import FITTED, ZBL, Repulsion
from alflow.training.baseline import fitted, without_repulsion
from alflow.training.evaluate import predict
from alflow.training.fit import FitResult
from alflow.training.settings import StackedSettings


def boxes(count: int) -> list[Structure]:
    rng = np.random.default_rng(5)
    numbers, cell = np.full(6, 13, np.uint8), np.diag([5.0, 5.5, 6.0])
    return [
        Structure(numbers, rng.uniform(0, 5, (6, 3)), cell, np.ones(3, bool))
        for _ in range(count)
    ]


def test_the_repulsion_of_a_potential_is_what_is_taken_out() -> None:
    """What a potential says with repulsion, less the repulsion, is what it says without."""
    settings = AniSettings(members=2, hidden=(8,), repulsion=None)
    bare = fresh_ensemble(settings, [13], 1)
    whole = fresh_ensemble(settings.model_copy(update={"repulsion": "zbl"}), [13], 1)
    structures = boxes(900)[:30]
    said = [predict(one, structures) for one in (bare, whole)]
    items = [
        LabelledStructure(s, Label(p.energy, p.forces))
        for s, p in zip(structures, said[1], strict=True)
    ]
    left = without_repulsion(Dataset.of(items), Repulsion(ZBL))
    expected = np.array([p.energy for p in said[0]])
    assert np.abs(np.array([p.energy for p in said[1]]) - expected).max() > 1.0
    np.testing.assert_allclose(left.energy, expected, rtol=1e-6, atol=1e-4)
    forces = np.concatenate([p.forces for p in said[0]])
    scale = np.abs(np.concatenate([p.forces for p in said[1]])).max()
    np.testing.assert_allclose(left.forces, forces, atol=1e-6 * scale + 1e-4)


def test_without_a_repulsion_labels_stay_as_they_are() -> None:
    data = Dataset.of([LabelledStructure(boxes(1)[0], Label(1.0, np.zeros((6, 3))))])
    assert without_repulsion(data, None) is data


def test_training_learns_what_is_left_and_weights_remember_the_repulsion() -> None:
    """Labels that are the repulsion alone leave the networks nothing to learn."""
    structures = boxes(12)
    labels = []
    for one in structures:
        batch = Batch.from_structures([one])
        found = Repulsion(ZBL).evaluate(batch, neighbour_pairs(batch, 5.2))
        labels.append(Label(float(found.energies[0]), found.forces.numpy()))
    items = [LabelledStructure(s, one) for s, one in zip(structures, labels, strict=True)]
    forces = np.concatenate([found for one in labels if (found := one.forces) is not None])
    trainer = StackedSettings(epochs=40, minimum_steps=0, folds=2)
    errors = []
    for name in ("zbl", None):
        model = AniSettings(
            members=2,
            hidden=(8,),
            radial_cutoff_A=4.0,
            angular_cutoff_A=3.5,
            repulsion=name,  # type: ignore[arg-type]
        )
        result = trainer.create(model).train(items, 1, None, lambda _: None)
        assert isinstance(result, FitResult)
        potential = AniSettings.load(result.weights)
        assert (potential.repulsion is not None) == (name is not None)
        predicted = np.concatenate([p.forces for p in predict(potential, structures)])
        errors.append(np.sqrt(np.mean((predicted - forces) ** 2)))
    assert errors[0] < 0.1 * errors[1]


def walls(count: int) -> tuple[list[LabelledStructure], Repulsion]:
    """Structures of two elements, labelled by a repulsion with terms."""
    true = Repulsion(
        FITTED,
        {
            (8, 13): (0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 3.0, 0.0),
            (13, 13): (0.0, 0.0, 0.0, 0.0, 40.0, 0.0, 0.0, 7.0),
        },
    )
    items = []
    for one in boxes(count):
        numbers = np.array([8, 8, 13, 13, 13, 13], np.uint8)
        structure = Structure(numbers, one.positions, one.cell, one.pbc)
        batch = Batch.from_structures([structure])
        found = true.evaluate(batch, neighbour_pairs(batch, 6.8))
        label = Label(float(found.energies[0]), found.forces.numpy())
        items.append(LabelledStructure(structure, label))
    return items, true


def test_a_wall_is_found_in_the_forces() -> None:
    items, true = walls(40)
    found = fitted(Dataset.of(items), Repulsion(FITTED))
    assert found is not None
    assert set(found.terms) == {(8, 8), (8, 13), (13, 13)}
    structures = [item.structure for item in walls(60)[0][40:]]
    batch = Batch.from_structures(structures)
    pairs = neighbour_pairs(batch, 6.8)
    forces, expected = (one.evaluate(batch, pairs).forces for one in (found, true))
    bare = Repulsion(ZBL).evaluate(batch, pairs).forces
    assert float((forces - expected).norm()) < 0.02 * float((bare - expected).norm())


def test_what_is_fitted_never_attracts() -> None:
    """Labels of attraction alone leave nothing to fit."""
    items = [
        LabelledStructure(item.structure, Label(0.0, -np.asarray(item.label.forces)))
        for item in walls(10)[0]
    ]
    found = fitted(Dataset.of(items), Repulsion(FITTED))
    assert found is not None
    assert max(max(values) for values in found.terms.values()) < 1.0


def test_the_bare_repulsion_is_not_fitted() -> None:
    data = Dataset.of(walls(3)[0])
    assert fitted(data, None) is None
    zbl = Repulsion(ZBL)
    assert fitted(data, zbl) is zbl
