"""One checksum over what a campaign has found out, blind to how and when."""

import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.canonical import canonical_json
from alflow.store.schema import (
    campaign_structure,
    candidate,
    ensemble,
    iteration,
    label,
    label_item,
    level_of_theory,
    snapshot,
    structure,
)


def content_digest(connection: Connection) -> str:
    """SHA-256 over structures, labels, generations and decisions.

    Times, attempts, hosts and events do not enter, nor does the order in which results arrived;
    the ids of structures, labels and generations do.
    """
    digest = hashlib.sha256(b"alflow-content-v1")
    for part in (_structures, _labels, _generations, _candidates):
        for row in part(connection):
            line = canonical_json(row).encode()
            digest.update(len(line).to_bytes(8, "little"))
            digest.update(line)
    return digest.hexdigest()


def _structures(connection: Connection) -> Iterable[Any]:
    query = (
        select(
            structure.c.id,
            structure.c.hash,
            campaign_structure.c.split,
            campaign_structure.c.group_key,
        )
        .select_from(
            structure.outerjoin(
                campaign_structure, campaign_structure.c.structure_id == structure.c.id
            )
        )
        .order_by(structure.c.id)
    )
    return (["structure", *row] for row in connection.execute(query))


def _labels(connection: Connection) -> Iterable[Any]:
    # `content_sha` covers energy, forces and stress bit by bit.
    query = (
        select(
            label_item.c.id,
            structure.c.hash,
            level_of_theory.c.name,
            label_item.c.state,
            label.c.content_sha,
            label.c.quality,
        )
        .join(structure, structure.c.id == label_item.c.structure_id)
        .join(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .outerjoin(label, label.c.id == label_item.c.id)
        .order_by(label_item.c.id)
    )
    return (["label", *row] for row in connection.execute(query))


def _generations(connection: Connection) -> Iterable[Any]:
    query = (
        select(ensemble.c.generation, snapshot.c.digest, ensemble.c.weights_sha)
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .order_by(ensemble.c.generation)
    )
    return (["generation", *row] for row in connection.execute(query))


def _candidates(connection: Connection) -> Iterable[Any]:
    query = (
        select(
            iteration.c.number,
            structure.c.hash,
            candidate.c.decision,
            candidate.c.reason,
            candidate.c.rank,
        )
        .join(iteration, iteration.c.id == candidate.c.iteration_id)
        .join(structure, structure.c.id == candidate.c.structure_id)
        .order_by(iteration.c.number, structure.c.hash)
    )
    return (["candidate", *row] for row in connection.execute(query))
