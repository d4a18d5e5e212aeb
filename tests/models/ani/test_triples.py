"""Every triple once, in rows."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from alflow.models.ani.triples import OrderedTriples, UnorderedTriples

counts = st.integers(1, 3).flatmap(
    lambda n_elements: st.lists(
        st.lists(st.integers(0, 7), min_size=n_elements, max_size=n_elements),
        min_size=1,
        max_size=4,
    )
)


def spokes_of(counts):
    """(centre, element) of each spoke."""
    return [
        (centre, element)
        for centre, row in enumerate(counts)
        for element, count in enumerate(row)
        for _ in range(count)
    ]


@given(counts=counts, width=st.integers(1, 5))
def test_each_two_neighbours_meet_once(counts, width):
    n_elements = len(counts[0])
    elements = list(itertools.combinations_with_replacement(range(n_elements), 2))
    spokes = spokes_of(counts)
    expected = sorted(
        (centre * len(elements) + elements.index((spokes[p][1], spokes[q][1])), p, q)
        for p, q in itertools.combinations(range(len(spokes)), 2)
        for centre in [spokes[p][0]]
        if spokes[q][0] == centre
    )
    triples = UnorderedTriples(torch.tensor(counts), width)
    slots = triples.slots(slice(0, len(triples)))
    found = sorted(
        (group, min(p, q), max(p, q))
        for group, ps, qs, used in zip(
            slots.group.tolist(),
            slots.p.tolist(),
            slots.q.tolist(),
            slots.used.tolist(),
            strict=True,
        )
        for p, q, is_used in zip(ps, qs, used, strict=True)
        if is_used
    )
    assert found == expected
    if len(triples):
        assert int(torch.stack([slots.p, slots.q]).max()) < len(spokes)
        assert (slots.p != slots.q).all()


@given(counts=counts, width=st.integers(1, 5))
def test_each_neighbour_meets_each_other(counts, width):
    n_elements = len(counts[0])
    spokes = spokes_of(counts)
    expected = sorted(
        (p * n_elements + spokes[q][1], p, q)
        for p, q in itertools.permutations(range(len(spokes)), 2)
        if spokes[p][0] == spokes[q][0]
    )
    group = torch.tensor([c * n_elements + e for c, e in spokes], dtype=torch.long)
    triples = OrderedTriples(torch.tensor(counts), group, width)
    slots = triples.slots(slice(0, len(triples)))
    used = slots.used
    groups = slots.group[:, None].expand_as(used)
    columns = (values[used].tolist() for values in (groups, slots.p, slots.q))
    assert sorted(zip(*columns, strict=True)) == expected
    assert len(triples) == 0 or bool((slots.p == slots.p[:, :1]).all())


def test_slots_in_parts_are_the_slots():
    triples = UnorderedTriples(torch.tensor([[5, 3], [0, 0], [4, 7]]), 4)
    whole = triples.slots(slice(0, len(triples)))
    parts = [triples.slots(slice(k, k + 3)) for k in range(0, len(triples), 3)]
    assert torch.equal(torch.cat([part.q for part in parts]), whole.q)
    assert torch.equal(torch.cat([part.used for part in parts]), whole.used)
