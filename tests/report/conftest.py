"""Synthetic campaigns: what a report of them must look like is known."""

from dataclasses import replace

import numpy as np
import pytest

from alflow.core.sampling import Gate, Limit
from alflow.core.structures import Structure
from alflow.report.attribution import attributed
from alflow.report.content import (
    CampaignReport,
    FailedAttempt,
    GenerationRow,
    Header,
    IterationRow,
    LabelFailures,
    Outcome,
    SelectedStructure,
    Standing,
)
from alflow.report.estimates import (
    Work,
    calibration_factor,
    coverage,
    survival_curve,
    timeline,
)
from alflow.report.labeling import labeling
from alflow.report.provenance import Provenance
from alflow.report.samples import CalibrationSample, Parity, SpreadSample
from alflow.report.thumbnails import thumbnail
from alflow.store.told import Told

START = 1_790_000_000.0
N_GENERATIONS = 8
GATE = Gate(Limit(0.006, 0.005), Limit(0.025, 0.035), Limit(0.10, 0.10), grace_fs=200.0)


def header(**changes):
    values = {
        "campaign": "water",
        "iteration": 7,
        "generation": 7,
        "level": "dft",
        "level_detail": "pyscf wb97x 6-31g*",
        "seed": 20261,
        "version": "0.1.0",
        "database": "water.db",
        "started": START,
        "as_of": START + 5200.0,
    }
    return Header(**{**values, **changes})


def generations():
    forces = [0.171, 0.120, 0.131, 0.085, 0.062, 0.051, 0.047, 0.0412]
    energies = [0.0124, 0.0101, 0.0088, 0.0061, 0.0049, 0.0041, 0.0032, 0.0028]
    return tuple(
        GenerationRow(
            number=k,
            state="ready",
            n_members=8,
            n_labels=64 + 48 * k,
            n_test=40,
            force_rmse=forces[k],
            energy_rmse=energies[k],
            snapshot=f"{k:064x}"[::-1],
            weights=(f"{k + 100:064x}"[::-1],),
            seeds=tuple(range(1000 * k, 1000 * k + 8)),
        )
        for k in range(N_GENERATIONS)
    )


def iterations(rng):
    rows = []
    for k in range(N_GENERATIONS):
        sampled = k > 0
        n = 64 if sampled else 0
        flagged = int(64 * 0.95 / k**0.7) if sampled else 0
        close = 3 if sampled else 0
        stops = {"flagged": flagged, "finished": n - flagged - close, "too-close": close}
        decided = {"selected": 48, "duplicate": 5, "over-budget": max(flagged - 48, 0)}
        rows.append(
            IterationRow(
                number=k,
                phase="label" if k == N_GENERATIONS - 1 else "ended",
                started=START + 650.0 * k,
                ended=None if k == N_GENERATIONS - 1 else START + 650.0 * (k + 1),
                n_trajectories=n,
                stop_reasons=stops if sampled else {},
                sampled_ps=float(rng.uniform(20, 60)) if sampled else 0.0,
                n_flagged=flagged,
                n_audit=6 if sampled else 0,
                decisions=decided if sampled else {},
                n_labels_ok=46 if sampled else 104,
                n_labels_failed=2 if sampled else 0,
                n_labels_pending=12 if k == N_GENERATIONS - 1 else 0,
            )
        )
    return tuple(rows)


def spread(rng, n=220, iteration=7):
    scale = rng.gamma(4, 0.25, n)
    audit = rng.random(n) < 0.08
    factor = np.where(audit, rng.uniform(0.2, 0.9, n), rng.gamma(6, 0.25, n) + 0.9)
    return SpreadSample(
        iteration=iteration,
        generation=iteration - 1,
        energy=factor * (0.006 + 0.005 * scale) * rng.uniform(0.3, 1.1, n),
        force_mean=0.4 * factor * (0.10 + 0.10 * scale),
        force_max=factor * (0.10 + 0.10 * scale),
        excess=factor,
        force_scale=scale,
        is_audit=audit,
        gate=GATE,
    )


def calibration(rng, n=46, iteration=7, factor=1.25):
    force_spread = rng.lognormal(-3, 0.5, n)
    force_error = factor * force_spread * rng.lognormal(0, 0.4, n)
    energy_spread = rng.lognormal(-6, 0.4, n)
    energy_error = 1.2 * energy_spread * rng.normal(0, 1, n)
    return CalibrationSample(
        iteration=iteration,
        generation=iteration - 1,
        n_labels=n,
        force_spread=force_spread,
        force_error=force_error,
        energy_spread=energy_spread,
        energy_error=energy_error,
        is_audit=rng.random(n) < 0.1,
        factor=calibration_factor(force_spread, force_error),
        coverage=coverage(energy_spread, energy_error),
    )


def parity(rng, generation, error, n=40, atoms=6):
    energy = rng.normal(0, 0.3, n)
    force = rng.normal(0, 1.3, n * atoms * 3)
    return Parity(
        generation=generation,
        energy_reference=energy,
        energy_predicted=energy + rng.normal(0, error / 15, n),
        force_reference=force,
        force_predicted=force + rng.normal(0, error, len(force)),
        n_components=len(force),
    )


def survival(rng):
    curves = []
    for k in range(N_GENERATIONS - 1):
        times = np.minimum(rng.exponential(300.0 * (k + 1), 64), 2000.0)
        curves.append(survival_curve(k, times.tolist(), (times < 2000.0).tolist()))
    return tuple(curves)


def work(rng, n_iterations=N_GENERATIONS, n_labels=24):
    items = []
    for k in range(n_iterations):
        base = START + 650.0 * k
        for node in range(2):
            host = f"node{node:02d}.cluster"
            items += [
                Work(host, "sample", base, base + rng.uniform(100, 160), is_failed=False)
                for _ in range(3)
            ]
            at = [base + 165.0] * 3
            for j in range(n_labels // 2):
                length = float(rng.uniform(30, 90))
                items.append(
                    Work(
                        host,
                        "label",
                        at[j % 3],
                        at[j % 3] + length,
                        bool(rng.random() < 0.05),
                    )
                )
                at[j % 3] += length
        items.append(
            Work("node00.cluster", "train", base + 480, base + 600, is_failed=False)
        )
        items.append(
            Work("node00.cluster", "validate", base + 605, base + 615, is_failed=False)
        )
    drawn = timeline(items)
    return replace(drawn, time=attributed(items, [], len(drawn.lanes)))


def water_box(n_periodic):
    """Two molecules, in a box of which some directions repeat."""
    one = np.array([[0, 0, 0.1], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    numbers = np.array([8, 1, 1, 8, 1, 1], np.uint8)
    pbc = np.arange(3) < n_periodic % 4
    cell = np.diag([6.0, 6.0, 9.0]) if pbc.any() else None
    return Structure(numbers, np.vstack([one, one + np.array([3.0, 0.5, 1.0])]), cell, pbc)


def selected():
    return tuple(
        SelectedStructure(
            structure_id=3100 + k,
            formula="H4O2" if k % 2 else "H6O3",
            iteration=7,
            generation=6,
            sampler="nemd",
            source="molecules",
            time_fs=250.0 * k,
            reason="audit" if k == 9 else "flagged",
            measure="" if k == 9 else "force_max",
            energy_spread=0.004 + 0.0003 * k,
            force_spread=0.31 - 0.01 * k,
            decision_reason=f"rank {k + 1}: largest force spread 1.{k} times its limit",
            label_state=("ok", "failed", "pending")[k % 3],
            thumbnail=thumbnail(water_box(k), ringed=3 if k == 0 else None),
        )
        for k in range(10)
    )


def running_campaign():
    rng = np.random.default_rng(7)
    failures = LabelFailures(
        "not-converged",
        14,
        (3102, 3088, 3071),
        (913, 905, 899),
        "SCF not converged in 4 rungs",
    )
    attempts = tuple(
        FailedAttempt(
            task_id=900 + k,
            number=1,
            kind="label",
            failure="lost",
            message="the worker disappeared after 71 s",
            host="node01.cluster",
            ended=START + 100.0 * k,
            is_given_up=False,
        )
        for k in range(3)
    )
    settings = {
        "name": "water",
        "seed": 20261,
        "system": {
            "elements": ["H", "O"],
            "builders": [{"kind": "molecules", "count": 32}],
        },
        "label": {
            "primary": "dft",
            "levels": {"dft": {"kind": "pyscf", "method": "wb97x"}},
        },
        "acquire": {"kind": "threshold", "per_iteration": 48},
        "stop": {"budget": {"labels": 2000}, "converged": {"survival_ps": 2.0}},
    }
    return CampaignReport(
        header=header(),
        outcome=Outcome(
            Standing.RUNNING,
            phase="label",
            n_requested=452,
            max_iterations=20,
            max_labels=2000,
            converged={"survival_ps": 2.0, "force_rmse_eV_per_A": 0.03},
        ),
        n_labels_new=46,
        generations=generations(),
        iterations=iterations(rng),
        spreads=(spread(rng, 260, 6), spread(rng)),
        calibration=tuple(calibration(rng, iteration=k) for k in range(1, 8)),
        parity=(parity(rng, 0, 0.171), parity(rng, 7, 0.041)),
        survival=survival(rng),
        labeling=labeling(
            [
                Told("dft", 2.0 * 1.03**k, "shifted" if k % 9 == 0 else "diis", 12)
                for k in range(99)
            ]
        ),
        label_failures=(failures,),
        attempts_failed=attempts,
        n_attempts_failed=3,
        timeline=work(rng),
        selected=selected(),
        provenance=Provenance(
            settings=settings,
            settings_sha="ab" * 32,
            environments=({"alflow": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},),
            store_uuid="5f0e1d7a-0000-4000-8000-000000000001",
        ),
    )


def empty_campaign():
    return CampaignReport(
        header=header(iteration=None, generation=None, level="", level_detail=""),
        outcome=Outcome(Standing.EMPTY),
    )


def failed_campaign():
    report = running_campaign()
    given_up = FailedAttempt(
        task_id=77,
        number=3,
        kind="train",
        failure="diverged",
        message="loss is not finite in epoch 3",
        host="node00.cluster",
        ended=START,
        is_given_up=True,
    )
    return CampaignReport(
        header=header(iteration=0, generation=None),
        outcome=Outcome(
            Standing.FAILED, reason="training of generation 0 failed in iteration 0"
        ),
        iterations=report.iterations[:1],
        n_labels_new=104,
        attempts_failed=(given_up,),
        n_attempts_failed=1,
        timeline=work(np.random.default_rng(1), 1),
    )


@pytest.fixture(scope="session")
def running():
    return running_campaign()


@pytest.fixture(scope="session")
def empty():
    return empty_campaign()


@pytest.fixture(scope="session")
def failed():
    return failed_campaign()


@pytest.fixture(scope="session")
def large():
    """Twenty generations, thousands of candidates, labels and attempts."""
    rng = np.random.default_rng(3)
    report = running_campaign()
    row = report.generations[-1]
    step = report.iterations[-1]
    return replace(
        report,
        generations=tuple(replace(row, number=k) for k in range(20)),
        iterations=tuple(replace(step, number=k, n_labels_ok=5000) for k in range(20)),
        spreads=(spread(rng, 20_000),),
        calibration=tuple(calibration(rng, 5000, k) for k in range(1, 20)),
        parity=(parity(rng, 0, 0.2, 400, 16), parity(rng, 19, 0.03, 400, 16)),
        survival=tuple(
            survival_curve(k, rng.exponential(900, 2000).tolist(), [True] * 2000)
            for k in range(19)
        ),
        timeline=work(rng, 20, 1200),
    )
