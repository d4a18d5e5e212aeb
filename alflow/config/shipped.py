"""Where the workflows and site files are that come with alflow."""

from pathlib import Path

from alflow.core.errors import SettingsError, closest

PACKAGE = Path(__file__).resolve().parent.parent


def shipped_folder(name: str) -> Path:
    """A folder that ships with alflow: `workflows` or `site_configs`.

    An installed alflow has it inside the package, a clone beside it.

    Raises:
        SettingsError: If this installation has no such folder.
    """
    for candidate in (PACKAGE / "_shipped" / name, PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise SettingsError(
        f"this installation of alflow has no folder {name!r}",
        code="AL103",
        next_step="install alflow again, from a wheel or a complete clone",
    )


def templates() -> dict[str, Path]:
    """Folders of the complete campaigns that come with alflow, by name."""
    folder = shipped_folder("workflows")
    return {
        entry.parent.name: entry.parent for entry in sorted(folder.glob("*/campaign.yaml"))
    }


def template(name: str) -> Path:
    """The folder of one complete campaign.

    Raises:
        SettingsError: If there is none of that name; names the closest.
    """
    known = templates()
    if name not in known:
        hint = closest(name, known)
        raise SettingsError(
            f"there is no template {name!r}"
            + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"templates: {', '.join(known) or 'none'}  (alflow init --list)",
        )
    return known[name]


def description(folder: Path) -> str:
    """What a template is about: the first comment line of its campaign file."""
    with (folder / "campaign.yaml").open(encoding="utf-8") as lines:
        comments = (line.lstrip("# ").rstrip() for line in lines if line.startswith("#"))
        return next((text for text in comments if not text.startswith("yaml-language")), "")
