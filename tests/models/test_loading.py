"""Weights name their family; the registry does the rest."""

import json
import struct
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alflow.core.errors import PluginError, SettingsError
from alflow.md.bias import Bias, BiasedPotential
from alflow.models import loading
from alflow.models.ani.settings import AniSettings
from alflow.models.headers import read_header
from alflow.models.loading import best_device, load_potential
from alflow.models.weights import read_tensors, write_weights


def test_finds_the_family_by_name():
    ensemble = AniSettings(members=2).create((13,), seed=1)
    assert load_potential(ensemble.to_bytes()).to_bytes() == ensemble.to_bytes()


def test_an_ensemble_goes_where_it_is_told():
    ensemble = AniSettings(members=2).create((13,), seed=1)
    moved = load_potential(ensemble.to_bytes(), "meta")
    assert moved.device == torch.device("meta")
    assert {p.device.type for p in moved.networks.parameters()} == {"meta"}
    assert moved.self_energies == ensemble.self_energies
    assert ensemble.to("cpu") is ensemble


def test_a_family_that_knows_cpus_only_stays(monkeypatch):
    fixed = BiasedPotential(AniSettings(members=2).create((13,), seed=1), Bias(1.0, 1.0))
    family = SimpleNamespace(load=lambda weights: fixed)
    monkeypatch.setattr(loading, "find", lambda *_: family)
    content = write_weights({"a": torch.zeros(1)}, {"family": "toy"})
    assert load_potential(content, "cuda") is fixed


def test_a_process_without_gpus_computes_on_the_cpu(monkeypatch):
    for has_one, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_one=has_one: has_one)
        assert best_device().type == kind


def test_an_unknown_family_is_named():
    with pytest.raises(PluginError, match="no-such-family"):
        load_potential(write_weights({"a": torch.zeros(1)}, {"family": "no-such-family"}))


def test_no_family_is_refused():
    with pytest.raises(SettingsError, match="family"):
        load_potential(write_weights({"a": torch.zeros(1)}, {"b": "c"}))


def test_bytes_do_not_depend_on_the_order_of_anything():
    one, two = torch.arange(3.0), torch.arange(6.0).view(2, 3).T
    names = {f"key {k}": str(k) for k in range(20)}
    first = write_weights({"a": one, "b": two}, names)
    second = write_weights({"b": two.contiguous(), "a": one}, dict(reversed(names.items())))
    assert first == second
    assert read_header(first) == names
    assert torch.equal(read_tensors(first)["b"], two)


@given(st.binary(max_size=200))
def test_garbage_is_refused(content):
    with pytest.raises(SettingsError):
        load_potential(content)


@pytest.mark.parametrize(
    "text", [b"[]", b'"x"', b'{"__metadata__": 3}', b"{" * 5000, b"\xff"]
)
def test_a_header_of_the_wrong_kind_is_refused(text):
    with pytest.raises(SettingsError):
        read_header(struct.pack("<Q", len(text)) + text)


def test_truncated_tensors_are_refused():
    content = write_weights({"a": torch.zeros(100)}, {"family": "ani"})
    assert json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    with pytest.raises(SettingsError):
        read_tensors(content[:-4])
