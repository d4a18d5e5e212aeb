"""Brings labelled structures from files into a campaign, which it makes if it is not there.

Everything is read and checked before the database is touched: a file with a mistake that runs
through it changes nothing, and neither does any other file that was named with it.
"""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alflow.config.campaign import CampaignSettings
from alflow.config.resolution import resolved, settings_from_resolved
from alflow.core.canonical import path_sha256
from alflow.core.errors import SettingsError, closest
from alflow.labelers.level import level_identity
from alflow.loop.campaign import check_unchanged
from alflow.loop.pretrained import new_weights
from alflow.store import (
    ImportResult,
    ImportSource,
    NewLabelled,
    NewStructure,
    SightingKind,
    Split,
    Store,
    open_store,
)
from alflow.store.importing import compare, level_names, typical_energies
from alflow.store.interchange import (
    AcceptedFrame,
    Limits,
    ReadOptions,
    Validation,
    format_of,
    read_file,
    validate,
)
from alflow.store.interchange.diagnosis import ENERGY_UNIT
from alflow.store.interchange.energies import unit_beside


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Where labelled structures go.

    Attributes:
        database: File or URL.
        level: Name of their level of theory in the campaign.
        split: train, val or test; None for what the files say, else train.
        group: Name of what they came from; None for what the files say.
        campaign: Content of the campaign file, if one was named.
        campaign_file: Its name, for messages.
    """

    database: str
    level: str
    split: str | None = None
    group: str | None = None
    campaign: CampaignSettings | None = None
    campaign_file: str = "campaign.yaml"


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file that was read and validated.

    Attributes:
        path: The file.
        format: Name of its format.
        sha256: SHA-256 of its content.
        validation: What was found in it.
        energy_unit: Unit that its energies were read in.
        skipped: Names of checks that are left out.
    """

    path: Path
    format: str
    sha256: str
    validation: Validation
    energy_unit: str = "eV"
    skipped: frozenset[str] = frozenset()

    @property
    def source(self) -> ImportSource:
        """How the store calls it."""
        return ImportSource(self.path.name, self.sha256)

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        head = {"file": str(self.path), "format": self.format, "sha256": self.sha256}
        return {**head, **self.validation.to_json()}


def check_files(
    paths: Sequence[Path], options: ReadOptions, limits: Limits
) -> list[CheckedFile]:
    """Read and validate files.

    Raises:
        SettingsError: If one cannot be read, or does not say what its units are.
        PluginError: If a library that one needs is not installed.
    """
    checked = []
    for path in paths:
        frames, reading = read_file(path, options)
        validation = validate(frames, replace(reading, skipped=limits.skipped), limits)
        name = format_of(path, options.format).name
        unit = str(reading.units.energy)
        digest = path_sha256(path)
        checked.append(CheckedFile(path, name, digest, validation, unit, limits.skipped))
    return checked


def target_settings(target: ImportTarget) -> CampaignSettings:
    """Settings of the campaign that is imported into; nothing is written.

    Raises:
        CampaignChanged: If the campaign file no longer matches the database.
        SettingsError: If the level of theory is none of the campaign's.
        StoreError: If there is neither a database nor a campaign file.
    """
    names: list[str] = []
    if target.campaign is None or _exists(target.database):
        if target.campaign is not None:
            check_unchanged(target.database, target.campaign, target.campaign_file)
        with open_store(target.database, read_only=True) as store, store.read() as reader:
            names = level_names(reader)
            row = store.campaign_or_none()
        settings = target.campaign or (
            settings_from_resolved(row.config) if row is not None else None
        )
    else:
        settings = target.campaign
    if settings is None:
        raise SettingsError(
            f"{target.database} holds no campaign yet",
            next_step="name a campaign file: --campaign campaign.yaml",
        )
    _check_level(target.level, [*settings.label.levels, *names])
    return settings


def preview_import(
    target: ImportTarget, files: Sequence[CheckedFile]
) -> list[ImportResult]:
    """What importing the files would do; nothing is written."""
    items = [_items(target, file) for file in files]
    if not _exists(target.database):
        return [ImportResult(len(one), len(one)) for one in items]
    with open_store(target.database, read_only=True) as store, store.read() as reader:
        _check_beside(typical_energies(reader, target.level), target.level, files)
        return [compare(reader, target.level, one) for one in items]


def import_files(target: ImportTarget, files: Sequence[CheckedFile]) -> list[ImportResult]:
    """Write validated files into the campaign, one transaction each.

    Raises:
        LeaseHeld: If a manager runs the campaign.
        SettingsError: If the energies of a file have another unit than those that are stored.
        StoreError: If the database cannot be used.
    """
    settings = target_settings(target)
    with open_store(target.database, create=target.campaign is not None) as store:
        if store.campaign_or_none() is None:
            weights = new_weights(settings)
            store.create_campaign(settings.name, resolved(settings), settings.seed, weights)
        with store.acquire_lease(f"{platform.node()} (pid {os.getpid()}, import)"):
            _register(store, target.level, settings)
            with store.read() as reader:
                _check_beside(typical_energies(reader, target.level), target.level, files)
            return [
                store.import_labelled(file.source, target.level, _items(target, file))
                for file in files
            ]


def _check_beside(
    stored: Mapping[str, float], level: str, files: Sequence[CheckedFile]
) -> None:
    """Refuse files whose energies are like the stored ones in another unit only."""
    for file in files:
        energies: dict[str, list[float]] = {}
        for one in file.validation.accepted:
            energies.setdefault(one.structure.formula, []).append(one.label.energy)
        brought = {name: statistics.fmean(values) for name, values in energies.items()}
        unit = unit_beside(stored, brought, file.energy_unit)
        if unit is None or ENERGY_UNIT in file.skipped:
            continue
        name = next(name for name in stored if name in brought)
        raise SettingsError(
            f"{file.path}: read as {file.energy_unit}, {name} has {brought[name]:.6g} eV, "
            f"but {stored[name]:.6g} eV in the labels of {level} in the database",
            consequence="Nothing was imported.",
            next_step=f"--energy-unit {unit}, and --force-unit if forces are in it, too; "
            f"or --skip-check {ENERGY_UNIT}",
        )


def _register(store: Store, level: str, settings: CampaignSettings) -> None:
    known: Mapping[str, Any] = settings.label.levels
    if level in known:
        store.register_level(level, level_identity(known[level]))


def _check_level(level: str, known: Sequence[str]) -> None:
    if level in known:
        return
    hint = closest(level, known)
    raise SettingsError(
        f"the campaign has no level of theory {level!r}"
        + (f"; did you mean {hint!r}?" if hint else ""),
        consequence="Nothing was imported.",
        next_step=f"levels: {', '.join(dict.fromkeys(known))}; a further one is defined under "
        "label.levels in the campaign file",
    )


def _items(target: ImportTarget, file: CheckedFile) -> list[NewLabelled]:
    return [_item(target, file, one) for one in file.validation.accepted]


def _item(target: ImportTarget, file: CheckedFile, one: AcceptedFrame) -> NewLabelled:
    # The name of a group must not change with the folder that the file lies in.
    inside = one.frame.group or one.structure.formula
    group = target.group or f"import/{file.sha256[:12]}/{inside.strip('/')}"
    if one.frame.group.startswith("import/"):
        group = target.group or one.frame.group
    split = target.split or one.frame.split or Split.TRAIN
    source = one.frame.source or file.path.name
    new = NewStructure(one.structure, group, split, source, None, SightingKind.IMPORT)
    return NewLabelled(new, one.label, one.frame.index)


def _exists(database: str) -> bool:
    return "://" in database or Path(database).exists()
