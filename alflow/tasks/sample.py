"""Task `sample`: trajectories of one generation of the ensemble, each from a start of its own.

Settings: `builders`, `count` (replicas), `sample` (sampler settings), `gate`; `arm`: the sampler's
name where it is one of a mixture; `most_atoms`: what earlier tasks found to fit into memory.
Input: `weights`. Output file: `trajectories` (see `alflow.tasks.trajectories`).
Values: how many trajectories there were, were flagged, finished and became unphysical; the time
simulated in all and in the longest one [ps]; what it cost in atom-steps; `most_atoms`, where
not everything fits.
"""

from collections.abc import Mapping
from typing import Any

from alflow import registry
from alflow.core.protocols import Sampler, TaskContext
from alflow.core.sampling import Gate, StopReason
from alflow.core.seeds import child_seed
from alflow.core.tasks import MOST_ATOMS, TaskSpec
from alflow.md.evaluation import device_name, remembered
from alflow.models.loading import load_potential
from alflow.tasks.building import build_structures
from alflow.tasks.trajectories import pack_trajectories


def run(spec: TaskSpec, context: TaskContext) -> Mapping[str, Any]:
    """Build starting structures and run the sampler from them."""
    settings = spec.settings
    built = build_structures(
        settings["builders"], settings["count"], child_seed(spec.seed, "starts")
    )
    sampler: Sampler = (
        registry.find("samplers", settings["sample"]["kind"])
        .model_validate(settings["sample"])
        .create()
    )
    potential = load_potential(context.blob(spec.inputs["weights"]))
    device = device_name(potential.device)
    with remembered(settings.get(MOST_ATOMS, {}).get(device)) as room:
        trajectories = sampler.sample(
            [item.structure for item in built],
            potential,
            Gate.from_json(settings["gate"]),
            child_seed(spec.seed, "trajectories"),
        )
    sources = [item.builder for item in built]
    context.output("trajectories", pack_trajectories(trajectories, sources))
    reasons = [trajectory.stop_reason for trajectory in trajectories]
    # the forces of a start are computed as well
    atom_steps = sum((one.n_steps + 1) * one.start.n_atoms for one in trajectories)
    return {
        "n_trajectories": len(reasons),
        "n_flagged": reasons.count(StopReason.FLAGGED),
        "n_finished": reasons.count(StopReason.FINISHED),
        "n_unphysical": sum(reason.is_unphysical for reason in reasons),
        "simulated_ps": sum(trajectory.time_fs for trajectory in trajectories) / 1000,
        "longest_ps": max(trajectory.time_fs for trajectory in trajectories) / 1000,
        "atom_steps": atom_steps,
        **({} if room.most_atoms is None else {MOST_ATOMS: {device: room.most_atoms}}),
    }
