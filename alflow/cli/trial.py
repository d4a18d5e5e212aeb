"""Command `try`: one task of one stage, in this process, nothing stored."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.core.errors import SettingsError, closest

if TYPE_CHECKING:
    from alflow.loop.trial import Trial


def try_(
    stage: Annotated[str, typer.Argument(help="builder, labeler, trainer or sampler.")],
    file: Annotated[Path, typer.Argument(help="The campaign file.")],
    output: Annotated[
        Path,
        typer.Option("-o", help="File for the structures (extxyz); replaced if it exists."),
    ] = Path("try.extxyz"),
) -> None:
    """Try one stage in this process, with those before it; no database is touched."""
    from alflow.config.loading import load_campaign
    from alflow.loop.trial import STAGES, try_stage

    if stage not in STAGES:
        hint = closest(stage, STAGES)
        raise SettingsError(
            f"there is no stage {stage!r}" + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"stages: {', '.join(STAGES)}",
        )
    trial = try_stage(stage, load_campaign(file))
    for kind, wall_s in trial.wall_s.items():
        print(f"{kind:<8} {wall_s:8.2f} s")
    print("\n".join(_findings(trial)))
    _write(trial, output)
    print(f"structures: {output}")


def _findings(trial: "Trial") -> list[str]:
    from alflow.core.labels import Failure

    lines = [
        f"built {len(trial.structures)}: " + " ".join(s.formula for s in trial.structures)
    ]
    for structure, label in zip(trial.structures, trial.labels, strict=False):
        if isinstance(label, Failure):
            lines.append(f"{structure.formula}: {label.kind}: {label.message}")
        else:
            force = "no forces"
            if label.forces is not None:
                strongest = float(abs(label.forces).max())
                force = f"largest force component {strongest:.3f} eV/Å"
            lines.append(f"{structure.formula}: energy {label.energy:.6f} eV, {force}")
    lines += _consistency(trial)
    if trial.training:
        lines.append(f"trained {len(trial.training['members'])} members")
    for item in trial.trajectories:
        path = item.trajectory
        length = f"{path.time_fs:.0f} fs" if path.time_fs else f"{path.n_steps} steps"
        lines.append(f"trajectory: {length}, {path.stop_reason}")
    return lines


def _consistency(trial: "Trial") -> list[str]:
    """Whether forces belong to energies, and whether energies come out the same twice."""
    from alflow.labelers.consistency import REPEAT_EV_PER_ATOM

    lines = []
    for one in trial.slopes:
        shown = (
            f"{one.told:+.5f} {one.unit}, from energies {one.from_energies:+.5f} {one.unit}"
        )
        verdict = (
            "consistent"
            if one.is_consistent
            else "NOT CONSISTENT: a wrong unit or sign, an energy that is not the forces', or a "
            "calculation that is not converged"
        )
        lines.append(f"{one.name} along a random direction: {shown}: {verdict}")
    if trial.repeat_eV is not None:
        each = trial.repeat_eV / trial.structures[0].n_atoms
        verdict = "reproducible" if each <= REPEAT_EV_PER_ATOM else "NOT REPRODUCIBLE"
        lines.append(f"the same structure again: {each:.1e} eV/atom apart: {verdict}")
    return lines


def _write(trial: "Trial", path: Path) -> None:
    from ase import Atoms
    from ase.io import write

    frames = [frame.structure for t in trial.trajectories for frame in t.trajectory.frames]
    images = [
        Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.pbc)
        for s in frames or trial.structures
    ]
    write(path, images, format="extxyz")
