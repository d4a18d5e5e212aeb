"""What `run` says while it works: one line for each thing that happens, none for nothing."""

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alflow.loop.campaign import OpenCampaign
    from alflow.loop.ingest import Notice
    from alflow.store import Store

LABEL_LINE_S = 5.0
"""Shortest time between two lines about labels [s]."""

_QUIET = frozenset({"labelled", "done"})


class ProgressLines:
    """Prints what happens to stderr, each line with its time in UTC."""

    def __init__(self, store: "Store") -> None:
        """Read counts from `store`."""
        self._store = store
        self._labels_told = 0.0
        self._owes_labels = False

    def opened(self, campaign: "OpenCampaign", database: str, site: str) -> None:
        """Say what is about to run and where it stands."""
        name = campaign.settings.name
        verb = "starts" if campaign.is_new else "continues"
        self._line(f"{name} {verb} on site {site}; database {database}")
        for change in campaign.changes:
            self._line(f"{change.path}: {change.old} → {change.new} ({change.reason})")

    def show(self, notice: "Notice") -> None:
        """Print a notice, or what it adds up to."""
        if notice.kind == "labelled":
            self._labels()
        elif notice.kind not in _QUIET or "/g" in notice.text:
            if self._owes_labels:
                self._labels(is_last=True)
            self._line(f"{notice.subject:<5} {notice.kind:<15} {notice.text}")

    def _labels(self, *, is_last: bool = False) -> None:
        from alflow.store.views import progress

        now = time.monotonic()
        self._owes_labels = not is_last and now - self._labels_told < LABEL_LINE_S
        if self._owes_labels:
            return
        self._labels_told = now
        last = progress(self._store).iterations[-1]
        total = last.n_pending + last.n_labelled + last.n_failed
        text = f"{last.n_labelled}/{total}"
        failed = f", {last.n_failed} failed" if last.n_failed else ""
        self._line(f"i{last.number:<4} {'label':<15} {text}{failed}")

    def _line(self, text: str) -> None:
        stamp = datetime.now(UTC).strftime("%H:%M:%SZ")
        print(f"{stamp} {text}", file=sys.stderr, flush=True)
