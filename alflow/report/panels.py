"""What a page is made of: sections of panels, and tiles at the top."""

from dataclasses import dataclass

from alflow.report.tables import Table


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that is read at a glance.

    Attributes:
        caption: What it is.
        value: The number.
        unit: Its unit, or empty.
        note: How it changed, or what it is made of.
    """

    caption: str
    value: str
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class Card:
    """A structure that can be looked at.

    Attributes:
        name: Its id.
        picture: SVG element.
        model: What the viewer needs to turn it, JSON; both are empty where it is not drawn.
        elements: Symbol and colour of each element.
        facts: What there is to know about it, a short line each.
    """

    name: str
    picture: str
    model: str
    elements: tuple[tuple[str, str], ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure, a table or pictures of structures, with their title.

    Attributes:
        title: A sentence that says what there is to see.
        figure: SVG element, empty for a table alone.
        alt: The figure in words.
        caption: What is shown and how, units and definitions.
        table: Numbers behind the figure (folded), or the table itself.
        cards: Structures.
        is_wide: Whether it takes the whole width.
    """

    title: str
    figure: str = ""
    alt: str = ""
    caption: str = ""
    table: Table | None = None
    cards: tuple[Card, ...] = ()
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        name: Anchor.
        heading: Short name.
        panels: What it shows.
        empty: Sentence that says what is missing, if there is nothing to show yet.
    """

    name: str
    heading: str
    panels: tuple[Panel, ...] = ()
    empty: str = ""
