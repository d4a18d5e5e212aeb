"""Label tasks by what their labels cost; what a campaign finds out does not depend on that."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.config.loading import load_campaign
from alflow.core.cost import Measured, fit
from alflow.core.structures import Structure
from alflow.execution.inline import InlineExecutor
from alflow.labelers.analytic import AnalyticLabeler
from alflow.loop.batching import DAY_S, LARGEST, LEAST_S, Known, in_batches, timeout_s
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Manager
from alflow.store import open_store


def chain(n_atoms, number=6):
    positions = np.zeros((n_atoms, 3))
    positions[:, 0] = 1.5 * np.arange(n_atoms)
    return Structure(np.full(n_atoms, number, np.uint8), positions)


def cost(seconds, cores=1, n=40):
    """A model of labels that take `seconds` for each atom squared."""
    return fit(
        [Measured(np.full(k, 6, np.uint8), seconds * k**2, cores) for k in range(1, n + 1)]
    )


CHAINS = [chain(n) for n in range(1, 31)]
SECONDS = {one.hash: float(one.n_atoms**2) for one in CHAINS}


def sizes(batches):
    return [[one.n_atoms for one in batch] for batch in batches]


def test_without_measurements_most_electrons_come_first():
    mixed = [chain(5, 6), chain(2, 79), chain(9, 1)]
    found = in_batches(mixed, None, 60.0, Known())
    assert [[one.n_electrons for one in batch] for batch in found] == [[158, 30, 9]]
    assert sizes(in_batches(CHAINS[:9], None, 60.0, Known())) == [
        [9, 8, 7, 6],
        [5, 4, 3, 2],
        [1],
    ]


def test_a_given_size_is_that_size_whatever_the_costs():
    found = in_batches(CHAINS, 7, 1.0, Known(cost(1.0), workers=100))
    assert [len(batch) for batch in found] == [7, 7, 7, 7, 2]
    assert sizes(found)[0] == [30, 29, 28, 27, 26, 25, 24], "the longest first"


def test_what_takes_longest_comes_first_though_it_has_fewer_electrons():
    slow_hydrogen = fit(
        [
            Measured(np.full(k, number, np.uint8), seconds * k**2)
            for k in range(1, 10)
            for number, seconds in ((1, 100.0), (79, 0.01))
        ]
    )
    found = in_batches([chain(3, 79), chain(3, 1)], 1, 60.0, Known(slow_hydrogen))
    assert [batch[0].numbers[0] for batch in found] == [1, 79]


def test_tasks_take_about_the_time_that_was_asked_for():
    found = in_batches(CHAINS, None, 500.0, Known(cost(1.0)))
    spent = [sum(SECONDS[one.hash] for one in batch) for batch in found]
    assert [len(batch) for batch in found[:10]] == [1] * 10, "each takes more than half"
    assert max(spent[10:]) < 550.0
    assert min(spent[10:-1]) > 250.0
    assert len(found[-1]) > 5, "short ones go together"


def test_what_counts_is_the_time_of_a_worker_with_all_its_cores():
    one, four = (
        in_batches(CHAINS, None, 500.0, Known(cost(1.0, cores))) for cores in (1, 4)
    )
    assert sizes(one) == sizes(four)


def test_workers_are_not_left_idle():
    found = in_batches(CHAINS, None, 1e9, Known(cost(1e-3), workers=3))
    assert len(found) >= 12
    assert len(in_batches(CHAINS, None, 1e9, Known(cost(1e-3)))) == 1
    assert len(in_batches(CHAINS[:12], None, 60.0, Known(workers=3))) == 12
    assert len(in_batches(CHAINS, None, 60.0, Known(workers=1))) == 8


def test_a_task_never_has_too_many():
    crowd = [
        Structure(np.array([6], np.uint8), np.array([[float(k), 0, 0]]))
        for k in range(LARGEST + 500)
    ]
    found = in_batches(crowd, None, 60.0, Known(cost(1e-6)))
    assert [len(batch) for batch in found] == [LARGEST, 500]


@given(
    st.permutations(CHAINS[:12]),
    st.sampled_from([None, 1, 5]),
    st.floats(1e-3, 1e6),
    st.sampled_from([None, 1e-5, 1.0, 1e4]),
    st.integers(0, 50),
)
def test_everything_is_labelled_once_in_an_order_of_its_own(
    structures, size, batch_s, seconds, workers
):
    known = Known(None if seconds is None else cost(seconds), workers)
    found = in_batches(structures, size, batch_s, known)
    flat = [one.hash for batch in found for one in batch]
    assert sorted(flat) == sorted(one.hash for one in structures)
    assert all(found)
    assert found == in_batches(CHAINS[:12], size, batch_s, known)


def test_deadlines_follow_from_costs_once_there_are_enough():
    longest = [chain(30)]
    assert timeout_s(longest, 77.0, cost(1.0)) == 77.0
    assert timeout_s(longest, None, cost(1.0)) is None
    assert timeout_s(longest, "auto", None) == DAY_S
    assert timeout_s(longest, "auto", cost(1.0, n=9)) == DAY_S
    assert timeout_s(longest, "auto", cost(1e-4)) == LEAST_S
    assert timeout_s(longest, "auto", cost(1e4)) == DAY_S
    found = timeout_s(longest, "auto", cost(0.1))
    assert 50 * 90.0 < found < 50 * 90.0 * 3, "50 times what nearly all take"
    assert timeout_s([chain(1), chain(30)], "auto", cost(0.1)) == found
    assert timeout_s(longest, "auto", cost(0.05, cores=2)) == pytest.approx(
        found / 2, abs=1
    )


BOX = "{{kind: random_box, composition: {{{}: 1}}, atoms: [3, 9], density_g_per_cm3: [{}]}}"
BOXES = f"[{BOX.format('Al', '1.6, 2.4')}, {BOX.format('Cu', '5.0, 7.0')}]"
ALUMINIUM = 13
CAMPAIGN = f"""
name: costs
seed: 5
system: {{elements: [Al, Cu], builders: {BOXES}}}
label: {{primary: gupta, batch_s: 0.4, levels: {{gupta: {{kind: analytic, elements: [Al, Cu]}}}}}}
model: {{kind: ani, members: 2, hidden: [4], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5}}
train: {{epochs: 1, warm_epochs: 1, minimum_steps: 0, folds: 2, checkpoint_minutes: 0}}
sample: {{replicas: 12, rounds: 1, timestep_fs: 2.0, duration_ps: 0.02,
         temperature_K: {{start: [300, 900], end: [300, 900]}}}}
acquire: {{per_iteration: 12, grace_fs: 0, energy_spread_meV: 0.001, rejected_factor: 1.0e+9}}
test: {{count: 3, builders: {BOXES}}}
loop: {{bootstrap: 12, max_iterations: 1}}
"""


def run(folder, settings):
    """The campaign in a folder: its digest, and the items and limits of its label tasks."""
    folder.mkdir()
    with run_campaign(folder / "costs.db", settings) as campaign:
        Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()
        tasks = campaign.store.tasks(1, "label")
    with open_store(folder / "costs.db", read_only=True) as store:
        return store.content_digest(), [task.spec for task in tasks]


@pytest.mark.timeout(300)
def test_a_campaign_finds_out_the_same_whatever_its_labels_cost(tmp_path, monkeypatch):
    (tmp_path / "costs.yaml").write_text(CAMPAIGN)
    settings = load_campaign(tmp_path / "costs.yaml")
    swift, specs = run(tmp_path / "swift", settings)
    label = AnalyticLabeler.label

    def slowly(self, structure):
        time.sleep(0.1 * int((structure.numbers == ALUMINIUM).sum()))
        return label(self, structure)

    monkeypatch.setattr(AnalyticLabeler, "label", slowly)
    slow, others = run(tmp_path / "slow", settings)
    assert len(others) > len(specs)
    orders = [[one for spec in some for one in spec.items] for some in (specs, others)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert slow == swift
    # What is computed again for an audit is a level of its own, of which nothing is known yet.
    known = [spec for spec in (*specs, *others) if "/audit/" not in spec.key]
    limits = [spec.settings["limits"]["timeout_s"] for spec in known]
    assert len(limits) > 4
    assert all(LEAST_S <= one < DAY_S for one in limits)
