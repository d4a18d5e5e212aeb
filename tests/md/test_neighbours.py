from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.structures import Structure
from alflow.md.neighbours import VerletList
from alflow.md.state import State
from alflow.models.neighbours import neighbour_pairs

CUTOFF_A = 4.0


def rows(pairs, batch, cutoff_A):
    """Pairs within the cutoff as a set of integers."""
    near = pairs.vectors(batch).norm(dim=-1) < cutoff_A
    table = torch.cat([pairs.i[:, None], pairs.j[:, None], pairs.shifts.long()], dim=1)[
        near
    ]
    found = {tuple(row) for row in table.tolist()}
    assert len(found) == len(table), "a pair is listed twice"
    return found


def assert_complete(verlet, state):
    batch = state.batch(torch.float64)
    expected = rows(neighbour_pairs(batch, CUTOFF_A), batch, CUTOFF_A)
    assert rows(verlet.pairs, batch, CUTOFF_A) == expected


def moved(state, step_A, seed):
    change = np.random.default_rng(seed).standard_normal(tuple(state.positions.shape))
    return replace(state, positions=state.positions + step_A * torch.from_numpy(change))


@pytest.fixture
def state(crystal):
    molecule = Structure(
        np.array([8, 1, 1], np.uint8), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    )
    return State.from_structures(
        [crystal(1), molecule, crystal(2, seed=5), crystal(1, 3.0)]
    )


def test_the_list_stays_complete_while_atoms_move(state):
    verlet = VerletList(state, CUTOFF_A, skin_A=0.6)
    for step in range(40):
        state = moved(state, 0.05, step)
        verlet.update(state)
        assert_complete(verlet, state)
    assert 4 < verlet.n_renewals < 4 * 40


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_the_list_stays_complete_while_cells_change(state, factor):
    verlet = VerletList(state, CUTOFF_A, skin_A=0.6)
    for step in range(12):
        scale = state.scale * torch.tensor([factor, 1.0, factor**0.5, factor**2])
        state = moved(state.rescaled(scale), 0.01, step)
        verlet.update(state)
        assert_complete(verlet, state)


def test_compression_alone_renews_and_expansion_does_not(crystal):
    state = State.from_structures([crystal()])
    verlet = VerletList(state, CUTOFF_A, skin_A=0.5)
    verlet.update(state.rescaled(state.scale * 1.2))
    assert verlet.n_renewals == 1
    verlet.update(state.rescaled(state.scale * 0.85))
    assert verlet.n_renewals == 2


def test_a_replica_is_renewed_by_its_own_motion_alone(state):
    verlet = VerletList(state, CUTOFF_A, skin_A=0.6)
    of_third = state.system_idx == 2
    verlet.update(
        replace(
            state,
            positions=torch.where(of_third[:, None], state.positions + 1, state.positions),
        )
    )
    assert verlet.n_renewals == 5


def test_a_replica_has_the_same_rows_alone_and_in_company(state):
    company = VerletList(state, CUTOFF_A)
    for system in range(4):
        alone_state = state.keep([system])
        alone = VerletList(alone_state, CUTOFF_A)
        pairs = company.pairs_of([system], state)
        for name in ("i", "j", "shifts"):
            assert torch.equal(getattr(pairs, name), getattr(alone.pairs, name))


@pytest.mark.parametrize("kept", [[0], [3], [0, 2], [1, 2, 3], []])
def test_dropping_replicas_keeps_the_list_complete(state, kept):
    verlet = VerletList(state, CUTOFF_A, skin_A=0.6, distance_factor=0.6)
    verlet = verlet.keep(state, kept)
    state = state.keep(kept)
    if kept:
        assert_complete(verlet, state)
        state = moved(state, 0.1, 1)
        verlet.update(state)
        assert_complete(verlet, state)
        assert verlet.contacts(state) == []
    else:
        assert len(verlet.pairs.i) == 0


def test_replicas_join_without_a_search(state, crystal):
    searched = []

    def find(batch, cutoff_A):
        searched.append(batch.n_systems)
        return neighbour_pairs(batch, cutoff_A)

    options = {"distance_factor": 0.6, "find_pairs": find}
    newcomers = State.from_structures([crystal(1, seed=7), crystal(2, seed=8)])
    old = VerletList(state, CUTOFF_A, **options)
    new = VerletList(newcomers, CUTOFF_A, **options)
    searched.clear()
    both, together = old.joined(new), state.joined(newcomers)
    assert searched == []
    assert_complete(both, together)
    for system in range(4):
        for name in ("i", "j", "shifts"):
            of_both = getattr(both.pairs_of([system], together), name)
            assert torch.equal(of_both, getattr(old.pairs_of([system], state), name))
    of_newcomer = together.system_idx == 5
    away = together.positions + of_newcomer[:, None] * 1.0
    both.update(replace(together, positions=away))
    # once for the list and once for what could come too close
    assert searched == [1, 1]
    assert_complete(both, replace(together, positions=away))


def test_limits_of_what_may_join_later_are_reached(state):
    late = State.from_structures([pair([55, 55], 2.5)])
    options = {"skin_A": 0.1, "distance_factor": 0.6}
    both = VerletList(state, 1.0, **options).joined(VerletList(late, 1.0, **options))
    assert both.contacts(state.joined(late)) == [4]


def pair(numbers, distance_A):
    return Structure(np.array(numbers, np.uint8), np.array([[0, 0, 0], [distance_A, 0, 0]]))


@pytest.mark.parametrize(
    ("numbers", "distance_A", "is_close"),
    [
        ([1, 1], 0.74, False),
        ([1, 1], 0.60, False),
        ([1, 1], 0.30, True),
        ([8, 1], 0.96, False),
        ([8, 1], 0.80, False),
        ([8, 1], 0.50, True),
        ([6, 1], 1.09, False),
        ([7, 7], 1.10, False),
        ([13, 13], 2.0, False),
        ([13, 13], 1.3, True),
    ],
)
def test_bonds_are_no_contacts_and_fused_atoms_are(numbers, distance_A, is_close):
    state = State.from_structures([pair([18, 18], 4.0), pair(numbers, distance_A)])
    verlet = VerletList(state, CUTOFF_A, distance_factor=0.6)
    assert verlet.contacts(state) == ([1] if is_close else [])


def test_a_contact_across_a_boundary_is_found():
    positions = np.array([[0.05, 5, 5], [9.9, 5, 5]])
    box = Structure(
        np.array([8, 8], np.uint8),
        positions,
        np.eye(3) * 10.0,
        np.array([True, False, False]),
    )
    open_box = Structure(np.array([8, 8], np.uint8), positions)
    state = State.from_structures([open_box, box])
    assert VerletList(state, CUTOFF_A, distance_factor=0.6).contacts(state) == [1]


def test_an_atom_too_close_to_its_own_image_is_found():
    thin = Structure(
        np.array([13], np.uint8),
        np.zeros((1, 3)),
        np.diag([1.2, 9.0, 9.0]),
        np.ones(3, bool),
    )
    state = State.from_structures([thin])
    assert VerletList(state, CUTOFF_A, distance_factor=0.6).contacts(state) == [0]


def test_contacts_that_form_later_are_found(crystal):
    state = State.from_structures([crystal(), crystal(seed=1)])
    verlet = VerletList(state, CUTOFF_A, distance_factor=0.6)
    partner = int(verlet.pairs.j[verlet.pairs.i == 40][0])
    path = state.positions.clone()
    for share in np.linspace(0, 1, 20):
        path[40] = state.positions[40] + share * (
            state.positions[partner] - state.positions[40]
        )
        now = replace(state, positions=path.clone())
        verlet.update(now)
        if verlet.contacts(now):
            break
    assert verlet.contacts(now) == [1]


def test_no_factor_switches_contacts_off():
    state = State.from_structures([pair([1, 1], 0.01)])
    assert VerletList(state, CUTOFF_A).contacts(state) == []


def test_limits_reach_beyond_a_short_cutoff():
    state = State.from_structures([pair([55, 55], 2.5)])
    assert VerletList(state, 1.0, skin_A=0.1, distance_factor=0.6).contacts(state) == [0]
