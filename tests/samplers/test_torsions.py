import json

import numpy as np
import pytest
from ase.build import molecule
from pydantic import ValidationError

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.samplers.dihedrals import rotatable_bonds
from alflow.samplers.torsions import TorsionsSettings

NEVER = Gate()
ALWAYS = Gate(energy=Limit(1e-12), grace_fs=1000.0)


def structure(name, **more):
    atoms = molecule(name)
    return Structure(atoms.numbers.astype(np.uint8), atoms.positions, **more)


def settings(**changes):
    return TorsionsSettings.model_validate({"relax": False, **changes})


def run(ensemble, starts, gate=NEVER, seed=1, **changes):
    return settings(**changes).create().sample(starts, ensemble, gate, seed)


@pytest.fixture
def ensemble(potentials):
    """Soft balls: nothing is bonded, nothing flies apart at once."""
    return potentials.PairPotential((0.010, 0.012), (1.2, 1.2), 4.5)


def angles(frames, dihedral):
    return [dihedral.angle_deg(frame.structure.positions) for frame in frames]


def test_a_scan_visits_every_angle_of_the_grid(ensemble):
    start = structure("H2O2")
    (found,) = run(ensemble, [start], ALWAYS, grid=8, random_frames=0)
    (dihedral,) = rotatable_bonds(start)
    first = dihedral.angle_deg(start.positions)
    assert (found.stop_reason, found.n_steps, found.time_fs) == (StopReason.FLAGGED, 7, 0.0)
    reached = (np.array(angles(found.frames, dihedral)) - first) % 360
    assert reached == pytest.approx(45.0 * np.arange(8), abs=1e-5)
    assert {frame.temperature_K for frame in found.frames} == {0.0}
    assert found.schedule == {
        "n_rotatable_bonds": 1.0,
        "n_clashes": 0.0,
        "n_unphysical_frames": 0.0,
        "n_evaluations": 8.0,
    }


def test_random_frames_turn_all_bonds_at_once(ensemble):
    start = structure("CH3CH2OH")
    (found,) = run(ensemble, [start], ALWAYS, grid=1, random_frames=12)
    assert found.n_steps == 12
    first, *others = found.frames
    for dihedral in rotatable_bonds(start):
        changes = np.array(angles(others, dihedral)) - angles([first], dihedral)[0]
        assert len(np.unique(changes.round(3))) == 12
        assert np.ptp(changes % 360) > 120


def test_of_many_bonds_some_are_scanned(ensemble):
    start = structure("trans-butane")
    options = {"scanned_bonds": 1, "grid": 4, "random_frames": 0}
    found = run(ensemble, [start] * 12, ALWAYS, 2, **options)
    assert {t.n_steps for t in found} == {3}
    turned = set()
    for one in found:
        same = [
            np.cos(np.radians(np.subtract(*angles(one.frames[:2], d)))) > 0.999
            for d in rotatable_bonds(start)
        ]
        assert sum(same) == 2
        turned.add(same.index(False))
    assert turned == {0, 1, 2}


def folding():
    """The carbons of hexane, two of three dihedrals as in the chair of cyclohexane."""
    carbons = np.array([[1.25 * k, 0.88 * (k % 2), 0.0] for k in range(6)])
    numbers = np.full(6, 6, np.uint8)
    first, _, last = rotatable_bonds(Structure(numbers, carbons))
    return Structure(numbers, last.turned(first.turned(carbons, 125.0), 125.0))


def test_clashes_are_dropped_and_counted(ensemble):
    (found,) = run(ensemble, [folding()], ALWAYS, grid=36, random_frames=0)
    n_bonds = found.schedule["n_rotatable_bonds"]
    n_clashes = found.schedule["n_clashes"]
    assert n_bonds == 3
    assert 0 < n_clashes < 20
    assert found.n_steps == 3 * 35
    assert found.schedule["n_unphysical_frames"] == n_clashes
    assert len(found.frames) == 1 + found.n_steps - n_clashes
    for frame in found.frames:
        distances = np.linalg.norm(
            frame.structure.positions[:, None] - frame.structure.positions, axis=-1
        )
        far = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) > 1
        assert distances[far].min() > 1.3 * 1.52


def test_held_dihedrals_stay_while_the_rest_relaxes(springs):
    """Springs between bonded atoms, shorter than the bonds: they shrink, the angle stays."""
    start = structure("CH3CH2OH")
    stiff = springs((20.0, 21.0), (1.05, 1.05), 1.3)
    options = {"grid": 5, "random_frames": 2, "scanned_bonds": 1}
    relaxed, rigid = (
        run(stiff, [start], ALWAYS, relax_frames=relax, **options)[0].frames[1:]
        for relax in (True, False)
    )
    assert [f.step for f in relaxed] == [f.step for f in rigid] == list(range(1, 7))
    for dihedral in rotatable_bonds(start):
        is_turned = [
            k for k in range(6) if k >= 4 or np.ptp(angles(rigid[:4], dihedral)) > 1
        ]
        held = [list(dihedral.atoms)] * len(is_turned)
        for k, atoms in zip(is_turned, held, strict=True):
            soft, stiff_one = relaxed[k].structure, rigid[k].structure
            assert np.array_equal(soft.positions[atoms], stiff_one.positions[atoms])
    for soft, stiff_one in zip(relaxed, rigid, strict=True):
        moved = np.abs(soft.structure.positions - stiff_one.structure.positions).max(axis=1)
        assert (moved > 1e-3).sum() >= 1
        assert soft.spread.force_scale < stiff_one.spread.force_scale


def test_a_relaxation_that_breaks_bonds_is_not_believed(springs):
    """The ensemble wants bonds of 0.8 Å, between oxygens, too; or none that hold together."""
    start = structure("H2O2")
    for length_A in (0.8, 2.5):
        wrong = springs((20.0, 21.0), (length_A, length_A), 4.0)
        (found,) = run(wrong, [start], ALWAYS, relax=True, relax_frames=True, grid=4)
        first, *others = found.frames
        assert first.structure == start
        for frame in others:
            bonds = np.linalg.norm(np.diff(frame.structure.positions[:2], axis=0))
            assert bonds == pytest.approx(
                np.linalg.norm(np.diff(start.positions[:2], axis=0))
            )


def test_one_frame_is_drawn_for_the_audit(ensemble):
    found = run(ensemble, [structure("H2O2")] * 20)
    frames = [frame for t in found for frame in t.frames]
    assert [(frame.reason, frame.measure) for frame in frames] == [("audit", "")] * 20
    assert {t.stop_reason for t in found} == {StopReason.FINISHED}
    assert len({frame.step for frame in frames}) > 8


def same(one, other):
    return (
        (one.seed, one.schedule, one.trace) == (other.seed, other.schedule, other.trace)
        and [f.structure for f in one.frames] == [f.structure for f in other.frames]
        and [f.spread for f in one.frames] == [f.spread for f in other.frames]
    )


def test_a_path_does_not_depend_on_the_company(ensemble):
    starts = [structure(name) for name in ("CH3CH2OH", "H2O2", "trans-butane")]
    together = run(ensemble, starts, ALWAYS)
    assert [t.seed for t in together] == [child_seed(1, k) for k in range(3)]
    assert all(map(same, run(ensemble, starts[:2], ALWAYS), together))
    alone = run(ensemble, [starts[1], starts[1], starts[2]], ALWAYS)
    assert same(alone[2], together[2])


def test_a_rigid_molecule_among_others_has_nothing_to_turn(ensemble):
    found = run(ensemble, [structure("H2O"), structure("H2O2")], NEVER)
    assert [(t.n_steps, t.stop_reason) for t in found] == [
        (0, StopReason.FINISHED),
        (19, StopReason.FINISHED),
    ]


def test_a_fused_start_is_never_flagged(ensemble):
    fused = Structure(
        np.array([8, 8, 1, 1], np.uint8),
        np.array([[0, 0, 0], [1.4, 0, 0], [-0.25, 0.15, 0], [1.7, 0.9, 0.3]]),
    )
    (found,) = run(ensemble, [fused], ALWAYS)
    assert (found.stop_reason, found.frames) == (StopReason.TOO_CLOSE, ())


def test_an_ion_stays_one(ensemble):
    (found,) = run(ensemble, [structure("H2O2", charge=1, multiplicity=2)], ALWAYS)
    assert {(f.structure.charge, f.structure.multiplicity) for f in found.frames} == {
        (1, 2)
    }
    json.dumps([dict(found.schedule), dict(found.trace)])


def test_starts_without_anything_to_turn_are_refused(ensemble, crystal):
    with pytest.raises(SettingsError, match=r"none of the 2 starts .*: CH4, H2O"):
        run(ensemble, [structure("H2O"), structure("CH4")])
    with pytest.raises(SettingsError, match=r"start 1 \(Al4\) is periodic"):
        run(ensemble, [structure("H2O2"), crystal(1)])
    ensemble.elements = (1, 6)
    with pytest.raises(SettingsError, match=r"start 0 \(H2O2\) has O"):
        run(ensemble, [structure("H2O2")])
    assert run(ensemble, []) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": 0}, "grid"),
        ({"bond_factor": 1.0}, "bond_factor"),
        ({"kind": "x"}, "kind"),
        ({"grid": 1, "random_frames": 0}, "grid is 1: no frames but the starts"),
        ({"scanned_bonds": 0, "random_frames": 0}, "scanned_bonds is 0: no frames"),
    ],
)
def test_senseless_settings_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)
