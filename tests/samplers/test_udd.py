import numpy as np
import pytest
from pydantic import ValidationError

from alflow.core.errors import SettingsError
from alflow.core.sampling import Gate, Limit, StopReason
from alflow.core.structures import Structure
from alflow.samplers.nemd import NemdSettings
from alflow.samplers.udd import UddSettings
from alflow.samplers.udd_run import bias_of

COLD = {
    "timestep_fs": 2.0,
    "duration_ps": 0.3,
    "temperature_K": {"start": 5, "end": 5},
    "check_every": 5,
}
GATE = Gate(energy=Limit(0.005))


def settings(**changes):
    return UddSettings.model_validate({**COLD, **changes})


@pytest.fixture
def ensemble(potentials):
    """Members that agree where a dimer rests, at 2.82 Å, and nowhere else."""
    return potentials.PairPotential((0.3, 0.3), (2.58, 2.62), 4.5)


@pytest.fixture
def dimers():
    """Close to rest."""
    return [
        Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [length_A, 0, 0]]))
        for length_A in (2.81, 2.82, 2.83)
    ]


def test_it_finds_what_plain_dynamics_at_the_same_temperature_does_not(ensemble, dimers):
    plain = NemdSettings.model_validate(COLD).create().sample(dimers, ensemble, GATE, 1)
    drawn = settings().create().sample(dimers, ensemble, GATE, 1)
    assert {t.stop_reason for t in plain} == {StopReason.FINISHED}
    assert max(max(t.trace["energy_spread"]) for t in plain) < GATE.energy.base / 2
    assert {t.stop_reason for t in drawn} == {StopReason.FLAGGED}


def test_paths_do_not_depend_on_the_slots(ensemble, dimers):
    one, all_at_once = (
        settings(slots=n).create().sample(dimers, ensemble, GATE, 3) for n in (1, 3)
    )
    assert [t.trace for t in one] == [t.trace for t in all_at_once]


def test_a_frame_is_judged_without_the_bias(ensemble, dimers):
    plain, drawn = (
        sampler.create().sample(dimers[:1], ensemble, Gate(energy=Limit(1e-9)), 1)[0]
        for sampler in (NemdSettings.model_validate(COLD), settings())
    )
    assert (plain.n_steps, drawn.n_steps) == (0, 0)
    assert plain.frames[0].spread == drawn.frames[0].spread


def test_the_width_is_that_of_the_gate_unless_given():
    assert bias_of(settings(), GATE).width_eV == 0.005
    assert bias_of(settings(bias_width_meV=7), GATE).width_eV == 0.007
    with pytest.raises(SettingsError, match="no limit on the energy spread"):
        bias_of(settings(), Gate(force_max=Limit(0.1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias_height_eV": 0}, "bias_height_eV"),
        ({"bias_width_meV": -1}, "bias_width_meV"),
        ({"bias_hight_eV": 1}, "bias_hight_eV"),
        ({"kind": "nemd"}, "kind"),
        ({"duration_ps": 0}, "duration_ps"),
    ],
)
def test_senseless_settings_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_settings_survive_json():
    assert UddSettings.model_validate_json(settings().model_dump_json()) == settings()
