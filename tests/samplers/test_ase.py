"""Drivers of ASE: the one that comes along, and some of a user's own."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from alflow import registry
from alflow.core.errors import PluginError, SettingsError
from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.samplers.ase import AseSettings
from alflow.samplers.ase_drivers import basin_hopping

NEVER = Gate()
ALWAYS = Gate(energy=Limit(1e-12), grace_fs=1000.0)
DRIVERS = '''
import numpy as np

def breathe(atoms, rng, *, step_A=-0.01, number=6):
    """Scales the atoms up, little by little, in place."""
    for k in range(number):
        atoms.positions *= 1 + step_A
        atoms.info["temperature_K"] = 100.0 * k
        yield atoms

def noise(atoms, rng, width_A=0.1):
    while True:
        frame = atoms.copy()
        frame.positions += width_A * rng.normal(size=frame.positions.shape)
        yield frame

def broken(atoms, rng, what):
    if what == "text":
        yield "atoms"
    elif what == "element":
        atoms.numbers[0] = 54
        yield atoms
    elif what == "nan":
        atoms.positions[0] = np.nan
        yield atoms
    elif what == "fused":
        atoms.positions[0] = atoms.positions[1] + 0.1
        yield atoms
    yield 1 / 0

def fewer(atoms, rng):
    del atoms[-1]
    yield atoms

def calculator(atoms, rng):
    """Yields the atoms if their calculator says what it should."""
    atoms.get_potential_energy()
    spread = atoms.calc.results["energy_spread"]
    assert spread >= 0
    assert atoms.calc.get_property("force_spread", atoms).shape == (len(atoms),)
    assert atoms.info == {"charge": 0, "multiplicity": 1}
    atoms.positions[0] += spread
    yield atoms
'''


@pytest.fixture(autouse=True)
def drivers(tmp_path, monkeypatch):
    """Drivers as an installed package would bring them, beside the one of alflow."""
    (tmp_path / "drivers_of_a_user.py").write_text(DRIVERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "drivers_of_a_user", raising=False)
    group = "alflow.ase_samplers"
    names = ("breathe", "noise", "broken", "fewer", "calculator", "squeeze")
    found = {name: EntryPoint(name, f"drivers_of_a_user:{name}", group) for name in names}
    found["gone"] = EntryPoint("gone", "drivers_of_nobody:gone", group)
    own = "alflow.samplers.ase_drivers:basin_hopping"
    found["basin_hopping"] = EntryPoint("basin_hopping", own, group)
    monkeypatch.setattr(registry, "available", lambda point: found)


@pytest.fixture
def ensemble(potentials):
    """Three members that agree best near 2.9 Å."""
    return potentials.PairPotential((0.30, 0.30, 0.30), (2.60, 2.61, 2.59), 6.0)


def cluster(n=4, seed=0, spacing_A=2.9, **more):
    corners = np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.87, 0], [0.5, 0.29, 0.82]])[:n]
    noise = np.random.default_rng(seed).normal(size=(n, 3)) * 0.05
    return Structure(np.full(n, 13, np.uint8), corners * spacing_A + noise, **more)


def settings(driver, **changes):
    return AseSettings.model_validate({"driver": driver, **changes})


def run(ensemble, starts, driver, gate=NEVER, seed=1, **changes):
    return settings(driver, **changes).create().sample(starts, ensemble, gate, seed)


def test_frames_are_taken_until_one_is_flagged(ensemble):
    start = cluster()
    (whole,) = run(ensemble, [start], "breathe")
    assert (whole.n_steps, whole.stop_reason) == (6, StopReason.FINISHED)
    assert [frame.reason for frame in whole.frames] == ["audit"]
    spreads = whole.trace["energy_spread"]
    limit = (spreads[2] + spreads[3]) / 2
    assert spreads[3] > max(spreads[:3]), "the test wants a spread that grows"
    (found,) = run(ensemble, [start], "breathe", Gate(energy=Limit(limit)))
    assert (found.n_steps, found.stop_reason) == (3, StopReason.FLAGGED)
    frame = found.frames[-1]
    assert (frame.step, frame.reason, frame.temperature_K) == (3, "flagged", 200.0)
    assert frame.structure.positions == pytest.approx(start.positions * 0.99**3)
    assert found.start == start
    assert found.time_fs == 0.0


def test_an_endless_driver_is_stopped(ensemble):
    (found,) = run(ensemble, [cluster()], "noise", frames=7)
    assert (found.n_steps, found.stop_reason) == (7, StopReason.FINISHED)
    (quick,) = run(ensemble, [cluster()], "breathe", options={"number": 2, "step_A": 0})
    assert quick.n_steps == 2


@pytest.mark.parametrize(("grace_frames", "step"), [(1, 1), (3, 3), (6, 6)])
def test_the_start_and_what_else_is_graced_is_not_flagged(ensemble, grace_frames, step):
    (found,) = run(ensemble, [cluster()], "breathe", ALWAYS, grace_frames=grace_frames)
    assert (found.n_steps, found.stop_reason) == (step, StopReason.FLAGGED)
    flagged = [frame for frame in found.frames if frame.reason == "flagged"]
    assert [frame.step for frame in flagged] == [step]


def test_a_start_that_is_flagged_is_not_driven(ensemble):
    options = {"options": {"what": "raise"}, "grace_frames": 0}
    (found,) = run(ensemble, [cluster()], "broken", ALWAYS, **options)
    assert (found.n_steps, found.stop_reason) == (0, StopReason.FLAGGED)
    assert [frame.structure for frame in found.frames] == [found.start]


@pytest.mark.parametrize(
    ("what", "reason"), [("nan", StopReason.NOT_FINITE), ("fused", StopReason.TOO_CLOSE)]
)
def test_what_makes_no_sense_ends_a_path_and_is_never_flagged(ensemble, what, reason):
    gate = Gate(energy=Limit(0.05))
    (found,) = run(ensemble, [cluster()], "broken", gate, options={"what": what})
    assert found.stop_reason is reason
    assert found.frames == ()


@pytest.mark.parametrize(
    ("what", "message"),
    [("text", "yielded str, not ase.Atoms"), ("element", "atoms of Xe")],
)
def test_what_is_no_frame_is_told(ensemble, what, message):
    ensemble.elements = (13,)
    with pytest.raises(PluginError, match=f"driver 'broken' .*{message}"):
        run(ensemble, [cluster()], "broken", options={"what": what})


def test_what_a_driver_raises_is_not_hidden(ensemble):
    with pytest.raises(ZeroDivisionError):
        run(ensemble, [cluster()], "broken", options={"what": "raise"})


def test_the_ensemble_is_the_calculator(ensemble):
    (found,) = run(ensemble, [cluster()], "calculator", frames=1)
    assert found.n_steps == 1
    # two by the driver, energy and then the forces of the members; start and frame are judged
    assert found.schedule["n_evaluations"] == 4


def test_charge_and_spin_follow_the_elements(ensemble):
    always_later = Gate(energy=Limit(1.0))
    ion = cluster(charge=1, multiplicity=4)
    (kept,) = run(ensemble, [ion], "noise", always_later, frames=1)
    assert (kept.frames[0].structure.charge, kept.frames[0].structure.multiplicity) == (
        1,
        4,
    )
    (fewer,) = run(ensemble, [ion], "fewer", always_later)
    (frame,) = fewer.frames
    assert (frame.structure.n_atoms, frame.structure.multiplicity) == (3, 1)


def test_cells_are_kept(ensemble, crystal):
    (found,) = run(ensemble, [crystal(1)], "noise", frames=2)
    assert np.array_equal(found.frames[0].structure.cell, found.start.cell)


def same(one, other):
    return (
        (one.seed, one.schedule, one.trace) == (other.seed, other.schedule, other.trace)
        and [f.structure for f in one.frames] == [f.structure for f in other.frames]
        and [f.spread for f in one.frames] == [f.spread for f in other.frames]
    )


def test_a_path_does_not_depend_on_the_company(ensemble):
    starts = [cluster(seed=k) for k in range(3)]
    options = {"hops": 2, "relax_steps": 30}
    together = run(ensemble, starts, "basin_hopping", options=options)
    assert [t.seed for t in together] == [child_seed(1, k) for k in range(3)]
    assert all(
        map(same, run(ensemble, starts[:2], "basin_hopping", options=options), together)
    )
    others = run(
        ensemble, [starts[1], starts[0], starts[2]], "basin_hopping", options=options
    )
    assert same(others[2], together[2])


def test_basin_hopping_finds_a_lower_minimum(ensemble):
    """Three atoms in a row rest there; as a triangle they have one bond more."""
    row = Structure(np.full(3, 13, np.uint8), np.array([[2.9 * k, 0, 0] for k in range(3)]))
    atoms = settings("basin_hopping").create()._atoms(row, ensemble)
    options = {"step_A": 1.5, "fmax": 0.01, "temperature_K": 300.0, "look_every": 1000}
    minima = [
        (frame.get_potential_energy(), np.abs(frame.get_forces()).max())
        for frame in basin_hopping(atoms, np.random.default_rng(1), hops=10, **options)
    ]
    energies, forces = np.array(minima).T
    assert len(minima) == 11
    assert (forces < 0.01).sum() >= 10
    assert energies.min() == pytest.approx(1.5 * energies[0], rel=0.01)


def test_basin_hopping_keeps_what_is_lower_at_no_temperature(ensemble):
    atoms = settings("basin_hopping").create()._atoms(cluster(), ensemble)
    minima = [
        frame.get_potential_energy()
        for frame in basin_hopping(
            atoms, np.random.default_rng(2), hops=4, temperature_K=0.0, look_every=1000
        )
    ]
    assert len(minima) == 5
    assert minima[0] == pytest.approx(min(minima), abs=1e-3)


def test_the_driver_of_the_documentation_works(ensemble, crystal, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    blocks = [block for block in text.split("```python\n") if "def squeeze" in block]
    (tmp_path / "drivers_of_a_user.py").write_text(blocks[0].split("```")[0])
    sys.modules.pop("drivers_of_a_user", None)
    (found,) = run(ensemble, [crystal(1)], "squeeze", options={"strain": 0.01})
    assert (found.n_steps, found.stop_reason) == (20, StopReason.FINISHED)
    (frame,) = found.frames
    strain = frame.structure.cell @ np.linalg.inv(found.start.cell)
    assert 1e-3 < np.abs(strain - np.eye(3)).max() < 0.2


def test_elements_that_are_unknown_are_refused(ensemble):
    ensemble.elements = (1, 8)
    with pytest.raises(SettingsError, match=r"start 0 \(Al4\) has Al"):
        run(ensemble, [cluster()], "noise")
    assert run(ensemble, [], "noise") == []


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("basin_hoping", {}, "no plug-in 'basin_hoping'.*did you mean 'basin_hopping'"),
        ("os:system", {}, "no plug-in 'os:system'"),
        ("gone", {}, "cannot be imported"),
        ("breathe", {"stepp_A": 1}, "unexpected keyword argument 'stepp_A'"),
        ("broken", {}, "missing a required argument: 'what'"),
        ("breathe", {"step_A": {"a": 1}}, "options"),
    ],
)
def test_drivers_are_installed_and_options_theirs(driver, options, message):
    with pytest.raises(ValidationError, match=message):
        settings(driver, options=options)


def test_settings_survive_json():
    full = settings("noise", options={"width_A": 0.2})
    assert AseSettings.model_validate_json(full.model_dump_json()) == full
