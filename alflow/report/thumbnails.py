"""Structures as small pictures: what a page needs to draw and turn them. Pure."""

import json
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, Int64, UInt8

from alflow.core.elements import COVALENT_RADII_A, SYMBOLS
from alflow.core.structures import Structure
from alflow.report import svg

MAX_ATOMS = 500
"""A structure with more atoms is not drawn: at this size nothing could be told apart."""

STEP_A = 0.01
"""Positions are rounded to multiples of this [Å]: finer than a pixel."""

BOND_FACTOR = 1.2
"""Atoms closer than this many sums of their covalent radii are drawn bonded."""

ATOM_FACTOR = 0.55
"""Radius of a drawn atom, in covalent radii."""

YAW, PITCH = 0.45, 0.30
"""View that a picture begins with: turns about the vertical and the horizontal axis [rad]."""

N_LAYERS, HAZE = 6, 0.55
"""Slices in depth of the still picture, and how much of its colour the last one loses."""

SIZE = 400
"""Side of the still picture, in units of half a pixel or so."""

NONMETALS = frozenset(
    (1, 2, *range(5, 11), *range(14, 19), *range(33, 37), *range(52, 55), 86)
)
"""Elements whose atoms are drawn with bonds; among metals everything touches."""

COLOURS = {
    1: "#D5DAE1",
    6: svg.INK,
    7: svg.BLUE,
    8: svg.VERMILION,
    9: svg.GREEN,
    15: svg.ORANGE,
    16: svg.YELLOW,
    17: svg.GREEN,
}
"""Okabe-Ito colours nearest to those that chemists are used to."""

OTHERS = (svg.SKY, svg.PURPLE, svg.ORANGE, svg.GREEN, svg.YELLOW, svg.GREY)
"""Colours of all other elements, in turn by atomic number."""


@dataclass(frozen=True, eq=False, slots=True)
class Thumbnail:
    """A structure as it is drawn: wrapped into its cell, about the origin, x to the right, y up.

    Attributes:
        numbers: Atomic numbers, (atoms,).
        positions: Where the atoms are [Å], (atoms, 3).
        bonds: Pairs of atoms that are drawn bonded, (bonds, 2).
        edges: Ends of the edges of the cell [Å], (edges, 2, 3); none without a cell.
        ringed: The atom with a ring around it, None without one.
    """

    numbers: UInt8[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    bonds: Int64[np.ndarray, "bonds 2"]
    edges: Float[np.ndarray, "edges 2 3"]
    ringed: int | None = None


def thumbnail(structure: Structure, ringed: int | None = None) -> Thumbnail | None:
    """A structure made ready for drawing; None if it has too many atoms for that."""
    if len(structure.numbers) > MAX_ATOMS:
        return None
    positions, edges = _wrapped(structure), np.zeros((0, 2, 3))
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    if structure.cell is not None:
        middle = structure.cell.sum(axis=0) / 2
        edges = _edges(structure.cell) - middle
    return Thumbnail(
        structure.numbers,
        _seen(positions - middle),
        _bonds(structure.numbers, positions),
        _seen(edges),
        ringed,
    )


def _wrapped(structure: Structure) -> Float[np.ndarray, "atoms 3"]:
    """Positions with every atom inside the cell, along the vectors that are periodic."""
    if structure.cell is None:
        return structure.positions
    inside = np.linalg.solve(structure.cell.T, structure.positions.T).T
    inside[:, structure.pbc] %= 1.0
    wrapped: Float[np.ndarray, "atoms 3"] = inside @ structure.cell
    return wrapped


def _edges(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "12 2 3"]:
    corners = np.array([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)])
    pairs = [(k, k | bit) for bit in (1, 2, 4) for k in range(8) if not k & bit]
    found: Float[np.ndarray, "12 2 3"] = (corners @ cell)[np.array(pairs)]
    return found


def _bonds(
    numbers: UInt8[np.ndarray, " atoms"], positions: Float[np.ndarray, "atoms 3"]
) -> Int64[np.ndarray, "bonds 2"]:
    """Close pairs, of which one at least is no metal."""
    radii = COVALENT_RADII_A[numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    close = distances < BOND_FACTOR * (radii[:, None] + radii[None])
    has_bonds = np.isin(numbers, list(NONMETALS))
    return np.argwhere(np.triu(close & (has_bonds[:, None] | has_bonds[None]), 1))


def _seen(points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Points from where the picture begins, rounded."""
    c, s = np.cos(YAW), np.sin(YAW)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(PITCH), np.sin(PITCH)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    turned: Float[np.ndarray, "*n 3"] = points @ (about_x @ about_y).T
    return np.rint(turned / STEP_A) * STEP_A + 0.0


def colours(numbers: UInt8[np.ndarray, " atoms"]) -> dict[int, str]:
    """Colour of each element that is there, by atomic number."""
    present = sorted({int(z) for z in numbers})
    others = [z for z in present if z not in COLOURS]
    turns = {z: OTHERS[k % len(OTHERS)] for k, z in enumerate(others)}
    return {z: COLOURS.get(z) or turns[z] for z in present}


def legend(numbers: UInt8[np.ndarray, " atoms"]) -> tuple[tuple[str, str], ...]:
    """Symbol and colour of each element that is there."""
    return tuple((SYMBOLS[z], colour) for z, colour in colours(numbers).items())


def model(one: Thumbnail) -> str:
    """What the viewer in the page needs, as JSON; lengths in hundredths of Å."""
    painted = colours(one.numbers)
    place = {z: k for k, z in enumerate(painted)}

    def whole(points: Float[np.ndarray, "..."]) -> list[int]:
        return np.rint(points / STEP_A).astype(int).ravel().tolist()

    radii = ATOM_FACTOR * COVALENT_RADII_A[list(painted)] / STEP_A
    value = {
        "elements": [
            [colour, round(radius)]
            for colour, radius in zip(painted.values(), radii.tolist(), strict=True)
        ],
        "kinds": [place[int(z)] for z in one.numbers],
        "atoms": whole(one.positions),
        "bonds": one.bonds.ravel().tolist(),
        "box": whole(one.edges),
        "ring": -1 if one.ringed is None else one.ringed,
        "reach": round(_reach(one) / STEP_A),
    }
    return json.dumps(value, separators=(",", ":"))


def _reach(one: Thumbnail) -> float:
    """Radius of a sphere about the origin that holds all that is drawn [Å]."""
    ends = np.concatenate([one.positions, one.edges.reshape(-1, 3)])
    largest = ATOM_FACTOR * float(COVALENT_RADII_A[one.numbers].max())
    return float(np.linalg.norm(ends, axis=1).max()) + largest


def still(one: Thumbnail, words: str) -> str:
    """The picture as an SVG element, for print and for pages without scripts.

    Args:
        one: What to draw.
        words: The picture in words.
    """
    scale = SIZE / 2 / _reach(one)
    order = np.argsort(one.positions[:, 2], kind="stable")
    layers = np.array_split(order, min(N_LAYERS, len(order)))
    parts = [_lines(one.edges * scale, "#9AA5B1", 2.0)]
    for k, atoms in enumerate(reversed(layers)):
        parts.insert(1, _slice(one, atoms, scale, HAZE * k / len(layers)))
    if one.ringed is not None:
        parts.append(_ring(one, one.ringed, scale))
    half = SIZE // 2
    return (
        f'<svg viewBox="-{half} -{half} {SIZE} {SIZE}" role="img" '
        f'aria-label="{escape(words)}" stroke-linecap="round">{"".join(parts)}</svg>'
    )


def _slice(
    one: Thumbnail, atoms: Int64[np.ndarray, " some"], scale: float, haze: float
) -> str:
    """Atoms about equally deep, on top of the bonds that end at them."""
    here = one.bonds[np.isin(one.bonds, atoms).any(axis=1)]
    parts = [_lines(one.positions[here] * scale, _mixed(svg.GREY, haze), 5.0)]
    for z, colour in colours(one.numbers).items():
        dots = one.positions[atoms[one.numbers[atoms] == z]] * scale
        # A line without length has round ends: that is a disc, in a few characters.
        path = "".join(f"M{_at(dot)}h0" for dot in dots)
        width = 2 * ATOM_FACTOR * float(COVALENT_RADII_A[z]) * scale
        for wide, tone in ((width + 3, svg.INK), (width, colour)):
            parts.append(_path(path, _mixed(tone, haze), wide))
    return "".join(parts)


def _ring(one: Thumbnail, atom: int, scale: float) -> str:
    x, y, _ = (one.positions[atom] * scale).round().astype(int).tolist()
    radius = ATOM_FACTOR * float(COVALENT_RADII_A[one.numbers[atom]]) * scale + 6
    ring = f'<circle cx="{x}" cy="{-y}" r="{radius:.0f}" fill="none"'
    return "".join(
        f'{ring} stroke="{colour}" stroke-width="{width}"/>'
        for colour, width in (("#fff", 10), (svg.VERMILION, 5))
    )


def _lines(ends: Float[np.ndarray, "lines 2 3"], colour: str, width: float) -> str:
    path = "".join(f"M{_at(a)}L{_at(b)}" for a, b in ends)
    return _path(path, colour, width)


def _path(path: str, colour: str, width: float) -> str:
    if not path:
        return ""
    return f'<path stroke="{colour}" stroke-width="{width:.0f}" d="{path}"/>'


def _at(point: Float[np.ndarray, "3"]) -> str:
    return f"{round(float(point[0]))} {round(-float(point[1]))}"


def _mixed(colour: str, white: float) -> str:
    """A colour with this share of white in it."""
    parts = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(part + white * (255 - part)):02x}" for part in parts)
