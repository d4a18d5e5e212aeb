"""What the attempts of a task left in the campaign directory, for people who look into one."""

from typing import Any

from alflow.core.tasks import AttemptRef
from alflow.execution.files import CampaignFiles
from alflow.loop.campaign import campaign_directory
from alflow.store import Store


def add_traces(task: dict[str, Any], store: Store, database: str) -> None:
    """Add to each attempt of a task who ran it, where its files are, and what it ran with.

    The database knows what the attempts ran with that counted; of the others only their files tell,
    as long as these are there.

    Args:
        task: What the store tells about the task (JSON-like).
        store: The store.
        database: The database, as a user types it.
    """
    files = CampaignFiles(campaign_directory(database, store.campaign().name, store))
    for attempt in task["attempts"]:
        ref = AttemptRef(task["id"], attempt["number"], attempt["token"], task["kind"])
        folder = files.attempt_directory(ref)
        if not folder.is_dir():
            continue
        attempt["directory"] = str(folder)
        claim = files.claim_of(ref)
        if claim is not None and not claim.is_revoked:
            attempt["host"] = attempt["host"] or claim.host
            attempt |= {"pid": claim.pid, "job": claim.job, "devices": claim.devices}
        outcome = None if attempt["environment"] else files.read_result(ref)
        if outcome is not None:
            attempt["environment"] = dict(outcome.environment)
    repeat = f"alflow task rerun t-{task['id']} --local"
    task["again"] = (
        repeat if task["state"] != "failed" else f"{repeat}, or: alflow task retry"
    )
