"""Resolved settings go around unchanged; differences say what a running campaign may take."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alflow.config.campaign import CampaignSettings
from alflow.config.resolution import (
    campaign_changed,
    config_diff,
    render_changes,
    resolved,
    settings_from_resolved,
)
from alflow.core.errors import SettingsError

SMALL = {
    "name": "water",
    "seed": 7,
    "system": {"elements": ["H", "O"], "builders": [{"kind": "blob"}]},
    "label": {"primary": "dft", "levels": {"dft": {"kind": "program"}}},
    "sample": {"duration_ps": 2.0, "temperature_K": {"start": [50, 600]}},
    "acquire": {"per_iteration": 10},
}


def test_what_is_validated_may_change_at_any_time():
    old = campaign()
    new = campaign(validate={"suites": [{"kind": "third"}], "given": {"a": 1.0}})
    changes = config_diff(old, new)
    assert {change.path for change in changes} == {"validate.suites", "validate.given.a"}
    assert {change.effect for change in changes} == {"allowed"}
    assert settings_from_resolved(resolved(new)) == new
    assert resolved(new)["validate"]["suites"] == [{"kind": "third"}]


def campaign(**changes) -> CampaignSettings:
    return CampaignSettings.model_validate({**SMALL, **changes})


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
lengths = st.floats(min_value=0.1, max_value=20, allow_nan=False)
builders = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"kind": st.just("blob")},
            optional={
                "count": st.integers(1, 99),
                "density_g_per_cm3": st.one_of(
                    lengths, st.tuples(lengths, lengths).map(list)
                ),
                "composition": st.dictionaries(st.sampled_from("HO"), st.integers(1, 5)),
            },
        ),
        st.just({"kind": "third"}),
    ),
    min_size=1,
    max_size=3,
)
campaigns = st.fixed_dictionaries(
    {
        "name": names,
        "seed": st.integers(0, 2**63 - 1),
        "system": st.fixed_dictionaries({"elements": st.just(["H", "O"]), "builders": builders}),
        "label": st.fixed_dictionaries(
            {
                "primary": st.just("a"),
                "levels": st.dictionaries(
                    names, st.fixed_dictionaries({"kind": st.just("program"), "basis": names}),
                    min_size=1, max_size=3,
                ),
            },
            optional={"batch_size": st.integers(1, 64)},
        ),
        "sample": st.just(SMALL["sample"]),
        "acquire": st.just({"per_iteration": 5}),
    },
    optional={
        "model": st.one_of(st.none(), st.fixed_dictionaries({"cutoff_A": lengths})),
        "train": st.fixed_dictionaries({"schedule": st.sampled_from(["cosine", "plateau"])}),
        "test": st.one_of(
            st.none(), st.fixed_dictionaries({"count": st.integers(1, 50), "builders": builders})
        ),
        "loop": st.fixed_dictionaries({"bootstrap": st.integers(1, 500)}),
        "stop": st.fixed_dictionaries(
            {"budget": st.fixed_dictionaries({"labels": st.one_of(st.none(), st.integers(1, 9))})}
        ),
    },
)  # fmt: skip


@given(raw=campaigns)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_resolved_goes_around_through_json(raw):
    original = CampaignSettings.model_validate(raw)
    written = json.loads(json.dumps(resolved(original)))
    again = settings_from_resolved(written)
    assert again == original
    assert resolved(again) == written
    assert config_diff(original, again) == []


def test_every_default_is_written_out():
    value = resolved(campaign())
    assert value["model"] == {"kind": "ani", "members": 8, "cutoff_A": 5.0}
    assert value["train"]["epochs"] == 100
    assert value["system"]["builders"][0]["density_g_per_cm3"] == 1.0
    assert value["stop"] == {
        "budget": dict.fromkeys(("labels", "core_hours", "wall_hours")),
        "converged": dict.fromkeys(
            ("force_rmse_eV_per_A", "survival_ps", "audit", "plateau", "stalled")
        ),
    }


def test_settings_of_another_installation_are_told():
    value = resolved(campaign())
    value["sample"]["gone"] = 1
    value["model"]["kind"] = "missing"
    with pytest.raises(SettingsError, match="unknown key 'gone'") as caught:
        settings_from_resolved(value)
    assert "no model 'missing' is installed" in str(caught.value)


def level(**changes):
    return {"primary": "dft", "levels": {"dft": {"kind": "program", **changes}}}


@pytest.mark.parametrize(
    ("changes", "path", "effect", "reason"),
    [
        ({"seed": 8}, "seed", "refused", "random"),
        ({"name": "x"}, "name", "refused", "database"),
        (
            {"system": {"elements": ["H", "O", "C"], "builders": [{"kind": "blob"}]}},
            "system.elements", "refused", "networks",
        ),
        (
            {"system": {"elements": ["H", "O"], "builders": [{"kind": "blob", "count": 2}]}},
            "system.builders[0].count", "allowed", "not built yet",
        ),
        (
            {"system": {"elements": ["H", "O"], "builders": [{"kind": "blob"}, {"kind": "third"}]}},
            "system.builders", "allowed", "",
        ),
        ({"label": level(basis="big")}, "label.levels.dft.basis", "refused", "level of theory"),
        ({"label": level(memory_MB=5)}, "label.levels.dft.memory_MB", "allowed", "numbers"),
        ({"label": {**level(), "batch_size": 9}}, "label.batch_size", "allowed", "published"),
        ({"loop": {"growth": 0.3}}, "loop.growth", "allowed", "next generation"),
        ({"loop": {"open_iterations": 4}}, "loop.open_iterations", "allowed", "at once"),
        ({"loop": {"waiting_labels": 4}}, "loop.waiting_labels", "allowed", "at once"),
        ({"model": {"members": 4}}, "model.members", "refused", "shape"),
        ({"train": {"epochs": 5}}, "train.epochs", "allowed", "from the next generation on"),
        ({"acquire": {"per_iteration": 3}}, "acquire.per_iteration", "allowed", "next generation"),
        ({"loop": {"max_iterations": 50}}, "loop.max_iterations", "allowed", "at once"),
        ({"loop": {"bootstrap": 5}}, "loop.bootstrap", "refused", "start"),
        ({"stop": {"budget": {"labels": 5}}}, "stop.budget.labels", "allowed", "at once"),
        ({"test": {"count": 3, "builders": [{"kind": "blob"}]}}, "test", "refused", "test"),
    ],
)  # fmt: skip
def test_what_may_change(changes, path, effect, reason):
    (change,) = config_diff(campaign(), campaign(**changes))
    assert (change.path, change.effect) == (path, effect)
    assert reason in change.reason


def test_levels_may_come_but_not_go():
    both = {
        "primary": "dft",
        "levels": {"dft": {"kind": "program"}, "cc": {"kind": "third"}},
    }
    (new,) = config_diff(campaign(), campaign(label=both))
    assert (new.path, new.effect, new.old) == ("label.levels.cc", "allowed", None)
    (gone,) = config_diff(campaign(label=both), campaign())
    assert (gone.path, gone.effect, gone.new) == ("label.levels.cc", "refused", None)


def test_the_table_of_changes():
    changes = config_diff(
        campaign(), campaign(label=level(basis="big"), train={"epochs": 800})
    )
    first, second = render_changes(changes).splitlines()
    assert first.startswith("  label.levels.dft.basis  small  →  big  changes the level of")
    assert second == (
        "  train.epochs            100    →  800  allowed from the next generation on"
    )
    error = campaign_changed("water.db", "water", 7, changes)
    assert error.code == "AL301"
    assert "water.db holds campaign 'water' at iteration 7" in str(error)
    assert "Nothing was started." in str(error)
    assert "alflow resume water.db" in str(error)


def test_nothing_changed_is_an_empty_table():
    assert render_changes([]) == ""


def test_a_list_that_becomes_another_length_is_one_change():
    two = {"elements": ["H", "O"], "builders": [{"kind": "blob"}, {"kind": "blob"}]}
    (change,) = config_diff(campaign(), campaign(system=two))
    assert "[" in render_changes([change])
