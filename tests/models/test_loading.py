"""Weights name their family; the registry does the rest."""

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alflow.core.errors import PluginError, SettingsError
from alflow.models.ani.settings import AniSettings
from alflow.models.loading import load_potential
from alflow.models.weights import read_header, read_tensors, write_weights


def test_finds_the_family_by_name():
    ensemble = AniSettings(members=2).create((13,), seed=1)
    assert load_potential(ensemble.to_bytes()).to_bytes() == ensemble.to_bytes()


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
