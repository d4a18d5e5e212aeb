"""Triton kernels against the torch reference: on a GPU, or on a CPU in Triton's interpreter.

The interpreter must be chosen before Triton is imported. So one test runs this file once more, in
a process of its own, and that is where the others run if there is no GPU.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.models.ani import choice
from alflow.models.ani.constants import AniConstants, linear_shifts, sections
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.ensemble import AniEnsemble, fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch

pytest.importorskip("triton", reason="Triton is not installed")

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if IS_INTERPRETED else "cuda"
ELEMENTS = (1, 6, 7, 8)
ODD = AniConstants(
    5.2, 3.5, 4.0, linear_shifts(0.9, 5.2, 5), 3.0, 14.1, (0.9, 1.8, 2.6), sections(5)
)
"""No list has a length that is a power of two."""
needs_device = pytest.mark.skipif(
    not (IS_INTERPRETED or torch.cuda.is_available()),
    reason="no GPU; another test runs this in the interpreter",
)


def molecule(numbers, seed=0):
    """Atoms at corners of a cube of 1.3 Å, displaced."""
    corners = np.array([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)])[: len(numbers)]
    noise = np.random.default_rng(seed).normal(0, 0.12, corners.shape)
    return Structure(np.array(numbers, np.uint8), corners * 1.3 + noise)


def crystal(numbers, length_A, seed=1):
    """Two atoms in a skewed cell that is smaller than the cutoff."""
    cell = np.array([[1, 0, 0], [0.1, 1, 0], [0, -0.1, 1.1]]) * length_A
    noise = np.random.default_rng(seed).normal(0, 0.1, (2, 3))
    positions = np.array([[0, 0, 0], [0.5, 0.52, 0.49]]) @ cell + noise
    return Structure(np.array(numbers, np.uint8), positions, cell, np.ones(3, bool))


@pytest.fixture(scope="module")
def batch():
    """Molecules, an atom without neighbours, and crystals with different cells."""
    structures = [
        molecule([8, 1, 6, 7, 1]),
        molecule([7]),
        crystal([6, 8], 4.1),
        crystal([1, 1], 4.6, seed=4),
    ]
    return Batch.from_structures(structures, device=DEVICE)


@pytest.fixture(scope="module")
def both(batch):
    """The reference in float64 and the kernels, with the list that both had."""
    from alflow.models.ani.triton_descriptor import TritonDescriptor

    pairs = neighbour_pairs(batch, 5.6)
    reference = AniDescriptor(ODD, ELEMENTS, dtype=torch.float64, device=DEVICE)
    kernels = TritonDescriptor(ODD, len(ELEMENTS), DEVICE)
    species = reference.species(batch.numbers)
    return reference.evaluate(batch, pairs), kernels.evaluate(batch, pairs, species)


def draw(*shape, seed=3):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(DEVICE)


def aluminium(**changes):
    settings = AniSettings(preset="ani-al", hidden=(24, 16), activation="celu", members=3)
    return fresh_ensemble(settings.model_copy(update=changes), (13,), 4)


@pytest.fixture
def kernels_for_all(monkeypatch):
    """Any ensemble in float32 asks for the kernels, also on a CPU."""
    monkeypatch.setenv("ALFLOW_KERNELS", "triton")
    # Known to work by the tests below; asking again takes the interpreter long.
    monkeypatch.setattr(choice, "_problem", lambda *_: "")


@pytest.mark.skipif(IS_INTERPRETED, reason="this is the interpreter already")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_of_this_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", __file__]
    root = Path(__file__).parents[3]
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
    }
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "3 skipped" in done.stdout, done.stdout[-500:]
    assert "passed" in done.stdout


@needs_device
def test_features_are_the_reference(both):
    expected, found = both
    assert found.features.dtype == torch.float32
    assert expected.features.abs().max() > 0.5
    assert (found.features - expected.features).abs().max() < 1e-5


@needs_device
@pytest.mark.parametrize("members", [1, 9])
def test_vjp_is_the_reference(both, members):
    expected, found = both
    gradient = draw(members, *expected.features.shape)
    wanted = expected.vjp(gradient)
    assert (found.vjp(gradient) - wanted).abs().max() < 1e-5 * wanted.abs().max()


@needs_device
def test_vjp_is_adjoint_to_the_change_of_the_features(batch, both):
    _, found = both
    step, gradient = 1e-5, draw(1, *found.features.shape)
    direction = draw(batch.n_atoms, 3, seed=9)
    reference = AniDescriptor(ODD, ELEMENTS, dtype=torch.float64, device=DEVICE)
    pairs = neighbour_pairs(batch, 5.6)
    ahead, behind = (
        reference.evaluate(
            dataclasses.replace(batch, positions=batch.positions + sign * step * direction),
            pairs,
        ).features
        for sign in (1, -1)
    )
    pushed = ((ahead - behind) * gradient[0]).sum() / (2 * step)
    pulled = (found.vjp(gradient)[0].double() * direction).sum()
    assert abs(pushed) > 1
    assert abs(pulled - pushed) < 1e-5 * abs(pushed)


@needs_device
def test_no_members_and_no_atoms(batch, both):
    from alflow.models.ani.triton_descriptor import TritonDescriptor

    _, found = both
    none = found.features.new_zeros(0, *found.features.shape)
    assert found.vjp(none).shape == (0, batch.n_atoms, 3)
    alone = Batch.from_structures([molecule([8])], device=DEVICE)
    descriptor = TritonDescriptor(ODD, len(ELEMENTS), DEVICE)
    species = torch.zeros(1, dtype=torch.long, device=DEVICE)
    state = descriptor.evaluate(alone, neighbour_pairs(alone, 5.6), species)
    assert not state.features.any()
    assert not state.vjp(torch.ones_like(state.features)[None]).any()


@needs_device
def test_the_company_of_a_system_does_not_change_its_bits(batch, both):
    from alflow.models.ani.triton_descriptor import TritonDescriptor

    _, together = both
    gradient = draw(3, *together.features.shape).float()
    alone = Batch.from_structures([crystal([6, 8], 4.1)], device=DEVICE)
    descriptor = TritonDescriptor(ODD, len(ELEMENTS), DEVICE)
    species = torch.tensor([1, 3], device=DEVICE)
    state = descriptor.evaluate(alone, neighbour_pairs(alone, 5.6), species)
    atoms = slice(6, 8)
    assert torch.equal(state.features, together.features[atoms])
    assert torch.equal(state.vjp(gradient[:, atoms]), together.vjp(gradient)[:, atoms])


@needs_device
def test_forces_of_all_members_are_close_to_those_of_float64(kernels_for_all):
    single = AniEnsemble.from_bytes(aluminium().to_bytes()).to(DEVICE)
    weights = aluminium(dtype="float64")
    # The weights are those of float32, so that only the arithmetic differs.
    for precise, rounded in zip(
        weights.networks.parameters(), single.networks.parameters(), strict=True
    ):
        precise.data.copy_(rounded.data)
    structures = [crystal([13, 13], 3.6), molecule([13])]
    batch = Batch.from_structures(structures, device=DEVICE)
    pairs = neighbour_pairs(batch, 7.0)
    found = single.evaluate(batch, pairs, forces="members")
    expected = weights.to(DEVICE).evaluate(batch, pairs, forces="members")
    error = (found.member_forces - expected.member_forces).abs().max()
    assert expected.member_forces.abs().max() > 0.1
    assert error < 2e-6 * EV_PER_HARTREE
    assert found.energies.dtype == torch.float64
    assert (found.energies - expected.energies).abs().max() < 1e-5


@needs_device
def test_what_is_not_a_number_stays_so_and_stays_alone(kernels_for_all, batch):
    ensemble = fresh_ensemble(AniSettings(members=2, hidden=(8,)), ELEMENTS, 1).to(DEVICE)
    ensemble.descriptor = AniDescriptor(ODD, ELEMENTS, device=DEVICE)
    ensemble.networks = (
        AniSettings(
            members=2,
            hidden=(8,),
            radial_shifts=5,
            angular_shifts=3,
            angular_sections=5,
            zeta=14.1,
        )
        .create(ELEMENTS, 1)
        .networks.to(DEVICE)
    )
    positions = batch.positions.clone()
    positions[1, 2] = torch.nan
    broken = dataclasses.replace(batch, positions=positions)
    pairs = neighbour_pairs(batch, 5.6)
    fine = ensemble.evaluate(batch, pairs, forces="members")
    found = ensemble.evaluate(broken, pairs, forces="members")
    assert found.energies[:, 0].isnan().all()
    assert found.member_forces[:, :5].isnan().all()
    assert torch.equal(found.energies[:, 1:], fine.energies[:, 1:])
    assert torch.equal(found.member_forces[:, 5:], fine.member_forces[:, 5:])


class Waits(TorchDispatchMode):
    """Notes what would make a host wait for a GPU."""

    NAMES = (
        "_local_scalar_dense",
        "nonzero",
        "unique",
        "bincount",
        "masked_select",
        "equal",
    )

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if any(f"aten.{wait}" in name for wait in self.NAMES):
            self.found.append(name)
        indices = args[1] if name.startswith("aten.index.Tensor") else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@needs_device
def test_a_second_evaluation_waits_for_nothing(kernels_for_all):
    batch = Batch.from_structures([molecule([1, 8]), molecule([8, 1, 1])], device=DEVICE)
    settings = AniSettings(members=2, hidden=(8,), angular_shifts=2, radial_shifts=4)
    ensemble = fresh_ensemble(settings, (1, 8), 1).to(DEVICE)
    pairs = neighbour_pairs(batch, ensemble.cutoff_A)
    with Waits() as first:
        ensemble.evaluate(batch, pairs, forces="mean")
    moved = dataclasses.replace(batch, positions=batch.positions + 0.01)
    with Waits() as second:
        ensemble.evaluate(moved, pairs, forces="mean")
    assert first.found  # the order of the elements is worked out once
    assert second.found == []


@needs_device
def test_the_check_accepts_the_kernels():
    assert choice._problem("triton", ODD, (6,), DEVICE) == ""


@pytest.mark.skipif(IS_INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_without_a_gpu(capability, tmp_path, monkeypatch):
    """For A100 and H100: what the interpreter lets pass, the compiler need not."""
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from alflow.models.ani import triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    shape = {"N_ELEMENTS": 4, "N_RADIAL": 5, "N_FEATURES": 170}
    angular = {**shape, "N_SHELLS": 3, "N_SECTIONS": 5, "WIDE_SECTIONS": 8}
    own = {
        "spokes": {**shape, "WIDE_RADIAL": 8, "TILE": 32},
        "angles": {**angular, "N_PAIRS": 10, "WIDE_SHELLS": 4, "TILE": 32},
        "stretch": {**shape, "MEMBERS": 8, "TILE": 32},
        "turn": {**angular, "MEMBERS": 8, "TILE": 32},
        "gather": {"N_ELEMENTS": 4, "COLUMNS": 32, "TILE": 32},
        "energies": {"TILE": 32},
    }
    for name, constants in own.items():
        function = getattr(triton_kernels, name)
        signature = {
            argument: "constexpr" if argument in constants else _type_of(argument, name)
            for argument in function.arg_names
        }
        source = ASTSource(function, signature, constexprs=constants)
        target = GPUTarget("cuda", capability, 32)
        built = build(
            source, target=target, options={"enable_fp_fusion": True, "num_warps": 1}
        )
        assert f"sm_{capability}" in built.asm["ptx"]
        assert len(built.asm["cubin"]) > 1000


def _type_of(argument, kernel):
    if argument in {"reach", "eta", "inner_reach", "zeta"}:
        return "fp32"
    if argument.startswith("n_"):
        return "i32"
    if argument in {"count", "pairs"}:
        return "*i32"
    if argument in {"system", "start", "neighbour", "place", "end", "reverse", "bounds"}:
        return "*i64"
    return "*fp64" if (kernel, argument) == ("energies", "out") else "*fp32"
