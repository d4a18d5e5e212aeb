"""Validation suites of a campaign: what is asked, what is missing, what the answers say."""

from collections.abc import Sequence
from dataclasses import dataclass

from alflow.config.campaign import CampaignSettings
from alflow.config.resolution import settings_from_resolved
from alflow.core.comparison import Compared, compared
from alflow.core.errors import SettingsError
from alflow.core.properties import SuiteResult
from alflow.core.tasks import TaskState
from alflow.loop import publish
from alflow.loop.campaign import OpenCampaign
from alflow.loop.serving import serving
from alflow.store import NewTask, Store
from alflow.store.properties import Found, asked, found
from alflow.store.views import progress


@dataclass(frozen=True, slots=True)
class Answers:
    """What suites say about a generation.

    Attributes:
        generation: Its number.
        rows: Properties beside what is known about them.
        notes: Sentences on what could not be computed, about whom first.
        open: Keys of tasks that have no answer yet.
        failed: Keys of tasks that failed.
    """

    generation: int
    rows: tuple[Compared, ...]
    notes: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def newest(store: Store) -> int:
    """Number of the generation that serves now.

    Raises:
        StoreError: If there is none yet.
    """
    view = progress(store)
    last = view.generations[-1].number if view.generations else -1
    return serving(view, last + 1)


def wanted(
    store: Store, settings: CampaignSettings, generation: int, only: str | None = None
) -> list[NewTask]:
    """Tasks whose answers `answers` compares: those of the reference, then the generation's.

    Args:
        store: The store; reading is enough.
        settings: The campaign's settings.
        generation: Number of the generation.
        only: Suites of this kind alone.

    Raises:
        SettingsError: If the campaign has no such suite.
        StoreError: If there is no such generation.
    """
    known = [suite.kind for suite in settings.validate.suites]
    if not known or (only is not None and only not in known):
        what = "no validation suites" if not known else f"no validation suite {only!r}"
        raise SettingsError(
            f"the campaign has {what}",
            next_step="name some under validate.suites in the campaign file"
            if not known
            else f"it has: {', '.join(dict.fromkeys(known))}",
        )
    sha = store.weights_sha(generation)
    iteration = min(generation, progress(store).iterations[-1].number)
    return [
        *publish.property_tasks(settings, 0, None, only=only),
        *publish.property_tasks(settings, iteration, generation, sha, only),
    ]


def ask(campaign: OpenCampaign, generation: int, only: str | None = None) -> int:
    """Publish what has not been asked yet; the number of tasks without an answer.

    Raises:
        SettingsError: If the campaign has no such suite.
        StoreError: If there is no such generation.
    """
    store = campaign.store
    tasks = wanted(store, campaign.settings, generation, only)
    campaign.files.write_blob(store.weights(generation))
    store.publish(tasks)
    with store.read() as connection:
        states = asked(connection)
    return sum(not states[task.spec.key].state.is_final for task in tasks)


def answers(store: Store, generation: int, only: str | None = None) -> Answers:
    """What suites that the campaign asks for now say about a generation.

    Args:
        store: The store; reading is enough.
        generation: Number of the generation.
        only: Suites of this kind alone.

    Raises:
        SettingsError: If the campaign has no such suite.
        StoreError: If there is no such generation.
    """
    settings = settings_from_resolved(store.campaign().config)
    keys = [task.spec.key for task in wanted(store, settings, generation, only)]
    with store.read() as connection:
        states, by_key = asked(connection), {one.key: one for one in found(connection)}
    done = [by_key[key] for key in keys if key in by_key]
    is_failed = {TaskState.FAILED, TaskState.CANCELLED}
    failed = [key for key in keys if key in states and states[key].state in is_failed]
    return Answers(
        generation,
        tuple(compare(done, settings)),
        tuple(f"{_who(one)}: {note}" for one in done for note in one.notes),
        tuple(key for key in keys if key not in by_key and key not in failed),
        tuple(failed),
    )


def compare(done: Sequence[Found], settings: CampaignSettings) -> list[Compared]:
    """Answers of one generation and of the reference, side by side."""
    ours, theirs = (
        [
            SuiteResult(one.properties, one.curves, one.notes)
            for one in done
            if (one.generation is not None) == is_model
        ]
        for is_model in (True, False)
    )
    section = settings.validate
    return compared(ours, theirs, section.reference or "", section.given)


def _who(one: Found) -> str:
    return one.level if one.generation is None else f"g{one.generation}"
