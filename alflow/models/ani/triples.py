"""Pairs of neighbours of an atom, in rows of equal width, so that dense products sum over them.

Triples of one atom and one pair of elements form a group. A group fills as many rows as it
needs; slots of its last row that are left over repeat its last triple and carry no weight.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Slots:
    """The triples in some rows.

    Attributes:
        p: Spoke to one neighbour, (rows, width).
        q: Spoke to the other neighbour, (rows, width).
        used: Whether the slot holds a triple of its own, (rows, width).
        group: Group of each row, (rows,).
    """

    p: Int[Tensor, "rows width"]
    q: Int[Tensor, "rows width"]
    used: Bool[Tensor, "rows width"]
    group: Int[Tensor, " rows"]


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """Rows that groups of given sizes fill.

    Attributes:
        sizes: Number of triples of each group, (groups,).
        group: Group of each row, (rows,).
        offset: Number within its group of the first triple of each row, (rows,).
        width: Number of slots in a row.
    """

    sizes: Int[Tensor, " groups"]
    group: Int[Tensor, " rows"]
    offset: Int[Tensor, " rows"]
    width: int

    @classmethod
    def filled(cls, sizes: Int[Tensor, " groups"], width: int) -> "_Rows":
        n_rows = (sizes + (width - 1)) // width
        group = torch.repeat_interleave(n_rows)
        first = torch.cumsum(n_rows, 0) - n_rows
        rows = torch.arange(len(group), device=sizes.device)
        return cls(sizes, group, (rows - first[group]) * width, width)

    def numbers(self, part: slice) -> tuple[Tensor, Tensor]:
        """Number within its group of the triple in each slot, and whether the slot is used."""
        number = self.offset[part, None] + torch.arange(
            self.width, device=self.offset.device
        )
        size = self.sizes[self.group[part], None]
        return torch.minimum(number, size - 1), number < size


class UnorderedTriples:
    """Every two neighbours of an atom, once; groups are (atom, pair of elements).

    Spokes must be sorted by (centre, element of the neighbour).
    """

    def __init__(self, counts: Int[Tensor, "atoms elements"], width: int) -> None:
        """Lay the triples out.

        Args:
            counts: Number of spokes of each atom to each element, (atoms, elements).
            width: Number of slots in a row.
        """
        first, second = torch.triu_indices(*(counts.shape[1:] * 2), device=counts.device)
        starts = (torch.cumsum(counts.flatten(), 0) - counts.flatten()).view_as(counts)
        self._start_p, self._start_q = (
            starts[:, first].flatten(),
            starts[:, second].flatten(),
        )
        self._n_p, n_q = counts[:, first].flatten(), counts[:, second].flatten()
        self._same = (first == second).repeat(len(counts))
        # Two of the same element: a tournament. Players in a circle, an odd number of them; line
        # k meets the next (odd - 1) / 2 ones, so each two meet once. One left over meets everyone.
        self._columns = torch.where(self._same, self._n_p // 2, n_q)
        sizes = torch.where(self._same, self._n_p * (self._n_p - 1) // 2, self._n_p * n_q)
        self._rows = _Rows.filled(sizes, width)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows.group)

    def slots(self, part: slice) -> Slots:
        """Triples in some of the rows."""
        number, used = self._rows.numbers(part)
        group = self._rows.group[part]
        columns = self._columns[group, None]
        line = number // columns
        column = number - line * columns
        n_p = self._n_p[group, None]
        is_even = n_p % 2 == 0
        met = (line + column + 1) % (n_p - is_even.long()).clamp(min=1)
        met = torch.where(is_even & (column == columns - 1), n_p - 1, met)
        met = torch.where(self._same[group, None], met, column)
        return Slots(
            self._start_p[group, None] + line, self._start_q[group, None] + met, used, group
        )


class OrderedTriples:
    """Every spoke with every other of the same atom; groups are (spoke, element of the other).

    Spokes must be sorted by (centre, element of the neighbour).
    """

    def __init__(
        self,
        counts: Int[Tensor, "atoms elements"],
        spoke_group: Int[Tensor, " spokes"],
        width: int,
    ) -> None:
        """Lay the triples out.

        Args:
            counts: Number of spokes of each atom to each element, (atoms, elements).
            spoke_group: Centre times number of elements plus element of each spoke, (spokes,).
            width: Number of slots in a row.
        """
        n_elements = counts.shape[1]
        starts = (torch.cumsum(counts.flatten(), 0) - counts.flatten()).view_as(counts)
        centre, element = spoke_group // n_elements, spoke_group % n_elements
        own = element[:, None] == torch.arange(n_elements, device=counts.device)
        self._start = starts[centre].flatten()
        self._own = own.flatten()
        self._n_elements = n_elements
        self._rows = _Rows.filled((counts[centre] - own.long()).flatten(), width)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows.group)

    def slots(self, part: slice) -> Slots:
        """Triples in some of the rows; all slots of a row have the same `p`."""
        number, used = self._rows.numbers(part)
        group = self._rows.group[part]
        p = (group // self._n_elements)[:, None].expand_as(number)
        q = self._start[group, None] + number
        q = q + (self._own[group, None] & (q >= p)).long()
        return Slots(p, q, used, group)
