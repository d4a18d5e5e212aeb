"""Which implementation does the work, and what is said when one cannot."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from alflow.core.errors import SettingsError
from alflow.models.ani import choice
from alflow.models.ani.constants import ANI_1X
from alflow.models.ani.descriptor import AniDescriptor, DescriptorState
from alflow.models.ani.fused import FusedDescriptor

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forgetful():
    """Nothing has been tried yet."""
    choice._problem.cache_clear()
    yield
    choice._problem.cache_clear()


def test_a_cpu_takes_numba_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("ALFLOW_KERNELS", raising=False)
    assert isinstance(choice.fast_descriptor(ANI_1X, (1,), CPU), FusedDescriptor)
    monkeypatch.setenv("ALFLOW_KERNELS", "Torch")
    assert choice.fast_descriptor(ANI_1X, (1,), CPU) is None


def test_an_unknown_name_is_refused(monkeypatch):
    monkeypatch.setenv("ALFLOW_KERNELS", "tritn")
    with pytest.raises(SettingsError, match="'tritn'"):
        choice.fast_descriptor(ANI_1X, (1,), CPU)


def test_a_gpu_tries_triton_then_compiling(monkeypatch):
    monkeypatch.delenv("ALFLOW_KERNELS", raising=False)
    assert choice._candidates(torch.device("cuda")) == ("triton", "compile")


def test_what_differs_from_the_reference_is_not_used(monkeypatch, mixed_batch, mixed_pairs):
    monkeypatch.setenv("ALFLOW_KERNELS", "compile")
    monkeypatch.setattr(choice, "_difference", lambda *_: 0.5)
    descriptor = AniDescriptor(ANI_1X, (1, 6, 8))
    with pytest.warns(RuntimeWarning, match=r"differs from the reference by 5\.0e-01"):
        found = descriptor.evaluate(mixed_batch, mixed_pairs)
    assert isinstance(found, DescriptorState)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        descriptor.evaluate(mixed_batch, mixed_pairs)


def test_what_cannot_be_compared_is_not_used(monkeypatch):
    monkeypatch.setenv("ALFLOW_KERNELS", "triton")
    monkeypatch.setattr(choice, "_difference", lambda *_: float("nan"))
    with pytest.warns(RuntimeWarning, match="Set ALFLOW_KERNELS=torch to accept it"):
        assert choice.fast_descriptor(ANI_1X, (1,), CPU) is None


def test_what_does_not_run_is_not_used(monkeypatch):
    def fail(*_):
        raise RuntimeError("no such card\nand a long trace")

    monkeypatch.setenv("ALFLOW_KERNELS", "triton")
    monkeypatch.setattr(choice, "_made", fail)
    with pytest.warns(RuntimeWarning, match=r"triton \(RuntimeError: no such card\)"):
        assert choice.fast_descriptor(ANI_1X, (1,), CPU) is None


def test_numba_is_for_cpus(monkeypatch):
    monkeypatch.setenv("ALFLOW_KERNELS", "numba")
    with pytest.warns(RuntimeWarning, match="kernels are for CPUs"):
        assert choice.fast_descriptor(ANI_1X, (1,), torch.device("meta")) is None


class Wrong:
    """The reference in float32, its derivatives wrong by a part in a thousand."""

    def __init__(self, constants, elements, device):
        self.reference = AniDescriptor(constants, elements, device=device)

    def evaluate(self, batch, pairs, species):
        state = self.reference.evaluate_with_torch(batch, pairs)
        self.features, self.right = state.features, state.vjp
        return self

    def vjp(self, gradient):
        return 1.001 * self.right(gradient)


def test_the_check_finds_a_wrong_derivative(monkeypatch):
    monkeypatch.setattr(choice, "_made", lambda kind, *others: Wrong(*others))
    told = choice._problem("triton", ANI_1X, (1, 8), "cpu")
    assert "differs from the reference by 1.0e-03" in told
    monkeypatch.setattr(Wrong, "vjp", lambda self, gradient: self.right(gradient))
    choice._problem.cache_clear()
    assert choice._problem("triton", ANI_1X, (1, 8), "cpu") == ""


COMPILED = """
import functools, torch
from alflow.models.ani import choice
from alflow.models.ani import torch_compiled as compiled
from alflow.models.ani.constants import ANI_1X

# What a compiler makes of it takes minutes and is not what is tested.
compiled._compiled = functools.cache(
    lambda function: torch.compile(function, dynamic=True, backend="eager")
)
found = choice.fast_descriptor(ANI_1X, (1, 8), torch.device("cpu"))
print(type(found).__name__, found.n_features)
"""


def test_compiled_functions_pass_the_check():
    """Without the shape checks of the tests, which torch cannot look through."""
    environment = {**os.environ, "ALFLOW_KERNELS": "compile"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", COMPILED]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["CompiledDescriptor", "128"], done.stderr[-2000:]
