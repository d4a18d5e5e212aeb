"""Two levels of theory in one training set: when they are noticed, and when nothing is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from alflow.core.datasets import Dataset
from alflow.models.ani.descriptor import AniDescriptor
from alflow.training.dataset import TrainingSet
from alflow.training.levels import (
    groups_by_gap,
    groups_by_residuals,
    level_gap,
    mean_features,
)

SHARES = st.floats(0.1, 0.9)


def one_level(n, seed, *, noise=0.01, outliers=0):
    """Energies that features decide, up to some noise: features, shares of elements, energies."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 6)) * [5, 2, 1, 0.5, 0.2, 0.1]
    water = rng.integers(1, 4, n)
    fractions = np.stack([water / (water + 1), 1 / (water + 1)], 1)
    slopes = np.array([0.02, 0.1, -0.1, 0.05, 0.1, 0.1])
    energies = features @ slopes + fractions @ [-13.6, -700.0] + rng.normal(0, noise, n)
    odd = rng.choice(n, outliers, replace=False)
    energies[odd] += rng.uniform(0.5, 5, outliers)
    return features, fractions, energies


@given(st.integers(0, 1000), st.integers(80, 300), SHARES, st.floats(0.15, 5.0))
def test_a_shift_of_any_share_is_found_with_its_groups(seed, n, share, shift):
    features, fractions, energies = one_level(n, seed)
    is_shifted = np.random.default_rng(seed + 1).permutation(n) < share * n
    found = groups_by_residuals(energies + shift * is_shifted, features, fractions)
    assert found is not None
    is_high, gap = found
    assert gap == pytest.approx(shift, abs=0.03)
    assert (is_high == is_shifted).mean() > 0.97


@given(st.integers(0, 1000), st.integers(2, 300), st.floats(0.0, 0.3))
def test_one_level_is_one_group(seed, n, noise):
    features, fractions, energies = one_level(n, seed, noise=noise)
    assert groups_by_residuals(energies, features, fractions) is None


@pytest.mark.parametrize("n", [40, 42, 48])
def test_few_structures_do_not_fall_into_groups_by_chance(n):
    draws = [
        one_level(n, seed, noise=noise) for seed in range(250) for noise in (0.01, 0.3)
    ]
    notes = [groups_by_residuals(energies, x, shares) for x, shares, energies in draws]
    assert notes == [None] * 500


@given(st.integers(0, 1000), st.integers(0, 4))
def test_a_few_odd_energies_are_no_level(seed, outliers):
    features, fractions, energies = one_level(100, seed, outliers=outliers)
    assert groups_by_residuals(energies, features, fractions) is None


def test_states_that_differ_in_geometry_are_no_levels():
    rng = np.random.default_rng(5)
    features, fractions, energies = one_level(120, 5)
    isomer = rng.random(120) < 0.5
    features[:, 2] += 6.0 * isomer
    assert groups_by_residuals(energies + 0.5 * isomer, features, fractions) is None


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_hardly_any_structures_have_no_groups(n):
    assert groups_by_gap(np.arange(n) * 5.0) is None
    assert groups_by_residuals(np.arange(n) * 5.0, np.ones((n, 2)), np.ones((n, 1))) is None


def test_equal_structures_with_two_energies_are_found():
    """Features that do not vary at all leave nothing to fit."""
    energies = np.tile([0.0, 0.2], 20)
    is_high, gap = groups_by_residuals(energies, np.ones((40, 3)), np.ones((40, 1)))
    assert gap == pytest.approx(0.2)
    assert is_high.tolist() == [False, True] * 20


def training_set(data, model):
    descriptor = AniDescriptor(model.constants(), (1, 8))
    return TrainingSet(data, descriptor, descriptor.dtype, 0.0, "jvp")


def test_mean_features_are_sums_over_atoms_of_each_element(make_clusters, model):
    data = training_set(make_clusters(6), model)
    expected = []
    for first, last in ((2, 5), (10, 12)):  # dimers and trimers take turns
        rows, species = data.features[first:last].double(), data.species_idx[first:last]
        sums = [rows[species == element].sum(0) for element in range(2)]
        expected.append(torch.cat(sums).numpy() / (last - first))
    assert_allclose(mean_features(data, np.array([1, 4])), expected, rtol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_sentence_names_groups_and_labels(make_clusters, model, shift):
    """0.54 eV per atom is what lies between ethane at wB97X and at CASPT2."""
    clusters = make_clusters(80)
    is_other = np.random.default_rng(0).random(80) < 0.4
    data = [
        replace(
            one,
            label=replace(
                one.label, energy=one.label.energy + shift * odd * one.structure.n_atoms
            ),
        )
        for one, odd in zip(clusters, is_other, strict=True)
    ]
    said = level_gap(Dataset.of(data), training_set(data, model), (1, 8))
    if not shift:
        assert said == ""
        return
    n = int(is_other.sum())
    assert f"two groups, {80 - n} and {n} structures, 0." in said
    assert float(said.partition("structures, ")[2].split()[0]) == pytest.approx(
        0.5, abs=0.02
    )
    assert "where geometries are alike" in said
    smaller = " ".join(f"l-{k + 1}" for k in np.flatnonzero(is_other))
    assert f"In the smaller one: {smaller}. If two levels" in said
