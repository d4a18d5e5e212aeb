"""Everything about one object, how it came to be and what came of it, for `alflow show`.

Names are those of `alflow.core.naming`. Of what there may be thousands, the number stands there
and the first few, with the command that lists all.
"""

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from alflow.core.naming import parse_name, unknown
from alflow.store import lineage_data as data
from alflow.store import lineage_models as models
from alflow.store.descent import Found, led_to
from alflow.store.store import Store


def show(store: Store, name: str) -> Found:
    """What the store knows about an object; JSON-like, no arrays.

    Args:
        store: The store.
        name: For example s-12, l-12, c-12, p-12, t-8, t-8#2, g3, i2, d3.

    Raises:
        SettingsError: If it is not such a name, or there is no such object.
    """
    meant = parse_name(name)
    with store.read() as connection:
        if meant.attempt is not None:
            found = models.attempt_of(connection, meant.number, meant.attempt)
        else:
            found = _OBJECTS[meant.letter](connection, meant.number)
            if found is not None:
                found["led_to"] = led_to(connection, meant)
    if found is None:
        raise unknown(meant)
    return {"what": meant.word, **found}


_OBJECTS: Mapping[str, Callable[[Connection, int], Found | None]] = {
    "s": data.structure_of,
    "l": data.label_of,
    "c": data.candidate_of,
    "p": data.trajectory_of,
    "t": models.task_of,
    "g": models.generation_of,
    "i": models.iteration_of,
    "d": models.snapshot_of,
}
