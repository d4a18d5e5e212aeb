"""Aluminium from random boxes: what the loop finds by itself, beside draws at random.

    python benchmarks/aluminium.py --potential FILE [--seeds 3] [--arms active,boxes,md]
        [--labels 400] [--at 200,300] [--frames final|second|tuning] [--longer 2] [--json FILE]

FILE is a setfl file with aluminium (Debian: package `lammps-data`, Al_mm.eam.fs); it stands for the
QM. Arms, all with the same number of labels and the same training from random weights:

    active   the campaign of workflows/aluminum, run by `alflow run` on the site `local`
    boxes    random boxes by the same builder, one after the other
    md       random frames of dynamics by the reference itself, from the same boxes under the same
             schedules: better frames than any campaign could draw before it has a potential

Scores are root mean square errors on frames that no arm has seen (`aluminium_frames`): twelve
states, the root of the mean square over them and the worst of them. Recipes and settings were
chosen on the frames `tuning`, and some of them (tolerance, stresses) by looks at `second`; nothing
was chosen on `final`. `--longer 2` trains once more with twice the epochs, to see whether the
recipe has converged; `--at` trains on the first so many labels of each arm, too. Properties are
those of the potential that the campaign ends with, beside the reference's. What the campaign says
about itself (`aluminium_loop`): coverage, errors of frames drawn at random that were not flagged,
and for how long its generations sample until a frame is flagged, all under the same limits.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arguments
import numpy as np
from aluminium_frames import groups, reference_frames
from aluminium_loop import missed_errors, survival, trust

from alflow import registry
from alflow.config.campaign import CampaignSettings
from alflow.config.loading import load_campaign
from alflow.core.comparison import compared
from alflow.core.datasets import LabelledStructure
from alflow.core.labels import Failure, Label
from alflow.core.sampling import Gate
from alflow.core.seeds import child_seed, generator
from alflow.core.structures import Structure
from alflow.labelers.eam import EamLabeler, EamSettings
from alflow.models.loading import load_potential
from alflow.models.potential import Potential
from alflow.store import Split, open_store
from alflow.store.past import coverages
from alflow.store.views import progress
from alflow.training.evaluate import predict

CAMPAIGN = Path(__file__).parent.parent / "workflows" / "aluminum" / "campaign.yaml"
FRAME_SEEDS = {"tuning": 1, "second": 2, "final": 3}
ARMS = ("active", "boxes", "md")
SURVIVAL_BOXES = 32
"""Trajectories by which generations are compared."""
Labelled = list[LabelledStructure]
Frames = Mapping[str, Labelled]
"""Labelled frames by group."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What all arms share.

    Attributes:
        settings: Settings of the campaign.
        labeler: The reference.
        reference: The same as a potential.
        frames: What is tested on.
    """

    settings: CampaignSettings
    labeler: EamLabeler
    reference: Potential
    frames: Frames


def scores(potential: Potential, frames: Frames) -> dict[str, float]:
    """Errors over groups, in meV/Å and meV/atom, and the worst groups' names."""
    force, energy = {}, {}
    for name, items in frames.items():
        said = predict(potential, [item.structure for item in items])
        errors = [p.forces - i.label.forces for p, i in zip(said, items, strict=True)]
        per_atom = [
            (p.energy - i.label.energy) / i.structure.n_atoms
            for p, i in zip(said, items, strict=True)
        ]
        force[name] = 1e3 * float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
        energy[name] = 1e3 * float(np.sqrt(np.mean(np.square(per_atom))))
    return {
        "force_rmse_mean_meV_per_A": _root_mean_square(force.values()),
        "force_rmse_worst_meV_per_A": max(force.values()),
        "energy_rmse_mean_meV_per_atom": _root_mean_square(energy.values()),
        "energy_rmse_worst_meV_per_atom": max(energy.values()),
        **{f"force_rmse_meV_per_A {name}": value for name, value in force.items()},
    }


def run_campaign(problem: Problem, file: Path, seed: int, labels: int) -> dict[str, Any]:
    """Run the campaign as a user would; its labels, its last weights, and the time it took."""
    text = CAMPAIGN.read_text().replace("Al_mm.eam.fs", str(file))
    lines = [
        f"seed: {seed}" if line.startswith("seed:") else line for line in text.splitlines()
    ]
    folder = Path(tempfile.mkdtemp(prefix="alflow-aluminium-"))
    yaml = folder / "campaign.yaml"
    lines = [line for line in lines if not line.startswith("stop:")]
    yaml.write_text("\n".join(lines) + f"\nstop: {{budget: {{labels: {labels}}}}}\n")
    begun = time.monotonic()
    begin = "from alflow.cli.main import main; main()"
    command = [sys.executable, "-c", begin, "run", str(yaml), "--db", "al.db"]
    with (folder / "log").open("w") as log:
        subprocess.run(command, cwd=folder, check=True, stdout=log, stderr=log)
    wall_s = time.monotonic() - begun
    print(f"    campaign in {folder}", flush=True)
    with open_store(folder / "al.db", read_only=True) as store:
        level = problem.settings.label.primary
        ready = [one.number for one in progress(store).generations if one.state == "ready"]
        weights = {number: store.weights(number) for number in ready}
        counts = {k: len(store.dataset(Split.TRAIN, level, generation=k)) for k in ready}
        with store.read() as connection:
            told = coverages(connection)
        found = {
            "data": list(store.dataset(Split.TRAIN, level)),
            "weights": weights,
            "wall_s": wall_s,
            "spread": [{"iteration": k, **told[k]} for k in sorted(told)[-3:]],
            "spread_together": trust(store, problem.settings.acquire),
            "missed": missed_errors(store),
        }
    generations = [
        {
            "generation": number,
            "labels": counts[number],
            **scores(load_potential(weights[number], "cpu"), problem.frames),
        }
        for number in ready
    ]
    return found | {"generations": generations}


def draw_boxes(problem: Problem, seed: int, count: int) -> Labelled:
    """Labelled random boxes, by the builders of the campaign."""
    structures = _boxes(problem.settings, seed, count)
    return labelled(problem.labeler, structures, "boxes")


def draw_md(problem: Problem, seed: int, count: int) -> Labelled:
    """Labelled frames of dynamics by the reference, one drawn at random from each trajectory."""
    found: list[Structure] = []
    part = 0
    sampler = problem.settings.sample.model_copy(update={"slots": 100}).create()
    while len(found) < count:
        starts = _boxes(problem.settings, child_seed(seed, "md", part), count)
        paths = sampler.sample(starts, problem.reference, Gate(), child_seed(seed, part))
        found += [frame.structure for path in paths for frame in path.frames]
        part += 1
    return labelled(problem.labeler, found[:count], "md")


def train(problem: Problem, data: Labelled, seed: int, longer: float = 1.0) -> Potential:
    """Train the campaign's ensemble from random weights."""
    given = problem.settings.train
    recipe = given.model_copy(
        update={
            "epochs": round(given.epochs * longer),
            "minimum_steps": round(given.minimum_steps * longer),
        }
    )
    result = recipe.create(problem.settings.model).train(data, seed, None, lambda _: None)
    if isinstance(result, Failure):
        raise SystemExit(f"training failed: {result.message}")
    return load_potential(result.weights, "cpu")


def labelled(labeler: EamLabeler, structures: Sequence[Structure], group: str) -> Labelled:
    """Label structures by the reference; those that it refuses are left out."""
    found = []
    for number, structure in enumerate(structures):
        label = labeler.label(structure)
        if isinstance(label, Label):
            found.append(
                LabelledStructure(structure, label, number + 1, f"{group}/{number}", group)
            )
    return found


def properties(problem: Problem, potential: Potential) -> list[dict[str, Any]]:
    """Properties by the potential beside those by the reference, and how far curves are apart."""
    suites = [suite.create() for suite in problem.settings.validate.suites]
    ours = [suite.run(potential, 1) for suite in suites]
    theirs = [suite.run(problem.reference, 1) for suite in suites]
    level = problem.settings.label.primary
    return [one.to_json() for one in compared(ours, theirs, level, {})]


def run_arm(
    problem: Problem, arm: str, options: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """One arm with one seed."""
    begun, weights = time.monotonic(), {}
    found: dict[str, Any] = {"arm": arm, "seed": seed}
    if arm == "active":
        done = run_campaign(problem, options.potential, seed, options.labels)
        data, weights = done.pop("data"), done.pop("weights")
        found["campaign_wall_s"] = done.pop("wall_s")
        found |= done
    else:
        draw = draw_boxes if arm == "boxes" else draw_md
        data = draw(problem, seed, options.labels)
    found["labels"] = len(data)
    potential = train(problem, data, child_seed(seed, "train"))
    found["wall_s"] = time.monotonic() - begun
    found |= scores(potential, problem.frames)
    data.sort(key=lambda one: one.label_id)  # as they were asked for
    found["curve"] = [
        {
            "labels": n,
            **scores(train(problem, data[:n], child_seed(seed, "train")), problem.frames),
        }
        for n in options.at
        if n < len(data)
    ]
    if options.longer:
        longer = train(problem, data, child_seed(seed, "train"), options.longer)
        found["longer"] = scores(longer, problem.frames)
    if weights:
        final = load_potential(weights[max(weights)], "cpu")
        found["campaign"] = found["generations"][-1]
        found["properties"] = properties(problem, final)
        starts = _boxes(problem.settings, child_seed(seed, "survival"), SURVIVAL_BOXES)
        found["survival"] = survival(problem.settings, weights, starts, seed)
    return found


def show(found: Mapping[str, Any]) -> None:
    """Print what came of an arm."""
    print(
        f"{found['arm']:8s} seed {found['seed']}: {found['labels']} labels, {found['wall_s']:.0f} s"
    )
    for name in ("", "longer", "campaign"):
        if name and name not in found:
            continue
        one = found[name] if name else found
        print(
            f"    {name or 'from scratch':12s} force {one['force_rmse_mean_meV_per_A']:6.1f} "
            f"worst {one['force_rmse_worst_meV_per_A']:6.1f} meV/Å   "
            f"energy {one['energy_rmse_mean_meV_per_atom']:5.2f} "
            f"worst {one['energy_rmse_worst_meV_per_atom']:5.2f} meV/atom",
            flush=True,
        )
    for one in found.get("spread", ()):
        numbers = "  ".join(f"{k} {v:.2f}" for k, v in one.items() if k != "iteration")
        print(f"    i{one['iteration']}: {numbers}")
    if together := found.get("spread_together"):
        numbers = "  ".join(f"{name} {value:.2f}" for name, value in together.items())
        print(f"    the last iterations together: {numbers}")
    for one in found.get("curve", ()):
        print(
            f"    {one['labels']} labels: force {one['force_rmse_mean_meV_per_A']:.1f} "
            f"worst {one['force_rmse_worst_meV_per_A']:.1f} meV/Å"
        )
    for one in found.get("generations", ()):
        print(
            f"    g{one['generation']}, {one['labels']} labels: "
            f"force {one['force_rmse_mean_meV_per_A']:.1f} "
            f"worst {one['force_rmse_worst_meV_per_A']:.1f} meV/Å"
        )
    for one in found.get("missed", ()):
        print(
            f"    i{one['iteration']}: {one['n']} frames at random, not flagged: "
            f"force error {one['force_error_meV_per_A']:.0f} meV/Å"
        )
    for one in found.get("survival", ()):
        print(
            f"    g{one['generation']}: {one['sampled_ps']:.0f} ps, {one['flagged']} flagged, "
            f"{one['ps_per_flag']:.2g} ps each"
        )
    for one in found.get("properties", ()):
        spread = "" if one["spread"] is None else f" ± {one['spread']:.3g}"
        beside = "" if one["reference"] is None else f" reference {one['reference']:10.4g}"
        print(f"    {one['name']:45s} {one['value']:10.4g}{spread:10s}{beside}")


def prepare(file: Path, frames: str) -> Problem:
    """Read the campaign and make the frames to test on."""
    labeler = EamSettings(file=str(file)).create()
    reference = labeler.as_potential()
    with tempfile.TemporaryDirectory() as folder:
        yaml = Path(folder) / "campaign.yaml"
        yaml.write_text(CAMPAIGN.read_text().replace("Al_mm.eam.fs", str(file)))
        settings = load_campaign(yaml)
    (symbol,) = settings.system.elements
    crystal = registry.find("validation", "crystal").model_validate(
        {"kind": "crystal", "element": symbol, "phases": ["fcc"]}
    )
    known = {one.name: one.value for one in crystal.create().run(reference, 1).properties}
    wanted = groups(symbol, known["fcc/lattice_constant"])
    made = reference_frames(reference, wanted, FRAME_SEEDS[frames])
    tested = {name: labelled(labeler, one, name) for name, one in made.items()}
    return Problem(settings, labeler, reference, tested)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--potential", type=Path, required=True, help="setfl file")
    parser.add_argument("--seeds", type=arguments.count, default=3)
    parser.add_argument("--first-seed", type=arguments.count, default=1)
    parser.add_argument("--arms", type=_arms, default=ARMS)
    parser.add_argument("--labels", type=arguments.count, default=400)
    parser.add_argument("--at", type=_counts, default=(), help="fewer labels, a list")
    parser.add_argument("--frames", choices=sorted(FRAME_SEEDS), default="final")
    parser.add_argument("--longer", type=float, default=0.0)
    parser.add_argument("--json", type=arguments.result_file)
    options = parser.parse_args()
    options.potential = options.potential.absolute()
    problem = prepare(options.potential, options.frames)
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in options.arms}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for arm in options.arms:
            found[arm].append(run_arm(problem, arm, options, seed))
            show(found[arm][-1])
            if options.json is not None:
                options.json.write_text(json.dumps(found, indent=1))
    summarise(found)


def summarise(found: Mapping[str, list[dict[str, Any]]]) -> None:
    """Print medians over seeds, and ratios to the active arm."""
    for arm, rows in found.items():
        for name in ("mean", "worst"):
            key = f"force_rmse_{name}_meV_per_A"
            value = statistics.median(row[key] for row in rows)
            text = (
                f"{arm:8s} force {name:5s} median over {len(rows)} seeds {value:6.1f} meV/Å"
            )
            if arm != "active" and "active" in found:
                pairs = zip(found["active"], rows, strict=True)
                ratio = statistics.median(ours[key] / row[key] for ours, row in pairs)
                text += f", active / {arm} {ratio:.2f}"
            print(text)


def _boxes(settings: CampaignSettings, seed: int, count: int) -> list[Structure]:
    builders = settings.system.builders
    shares = [
        count // len(builders) + (k < count % len(builders)) for k in range(len(builders))
    ]
    rng = generator(seed, "boxes")
    return [
        structure
        for builder, share in zip(builders, shares, strict=True)
        for structure in builder.create().build(rng, share)
    ]


def _arms(text: str) -> tuple[str, ...]:
    named = tuple(text.split(","))
    if strange := set(named) - set(ARMS):
        raise argparse.ArgumentTypeError(f"there is no arm {', '.join(sorted(strange))}")
    return named


def _counts(text: str) -> tuple[int, ...]:
    return tuple(arguments.count(one) for one in text.split(","))


def _root_mean_square(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(list(values)))))


if __name__ == "__main__":
    main()
