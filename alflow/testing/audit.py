"""What is left of a campaign, counted: what is missing, what is there or was done twice."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alflow.store import Store, open_store
from alflow.store.codec import hashes_from
from alflow.store.rows import EnsembleState
from alflow.store.views import progress

_NATURAL_KEYS = {
    "label": "structure_id, lot_id, rev",
    "label_item": "structure_id, lot_id, rev",
    "task": "campaign_id, key",
    "iteration": "campaign_id, number",
    "snapshot": "campaign_id, seq",
    "ensemble": "campaign_id, generation",
    "model": "ensemble_id, member",
    "trajectory": "task_id, position",
    "candidate": "iteration_id, structure_id",
    "campaign_structure": "campaign_id, structure_id",
}
"""Tables, and what may be there only once."""

_ONCE = (
    "iteration-started",
    "iteration-ended",
    "candidates-selected",
    "generation-planned",
    "generation-accepted",
    "generation-refused",
)
"""Kinds of events that tell of one effect each."""

_ROWS = {
    "structure": "SELECT hash FROM structure",
    "label": "SELECT s.hash, l.content_sha FROM label l JOIN structure s ON s.id = l.structure_id",
    "task": "SELECT key, state FROM task",
    "generation": "SELECT generation, weights_sha FROM ensemble",
    "candidate": "SELECT i.number, s.hash, c.decision FROM candidate c "
    "JOIN iteration i ON i.id = c.iteration_id JOIN structure s ON s.id = c.structure_id",
    "statistic": "SELECT i.number, t.name, t.value FROM iteration_stat t "
    "JOIN iteration i ON i.id = t.iteration_id",
}
"""What a campaign is for, by what it is called in every database."""

Rows = frozenset[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a campaign that has ended.

    Attributes:
        digest: Checksum of its content.
        state: Its final state.
        rows: What a campaign is for, comparable with another one's.
        lost: Results on disk that are not in the store.
        duplicates: Effects that are there twice, and work that was done again although its result
            was there.
        n_done: Label calculations and other tasks, each once.
        n_executed: How often they were executed, parts included.
    """

    digest: str
    state: str
    rows: Rows
    lost: tuple[str, ...]
    duplicates: tuple[str, ...]
    n_done: int
    n_executed: int


@dataclass(frozen=True, slots=True)
class _Try:
    """An attempt that a worker took.

    Attributes:
        began: When [s since 1970, by the file system].
        ended: When its result was there; None without a good result.
        items: When each committed item was there.
    """

    began: float
    ended: float | None
    items: dict[str, float]


def audit(database: str, root: Path) -> Findings:
    """Look through a campaign that has ended.

    Args:
        database: Its database, file or URL.
        root: Its directory.
    """
    with open_store(database, read_only=True) as store:
        view = progress(store)
        facts = _TaskFacts(store)
        lost, duplicates = list(_lost_weights(store)), list(_double_rows(store))
        n_done = n_executed = 0
        for task_id, asked in facts.tasks.items():
            tries = list(_tries(root / "tasks" / str(task_id)))
            lost += _lost(asked, tries, facts.settled)
            duplicates += _done_again(asked, tries)
            n_done += len(asked.items) or 1
            n_executed += _executions(asked, tries)
        return Findings(
            digest=store.content_digest(),
            state=view.state,
            rows=_rows(store),
            lost=tuple(lost),
            duplicates=tuple(duplicates),
            n_done=n_done,
            n_executed=n_executed,
        )


def missing(reference: Findings, found: Findings) -> list[str]:
    """What the reference has and the other one has not."""
    return sorted(map(str, reference.rows - found.rows))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A task: its key, the hashes of its structures, its state."""

    key: str
    items: tuple[str, ...]
    state: str


class _TaskFacts:
    """Tasks, and the structures whose label is there or is known to have failed."""

    def __init__(self, store: Store) -> None:
        with store.read() as connection:
            tasks = connection.exec_driver_sql(
                "SELECT id, key, item_hashes, state FROM task"
            ).all()
            settled = connection.exec_driver_sql(
                "SELECT s.hash FROM label_item i JOIN structure s ON s.id = i.structure_id "
                "WHERE i.state != 'pending'"
            ).all()
        self.tasks = {
            int(number): _Asked(str(key), hashes_from(items), str(state))
            for number, key, items, state in tasks
        }
        self.settled = {bytes(row[0]).hex() for row in settled}


def _rows(store: Store) -> Rows:
    with store.read() as connection:
        return frozenset(
            (kind, *(_plain(value) for value in row))
            for kind, query in _ROWS.items()
            for row in connection.exec_driver_sql(query)
        )


def _plain(value: Any) -> Any:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def _double_rows(store: Store) -> Iterator[str]:
    queries = {
        f"{table} ({key})": f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1"  # noqa: S608
        for table, key in _NATURAL_KEYS.items()
    }
    queries["attempt (task_id)"] = (
        "SELECT task_id FROM attempt WHERE state = 'done' GROUP BY task_id HAVING count(*) > 1"
    )
    kinds = ", ".join(f"'{kind}'" for kind in _ONCE)
    queries["event (kind, subject)"] = (
        f"SELECT kind, subject FROM event WHERE kind IN ({kinds}) "  # noqa: S608
        "GROUP BY kind, subject HAVING count(*) > 1 + (SELECT count(*) FROM event AS back "
        "WHERE back.kind = 'generation-withdrawn' AND back.subject = event.subject)"
    )
    with store.read() as connection:
        for what, query in queries.items():
            for row in connection.exec_driver_sql(query):
                yield f"{what}: {tuple(row)}"


def _lost_weights(store: Store) -> Iterator[str]:
    for generation in progress(store).generations:
        if generation.state not in (EnsembleState.READY, EnsembleState.REJECTED):
            yield f"generation g{generation.number} is {generation.state}"
        else:
            store.weights(generation.number)


def _tries(folder: Path) -> Iterator[_Try]:
    """Attempts of a task that a worker took, in the order of their beginning."""
    found = []
    for attempt in (folder / "attempts").glob("*-*"):
        claim = _content(attempt / "claim.json")
        if claim is None or claim["is_revoked"]:
            continue
        result = _content(attempt / "result.json")
        is_good = result is not None and result["failure"] is None
        items = {
            path.stem: path.stat().st_mtime
            for path in (attempt / "out" / "items").glob("[!.]*.json")
        }
        ended = (attempt / "result.json").stat().st_mtime if is_good else None
        found.append(_Try((attempt / "claim.json").stat().st_mtime, ended, items))
    yield from sorted(found, key=lambda one: one.began)


def _content(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None


def _lost(asked: _Asked, tries: list[_Try], settled: set[str]) -> list[str]:
    """Results on disk that have not come into the store."""
    items = {item for one in tries for item in one.items}
    lost = [f"label of {item}" for item in sorted(items - settled)]
    if asked.state != "done" and any(one.ended is not None for one in tries):
        lost.append(f"result of {asked.key}")
    return lost


def _done_again(asked: _Asked, tries: list[_Try]) -> list[str]:
    """What was begun after its result had been committed."""
    found = []
    first: dict[str, float] = {}
    for one in tries:
        found += [
            f"label of {item} computed again"
            for item in one.items
            if item in first and first[item] < one.began
        ]
        for item, moment in one.items.items():
            first.setdefault(item, moment)
    ends = [one.ended for one in tries if one.ended is not None]
    if not asked.items and any(one.began > min(ends) for one in tries if ends):
        found.append(f"{asked.key} run again")
    return found


def _executions(asked: _Asked, tries: list[_Try]) -> int:
    """How often the items of a task, or the task, were executed; one that died counts as one."""
    if not asked.items:
        return len(tries)
    counts: dict[str, int] = defaultdict(int)
    for one in tries:
        for item in one.items:
            counts[item] += 1
    return sum(counts.values()) + sum(one.ended is None for one in tries)
