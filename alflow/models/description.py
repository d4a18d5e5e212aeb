"""What is in a file of weights, in plain values."""

from typing import Any

from alflow.core.canonical import sha256_hex
from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.files import FAMILY
from alflow.models.headers import read_header
from alflow.models.loading import load_potential


def describe(weights: bytes) -> dict[str, Any]:
    """Family, elements, descriptor, layers, parameters, self energies and checksum; JSON-like.

    Of families other than `ani` what every potential tells: elements, members and cutoff.

    Raises:
        SettingsError: If the bytes are not weights of an installed family.
        PluginError: If the family is not installed.
    """
    family = read_header(weights).get("family")
    if not family:
        raise SettingsError("the header of these weights names no model family")
    potential = load_potential(weights)
    found: dict[str, Any] = {
        "family": family,
        "elements": [SYMBOLS[z] for z in potential.elements],
        "members": potential.n_members,
        "cutoff_A": potential.cutoff_A,
        "dtype": str(potential.dtype).removeprefix("torch."),
        "bytes": len(weights),
        "sha256": sha256_hex(weights),
    }
    if family == FAMILY and isinstance(potential, AniEnsemble):
        found |= _describe_ani(potential)
    return found


def _describe_ani(ensemble: AniEnsemble) -> dict[str, Any]:
    networks, constants = ensemble.networks, ensemble.descriptor.constants
    symbols = [SYMBOLS[z] for z in ensemble.elements]
    layers = {}
    for element, symbol in enumerate(symbols):
        first = element * networks.n_layers
        outs = [networks.biases[first + k].shape[1] for k in range(networks.n_layers)]
        layers[symbol] = "-".join(map(str, [networks.n_features, *outs]))
    per_member = sum(p.numel() for p in networks.parameters()) // networks.n_members
    is_raw = bool(
        (networks.feature_mean == 0).all() and (networks.feature_scale == 1).all()
    )
    return {
        "activation": networks.activation,
        "parameters_per_member": per_member,
        "features": networks.n_features,
        "features_standardised": not is_raw,
        "layers": layers,
        "descriptor": constants.to_json(),
        "repulsion": ensemble.repulsion and ensemble.repulsion.to_json(),
        "self_energies_eV": {
            SYMBOLS[z]: energy for z, energy in ensemble.self_energies.items()
        },
        "metadata": dict(ensemble.metadata),
    }
