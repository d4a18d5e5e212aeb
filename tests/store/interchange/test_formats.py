"""Files in and out: what is written comes back, what is ambiguous is asked."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write as ase_write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alflow.core.batches import LabelledStructure
from alflow.core.errors import PluginError, SettingsError
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.store.interchange import (
    FORMATS,
    ExportedFrame,
    ReadOptions,
    format_of,
    parsed_units,
    read_file,
)

HARTREE = parsed_units("hartree", "angstrom", None, None)
SUFFIX = {"ase-db": "db", "hdf5": "h5", "deepmd": "deepmd", "parquet": "parquet"}

finite = st.floats(-1e3, 1e3, allow_nan=False, width=64)


@st.composite
def frames(draw, *, partly_periodic=True):
    """One exported frame with any combination of cell, forces and stress."""
    n_atoms = draw(st.integers(1, 4))
    numbers = draw(arrays(np.uint8, n_atoms, elements=st.integers(1, 118)))
    positions = draw(arrays(np.float64, (n_atoms, 3), elements=finite))
    choices = [(0, 0, 0), (1, 1, 1)] + ([(1, 1, 0), (0, 0, 1)] if partly_periodic else [])
    pbc = np.array(draw(st.sampled_from(choices)), bool)
    cell = draw(arrays(np.float64, (3, 3), elements=st.floats(0, 1))) + 5 * np.eye(3)
    forces = draw(st.none() | arrays(np.float64, (n_atoms, 3), elements=finite))
    stress = draw(st.none() | arrays(np.float64, 6, elements=st.floats(-1, 1)))
    charge, multiplicity = draw(st.integers(-3, 3)), draw(st.integers(1, 4))
    structure = Structure(
        numbers, positions, cell if pbc.any() else None, pbc, charge, multiplicity
    )
    label = Label(draw(finite), forces, stress if pbc.all() else None)
    group, level = draw(st.sampled_from(["a/b", "12", "ü"])), "wb97x/6-31g*"
    item = LabelledStructure(structure, label, 0, group, draw(st.sampled_from(["", "md"])))
    return ExportedFrame(item, level, draw(st.sampled_from(["train", "val", "test"])))


def _there_and_back(path, name, given_frames):
    FORMATS[name].write(path, given_frames)
    assert format_of(path, None).name == name
    found, reading = read_file(path, ReadOptions())
    assert (reading.units.energy, reading.units.length) == ("eV", "angstrom")
    assert [frame.index for frame in found] == list(range(len(given_frames)))
    return found


@pytest.mark.parametrize("name", SUFFIX)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_bit_survives(tmp_path_factory, name, data):
    one = frames(partly_periodic=name != "deepmd")
    given_frames = data.draw(
        st.lists(one, min_size=1, max_size=4, unique_by=lambda f: f.item.structure.hash)
    )
    path = tmp_path_factory.mktemp("trip") / f"data.{SUFFIX[name]}"
    found = _there_and_back(path, name, given_frames)
    by_hash = {frame.item.structure.hash: frame for frame in given_frames}
    assert {frame.structure().hash for frame in found} == set(by_hash)
    for frame in found:
        was = by_hash[frame.structure().hash]
        assert frame.energy == was.item.label.energy
        for array in ("forces", "stress"):
            now, then = getattr(frame, array), getattr(was.item.label, array)
            assert (now is None) == (then is None)
            assert now is None or np.array_equal(now, then)
        assert (frame.level, frame.split) == (was.level, was.split)
        assert frame.group == was.item.group


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_frames=st.lists(frames(), min_size=1, max_size=4))
def test_extended_xyz_keeps_hashes_and_printed_digits(tmp_path_factory, given_frames):
    path = tmp_path_factory.mktemp("trip") / "data.extxyz"
    found = _there_and_back(path, "extxyz", given_frames)
    for frame, was in zip(found, given_frames, strict=True):
        assert frame.structure() == was.item.structure
        assert frame.energy == was.item.label.energy
        if was.item.label.forces is None:
            assert frame.forces is None
        else:
            np.testing.assert_allclose(frame.forces, was.item.label.forces, atol=1e-8)
        if was.item.label.stress is not None:
            np.testing.assert_array_equal(frame.stress, was.item.label.stress)


def _molecule(energy=-1.0):
    atoms = Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.ones((3, 3)))
    return atoms


def test_extended_xyz_asks_where_a_quantity_has_two_names(tmp_path):
    atoms = _molecule()
    atoms.info["REF_energy"] = -2.0
    atoms.arrays["REF_forces"] = np.zeros((3, 3))
    path = tmp_path / "both.xyz"
    ase_write(path, atoms, format="extxyz")
    with pytest.raises(SettingsError, match="REF_energy, energy") as error:
        read_file(path, ReadOptions())
    assert error.value.next_step == "choose one: --energy-key REF_energy"
    options = ReadOptions(energy_key="energy", forces_key="REF_forces")
    ((frame,), _) = read_file(path, options)
    assert frame.energy == -1.0
    assert not frame.forces.any()
    with pytest.raises(SettingsError, match="no frame has 'E'"):
        read_file(path, ReadOptions(energy_key="E"))


def test_extended_xyz_takes_plain_and_foreign_names(tmp_path):
    ase_write(tmp_path / "plain.xyz", _molecule(), format="extxyz")
    ((frame,), _) = read_file(tmp_path / "plain.xyz", ReadOptions())
    assert (frame.energy, frame.forces.sum()) == (-1.0, 9.0)
    atoms = Atoms("H", info={"dft_energy": -13.6, "config_type": "IsolatedAtom"})
    ase_write(tmp_path / "foreign.xyz", atoms, format="extxyz")
    ((frame,), _) = read_file(tmp_path / "foreign.xyz", ReadOptions())
    assert (frame.energy, frame.source, frame.multiplicity) == (-13.6, "IsolatedAtom", None)


@pytest.mark.parametrize(
    ("moments", "is_solid", "multiplicity"),
    [
        ([0.0, 0.0], False, None),
        ([1.0, 1.0], False, 3),
        ([0.6, 0.6], False, None),
        ([0.6, 0.6], True, None),
        ([1.0, 1.0], True, None),
    ],
)
def test_moments_of_solids_are_no_multiplicity(tmp_path, moments, is_solid, multiplicity):
    """ASE gives each atom of bulk nickel 0.6, unasked."""
    atoms = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], magmoms=moments, pbc=is_solid)
    atoms.cell = np.eye(3) * 8.0
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    ase_write(tmp_path / "o2.xyz", atoms, format="extxyz")
    (frame,), _ = read_file(tmp_path / "o2.xyz", ReadOptions())
    assert frame.multiplicity == multiplicity


def _hdf5(path, groups, **attributes):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for name, datasets in groups.items():
            group = file.create_group(name)
            for key, values in datasets.items():
                group[key] = values
    return path


X = np.arange(18.0).reshape(2, 3, 3)


def test_hdf5_asks_for_units_and_takes_them_from_attributes(tmp_path):
    water = {"coordinates": X, "species": [b"O", b"H", b"H"], "energies": [-76.0, -76.1]}
    path = _hdf5(tmp_path / "a.h5", {"gdb/gdb-0": water})
    with pytest.raises(SettingsError, match="does not say in which unit") as error:
        read_file(path, ReadOptions())
    assert error.value.code == "AL130"
    assert "--length-unit: angstrom, bohr, nm" in error.value.next_step
    (first, second), reading = read_file(path, ReadOptions(units=HARTREE))
    assert reading.units.force_name() == "hartree/angstrom"
    assert second.energy == pytest.approx(-76.1 * 27.211386)
    assert (first.group, second.index) == ("/gdb/gdb-0", 1)
    assert first.numbers.tolist() == [8, 1, 1]
    told = _hdf5(
        tmp_path / "b.h5", {"w": water}, energy_unit="Hartree", length_unit="Angstrom"
    )
    assert read_file(told, ReadOptions())[0][0].energy == first.energy


@pytest.mark.parametrize("name", ["energies", "forces"])
def test_hdf5_without_a_row_for_each_frame(tmp_path, name):
    water = {"coordinates": X, "species": [b"O", b"H", b"H"], "energies": [-76.0, -76.1]}
    short = {"energies": [-76.0], "forces": X[:1]}[name]
    path = _hdf5(tmp_path / "a.h5", {"w": {**water, name: short}})
    with pytest.raises(SettingsError, match=r"1 rows of .* for 2 frames of coordinates"):
        read_file(path, ReadOptions(units=HARTREE))


def test_hdf5_of_the_los_alamos_framework(tmp_path):
    cell = np.broadcast_to(np.eye(3) * 10, (2, 3, 3))
    group = {
        "_id": [b"mol-0", b"mol-1"],
        "species": np.array([b"H", b"H", b"O"]),
        "coordinates": X,
        "cell": cell,
        "energy": [-10.0, -11.0],
        "forces": -X,
        "dipole": np.zeros((2, 3)),
    }
    path = _hdf5(tmp_path / "data-0000.h5", {"H02_O01": group})
    options = ReadOptions(units=parsed_units("eV", "angstrom", None, None))
    found, _ = read_file(path, options)
    assert [frame.energy for frame in found] == [-10.0, -11.0]
    assert found[1].pbc.all()
    assert np.array_equal(found[1].cell, np.eye(3) * 10)
    assert np.array_equal(found[1].forces, -X[1])


def test_hdf5_with_several_levels(tmp_path):
    group = {
        "coordinates": X,
        "atomic_numbers": [8, 1, 1],
        "wb97x_dz.energy": [-76.0, np.nan],
        "wb97x_dz.forces": X,
        "ccsd(t)_cbs.energy": [np.nan, -76.4],
    }
    path = _hdf5(tmp_path / "ani1x.h5", {"H2O": group})
    with pytest.raises(SettingsError, match=r"ccsd\(t\)_cbs, wb97x_dz") as error:
        read_file(path, ReadOptions(units=HARTREE))
    assert "--file-level" in error.value.next_step
    options = ReadOptions(units=HARTREE, file_level="wb97x_dz")
    ((frame,), _) = read_file(path, options)
    assert (frame.level, frame.forces.shape) == ("wb97x_dz", (3, 3))
    options = ReadOptions(units=HARTREE, file_level="ccsd(t)_cbs")
    ((frame,), _) = read_file(path, options)
    assert (frame.forces, frame.positions[0, 0]) == (None, 9.0)
    with pytest.raises(SettingsError, match="no level 'pbe'"):
        read_file(path, ReadOptions(units=HARTREE, file_level="pbe"))


def test_hdf5_links_do_not_lead_out_of_the_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    secret = _hdf5(tmp_path / "secret.h5", {"w": {"coordinates": X}})
    path = _hdf5(tmp_path / "a.h5", {"w": {"x": [1]}})
    with h5py.File(path, "a") as file:
        file["out"] = h5py.ExternalLink(str(secret), "/w")
    with pytest.raises(SettingsError, match="no group in it has 'coordinates'"):
        read_file(path, ReadOptions(units=HARTREE))


def test_deepmd_mixed_is_read_in_the_order_of_its_atoms(tmp_path):
    dpdata = pytest.importorskip("dpdata")

    def system(names, types):
        return dpdata.LabeledSystem(
            data={
                "atom_names": names,
                "atom_numbs": np.bincount(types).tolist(),
                "atom_types": np.array(types),
                "orig": np.zeros(3),
                "cells": np.eye(3)[None] * 9,
                "coords": np.arange(9.0).reshape(1, 3, 3),
                "energies": np.array([-5.0]),
                "forces": np.ones((1, 3, 3)),
            }
        )

    both = dpdata.MultiSystems(system(["H", "O"], [0, 0, 1]), system(["C", "O"], [0, 1, 1]))
    both.to("deepmd/npy/mixed", str(tmp_path / "mixed"))
    found, _ = read_file(tmp_path / "mixed", ReadOptions())
    assert sorted(frame.numbers.tolist() for frame in found) == [[1, 1, 8], [6, 8, 8]]
    assert all(frame.pbc.all() and frame.energy == -5.0 for frame in found)


def test_deepmd_cannot_say_slab(tmp_path, export):
    slab = Structure(
        np.array([1], np.uint8),
        np.zeros((1, 3)),
        np.eye(3) * 9,
        np.array([True, True, False]),
    )
    with pytest.raises(SettingsError, match="some directions only"):
        FORMATS["deepmd"].write(tmp_path / "x", [export(slab, Label(-1.0))])


def test_parquet_of_others(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    row = {
        "atomic_numbers": json.dumps([13]),
        "positions": json.dumps([[0.0, 0, 0]]),
        "cell": [[2.0, 0, 0], [0, 2, 0], [0, 0, 2]],
        "pbc": [True, True, True],
        "energy": -3.0,
        "atomic_forces": [[0.0, 0, 0]],
        "cauchy_stress": [[8.0, 4, 0], [4, 0, 0], [0, 0, 0]],
        "cauchy_stress_volume_normalized": False,
        "method": "DFT-PBE",
    }
    write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    ((frame,), _) = read_file(tmp_path / "a.parquet", ReadOptions())
    assert frame.stress.tolist() == pytest.approx([1, 0, 0, 0, 0, 0.5])
    assert (frame.level, frame.n_atoms) == ("DFT-PBE", 1)
    write_table(pa.Table.from_pylist([{"energy": 1.0}]), tmp_path / "b.parquet")
    with pytest.raises(SettingsError, match="no column atomic_numbers or positions"):
        read_file(tmp_path / "b.parquet", ReadOptions())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xyz", b"three\natoms\n"),
        ("a.db", b"SQLite format 3\x00 and then nothing"),
        ("a.json", b"{"),
        ("a.h5", b"\x89HDF\r\n\x1a\n and then nothing"),
        ("a.parquet", b"PAR1 and then nothing"),
    ],
)
def test_damaged_files_are_told(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be read") as error:
        read_file(path, ReadOptions())
    assert error.value.code == "AL103"


def test_what_is_no_file_of_ours(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        read_file(tmp_path / "a.xyz", ReadOptions())
    (tmp_path / "a.dat").write_text("x")
    with pytest.raises(SettingsError, match=r"format of .* cannot be told"):
        read_file(tmp_path / "a.dat", ReadOptions())
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=r"no type.raw"):
        read_file(tmp_path / "folder", ReadOptions(format="deepmd"))


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    path = tmp_path / "a.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(PluginError, match="not installed") as error:
        read_file(path, ReadOptions())
    assert error.value.code == "AL201"
    assert error.value.next_step == 'pip install "alflow[hdf5]"'


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("Hartree", "Å", "Ha/Bohr"), ("hartree", "angstrom", "hartree/bohr")),
        (("KCAL/MOL", "a0", "kcal/mol/ang"), ("kcal/mol", "bohr", "kcal/mol/angstrom")),
        (("ev", "nm", None), ("eV", "nm", None)),
    ],
)
def test_units_may_be_typed_in_many_ways(typed, meant):
    units = parsed_units(*typed, None)
    assert (units.energy, units.length, units.force) == meant


def test_unknown_units_are_told():
    with pytest.raises(SettingsError, match="'furlong' is no unit of length") as error:
        parsed_units("eV", "furlong", None, None)
    assert "angstrom, bohr, nm" in error.value.next_step
