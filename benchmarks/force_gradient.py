"""How exact training on forces by finite differences is: error against step.

    python benchmarks/force_gradient.py --data DIR [--structures 64] [--seeds 16] [--json FILE]

DIR holds the acac files of BOTNet-datasets. One minibatch of acetylacetone, networks 64-48 of two
members with random weights, loss of forces alone; the error is the norm of the difference to the
gradient by autograd in float64 (twice backwards), as a share of the norm of that. The step is how
far the atom that moves most is moved. With a smooth activation the error falls with the square of
the step. CELU's second derivative jumps (by 10 with the alpha of 0.1 of published ANI): every
neuron that passes its kink within the step brings an error that does not depend on the step, so
the sum falls between its root and its first power. Features are taken as they are (as published
ANI does) and scaled (as training here does), which multiplies what a step means to the networks.
A last table is of a small fixed recipe, beside earlier numbers (`force_gradient_recipe.py`);
`--seeds 0` leaves it out, `--structures 0` all the others.
"""

import argparse
import functools
import itertools
import json

import arguments
import torch
from acac import structures
from force_gradient_recipe import Frames, recipe_table

from alflow.core.datasets import LabelledStructure
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.network import StackedNetworks
from alflow.models.ani.settings import AniSettings
from alflow.training.dataset import TrainingSet
from alflow.training.fit import standardisation
from alflow.training.geometry import ForceGradient
from alflow.training.gradient import losses_and_gradient
from alflow.training.loss import Loss
from alflow.training.optimiser import FlatNetworks

STEPS_A = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5)
DTYPES = {"float64": torch.float64, "float32": torch.float32}
N_RECIPE = 64


def gradient(
    data: list[LabelledStructure],
    activation: str,
    dtype: torch.dtype,
    way: ForceGradient,
    step_A: float = 1e-3,
    *,
    is_scaled: bool = True,
) -> torch.Tensor:
    """Derivative of the force loss in all parameters, in float64."""
    elements = tuple(sorted({int(z) for item in data for z in item.structure.numbers}))
    descriptor = AniDescriptor(AniSettings().constants(), elements, dtype=dtype)
    prepared = TrainingSet(data, descriptor, dtype, 0.0, way)
    prepared.subtract([0.0] * len(elements))
    networks = StackedNetworks.initialise(
        (descriptor.n_features, 64, 48),
        len(elements),
        (1, 2),
        activation=activation,
        dtype=dtype,
    )
    ensemble = AniEnsemble(descriptor, networks, dict.fromkeys(elements, 0.0))
    if is_scaled:
        networks.standardise(*standardisation(prepared, ensemble))
    flat, loss = FlatNetworks(networks), Loss(0.0, 1.0)
    total = torch.zeros_like(flat.values, dtype=torch.float64)
    for start in range(0, len(data), 8):
        batch = prepared.minibatch(
            range(start, min(start + 8, len(data))), with_forces=True
        )
        _, found = losses_and_gradient(
            flat, batch, lambda errors: loss.of_structures(errors).sum(1), way, step_A
        )
        total += found.double()
    return total


def tables(data: list[LabelledStructure]) -> dict[str, float]:
    """Measure and print; the error by features, activation, precision and step."""
    found: dict[str, float] = {}
    for features, activation in itertools.product(("raw", "scaled"), ("celu", "silu")):
        table = functools.partial(
            gradient, data, activation, is_scaled=features == "scaled"
        )
        exact = table(torch.float64, "autograd")

        def error(one: torch.Tensor, expected: torch.Tensor = exact) -> float:
            return float((one - expected).norm() / expected.norm())

        kind = f"{activation}/{features}"
        print(
            f"\n{activation + ', ' + features:14s}" + "".join(f"{n:>12s}" for n in DTYPES)
        )
        for step_A in STEPS_A:
            for name, dtype in DTYPES.items():
                one = table(dtype, "finite_difference", step_A)
                found[f"{kind}/{name}/{step_A:g}"] = error(one)
            row = [found[f"{kind}/{name}/{step_A:g}"] for name in DTYPES]
            print(
                f"{step_A:<10g} Å  " + "".join(f"{value:12.1e}" for value in row),
                flush=True,
            )
        for name, dtype in DTYPES.items():
            found[f"{kind}/{name}/jvp"] = error(table(dtype, "jvp"))
        row = [found[f"{kind}/{name}/jvp"] for name in DTYPES]
        print("jvp           " + "".join(f"{value:12.1e}" for value in row), flush=True)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--data",
        type=arguments.data_folder("train_300K.xyz", "isolated_atoms.xyz"),
        required=True,
        help="folder of the acac files",
    )
    parser.add_argument("--structures", type=arguments.or_none, default=64)
    parser.add_argument(
        "--seeds", type=arguments.or_none, default=16, help="networks of the recipe"
    )
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = structures(options.data / "train_300K.xyz")
    found: dict[str, object] = {}
    if options.structures:
        found |= tables(data[: options.structures])
    if options.seeds:
        atoms = structures(options.data / "isolated_atoms.xyz")
        frames = Frames.of(data[:N_RECIPE], atoms)
        found["recipe"] = recipe_table(frames, options.seeds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
