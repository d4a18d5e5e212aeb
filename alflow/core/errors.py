"""What can go wrong, as a tree in which catching any node is meaningful.

    AlflowError
    ├── SettingsError        the user's file or arguments
    ├── SiteError            scheduler, worker pools, programs on this machine
    │   └── SiteLost             a site that worked and broke: a fresh manager may go on
    ├── PluginError          an installed plug-in that cannot be found or used
    ├── PassingTrouble       raised by a plug-in on a worker: try again later, at no charge
    ├── StoreError           the database
    │   ├── NotAnAlflowStore     a database of something else, or not a database
    │   ├── SchemaMismatch       written by a newer alflow
    │   ├── LeaseHeld            another manager runs this campaign
    │   └── CampaignChanged      the campaign file no longer matches the database
    └── CampaignStopped      the loop ended with work left (budget of failures, ...)

A failed calculation on a worker is not an exception: it is a `Failure` value
(`alflow.core.labels`). Any exception outside this tree is a bug in alflow.

A message has up to four parts: where, what, the consequence, and what to type next. `code`
is stable; `alflow explain CODE` expands it.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class AlflowError(Exception):
    """Base of every error that alflow raises on purpose.

    Attributes:
        code: Stable identifier, `AL` and three digits.
        consequence: What did or did not happen because of it, a sentence.
        next_step: A command to type or a thing to do, or an empty string.
    """

    exit_code: ClassVar[int] = 2
    default_code: ClassVar[str] = "AL100"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        consequence: str = "",
        next_step: str = "",
    ) -> None:
        """Keep the parts of the message; `str(error)` joins them."""
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.consequence = consequence
        self.next_step = next_step

    def __str__(self) -> str:
        """The message as a user sees it, without the code."""
        return "\n".join(
            part for part in (self.message, self.consequence, self.next_step) if part
        )


class SettingsError(AlflowError):
    """A campaign file or an argument asks for something that cannot be."""

    default_code = "AL101"


class SiteError(AlflowError):
    """This machine, its scheduler or a program on it does not do what is needed."""

    default_code = "AL200"


class SiteLost(SiteError):
    """What runs the workers broke in a way that only a new process gets rid of."""

    default_code = "AL203"


class PassingTrouble(AlflowError):
    """A trouble outside of the task that passes by itself: no licence free, a server away."""

    default_code = "AL230"


class PluginError(AlflowError):
    """A plug-in is not installed, or does not keep its contract."""

    default_code = "AL220"


class StoreError(AlflowError):
    """The database cannot be used as asked."""

    default_code = "AL300"


class NotAnAlflowStore(StoreError):
    """The file or database exists and is not an alflow store."""

    default_code = "AL302"


class SchemaMismatch(StoreError):
    """The store was written by an alflow that is newer than this one."""

    default_code = "AL303"


class LeaseHeld(StoreError):
    """Another manager holds this campaign."""

    exit_code = 4
    default_code = "AL310"


class CampaignChanged(StoreError):
    """The campaign file differs from what the store was started with."""

    default_code = "AL301"


class CampaignStopped(AlflowError):
    """The loop cannot go on and has work left."""

    exit_code = 3
    default_code = "AL400"


EXPLANATIONS: dict[str, str] = {
    "AL100": "A problem that has no more specific code.",
    "AL101": "A setting has a value that cannot be used. The message names it and the rule.",
    "AL102": "The campaign file has problems. All of them are listed at once, each with file, "
    "line and column. Nothing is started until all are mended.",
    "AL103": "A file or directory cannot be read or written.",
    "AL104": "The SQL of `alflow sql` cannot be run. It must be one statement that reads: SELECT, "
    "WITH or VALUES (on SQLite also EXPLAIN, and the PRAGMAs that tell about the schema). "
    "Nothing else is possible there, whatever the rights of the user.",
    "AL110": "A structure is malformed: shapes disagree, or a number is not finite.",
    "AL120": "A chemical symbol is not an element.",
    "AL121": "A physical quantity is outside of what is stable or sensible for this system. "
    "Where overriding makes sense, the message names the setting that does it.",
    "AL130": "A file does not say what its units are, or a unit is unknown. Units are named by "
    "--energy-unit, --length-unit, --force-unit and --stress-unit.",
    "AL131": "A file can be read in more than one way. The message names the choices and the "
    "option that chooses.",
    "AL132": "A file has a mistake that runs through it, such as wrong units or gradients "
    "instead of forces, or none of its frames can be used. Nothing of it was imported. The "
    "message says what the numbers show and which options mend it.",
    "AL140": "A generation cannot be trained: too few labels, labels without what the loss asks "
    "for, or weights of the parent generation that do not fit. The message says which, and what "
    "to set.",
    "AL200": "The site (worker pools, scheduler, programs) is not usable as configured.",
    "AL201": "A program or library that the campaign needs is not installed here.",
    "AL202": "A pool gets no workers: its blocks end before a worker answers, or its workers run "
    "another Parsl or Python than the manager. Other pools went on as long as they had work. What "
    "is finished is kept; mend the site file or the environment of the workers, then resume.",
    "AL203": "What runs the workers broke again and again, and starting it anew did not help. The "
    "manager started itself afresh before it gave up. The logs of the campaign say more.",
    "AL210": "`alflow doctor` found something that does not work here. A line with FAIL says what: "
    "locks or WAL that do not work mean another folder, best on a disk of this machine; a network "
    "file system is explained under AL321; a site that does not load, by its own message.",
    "AL220": "A plug-in is unknown, or could not be imported.",
    "AL230": "A task met a trouble that passes, for example no free licence. It is tried again "
    "after growing waits, and is not blamed for it.",
    "AL300": "The database could not be opened, read or written.",
    "AL301": "The campaign file differs from the settings in the database. Settings that change "
    "what stored numbers mean (level of theory, seed, elements) cannot change; start a new "
    "campaign for them.",
    "AL302": "The file is not an alflow database. Nothing in it was touched.",
    "AL303": "The database was written by a newer alflow. Upgrade alflow to open it.",
    "AL304": "The database server cannot be reached, or does not let this user in. Passwords "
    "belong into ~/.pgpass or the environment; they are never stored or shown.",
    "AL310": "Another process runs this campaign. Only one manager may write to a campaign.",
    "AL320": "The tables of the database are not those of its schema revision: somebody added or "
    "changed a table, column, index, trigger or view. It is not opened, because triggers and views "
    "could run code of others, and code of alflow relies on the columns. Undo the change with the "
    "tool that made it, or go back to a backup. Own tables belong into a database of their own.",
    "AL321": "The database would be on a network file system, whose locks SQLite cannot rely on. "
    "Ways out: keep it on a disk of this machine and copy it out by `alflow db backup`; use "
    "PostgreSQL; or set ALFLOW_ALLOW_NETWORK_SQLITE=1 if only ever one process on one host uses "
    "it. Then it is kept without WAL and locked as a whole while a manager runs: status, report "
    "and backup have to wait for its end.",
    "AL322": "`alflow db check` found rows, files or pages that are not as they should be; the "
    "table names the first of each kind. Damaged pages or checksums: go back to the last backup "
    "(`alflow db check BACKUP` tells whether it is whole) and resume from it. Missing files of "
    "blobs: copy the folder NAME.db.blobs back to its database. Nothing is mended by itself.",
    "AL323": "A copy of a campaign was refused or undone: the target must be new or empty, and in "
    "the end every value of every table must be the same on both sides. The source is not touched.",
    "AL324": "A backup could not be made. The message says why; there is no half a backup.",
    "AL400": "The campaign stopped with work left. The message says why and how to go on.",
}
"""One paragraph for every code; shown by `alflow explain CODE`."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is spelt most like `word`, or None if none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
