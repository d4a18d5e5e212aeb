"""Draws with matplotlib into SVG that can stand inside a page, always the same bytes."""

import base64
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#6B7280"
INK, LINE = "#1F2933", "#D5DAE1"
"""Okabe-Ito colours, and what text and axes are drawn with."""

SMALL, WIDE = (4.7, 3.1), (9.6, 2.8)
"""Sizes of figures [inch]: half and full width of the page."""

MAX_COLOURS = 96
"""Colours of a picture inside a figure, shades and transparency included."""

_STYLE: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 9,
    "axes.unicode_minus": True,
    "grid.color": "#E9ECF0",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.dpi": 72,
    "savefig.dpi": 120,
    "image.composite_image": False,
}


def draw(
    name: str, paint: Callable[["Figure", "Axes"], None], size: tuple[float, float] = SMALL
) -> str:
    """The SVG element that `paint` draws, without anything that changes between runs.

    Args:
        name: Name of the figure, unique in a page: it prefixes all ids.
        paint: Draws into a figure and its axes.
        size: Width and height [inch].
    """
    import matplotlib as mpl

    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        figure.patch.set_alpha(0.0)
        axes.patch.set_alpha(0.0)
        paint(figure, axes)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return embeddable(buffer.getvalue(), name)


def plain_log(axis: "Axis", digits: Sequence[float]) -> None:
    """Label a log axis with plain numbers, at powers of ten times these digits."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def embeddable(document: str, name: str) -> str:
    """An SVG document as an element: no prologue, no foreign names, ids prefixed."""
    body = document[document.index("<svg") :]
    for unwanted in (
        r"<metadata>.*?</metadata>",
        r"<!--.*?-->",
        r"<defs>\s*<style.*?</style>\s*</defs>",
        r'\sxmlns(?::\w+)?="[^"]*"',
        r"\s?font-family: 'DejaVu Sans'[^;\"]*;?",
    ):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    for side in ("width", "height"):
        body = re.sub(rf'(<svg[^>]*?)\s{side}="[^"]*"', r"\1", body, count=1)
    body = _named(body.replace("xlink:href=", "href="), name)
    body = re.sub(r"(data:image/png;base64,)([^\"]+)", _fewer_colours, body)
    return re.sub(r">\s+<", ">\n<", _compact(body)).strip()


def _fewer_colours(found: re.Match[str]) -> str:
    """A picture with as many colours as a figure needs: a third of the size, and looks the same."""
    from PIL import Image  # what matplotlib writes pictures with

    content = base64.b64decode(re.sub(r"\s", "", found[2]))
    with Image.open(io.BytesIO(content)) as picture:
        few = picture.convert("RGBA").quantize(MAX_COLOURS, Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    few.save(buffer, "png", optimize=True)
    return found[1] + base64.b64encode(buffer.getvalue()).decode()


def _named(body: str, name: str) -> str:
    """Keep the ids that something refers to, with the name of the figure before them."""
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))

    def renamed(found: re.Match[str]) -> str:
        return f' id="{name}-{found[1]}"' if found[1] in used else ""

    body = re.sub(r'\sid="([^"]+)"', renamed, body)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)


def _compact(body: str) -> str:
    """Coordinates to a tenth of a point, the style of a shape without what is the default."""
    geometry = r'\b(?:d|x|y|width|height|transform)="[^"]*"'
    body = re.sub(geometry, lambda found: _rounded(found.group()), body)
    body = re.sub(r" ?stroke-linejoin: miter;?| ?stroke-miterlimit: \d+;?", "", body)
    body = re.sub(r'\stransform="rotate\(-?0 [^"]*"|\sstyle="\s*"', "", body)
    while True:
        plain = re.sub(r"<g>\s*(<(?:use|path|text)\b[^<]*(?:</text>)?)\s*</g>", r"\1", body)
        if plain == body:
            return body
        body = plain


def _rounded(text: str) -> str:
    short = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found.group()):.1f}", text)
    return re.sub(r"\s+", " ", re.sub(r"(\d)\.0\b", r"\1", short)).replace(' "', '"')
