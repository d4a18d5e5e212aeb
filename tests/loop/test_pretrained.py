"""A campaign that begins from weights: what is checked, what is kept, what is trained."""

import bz2

import numpy as np
import pytest
import torch

from alflow.cli.main import run_command
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError
from alflow.config.resolution import resolved, settings_from_resolved
from alflow.core.canonical import sha256_hex
from alflow.core.errors import CampaignChanged, SettingsError
from alflow.core.tasks import TaskState
from alflow.execution.process import ProcessExecutor
from alflow.loop.campaign import check_unchanged, resume_campaign, run_campaign
from alflow.loop.manager import Manager
from alflow.loop.rerun import rerun
from alflow.loop.trial import try_stage
from alflow.models.ani.constants import ANI_1X
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.pretrained import part_of
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.models.weights import read_tensors
from alflow.store import open_store
from alflow.store.ancestry import generation_rows
from alflow.store.garbage import find_garbage

pytestmark = pytest.mark.timeout(300)

WIDTHS = {
    "Al": (160, 128, 96),
    "Cu": (144, 112, 96),
    "Ni": (128, 112, 96),
    "Ag": (128, 112, 96),
}
"""The widths of ANI-1x for other elements, of which the analytic labeler knows energies."""

CAMPAIGN = """
name: fine
seed: 3
system: {elements: [Al, Cu], builders: [&box {kind: random_box, composition: {Al: 1, Cu: 1},
         atoms: [6, 8], density_g_per_cm3: [3.0, 4.0]}]}
label: {primary: gupta, batch_size: 3, levels: {gupta: {kind: analytic, elements: [Al, Cu, Au]}}}
model: {kind: ani, pretrained: ani.safetensors, members: 2}
train: {epochs: 3, warm_epochs: 2, minimum_steps: 0, folds: 2, frozen_layers: [0, 2]}
sample: {replicas: 2, tasks: 1, rounds: 1, timestep_fs: 2.0, duration_ps: 0.02,
         temperature_K: {start: [300, 900], end: [300, 900]}}
acquire: {per_iteration: 2, grace_fs: 0, energy_spread_meV: 0.001, rejected_factor: 1e9}
test: {count: 2, builders: [*box]}
loop: {bootstrap: 4, max_iterations: 1}
"""


def write_neurochem(folder, members):
    """NeuroChem files of ANI-1x shape with random weights."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    lists = {
        "ShfR": ANI_1X.radial_shifts,
        "ShfA": ANI_1X.angular_shifts,
        "ShfZ": ANI_1X.angular_sections,
    }
    lines = ["Rcr = 5.2", "Rca = 3.5", "EtaR = [16.0]", "EtaA = [8.0]", "Zeta = [32.0]"]
    lines += [f"{k} = [{','.join(map(repr, v))}]" for k, v in lists.items()]
    lines.append(f"Atyp = [{','.join(WIDTHS)}]")
    (folder / "model.params").write_text("\n".join(lines))
    energies = [f"{s},{k}={-0.1 - 0.01 * k}" for k, s in enumerate(WIDTHS)]
    (folder / "sae_linfit.dat").write_text("\n".join(energies))
    for member in range(members):
        networks = folder / f"train{member}" / "networks"
        networks.mkdir(parents=True)
        for symbol, hidden in WIDTHS.items():
            text, width = "", ANI_1X.n_features(len(WIDTHS))
            for layer, out in enumerate([*hidden, 1]):
                name = f"ANN-{symbol}-l{layer + 1}"
                weight = rng.normal(0, width**-0.5, (out, width)).astype("<f4")
                bias = rng.normal(0, 0.01, out).astype("<f4")
                (networks / f"{name}.wparam").write_bytes(weight.tobytes())
                (networks / f"{name}.bparam").write_bytes(bias.tobytes())
                code = 6 if layer == len(hidden) else 9
                text += (
                    f"layer [\nnodes={out};\nactivation={code};\nblocksize={width};\n"
                    f"weights=FILE:{name}.wparam[{weight.size}];\n"
                    f"biases=FILE:{name}.bparam[{bias.size}];\n]\n"
                )
                width = out
            packed = bz2.compress(text.encode())
            content = str(len(text)).encode() + b"=\n" + packed
            (networks / f"ANN-{symbol}.nnf").write_bytes(content)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """What `alflow models import` makes of NeuroChem files, with one member more than is used."""
    folder = tmp_path_factory.mktemp("weights")
    write_neurochem(folder / "neurochem", 3)
    file = folder / "ani.safetensors"
    command = ["models", "import", str(folder / "neurochem"), "-o", str(file)]
    assert run_command(command) == 0
    return file.read_bytes()


@pytest.fixture
def campaign_file(tmp_path, weights):
    (tmp_path / "ani.safetensors").write_bytes(weights)
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return path


def walk(campaign):
    executor = ProcessExecutor(campaign.files, 2)
    executor.start()
    try:
        return Manager(campaign, executor, lambda _: None).run()
    finally:
        executor.close(cancel=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, weights):
    """A campaign that lost its file of weights when it had been created, and then ended."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "ani.safetensors").write_bytes(weights)
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    database = folder / "fine.db"
    with run_campaign(database, load_campaign(folder / "campaign.yaml")):
        (folder / "ani.safetensors").unlink()
    with resume_campaign(database) as campaign:
        walk(campaign)
    return database


def test_generation_0_is_trained_from_the_file(finished, weights):
    with open_store(finished, read_only=True) as store:
        rows = generation_rows(store)
        assert [row["relation"] for row in rows] == ["fine_tune", "warm_start"]
        assert store.campaign().config["model"]["pretrained"]["sha256"] == sha256_hex(
            weights
        )
        assert store.blob(sha256_hex(weights)) == weights
        trained = store.weights(0)
        assert not [row for row in find_garbage(store, grace_s=0.0) if row.kind == "blob"]
    before, after = (
        read_tensors(part_of(weights, ("Cu", "Al"), 2)),
        read_tensors(trained),
    )
    assert set(before) == set(after)
    for name, tensor in after.items():
        layer = name.split(".")[1] if "." in name else "feature"
        is_kept = layer in ("0", "2") or name.startswith("feature")
        assert torch.equal(tensor, before[name]) == is_kept, name
    original = read_tensors(weights)
    assert torch.equal(after["Cu.2.weight"], original["Cu.2.weight"][:2])
    # of the first layer, rows of elements that do not occur are left out
    assert torch.equal(after["Al.0.weight"][:, :32], original["Al.0.weight"][:2, :32])
    assert after["Al.0.weight"].shape == (2, 2 * 16 + 3 * 32, 160)


def test_training_from_the_file_can_be_done_again_from_the_database_alone(
    finished, tmp_path
):
    with open_store(finished, read_only=True) as store:
        (task,) = store.tasks(0, "train", TaskState.DONE)
        done = rerun(store, task.id, tmp_path)
    assert (done.outcome.failure, done.differences) == (None, [])
    assert done.compared > 0


def test_the_lineage_names_the_file(finished, capfd, weights):
    assert run_command(["models", "show", str(finished), "g1"]) == 0
    told = capfd.readouterr().out
    assert "fine_tune" in told
    assert sha256_hex(weights) in told


def a_batch():
    from alflow.core.structures import Structure

    rng = np.random.default_rng(2)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3) * 2.3
    numbers = np.array([13, 29] * 4, np.uint8)
    return Batch.from_structures(
        [Structure(numbers, grid + rng.normal(0, 0.1, grid.shape))], dtype=torch.float32
    )


@pytest.mark.parametrize("standardised", [False, True])
def test_leaving_out_elements_and_members_changes_no_energy(weights, standardised):
    whole = AniEnsemble.from_bytes(weights)
    if standardised:
        rng = torch.Generator().manual_seed(4)
        shape = whole.networks.feature_mean.shape
        whole.networks.standardise(
            torch.rand(shape, generator=rng) * 0.1, 0.5 + torch.rand(shape, generator=rng)
        )
    part = AniEnsemble.from_bytes(part_of(whole.to_bytes(), ("Al", "Cu"), 2))
    batch = a_batch()
    pairs = neighbour_pairs(batch, 5.2)
    both = [one.evaluate(batch, pairs, forces="members") for one in (whole, part)]
    assert (both[0].energies[:2] - both[1].energies).abs().max() < 1e-4
    assert (both[0].member_forces[:2] - both[1].member_forces).abs().max() < 1e-4
    assert part.elements == (13, 29)
    assert part.self_energies[29] == whole.self_energies[29]


def test_all_of_the_file_is_the_file(weights):
    assert part_of(weights, tuple(WIDTHS), 3) is weights
    with pytest.raises(SettingsError, match="do not know H; they know Al, Cu"):
        part_of(weights, ("H", "Al"), 2)


def test_members_are_counted_anew(weights):
    """A generation that lost its second member says so; a campaign has all that it takes."""
    whole = AniEnsemble.from_bytes(weights)
    part = part_of(
        whole.to_bytes({"members": "[0, 2, 3]", "note": "kept"}), tuple(WIDTHS), 3
    )
    metadata = AniEnsemble.from_bytes(part).metadata
    assert "members" not in metadata
    assert metadata["note"] == "kept"
    assert read_tensors(part).keys() == read_tensors(weights).keys()


def test_random_weights_of_the_same_shape_can_be_made(campaign_file):
    model = load_campaign(campaign_file).model
    fresh = model.create([29, 13], 5)
    assert [tuple(w.shape[1:]) for w in fresh.networks.weights[:2]] == [
        (128, 160),
        (160, 128),
    ]
    assert fresh.networks.weights[4].shape == (2, 128, 144)
    with pytest.raises(SettingsError, match="do not know H"):
        model.create([1, 13], 5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("members: 2", "hidden: [8], dtype: float64", "the file fixes dtype, hidden"),
        ("members: 2", "members: 4", "4 are asked for, the pretrained weights have 3"),
        ("[Al, Cu]", "[Al, Cu, Au]", "do not know Au; they know Al, Cu, Ni, Ag"),
        ("ani.safetensors", "absent.safetensors", "No such file"),
        ("ani.safetensors", "campaign.yaml", "not a safetensors file"),
        ("ani.safetensors", "other.safetensors", "name no model family"),
    ],
)
def test_a_file_that_does_not_fit_is_told_by_check(campaign_file, old, new, message):
    from alflow.models.weights import write_weights

    other = write_weights({"a": torch.ones(1)}, {})
    (campaign_file.parent / "other.safetensors").write_bytes(other)
    campaign_file.write_text(CAMPAIGN.replace(old, new, 1))
    with pytest.raises(CampaignFileError) as caught:
        load_campaign(campaign_file)
    told = str(caught.value)
    assert message in told
    assert "campaign.yaml:7:" in told  # the line of the model


def test_weights_that_nothing_would_start_from_are_told(campaign_file):
    campaign_file.write_text(
        CAMPAIGN.replace("epochs: 3,", "epochs: 3, warm_start: false,")
    )
    with pytest.raises(CampaignFileError, match="would leave the weights of"):
        load_campaign(campaign_file)


def test_all_members_are_taken_unless_fewer_are_asked_for(campaign_file):
    campaign_file.write_text(CAMPAIGN.replace(", members: 2", ""))
    settings = load_campaign(campaign_file)
    assert settings.model.members == 3
    assert settings_from_resolved(resolved(settings)) == settings


def test_the_stage_can_be_tried(campaign_file):
    assert len(try_stage("trainer", load_campaign(campaign_file)).training["members"]) == 2


def test_a_changed_file_is_told_and_a_moved_one_is_not(campaign_file, weights):
    database = campaign_file.parent / "fine.db"
    with run_campaign(database, load_campaign(campaign_file)):
        pass
    changed = AniEnsemble.from_bytes(weights)
    changed.self_energies = {**changed.self_energies, 13: -1.0}
    file = campaign_file.parent / "ani.safetensors"
    file.write_bytes(changed.to_bytes())
    with pytest.raises(CampaignChanged, match="trained from other weights"):
        check_unchanged(database, load_campaign(campaign_file), "campaign.yaml")
    file.unlink()
    (campaign_file.parent / "moved.safetensors").write_bytes(weights)
    campaign_file.write_text(CAMPAIGN.replace("ani.safe", "moved.safe"))
    state = check_unchanged(database, load_campaign(campaign_file), "campaign.yaml")
    assert "1 settings changed" in state


def test_a_file_that_changes_while_a_campaign_begins_starts_nothing(campaign_file):
    settings = load_campaign(campaign_file)
    (campaign_file.parent / "ani.safetensors").write_bytes(b"something else")
    database = campaign_file.parent / "fine.db"
    with (
        pytest.raises(SettingsError, match="has changed"),
        run_campaign(database, settings),
    ):
        pass


@pytest.mark.parametrize("preset", ["ani-1x", "ani-al"])
def test_settings_with_a_preset_survive_the_store(preset):
    from alflow.models.ani.settings import AniSettings

    model = AniSettings(preset=preset, members=2)
    assert AniSettings.model_validate(model.model_dump(mode="json")) == model
