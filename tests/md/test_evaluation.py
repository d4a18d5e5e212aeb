"""Batches that do not fit into memory."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alflow.md.evaluation import Evaluator, _ranges, device_name, remembered
from alflow.md.neighbours import VerletList
from alflow.md.state import State


class Cramped:
    """A potential that has no memory for more than so many atoms at once."""

    def __init__(self, potential, room, error=MemoryError):
        self.potential, self.room, self.error = potential, room, error
        self.asked = []

    def __getattr__(self, name):
        return getattr(self.potential, name)

    def evaluate(self, batch, pairs, *, forces="mean"):
        self.asked.append(len(batch.numbers))
        if len(batch.numbers) > self.room:
            raise self.error("no room")
        return self.potential.evaluate(batch, pairs, forces=forces)


@pytest.fixture
def state(crystal):
    """Seven replicas of 4 and 32 atoms by turns."""
    found = State.from_structures([crystal(1 + k % 2, seed=k) for k in range(7)])
    assert found.sizes == (4, 32, 4, 32, 4, 32, 4)
    return found


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
@pytest.mark.parametrize("forces", ["none", "mean", "members"])
def test_what_does_not_fit_is_halved_and_nothing_is_lost(potentials, state, error, forces):
    roomy = potentials.PairPotential((0.1, 0.12), (2.6, 2.6), 4.5)
    cramped = Cramped(roomy, 40, error)
    pairs = VerletList(state, 4.5)
    evaluator = Evaluator(cramped)
    expected = Evaluator(roomy).evaluate(state, pairs, forces)
    for asked in ([112, 40, 36, 36], [40, 36, 36]):
        cramped.asked.clear()
        found = evaluator.evaluate(state, pairs, forces)
        assert cramped.asked == asked
        assert torch.equal(found.energies, expected.energies)
        for name in ("forces", "member_forces"):
            one, other = getattr(found, name), getattr(expected, name)
            assert (one is None and other is None) or torch.equal(one, other)
    cramped.room = 36
    cramped.asked.clear()
    evaluator.evaluate(state, pairs, forces)
    assert cramped.asked == [40, 4, 32, 4, 32, 4, 32, 4]


def test_one_replica_that_does_not_fit_is_an_error(potentials, crystal):
    cramped = Cramped(potentials.PairPotential(), 0)
    state = State.from_structures([crystal(1)] * 3)
    with pytest.raises(MemoryError, match="no room"):
        Evaluator(cramped).evaluate(state, VerletList(state, 6.0), "mean")


def test_what_one_evaluator_finds_the_next_one_knows(potentials, state):
    pairs = VerletList(state, 4.5)
    cramped = Cramped(potentials.PairPotential((0.1, 0.12), (2.6, 2.6), 4.5), 40)
    with remembered(None) as room:
        Evaluator(cramped).evaluate(state, pairs, "mean")
        assert room.most_atoms == 56
        Evaluator(cramped).evaluate(state, pairs, "mean")
    assert max(cramped.asked[1:]) <= 40
    with remembered(room.most_atoms) as later:
        cramped.asked.clear()
        Evaluator(cramped).evaluate(state, pairs, "mean")
        assert (later.most_atoms, max(cramped.asked)) == (56, 40)
    assert Evaluator(cramped).room.most_atoms is None, "outside, nothing is known"


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.none() | st.integers(1, 200),
)
def test_parts_hold_every_replica_once_and_no_more_atoms_than_fit(sizes, most_atoms):
    found = _ranges(sizes, most_atoms)
    assert [system for part in found for system in part] == list(range(len(sizes)))
    for part in found:
        n_atoms = sum(sizes[k] for k in part)
        assert most_atoms is None or n_atoms <= most_atoms or len(part) == 1


def test_devices_have_names():
    assert device_name(torch.device("cpu")) == "cpu"
