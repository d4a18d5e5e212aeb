"""A second page to explore sampled structures with chemiscope: a map beside each structure."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SiteError
from alflow.core.structures import Structure
from alflow.report.readings import text_at
from alflow.store import Store
from alflow.store.explored import Explored, explored, level_number

MAX_STRUCTURES = 2000
"""Frames of an explorer; half of them were chosen for a label, where there are enough."""

SCRIPT = Path("sphinx", "static", "chemiscope.min.js")
"""Where the chemiscope package has its viewer."""


def render_explorer(store: Store) -> str:
    """The page: chemiscope and the frames of a campaign, in one file that fetches nothing.

    Raises:
        SiteError: If chemiscope is not installed.
        StoreError: If the database cannot be read.
    """
    import jinja2
    from markupsafe import Markup

    script = viewer()
    campaign = store.campaign()
    with store.read() as connection:
        level = level_number(connection, text_at(campaign.config, "label", "primary"))
        frames = explored(connection, level, MAX_STRUCTURES)
    content = dataset(campaign.name, frames)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("alflow.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("explorer.html.j2").render(
        campaign=campaign.name,
        n=len(frames),
        script=Markup(_inline(script)),  # noqa: S704
        dataset=Markup(json.dumps(content).replace("<", "\\u003c")),  # noqa: S704
    )


def viewer() -> str:
    """The script of chemiscope that is installed here.

    Raises:
        SiteError: If there is none.
    """
    found = find_spec("chemiscope")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / SCRIPT
        if path.is_file():
            return path.read_text("utf-8")
    raise SiteError(
        "the explorer shows structures with chemiscope, which is not installed here",
        code="AL201",
        consequence="No explorer was written.",
        next_step='python -m pip install "alflow[explore]"',
    )


def _inline(script: str) -> str:
    """A script, or JSON, whose texts do not end the element which it stands in."""
    return re.sub(r"<(/?script|!--)", r"\\x3c\1", script, flags=re.IGNORECASE)


def dataset(name: str, frames: Sequence[Explored]) -> dict[str, Any]:
    """What chemiscope shows, JSON-like; null where there is no number. Pure.

    Args:
        name: Name of the campaign.
        frames: The frames, in the order in which they are numbered.
    """
    columns: dict[str, tuple[Sequence[Any], str, str]] = {
        "force spread": (
            [one.force_spread for one in frames],
            "eV/Å",
            "largest force spread of any atom, by the generation that sampled the frame",
        ),
        "energy": ([one.energy for one in frames], "eV/atom", "energy of the label"),
        "force error": (
            [one.force_error for one in frames],
            "eV/Å",
            "error of that generation about the label, per component",
        ),
        "energy error": (
            [one.energy_error for one in frames],
            "eV/atom",
            "error of that generation about the label",
        ),
        "iteration": ([one.iteration for one in frames], "", "iteration that sampled it"),
        "structure id": ([one.structure_id for one in frames], "", "alflow show s-ID"),
        "reason": ([one.reason for one in frames], "", "flagged, or drawn at random"),
        "decision": ([one.decision for one in frames], "", "what acquisition decided"),
        "sampler": ([one.sampler for one in frames], "", "sampler that found it"),
    }
    place = principal_components([one.fingerprint for one in frames])
    if place is not None:
        what = "principal component of the descriptors of whole structures"
        columns |= {
            f"component {k + 1}": (place[:, k].tolist(), "", what) for k in range(2)
        }
    axes = (
        ("component 1", "component 2")
        if place is not None
        else ("iteration", "force spread")
    )
    properties = {
        key: _property(values, unit, what)
        for key, (values, unit, what) in columns.items()
        if any(value is not None for value in _plain(values))
    }
    return {
        "meta": {"name": name, "description": "Frames that were sampled", "authors": []},
        "structures": [_structure(one.structure) for one in frames],
        "properties": properties,
        "settings": _settings(axes, properties),
    }


def _property(values: Sequence[Any], unit: str, what: str) -> dict[str, Any]:
    units = {"units": unit} if unit else {}
    return {"target": "structure", "values": _plain(values), "description": what, **units}


def _plain(values: Sequence[Any]) -> list[Any]:
    """The values, None for a number that is not finite."""
    return [
        None if isinstance(value, float) and not math.isfinite(value) else value
        for value in values
    ]


def _settings(axes: tuple[str, str], properties: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown at first."""
    x, y = axes
    shown = {"x": {"property": x}, "y": {"property": y}, "symbol": "reason"}
    if "force spread" in properties:
        shown["color"] = {"property": "force spread"}
    return {"map": shown, "structure": [{"unitCell": True, "bonds": True}]}


def _structure(one: Structure) -> dict[str, Any]:
    x, y, z = np.round(one.positions.T, 3).tolist()
    cell = {} if one.cell is None else {"cell": np.round(one.cell, 4).ravel().tolist()}
    names = [SYMBOLS[number] for number in one.numbers]
    return {"size": len(names), "names": names, "x": x, "y": y, "z": z, **cell}


def principal_components(
    fingerprints: Sequence[Float[np.ndarray, "..."]],
) -> Float[np.ndarray, "frames 2"] | None:
    """Where frames are on the two axes along which fingerprints differ most.

    The sign of an axis is such that its largest entry is positive. None if not all frames have
    fingerprints of one length, or there are too few to tell.
    """
    lengths = {len(one) for one in fingerprints}
    if len(fingerprints) < 3 or len(lengths) != 1 or min(lengths) < 2:  # noqa: PLR2004
        return None
    values = np.stack(list(fingerprints))
    if not np.isfinite(values).all():
        return None
    _, _, axes = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    axes = axes[:2]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(2), largest])[:, None]
    found: Float[np.ndarray, "frames 2"] = np.round(
        (values - values.mean(axis=0)) @ axes.T, 6
    )
    return found
