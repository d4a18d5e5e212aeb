"""Follows a campaign on a terminal, or line by line where there is none."""

import contextlib
import logging
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live

from alflow.cli.changes import Changes, heartbeat
from alflow.cli.screen import Room, screen, shown
from alflow.cli.terminal import PREFERENCES
from alflow.core.errors import StoreError

if TYPE_CHECKING:
    from typing import TextIO

    from alflow.loop.campaign import OpenCampaign
    from alflow.loop.watching import Seen, Watcher

PERIOD_S = 2.0
"""Time between two looks at a campaign [s], on average: many who watch do not look together."""
JITTER_S = 0.4
PIECE_S = 0.2
"""Longest time until a signal is noticed [s]."""
HEARTBEAT_S = 300.0
"""Time between two lines that say how everything stands [s]."""
SHARE = 0.75
"""Share of a terminal that the view takes below the lines that `run` prints."""
FEWEST_LINES = 18
"""Lines that it takes all the same."""


class _Screen(Console):
    """A console that draws for one thread after the other.

    Rich finds out where to draw before it draws: another thread may have drawn in between. And the
    cursor stays: a process that is killed could not bring it back.
    """

    def __init__(self, **options: Any) -> None:
        """A console with these options."""
        super().__init__(**options)
        self.turn = threading.RLock()

    def print(self, *objects: Any, **options: Any) -> None:
        """Print when it is this thread's turn."""
        with self.turn:
            super().print(*objects, **options)

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002
        """Do nothing."""
        return False


def is_drawable(stream: "TextIO") -> bool:
    """Whether a view can be drawn there: on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def is_ascii(stream: "TextIO") -> bool:
    """Whether a stream can show nothing but ASCII for sure."""
    return not (stream.encoding or "").lower().replace("-", "").startswith("utf")


def line(text: str, stream: "TextIO") -> None:
    """Print a line with its time in UTC."""
    stamp = datetime.now(UTC).strftime("%H:%M:%SZ")
    print(f"{stamp} {shown(text, is_ascii=is_ascii(stream))}", file=stream, flush=True)


@dataclass(slots=True)
class Drawing:
    """A view that is drawn in place.

    Attributes:
        console: The terminal.
        live: What draws on it.
        database: The database, as a user types it.
        share: Share of the terminal that it may take.
    """

    console: _Screen
    live: Live
    database: str
    share: float
    is_ascii: bool
    _size: tuple[int, int] | None = None

    def show(self, seen: "Seen", problem: str = "") -> None:
        """Draw what is seen."""
        size = self.console.size
        if self._size not in (None, (size.width, size.height)):
            self.console.clear()  # lines that were broken differently stay else
        self._size = (size.width, size.height)
        height = min(size.height - 1, max(FEWEST_LINES, int(self.share * size.height)))
        room = Room(size.width, height, self.is_ascii)
        lines = screen(seen, self.database, room, problem)
        with self.console.turn:
            self.live.update(Group(*lines), refresh=True)


@contextlib.contextmanager
def drawing(stream: "TextIO", database: str, share: float = 1.0) -> Iterator[Drawing]:
    """A view in the last lines of a terminal; what is printed on stderr appears above it."""
    console = _Screen(
        file=stream,
        no_color=not PREFERENCES.color,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=True,
        force_interactive=True,
    )
    live = Live(
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=True,
        vertical_overflow="crop",
    )
    with live, _logging_to_stderr():
        yield Drawing(console, live, database, share, is_ascii(stream))


@contextlib.contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Log messages go where stderr leads now, not to the terminal behind it."""
    handlers = [
        one
        for one in logging.getLogger("alflow").handlers
        if isinstance(one, logging.StreamHandler)
    ]
    before = [one.setStream(sys.stderr) for one in handlers]
    try:
        yield
    finally:
        for one, stream in zip(handlers, before, strict=True):
            if stream is not None:
                one.setStream(stream)


@dataclass(slots=True)
class Lines:
    """A view for files and pipes: a line for each change, and one every few minutes.

    Attributes:
        stream: Where they go.
        changes: What is told.
    """

    stream: "TextIO"
    changes: Changes
    _beat: float = field(default_factory=time.monotonic)
    _problem: str = ""

    def show(self, seen: "Seen", problem: str = "") -> None:
        """Print what has changed."""
        if problem != self._problem:
            self._problem = problem
            if problem:
                line(problem, self.stream)
        if not problem:
            for text in self.changes.since(seen):
                line(text, self.stream)
        if time.monotonic() - self._beat >= HEARTBEAT_S:
            self._beat = time.monotonic()
            line(heartbeat(seen, self.changes.database), self.stream)


View = Drawing | Lines
"""Where what is seen is shown."""


@contextlib.contextmanager
def view_on(stream: "TextIO", database: str) -> Iterator[View]:
    """What suits the stream."""
    if is_drawable(stream):
        with drawing(stream, database) as view:
            yield view
    else:
        yield Lines(stream, Changes(database))


def follow(watcher: "Watcher", view: View, pause: Callable[[float], bool]) -> "Seen":
    """Look again and again, until the campaign ends or `pause` says that it is enough.

    Returns:
        What was seen last.

    Raises:
        StoreError: If the first look fails; later ones are tried again.
    """
    seen = watcher.look(time.time())
    view.show(seen)
    while seen.standing.state == "running" and not pause(_delay()):
        problem = ""
        try:
            seen = watcher.look(time.time())
        except StoreError as error:
            problem = f"tries again: {error.message}"
        view.show(seen, problem)
    return seen


def _delay() -> float:
    return PERIOD_S + random.uniform(-JITTER_S, JITTER_S)  # noqa: S311 - no secret


@contextlib.contextmanager
def keys(asked: Sequence[int]) -> Iterator[Callable[[float], bool]]:
    """A function that waits so many seconds; True as soon as somebody types q.

    The terminal is as it was afterwards.

    Args:
        asked: Signals that were received: one is as good as a q.
    """
    if not sys.stdin.isatty():
        yield lambda seconds: _waited(seconds, asked, time.sleep)
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def typed_q(seconds: float) -> bool:
        if not select.select([descriptor], [], [], seconds)[0]:
            return False
        typed = os.read(descriptor, 64)
        return not typed or b"q" in typed.lower()

    def pause(seconds: float) -> bool:
        # After a stop by the shell and `fg` the terminal is the shell's again.
        tty.setcbreak(descriptor, termios.TCSANOW)
        return _waited(seconds, asked, typed_q)

    try:
        yield pause
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _waited(
    seconds: float, asked: Sequence[int], wait: Callable[[float], bool | None]
) -> bool:
    """Wait in short pieces, as a signal does not end one; whether somebody wants to leave."""
    end = time.monotonic() + seconds
    while not asked and (left := end - time.monotonic()) > 0:
        if wait(min(left, PIECE_S)):
            return True
    return bool(asked)


@contextlib.contextmanager
def beside(campaign: "OpenCampaign", database: str) -> Iterator[None]:
    """While the manager works: the view where stderr is a terminal, else a line now and then."""
    from alflow.loop.watching import Watcher
    from alflow.store import Store

    if PREFERENCES.verbosity < 0:
        yield
        return
    # A store of its own on the same connections: a thread may not use the manager's.
    watcher = Watcher(Store(campaign.store.database), campaign.files)
    stop = threading.Event()
    if not is_drawable(sys.stderr):
        with _thread(lambda: _beat(watcher, database, stop), stop):
            yield
        return
    with (
        drawing(sys.stderr, database, SHARE) as view,
        _thread(lambda: _draw(watcher, view, stop), stop),
    ):
        yield


@contextlib.contextmanager
def _thread(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, name="alflow-view", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _draw(watcher: "Watcher", view: View, stop: threading.Event) -> None:
    is_last = False
    while not is_last:
        is_last = stop.is_set()
        with contextlib.suppress(StoreError):  # the manager says what is wrong
            view.show(watcher.look(time.time()))
        stop.wait(0 if is_last else _delay())


def _beat(watcher: "Watcher", database: str, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with contextlib.suppress(StoreError):
            line(heartbeat(watcher.look(time.time()), database), sys.stderr)
