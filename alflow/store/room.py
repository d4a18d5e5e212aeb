"""How many atoms fitted into the memory of a kind of device, as sample tasks reported it."""

from sqlalchemy import select

from alflow.core.tasks import MOST_ATOMS, TaskState
from alflow.store.codec import from_json_text
from alflow.store.schema import iteration, task
from alflow.store.store import Store
from alflow.store.views import SAMPLE

N_ITERATIONS = 2
"""Last iterations whose tasks are asked. What they know is passed on by the next ones."""

N_TASKS = 64
"""Latest tasks of each of them that are asked."""


def most_atoms(store: Store) -> dict[str, int]:
    """Largest number of atoms to evaluate together, by device; nothing where all have fitted.

    A store holds one campaign and a campaign one kind of model, so that this is per model.
    """
    found: dict[str, int] = {}
    with store.read() as connection:
        last = select(iteration.c.id).order_by(iteration.c.number.desc())
        for iteration_id in connection.scalars(last.limit(N_ITERATIONS)).all():
            query = (
                select(task.c.outcome_json)
                .where(
                    task.c.iteration_id == iteration_id,
                    task.c.kind == SAMPLE,
                    task.c.state == TaskState.DONE,
                )
                .order_by(task.c.id.desc())
                .limit(N_TASKS)
            )
            for text in connection.scalars(query):
                outcome = from_json_text(text) or {"values": {}}
                for device, n_atoms in outcome["values"].get(MOST_ATOMS, {}).items():
                    found[device] = min(found.get(device, n_atoms), n_atoms)
    return found
