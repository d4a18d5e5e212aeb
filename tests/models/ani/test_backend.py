"""With the kernels or without: what decides, and what is said."""

import sys
import warnings

import pytest
import torch

from alflow.models import compiled
from alflow.models.ani.backend import MODULES, SOURCES
from alflow.models.ani.constants import ANI_1X
from alflow.models.ani.descriptor import AniDescriptor, DescriptorState
from alflow.models.ani.fused import FusedState


@pytest.fixture
def fresh():
    """As in a process that has not looked for the kernels yet."""
    compiled.usable.cache_clear()
    yield
    compiled.usable.cache_clear()


def test_precision_decides(mixed_batch, mixed_pairs):
    for dtype, kind in ((torch.float32, FusedState), (torch.float64, DescriptorState)):
        descriptor = AniDescriptor(ANI_1X, (1, 6, 8), dtype=dtype)
        assert isinstance(descriptor.evaluate(mixed_batch, mixed_pairs), kind)


def test_without_numba_torch_does_it_and_one_warning_says_so(
    fresh, monkeypatch, mixed_batch, mixed_pairs
):
    for name in [n for n in sys.modules if n.startswith("numba")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "numba", None)
    descriptor = AniDescriptor(ANI_1X, (1, 6, 8))
    with pytest.warns(RuntimeWarning, match="pip install --upgrade numba") as told:
        state = descriptor.evaluate(mixed_batch, mixed_pairs)
    assert isinstance(state, DescriptorState)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = AniDescriptor(ANI_1X, (1, 6, 8)).evaluate(mixed_batch, mixed_pairs)
    assert torch.equal(again.features, state.features)


def test_a_variable_turns_the_kernels_off(monkeypatch):
    monkeypatch.setenv("ALFLOW_KERNELS", "torch")
    assert AniDescriptor(ANI_1X, (1,)).fused() is None


def test_machine_code_lies_in_the_users_cache(fresh, monkeypatch, tmp_path):
    from numba.core import config

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(config, "CACHE_DIR", "")
    folder = compiled.cache_folder(SOURCES)
    assert folder.parent == tmp_path / "alflow"
    compiled._import_all(MODULES, folder)
    assert folder.is_dir()
    assert config.CACHE_DIR == ""


def test_a_folder_that_cannot_be_made_is_no_obstacle(fresh, monkeypatch, tmp_path):
    (tmp_path / "alflow").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not compiled._writable(compiled.cache_folder(SOURCES))
    assert AniDescriptor(ANI_1X, (1,)).fused() is not None
