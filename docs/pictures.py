"""Makes the pictures of the README from the databases of real campaigns.

    python docs/pictures.py water.db --live running.db

The first one is a campaign that has ended (`alflow demo`), whose report is photographed by a
Chromium. The second one is a copy of the database of a campaign that runs, made by `alflow db
backup` meanwhile; its live view is drawn as of that moment. Hosts and folders do not show.
"""

import argparse
import dataclasses
import io
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from alflow.cli.screen import Room, screen
from alflow.loop.watching import seen
from alflow.report import ReportFormat, write_report
from alflow.store import open_store
from alflow.store.standing import standing

FOLDER = Path(__file__).parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MANAGER = "login1 (pid 4711)"
WIDTH, COLORS, SCALE = 1000, 64, 2
"""Width of the page [CSS pixels], colours of the picture, pixels of it for each of the page."""
ROOM = Room(width=100, height=22)


def report_picture(database: Path, picture: Path, height: int) -> None:
    """Photograph the top of a report."""
    with tempfile.TemporaryDirectory() as folder:
        page, photo = Path(folder) / "report.html", Path(folder) / "report.png"
        # From its own folder, as its path is in the report.
        with chdir(database.parent), open_store(database.name, read_only=True) as store:
            write_report(store, page, ReportFormat.HTML)
        subprocess.run(
            [
                browser(),
                *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                f"--user-data-dir={folder}/browser",
                f"--force-device-scale-factor={SCALE}",
                f"--window-size={WIDTH},{height}",
                "--virtual-time-budget=5000",
                f"--screenshot={photo}",
                page.as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with Image.open(photo) as image:
            image.convert("RGB").quantize(COLORS).save(picture, optimize=True)


def browser() -> str:
    """The first browser that is installed.

    Raises:
        SystemExit: If none is.
    """
    for name in BROWSERS:
        if (path := shutil.which(name)) is not None:
            return path
    raise SystemExit(f"none of these is installed: {', '.join(BROWSERS)}")


def live_picture(database: Path, picture: Path) -> None:
    """Draw the live view, as it was when the database was copied."""
    with open_store(str(database), read_only=True) as store, store.read() as connection:
        view = standing(connection)
    manager, now = view.manager, time.time()
    if manager.silent_s is not None and not manager.is_released:
        now -= manager.silent_s
        manager = dataclasses.replace(manager, alive=True, holder=MANAGER, silent_s=1.0)
        view = dataclasses.replace(view, manager=manager)
    name = f"{view.campaign}.db"
    console = Console(record=True, width=ROOM.width, file=io.StringIO())
    for line in screen(seen(view, None, {}, now), name, ROOM):
        console.print(line)
    title = f"alflow watch {name}"
    # Without the font that the template would fetch from elsewhere: any monospaced one does.
    template = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    drawn = console.export_svg(title=title, code_format=template, unique_id="live")
    picture.write_text(drawn, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("database", type=Path, help="campaign that has ended")
    parser.add_argument(
        "--live", type=Path, help="copy of the database of a running campaign"
    )
    parser.add_argument("--height", type=int, default=1100, help="of the report, in pixels")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where pictures go")
    given = parser.parse_args(arguments)
    given.folder.mkdir(exist_ok=True)
    report_picture(given.database, given.folder / "report.png", given.height)
    live_picture(given.live or given.database, given.folder / "live.svg")
    for picture in sorted(given.folder.iterdir()):
        print(f"{picture.name}: {picture.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
