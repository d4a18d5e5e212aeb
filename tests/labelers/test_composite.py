"""Composite levels: exactly the sum of their parts, with every part on the label."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from alflow import registry
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.labelers.composite import CompositeSettings
from alflow.labelers.level import level_digest
from alflow.labelers.pyscf import PyscfSettings
from alflow.models.gupta_parameters import CLERI_ROSATO

COPPER = CLERI_ROSATO["Cu"].model_dump()
PUBLISHED = {"kind": "analytic"}
OTHER = {"kind": "analytic", "parameters": {"Al": COPPER}}
WATER = np.array([[0, 0, 0.119262], [0, 0.763239, -0.477047], [0, -0.763239, -0.477047]])
HALVED = {"of": ["a", "b"], "cardinals": [1, 2], "law": "power", "exponent": 1.0}
"""E = 2 b - a."""


def composite(**raw) -> CompositeSettings:
    return CompositeSettings.model_validate(raw)


def crystal(periodic: bool) -> Structure:
    rng = np.random.default_rng(3)
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) * 4.05
    positions = corners + rng.normal(0, 0.1, (4, 3))
    numbers = np.full(4, 13, np.uint8)
    if not periodic:
        return Structure(numbers, positions)
    return Structure(numbers, positions, np.eye(3) * 4.1, np.array([True] * 3))


def water() -> Structure:
    return Structure(np.array([8, 1, 1], np.uint8), WATER)


def label(settings, structure: Structure) -> Label:
    answer = settings.create().label(structure)
    assert isinstance(answer, Label), answer
    return answer


def plain(raw: dict) -> Label:
    settings = registry.find("labelers", raw["kind"]).model_validate(raw)
    return label(settings, crystal(periodic=True))


def test_entry_point_finds_it():
    assert registry.find("labelers", "composite") is CompositeSettings


@pytest.mark.parametrize(
    ("formula", "weights"),
    [
        ({"terms": {"a": 1, "b": -1}}, (1.0, -1.0)),
        ({"terms": {"a": 0.25, "b": 1.5}}, (0.25, 1.5)),
        ({"limits": [HALVED]}, (-1.0, 2.0)),
        ({"limits": [{**HALVED, "times": -2}], "terms": {"b": 1}}, (2.0, -3.0)),
    ],
)
def test_energy_forces_and_stress_are_those_of_the_formula(formula, weights):
    settings = composite(parts={"a": PUBLISHED, "b": OTHER}, **formula)
    found = label(settings, crystal(periodic=True))
    a, b = plain(PUBLISHED), plain(OTHER)
    assert a.energy != pytest.approx(b.energy, abs=0.1)
    for what in ("energy", "forces", "stress"):
        expected = weights[0] * getattr(a, what) + weights[1] * getattr(b, what)
        assert np.abs(getattr(found, what) - expected).max() < 1e-12
    kept = found.extras["components"]
    assert {name: part["energy_eV"] for name, part in kept.items()} == {
        "a": a.energy,
        "b": b.energy,
    }


def test_forces_are_the_slope_of_the_energy():
    settings = composite(parts={"a": PUBLISHED, "b": OTHER}, limits=[HALVED])
    labeler = settings.create()
    start, step = crystal(periodic=False), 1e-4
    forces = label(settings, start).forces
    assert forces is not None
    ends = []
    for sign in (1, -1):
        moved = start.positions.copy()
        moved[2, 1] += sign * step
        ends.append(labeler.label(Structure(start.numbers, moved)).energy)
    assert forces[2, 1] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), abs=1e-6)


def test_composites_can_be_parts():
    inner = {"kind": "composite", "parts": {"x": PUBLISHED, "y": OTHER}}
    inner["terms"] = {"x": 1, "y": -1}
    outer = composite(
        parts={"difference": inner, "y": OTHER}, terms={"difference": 1, "y": 1}
    )
    found = label(outer, crystal(periodic=True))
    assert found.energy == pytest.approx(plain(PUBLISHED).energy, abs=1e-12)
    kept = found.extras["components"]["difference"]["components"]
    assert kept["y"]["energy_eV"] == plain(OTHER).energy


def test_a_part_without_weight_is_on_the_label_and_no_part_of_the_level():
    alone = composite(parts={"a": PUBLISHED}, terms={"a": 1})
    watched = composite(parts={"a": PUBLISHED, "b": OTHER}, terms={"a": 1, "b": 0})
    found = label(watched, crystal(periodic=True))
    assert found.energy == plain(PUBLISHED).energy
    assert found.extras["components"]["b"]["energy_eV"] == plain(OTHER).energy
    assert level_digest(watched) == level_digest(alone)


HF = {"kind": "pyscf", "method": "hf", "basis": "6-31g"}
MP2 = {"kind": "pyscf", "method": "mp2", "basis": "6-31g", "frozen_core": True}


def test_components_come_of_one_calculation_and_leave_no_forces():
    settings = composite(parts={"one": MP2}, terms={"one.hf": 1, "one.mp2": 1.2})
    found = label(settings, water())
    parts = label(PyscfSettings.model_validate(MP2), water()).extras["components"]
    expected = (parts["hf_hartree"] + 1.2 * parts["mp2_hartree"]) * EV_PER_HARTREE
    assert found.energy == pytest.approx(expected, abs=1e-12)
    assert found.forces is None
    one = found.extras["components"]["one"]
    assert one["components"] == parts
    assert one["rung"] == "diis"
    assert one["program"] == found.extras["program"] == settings.create().version()


def test_forces_need_those_of_all_parts():
    both = composite(parts={"low": HF, "high": MP2}, terms={"high": 1, "low": -1})
    found = label(both, water())
    assert found.forces is None
    parts = found.extras["components"]
    assert found.energy == pytest.approx(
        parts["high"]["components"]["mp2_hartree"] * EV_PER_HARTREE, abs=1e-9
    )


@pytest.mark.parametrize("method", ["ccsd", "ccsd(t)"])
@pytest.mark.parametrize("fitted", [True, False])
def test_coupled_cluster_tells_the_mp2_energy_that_it_began_from(method, fitted):
    raw = {**MP2, "density_fit": fitted}
    alone = label(PyscfSettings.model_validate(raw), water()).extras["components"]
    cluster = PyscfSettings.model_validate({**raw, "method": method})
    extras = label(cluster, water()).extras
    assert extras["byproducts"]["mp2_hartree"] == pytest.approx(
        alone["mp2_hartree"], abs=1e-7
    )
    told = {*extras["byproducts"], *extras["components"]}
    assert {f"{name}_hartree" for name in cluster.components()} == told


def test_the_failure_of_a_part_is_that_of_the_whole_with_its_name():
    settings = composite(
        parts={"first": HF, "second": PUBLISHED}, terms={"first": 1, "second": 1}
    )
    answer = settings.create().label(water())
    assert isinstance(answer, Failure)
    assert answer.kind == FailureKind.INVALID_INPUT
    assert answer.message == "part 'second': no parameters for H, O"
    assert answer.details["part"] == "second"
    finished = answer.details["finished"]["first"]
    assert finished["energy_eV"] == label(PyscfSettings.model_validate(HF), water()).energy


def test_finished_parts_are_not_computed_again():
    settings = composite(parts={"a": PUBLISHED, "b": OTHER}, terms={"a": 1, "b": 1})
    kept: list[dict[str, Label]] = []
    labeler = settings.create()
    there = {"a": Label(5.0, np.zeros((4, 3))), "gone": Label(1.0)}
    found = labeler.resume(
        crystal(periodic=True), there, lambda one: kept.append(dict(one))
    )
    assert found.energy == 5.0 + plain(OTHER).energy
    assert found.stress is None
    assert [sorted(one) for one in kept] == [["a", "b"]]


def test_the_time_of_all_parts_counts_those_of_earlier_attempts_too():
    settings = composite(parts={"a": PUBLISHED, "b": OTHER}, terms={"a": 1, "b": 1})
    there = {"a": Label(5.0, np.zeros((4, 3)), None, {"wall_s": 100.0})}
    found = settings.create().resume(crystal(periodic=True), there, lambda _: None)
    assert 100.0 <= found.extras["wall_s"] < 110.0


def test_a_sum_that_is_no_number_is_no_label():
    settings = composite(parts={"a": PUBLISHED}, terms={"a": 1})
    there = {"a": Label(float("inf"))}
    answer = settings.create().resume(crystal(periodic=True), there, lambda _: None)
    assert isinstance(answer, Failure)
    assert answer.kind == FailureKind.SUSPICIOUS


def test_components_that_only_the_label_can_tell(tmp_path):
    program = tmp_path / "label"
    program.write_text(
        '#!/bin/sh\necho \'{"energy": 1.5, "extras": {"components": {"x_eV": 0.5}}}\' > '
        "label.json\n"
    )
    program.chmod(0o755)
    part = {"kind": "command", "command": [str(program)], "level": {"of": "mine"}}
    part["energy_only"] = True
    found = label(composite(parts={"p": part}, terms={"p": 1, "p.x": -2}), water())
    assert found.energy == 0.5
    answer = composite(parts={"p": part}, terms={"p.y": 1}).create().label(water())
    assert isinstance(answer, Failure)
    assert answer.kind == FailureKind.INVALID_INPUT
    assert answer.message == "part 'p': the label has no component 'y' (it has: x)"
    assert answer.details["components"]["p"]["energy_eV"] == 1.5


def test_every_part_and_every_number_of_the_formula_is_part_of_the_level():
    parts = {"a": PUBLISHED, "b": OTHER}
    third = {"kind": "analytic", "parameters": {"Al": {**COPPER, "p": 10.0}}}
    digests = {
        level_digest(composite(**raw))
        for raw in (
            {"parts": parts, "limits": [HALVED]},
            {"parts": {"b": PUBLISHED, "a": OTHER}, "limits": [HALVED]},
            {"parts": {**parts, "b": third}, "limits": [HALVED]},
            {"parts": {**parts, "a": third}, "limits": [HALVED]},
            {"parts": parts, "limits": [{**HALVED, "exponent": 1.5}]},
            {"parts": parts, "limits": [{**HALVED, "law": "exp_sqrt"}]},
            {"parts": parts, "limits": [{**HALVED, "cardinals": [2, 3]}]},
            {"parts": parts, "limits": [{**HALVED, "times": 2}]},
            {"parts": parts, "limits": [HALVED], "terms": {"a": 1}},
            {"parts": parts, "terms": {"a": 1, "b": -1}},
            {"parts": parts, "terms": {"a": -1, "b": 1}},
            {"parts": {"m": MP2}, "terms": {"m": 1}},
            {"parts": {"m": MP2}, "terms": {"m.hf": 1}},
        )
    }
    assert len(digests) == 13


def test_names_order_and_what_changes_no_number_are_no_part_of_the_level():
    first = composite(parts={"a": PUBLISHED, "m": MP2}, terms={"a": 1, "m.mp2": -1})
    second = composite(
        parts={"low": {**MP2, "basis": "6-31G", "max_memory_MB": 500}, "high": PUBLISHED},
        terms={"low.mp2": -1, "high": 1},
    )
    assert level_digest(first) == level_digest(second)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "parts: name the labelers"),
        ({"parts": {"a": PUBLISHED}}, "the formula has no term"),
        ({"parts": {"a": PUBLISHED}, "terms": {"a": 0}}, "the formula has no term"),
        ({"parts": {"a": PUBLISHED}, "terms": {"b": 1}}, "b is of no part; parts: a"),
        ({"parts": {"a": PUBLISHED}, "limits": [HALVED]}, "limits: b is of no part"),
        ({"parts": {"a": PUBLISHED, "b": OTHER}, "terms": {"a": 1}}, "nothing uses b"),
        (
            {"parts": {"a": MP2, "b": MP2}, "terms": {"a": 1, "b": 1}},
            "a and b are the same calculation",
        ),
        ({"parts": {"a": MP2}, "terms": {"a.ccsd": 1}}, "'ccsd'; they have: hf, mp2"),
        ({"parts": {"a": HF}, "terms": {"a.hf": 1}}, "they have: none"),
        ({"parts": {"a": {"kind": "pyscf"}}, "terms": {"a": 1}}, "method"),
        ({"parts": {"a": {"kind": "nothing"}}, "terms": {"a": 1}}, "no plug-in"),
        ({"parts": {"a": {**MP2, "frozen_core": None}}, "terms": {"a": 1}}, "frozen_core"),
    ],
)
def test_settings_that_make_no_sense_are_refused(raw, words):
    with pytest.raises(ValidationError, match=words):
        composite(**raw)


def test_the_parts_in_a_campaign_file_are_checked_where_they_stand(tmp_path):
    shipped = Path(__file__).parents[2] / "workflows" / "water" / "campaign.yaml"
    text = shipped.read_text(encoding="utf-8")
    level = "dft: {kind: pyscf, method: wb97x, basis: 6-31g*}"
    assert text.count(level) == 1
    parts = "x: {kind: analytic}, y: {kind: pyscf, method: hf, basis: nosuch}"
    limit = "{of: [x, y], cardinals: [4, 3], law: power, exponnt: 3}"
    for formula, expected in (
        ("terms: {x: 1, y: -1}", {"parts.x.elements", "parts.y.basis"}),
        (f"limits: [{limit}]", {"limits[0].exponnt"}),
    ):
        file = tmp_path / "campaign.yaml"
        entry = f"dft: {{kind: composite, parts: {{{parts}}}, {formula}}}"
        file.write_text(text.replace(level, entry), encoding="utf-8")
        with pytest.raises(CampaignFileError) as raised:
            load_campaign(file)
        found = {problem.path for problem in raised.value.problems}
        assert {f"label.levels.dft.{path}" for path in expected} <= found


def test_settings_survive_json():
    for settings in (
        composite(parts={"a": PUBLISHED, "m": MP2}, terms={"a": 1, "m.mp2": -1}),
        scheme(),
    ):
        raw = settings.model_dump(mode="json")
        again = CompositeSettings.model_validate(raw)
        assert level_digest(again) == level_digest(settings)
        assert again.model_dump(mode="json") == raw


def test_cells_are_for_levels_whose_parts_all_take_them():
    assert composite(parts={"a": PUBLISHED}, terms={"a": 1}).handles_periodic
    mixed = composite(parts={"a": PUBLISHED, "m": MP2}, terms={"a": 1, "m": 1})
    assert not mixed.handles_periodic
    assert not scheme().handles_periodic


def scheme(name: str = "CCSD(T)/DZ + dMP2(TQ)", **changes) -> CompositeSettings:
    raw = {"name": name, "frozen_core": True, **changes}
    return CompositeSettings.model_validate({"scheme": raw})


SPELT_OUT = {
    "parts": {
        "dz": {**MP2, "method": "ccsd(t)", "basis": "cc-pvdz"},
        "tz": {**MP2, "basis": "cc-pvtz"},
        "qz": {**MP2, "basis": "cc-pvqz"},
    },
    "limits": [
        {
            "of": ["tz.hf", "qz.hf"],
            "cardinals": [3, 4],
            "law": "exp_sqrt",
            "exponent": 5.46,
        },
        {"of": ["tz.mp2", "qz.mp2"], "cardinals": [3, 4], "law": "power", "exponent": 2.51},
    ],
    "terms": {"dz.ccsd": 1, "dz.triples": 1, "dz.mp2": -1},
}


def test_a_scheme_is_the_formula_that_it_stands_for():
    assert level_digest(scheme()) == level_digest(composite(**SPELT_OUT))
    levels = {
        level_digest(one)
        for one in (
            scheme(),
            scheme("ccsd(t)/tz+dmp2(tq)"),
            scheme(frozen_core=False),
            scheme(density_fit=False),
        )
    }
    assert len(levels) == 4
    assert level_digest(scheme(common={"max_memory_MB": 4000})) == level_digest(scheme())
    assert list(scheme("ccsd(t)/tz+dmp2(tq)").all_parts()) == ["tz", "qz"]


def test_the_scheme_adds_up_for_hydrogen():
    # Small enough for quadruple zeta; every term by hand from what the parts say.
    hydrogen = Structure(np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 0.74]]))
    found = label(scheme(frozen_core=False), hydrogen)
    parts = {
        name: {
            key: value * EV_PER_HARTREE
            for key, value in {**part["components"], **part.get("byproducts", {})}.items()
        }
        for name, part in found.extras["components"].items()
    }
    near, far = np.exp(-5.46 * np.sqrt(4)), np.exp(-5.46 * np.sqrt(3))
    hf_tz, hf_qz = parts["tz"]["hf_hartree"], parts["qz"]["hf_hartree"]
    mp2_tz, mp2_qz = parts["tz"]["mp2_hartree"], parts["qz"]["mp2_hartree"]
    expected = (near * hf_tz - far * hf_qz) / (near - far)
    expected += (4**2.51 * mp2_qz - 3**2.51 * mp2_tz) / (4**2.51 - 3**2.51)
    small = parts["dz"]
    assert small["triples_hartree"] == pytest.approx(0, abs=1e-12)
    expected += small["ccsd_hartree"] + small["triples_hartree"] - small["mp2_hartree"]
    assert found.energy == pytest.approx(expected, abs=1e-11)
    # The exact energy at this distance is -1.17447 Hartree (Kolos and Wolniewicz 1965).
    assert found.energy / EV_PER_HARTREE == pytest.approx(-1.17447, abs=3e-3)


def test_a_scheme_says_what_its_parts_lack():
    (found, *_) = scheme().problems(["H", "U"])
    assert found.path == ("scheme",)
    assert "has no functions for U" in found.message
    assert not list(scheme().problems(["H", "O"]))
    own = composite(parts={"m": MP2}, terms={"m": 1})
    assert not list(own.problems(["U"]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"common": {"method": "hf"}}, "method is for the scheme to say"),
        ({"common": {"max_memry_MB": 1}}, "scheme: common: max_memry_MB"),
        ({"frozen_core": None}, "frozen_core"),
    ],
)
def test_schemes_are_checked(changes, words):
    with pytest.raises(ValidationError, match=words):
        scheme(**changes)


def test_a_scheme_has_no_parts_beside_it():
    raw = {"scheme": {"name": "ccsd(t)/dz+dmp2(tq)", "frozen_core": True}}
    with pytest.raises(ValidationError, match="leave them out"):
        composite(**raw, parts={"m": MP2}, terms={"m": 1})
