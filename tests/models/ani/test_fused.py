"""The compiled kernels against the torch reference in float64, and against what can go wrong."""

import dataclasses
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.models.ani import fused as fused_module
from alflow.models.ani import kernels
from alflow.models.ani.constants import ANI_1X, ANI_AL, AniConstants, sections
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.fused import FusedDescriptor
from alflow.models.ani.settings import AniSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Pairs

SHARP = AniConstants(
    5.2, 3.5, 40.0, (0.9, 2.0, 3.1), 60.0, 100.0, (1.0, 1.7, 2.5), sections(16)
)
"""Shells so narrow that they are evaluated triple by triple."""
UNSORTED = dataclasses.replace(ANI_1X, angular_sections=(2.0, 0.4, 2.9, 1.2))
PARAMETERS = {"ani-1x": ANI_1X, "sharp": SHARP, "unsorted": UNSORTED}


@pytest.fixture(params=["own", *PARAMETERS])
def chosen(request, constants):
    """Constants of many shapes; `own` have lists that are no multiple of anything."""
    return PARAMETERS.get(request.param, constants)


@pytest.fixture(scope="module")
def aluminium():
    """Al in a cell of 108 atoms, far from the lattice."""
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 1, 3)
    positions = (grid + corners).reshape(-1, 3) * 4.05
    return Structure(
        np.full(108, 13, np.uint8),
        positions + rng.normal(0, 0.15, positions.shape),
        np.eye(3) * 12.15,
        np.ones(3, bool),
    )


def gradient_of(members, batch, n_features, seed=3):
    draw = np.random.default_rng(seed).normal(size=(members, batch.n_atoms, n_features))
    return torch.from_numpy(draw)


def both(constants, batch, pairs, elements=(1, 6, 8)):
    """The reference in float64, and the kernels."""
    reference = AniDescriptor(constants, elements, dtype=torch.float64)
    species = reference.species(batch.numbers)
    kernels_state = FusedDescriptor(constants, len(elements)).evaluate(
        batch, pairs, species
    )
    return reference.evaluate(batch, pairs), kernels_state


def test_features_are_the_reference(chosen, mixed_batch, mixed_pairs):
    expected, found = both(chosen, mixed_batch, mixed_pairs)
    assert found.features.dtype == torch.float32
    assert found.features.shape == expected.features.shape
    assert expected.features.abs().max() > 0.5
    assert (found.features - expected.features).abs().max() < 1e-5


@pytest.mark.parametrize("members", [1, 2, 3, 8, 11])
def test_vjp_is_the_reference(chosen, mixed_batch, mixed_pairs, members):
    expected, found = both(chosen, mixed_batch, mixed_pairs)
    gradient = gradient_of(members, mixed_batch, expected.features.shape[1])
    wanted = expected.vjp(gradient)
    error = (found.vjp(gradient) - wanted).abs().max()
    assert error < 1e-5 * wanted.abs().max()


def test_forces_of_all_members_are_close_to_those_of_float64(aluminium):
    settings = AniSettings(preset="ani-al", hidden=(96, 96, 64), activation="celu")
    single = settings.create((13,), seed=4)
    precise = settings.model_copy(update={"dtype": "float64"}).create((13,), seed=4)
    batch = Batch.from_structures([aluminium])
    pairs = neighbour_pairs(batch, 7.5)
    found, expected = (
        e.evaluate(batch, pairs, forces="members") for e in (single, precise)
    )
    error = (found.member_forces - expected.member_forces).abs().max()
    assert expected.member_forces.abs().max() > 1
    assert error < 2e-6 * EV_PER_HARTREE
    # Atomic energies are rounded to float32 one by one.
    assert (found.energies - expected.energies).abs().max() < 5e-6 * batch.n_atoms


def test_a_strange_shape_of_atom_counts_does_not_matter(aluminium):
    """Blocks of triples end within the triples of one neighbour here."""
    batch = Batch.from_structures([aluminium])
    pairs = neighbour_pairs(batch, 8.0)
    expected, found = both(ANI_AL, batch, pairs, elements=(13,))
    assert (found.features - expected.features).abs().max() < 1e-5
    gradient = gradient_of(8, batch, 96)
    for members in (1, 8):
        part = gradient[:members]
        wanted = expected.vjp(part)
        assert (found.vjp(part) - wanted).abs().max() < 5e-6 * wanted.abs().max()


@pytest.mark.parametrize("members", [1, 8])
def test_jvp_and_vjp_are_adjoint(chosen, mixed_batch, mixed_pairs, members):
    _, found = both(chosen, mixed_batch, mixed_pairs)
    gradient = gradient_of(members, mixed_batch, found.features.shape[1]).float()
    tangent = gradient_of(2, mixed_batch, 3, seed=8).float()
    pushed = torch.einsum("vaf,maf->vm", found.jvp(tangent).double(), gradient.double())
    pulled = torch.einsum("vax,max->vm", tangent.double(), found.vjp(gradient).double())
    torch.testing.assert_close(pushed, pulled, rtol=1e-5, atol=1e-4)
    assert pulled.abs().max() > 1


def test_jvp_by_finite_differences(chosen, mixed_batch, mixed_pairs):
    _, found = both(chosen, mixed_batch, mixed_pairs)
    reference = AniDescriptor(chosen, (1, 6, 8), dtype=torch.float64)
    tangent = gradient_of(2, mixed_batch, 3, seed=8)
    step = 1e-5
    for one, pushed in zip(tangent, found.jvp(tangent), strict=True):
        ends = [
            reference.evaluate(
                dataclasses.replace(
                    mixed_batch, positions=mixed_batch.positions + sign * step * one
                ),
                mixed_pairs,
            ).features
            for sign in (1, -1)
        ]
        wanted = (ends[0] - ends[1]) / (2 * step)
        assert (pushed - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("members", [1, 3])
def test_virial_by_finite_differences(constants, mixed_batch, mixed_pairs, members):
    _, found = both(constants, mixed_batch, mixed_pairs)
    reference = AniDescriptor(constants, (1, 6, 8), dtype=torch.float64)
    gradient = gradient_of(members, mixed_batch, reference.n_features)
    pull, virial = found.vjp_and_virial(gradient)
    torch.testing.assert_close(pull, found.vjp(gradient))
    systems = torch.zeros(members, mixed_batch.n_systems, 3, 3)
    systems.index_add_(1, mixed_batch.system_idx, virial)
    step = 1e-5
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)):
        values = []
        for sign in (1, -1):
            strain = torch.eye(3, dtype=torch.float64)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = dataclasses.replace(
                mixed_batch,
                positions=mixed_batch.positions @ strain,
                cells=mixed_batch.cells @ strain,
            )
            features = reference.evaluate(strained, mixed_pairs).features
            values.append((gradient * features).sum(2))
        wanted = torch.zeros(members, mixed_batch.n_systems, dtype=torch.float64)
        change = (values[0] - values[1]) / (2 * step)
        wanted.index_add_(1, mixed_batch.system_idx, change)
        torch.testing.assert_close(
            systems[:, :, a, b].double(), wanted, rtol=1e-4, atol=1e-3
        )


def test_results_do_not_depend_on_the_rest_of_the_batch(
    constants, mixed_structures, mixed_batch, mixed_pairs
):
    _, whole = both(constants, mixed_batch, mixed_pairs)
    gradient = gradient_of(4, mixed_batch, whole.features.shape[1]).float()
    parts, first = [], 0
    for structure in mixed_structures:
        batch = Batch.from_structures([structure])
        _, part = both(constants, batch, neighbour_pairs(batch, 6.0))
        own = slice(first, first + structure.n_atoms)
        first += structure.n_atoms
        parts.append(
            (part.features, part.vjp(gradient[:, own]), part.vjp(gradient[:1, own]))
        )
    features, many, one = zip(*parts, strict=True)
    assert torch.equal(whole.features, torch.cat(features))
    assert torch.equal(whole.vjp(gradient), torch.cat(many, 1))
    assert torch.equal(whole.vjp(gradient[:1]), torch.cat(one, 1))


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads_share_the_atoms(constants, mixed_batch, mixed_pairs, aluminium, n_threads):
    metal = Batch.from_structures([aluminium])
    batches = (
        (constants, (1, 6, 8), mixed_batch, mixed_pairs),
        (ANI_AL, (13,), metal, neighbour_pairs(metal, 7.0)),
    )
    for chosen, elements, batch, pairs in batches:
        species = AniDescriptor(chosen, elements).species(batch.numbers)
        alone, shared = (
            FusedDescriptor(chosen, len(elements), n).evaluate(batch, pairs, species)
            for n in (1, n_threads)
        )
        assert torch.equal(alone.features, shared.features)
        gradient = gradient_of(3, batch, alone.features.shape[1])
        for members in (1, 3):
            torch.testing.assert_close(
                shared.vjp(gradient[:members]),
                alone.vjp(gradient[:members]),
                rtol=1e-5,
                atol=1e-4,
            )


@pytest.mark.parametrize("n_atoms", [20, 100])
def test_with_threads_nothing_depends_on_the_company(n_atoms):
    """Of a system that one thread does, and of one that is shared out."""
    rng = np.random.default_rng(n_atoms)
    sizes = (n_atoms, 7, 90, 31)
    systems = [
        Structure(
            np.full(n, 13, np.uint8),
            rng.uniform(0, 10, (n, 3)),
            np.eye(3) * 10,
            np.ones(3, bool),
        )
        for n in sizes
    ]
    found = []
    for chosen in (systems, systems[:1]):
        batch = Batch.from_structures(chosen)
        species = torch.zeros(batch.n_atoms, dtype=torch.long)
        descriptor = FusedDescriptor(ANI_AL, 1, 2)
        state = descriptor.evaluate(batch, neighbour_pairs(batch, 7.0), species)
        gradient = torch.cos(torch.arange(n_atoms * 96.0)).view(1, n_atoms, 96)
        padded = torch.zeros(3, batch.n_atoms, 96)
        padded[:, :n_atoms] = gradient
        found.append(state.vjp(padded)[:, :n_atoms])
    assert torch.equal(found[0], found[1])


def test_a_list_is_sorted_once(constants, mixed_batch, mixed_pairs, monkeypatch):
    made = []
    group = kernels.group_pairs

    def counted(*arguments):
        made.append(1)
        return group(*arguments)

    monkeypatch.setattr(fused_module.kernels, "group_pairs", counted)
    descriptor = FusedDescriptor(constants, 3)
    species = AniDescriptor(constants, (1, 6, 8)).species(mixed_batch.numbers)
    pairs = Pairs(*(t.clone() for t in (mixed_pairs.i, mixed_pairs.j, mixed_pairs.shifts)))
    first = descriptor.evaluate(mixed_batch, pairs, species).features
    again = Pairs(pairs.i, pairs.j, pairs.shifts)
    assert torch.equal(descriptor.evaluate(mixed_batch, again, species).features, first)
    assert len(made) == 1
    # Written to in place, or used for other atoms: not the same list any more.
    pairs.shifts.add_(1)
    assert not torch.equal(descriptor.evaluate(mixed_batch, again, species).features, first)
    assert len(made) == 2
    descriptor.evaluate(mixed_batch, again, (species + 1) % 3)
    assert len(made) == 3


def test_a_list_of_atoms_that_are_not_there_is_refused(constants, mixed_batch, mixed_pairs):
    for change in (-1, mixed_batch.n_atoms):
        j = mixed_pairs.j.clone()
        j[0] = change
        wrong = dataclasses.replace(mixed_pairs, j=j)
        with pytest.raises(ValueError, match="not in the batch"):
            both(constants, mixed_batch, wrong)


def test_a_cell_that_collapsed_overruns_nothing(constants):
    """Hundreds of neighbours and a hundred thousand triples for each atom, next to usual ones."""
    rng = np.random.default_rng(1)
    dense = Structure(
        rng.choice([1, 6, 8], 260).astype(np.uint8),
        np.stack(np.meshgrid(*[np.arange(7)] * 3), -1).reshape(-1, 3)[:260] * 0.45,
    )
    batch = Batch.from_structures([dense])
    pairs = neighbour_pairs(batch, 5.2)
    assert torch.bincount(pairs.i).max() > 250
    expected, found = both(constants, batch, pairs)
    scale = expected.features.abs().max()
    assert (found.features - expected.features).abs().max() < 1e-5 * scale
    for members in (1, 3):
        gradient = gradient_of(members, batch, found.features.shape[1])
        wanted = expected.vjp(gradient)
        assert (found.vjp(gradient) - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_no_pairs_and_no_triples(constants):
    apart = Structure(np.array([1, 6, 8], np.uint8), np.eye(3) * 30)
    batch = Batch.from_structures([apart])
    _, found = both(constants, batch, neighbour_pairs(batch, 6.0))
    assert (found.features == 0).all()
    gradient = gradient_of(3, batch, found.features.shape[1])
    assert (found.vjp(gradient) == 0).all()
    assert (found.jvp(gradient_of(1, batch, 3)) == 0).all()


def test_a_position_that_is_not_a_number_spoils_what_sees_it(
    constants, mixed_batch, mixed_pairs
):
    positions = mixed_batch.positions.clone()
    positions[9, 1] = torch.nan
    broken = dataclasses.replace(mixed_batch, positions=positions)
    _, found = both(constants, broken, mixed_pairs)
    spoilt = mixed_batch.system_idx == 2
    assert found.features[9].isnan().any()
    assert found.features[~spoilt].isfinite().all()
    for members in (1, 3):
        pull = found.vjp(gradient_of(members, mixed_batch, found.features.shape[1]))
        assert pull[:, 9].isnan().all()
        assert pull[:, ~spoilt].isfinite().all()
    # Scratch that has held NaN spoils nothing afterwards.
    expected, found = both(constants, mixed_batch, mixed_pairs)
    assert (found.features - expected.features).abs().max() < 1e-5
    for members in (1, 3):
        gradient = gradient_of(members, mixed_batch, found.features.shape[1])
        wanted = expected.vjp(gradient)
        assert (found.vjp(gradient) - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_two_python_threads_at_once(mixed_batch, mixed_pairs, aluminium):
    ensemble = AniSettings(members=3, hidden=(8,), preset="ani-1x").create((1, 6, 8), 1)
    metal = AniSettings(members=3, hidden=(8,), preset="ani-al").create((13,), 1)
    lattice = Batch.from_structures([aluminium])
    work = [
        (ensemble, mixed_batch, mixed_pairs),
        (metal, lattice, neighbour_pairs(lattice, 7.0)),
    ]
    wanted = [e.evaluate(b, p, forces="members").member_forces for e, b, p in work]
    wrong = []

    def repeat(which):
        model, batch, pairs = work[which]
        for _ in range(20):
            found = model.evaluate(batch, pairs, forces="members").member_forces
            if not torch.equal(found, wanted[which]):
                wrong.append(which)

    threads = [threading.Thread(target=repeat, args=(n % 2,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


SCRIPT = """
import os, sys, torch
sys.path[:0] = {path!r}
from alflow.core.structures import Structure
from alflow.models.ani.constants import ANI_1X
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
import numpy as np

positions = np.random.default_rng(0).uniform(0, 4, (20, 3))
batch = Batch.from_structures([Structure(np.full(20, 6, np.uint8), positions)])
pairs = neighbour_pairs(batch, 5.2)
descriptor = AniDescriptor(ANI_1X, (6,))
descriptor.fused()._n_threads = 2


def work():
    state = descriptor.evaluate(batch, pairs)
    one, many = (state.vjp(torch.ones(m, 20, state.features.shape[1])) for m in (1, 8))
    push = state.jvp(torch.ones(1, 20, 3))
    assert torch.allclose(one[0], many[0], rtol=1e-4, atol=1e-2), (one[0] - many[0]).abs().max()
    assert push.isfinite().all()
    return one


before = work()
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(work(), before) else 3)
assert os.waitpid(child, 0)[1] == 0
print(float(before.sum()), sum(f.stats.cache_hits.total() for f in (__import__(
    "alflow.models.ani.kernels", fromlist=["x"]).describe,)))
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kernels_in_fresh_processes_on_one_cache(tmp_path):
    """Also: a fork after use, with a pool of threads, leaves a child that works."""
    answers = []
    for _ in range(2):
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore::DeprecationWarning",
                "-c",
                SCRIPT.format(path=sys.path),
            ],
            env={"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout.split())
    (first, compiled), (second, loaded) = answers
    assert first == second
    assert (compiled, loaded) == ("0", "1")


@pytest.mark.parametrize("name", ["describe", "pull_one", "pull_eight", "push"])
def test_the_hot_loops_are_packed_and_fused(name, constants, mixed_batch, mixed_pairs):
    """A fall to scalar code would be right, and ten times slower."""
    import llvmlite.binding

    if not llvmlite.binding.get_host_cpu_features().get("fma"):
        pytest.skip("this processor has no fused multiply-add of the x86 kind")
    _, state = both(constants, mixed_batch, mixed_pairs)
    gradient = gradient_of(8, mixed_batch, state.features.shape[1])
    state.vjp(gradient)
    state.vjp(gradient[:1])
    state.jvp(gradient_of(1, mixed_batch, 3))
    (code,) = getattr(kernels, name).inspect_asm().values()
    packed = len(re.findall(r"vfn?m(?:add|sub)\d+ps", code))
    scalar = len(re.findall(r"vfn?m(?:add|sub)\d+ss", code))
    assert packed > 100
    assert packed > 2 * scalar
    # No mathematical function is called: they are all written out as vectors.
    assert not re.findall(r"\bcall\w*\s+\S*(?:expf|logf|sinf|cosf|powf|fmaf)", code)


def test_weights_read_back_use_the_kernels_too(mixed_batch, mixed_pairs):
    made = AniSettings(members=2, hidden=(4,), preset="ani-1x").create((1, 6, 8), seed=3)
    read = AniEnsemble.from_bytes(made.to_bytes())
    assert read.descriptor.fused() is not None
    one, other = (e.evaluate(mixed_batch, mixed_pairs) for e in (made, read))
    assert torch.equal(one.forces, other.forces)
