"""Threads of the compiled kernels follow the pool of the worker."""

import numpy as np
import pytest
import torch

from alflow.core.structures import Structure
from alflow.execution.surroundings import repeatable
from alflow.execution.worker import THREADS_VARIABLE, child_environment
from alflow.models.ani.ensemble import fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.models.threads import VARIABLE, kernel_threads


@pytest.mark.parametrize(
    ("text", "n"), [(None, 1), ("", 1), ("0", 1), ("1", 1), (" 3 ", 3), ("many", 1)]
)
def test_one_thread_unless_told_otherwise(monkeypatch, text, n):
    monkeypatch.delenv(VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)
    assert kernel_threads() == n


def test_a_pool_tells_its_tasks_and_a_rerun_repeats_it(monkeypatch):
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    assert child_environment()[VARIABLE] == "1"
    monkeypatch.setenv(THREADS_VARIABLE, "4")
    assert child_environment()[VARIABLE] == "4"
    assert repeatable(child_environment())[VARIABLE] == "4"


def test_an_ensemble_uses_them(monkeypatch):
    pytest.importorskip("numba")
    stream = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3) * 2.6
    positions = grid + stream.normal(0, 0.1, grid.shape)
    crystal = Structure(
        np.full(64, 13, np.uint8), positions, np.eye(3) * 10.4, np.array([True] * 3)
    )
    batch = Batch.from_structures([crystal], dtype=torch.float32)
    settings = AniSettings(members=2, hidden=(8,), dtype="float32")
    found = []
    for n in ("1", "2"):
        monkeypatch.setenv(VARIABLE, n)
        ensemble = fresh_ensemble(settings, [13], 3)
        pairs = neighbour_pairs(batch, ensemble.cutoff_A)
        found.append(ensemble.evaluate(batch, pairs, forces="members"))
        assert ensemble.descriptor.fused()._n_threads == int(n)
    one, two = found
    assert torch.equal(one.energies, two.energies)
    torch.testing.assert_close(one.member_forces, two.member_forces, rtol=1e-4, atol=1e-5)
