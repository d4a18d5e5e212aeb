"""What a campaign learnt first it still knows in the end: warm starts see all labels again."""

from itertools import pairwise

import numpy as np
import pytest

from alflow.config.loading import load_campaign
from alflow.execution.inline import InlineExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Manager
from alflow.models.loading import load_potential
from alflow.store.ancestry import generation_rows
from alflow.training.evaluate import predict

pytestmark = pytest.mark.timeout(300)

BOX = (
    "{kind: random_box, composition: {Al: 1}, atoms: [4, 6], density_g_per_cm3: [1.2, 2.4]}"
)
CAMPAIGN = """
name: replay
seed: 8
system: {elements: [Al], builders: [BOX]}
label: {primary: gupta, batch_size: 20, levels: {gupta: {kind: analytic}}}
model: {members: 2, hidden: [16, 16], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5, repulsion: null}
train: {epochs: 30, warm_epochs: 40, minimum_steps: 0, batch_size: 6, folds: 2}
sample: {replicas: 6, tasks: 1, rounds: 1, timestep_fs: 2.0, duration_ps: 0.02,
         temperature_K: {start: [900, 3000], end: [900, 3000]}}
acquire: {per_iteration: 10, grace_fs: 0, energy_spread_meV: 0.001, rejected_factor: 1.0e+9}
loop: {bootstrap: 24, max_iterations: 3}
"""


def error(weights, items):
    """Root mean square error of the forces [eV/Å]."""
    found = predict(load_potential(weights), [item.structure for item in items])
    pairs = zip(found, items, strict=True)
    return np.sqrt(
        np.mean(np.concatenate([(p.forces - i.label.forces) ** 2 for p, i in pairs]))
    )


def test_the_error_on_early_labels_does_not_grow(tmp_path):
    (tmp_path / "replay.yaml").write_text(CAMPAIGN.replace("BOX", BOX))
    settings = load_campaign(tmp_path / "replay.yaml")
    with run_campaign(tmp_path / "replay.db", settings) as campaign:
        Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()
        store = campaign.store
        relations = [row["relation"] for row in generation_rows(store)]
        sets = [list(store.dataset("train", "gupta", generation=k)) for k in range(4)]
        weights = [store.weights(k) for k in range(4)]
    assert relations == ["fresh", *["warm_start"] * 3]
    ids = [{item.label_id for item in items} for items in sets]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    errors = [error(one, sets[0]) for one in weights]
    for before, after in pairwise(errors):
        assert after < 1.05 * before, "every snapshot has the early labels"
    # The last warm start once more, without the early labels: this is what forgetting looks like.
    late = [item for item in sets[3] if item.label_id not in ids[0]]
    trainer = settings.train.create(settings.model)
    forgetful = trainer.train(late, 1, weights[2], lambda _: None)
    assert error(forgetful.weights, sets[0]) > 1.1 * errors[2]
