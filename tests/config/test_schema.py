"""The JSON schema that editors complete campaign files by."""

import json

from alflow.config.schema import json_schema


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere():
    schema = json.loads(json.dumps(json_schema()))
    targets = set(references(schema))
    assert targets
    assert {target.removeprefix("#/$defs/") for target in targets} <= schema["$defs"].keys()


def test_plugins_are_unions_that_kind_discriminates():
    schema = json_schema()
    union = schema["$defs"]["builders"]
    assert set(union["discriminator"]["mapping"]) == {"blob", "third"}
    assert [branch["properties"]["kind"]["const"] for branch in union["oneOf"]] == [
        "blob",
        "third",
    ]
    assert all("kind" in branch["required"] for branch in union["oneOf"])
    items = schema["$defs"]["SystemSettings"]["properties"]["builders"]["items"]
    assert items["$ref"] == "#/$defs/builders"


def test_sections_with_a_default_plugin_need_no_kind():
    sample = json_schema()["properties"]["sample"]
    kinds = [branch.get("$ref") for branch in sample["anyOf"]]
    assert kinds == ["#/$defs/samplers", "#/$defs/Walk", None]
    assert sample["description"] == "How new structures are found."


def test_help_and_required_keys_are_there():
    schema = json_schema()
    assert schema["required"] == ["name", "seed", "system", "label"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["seed"]["description"].startswith("Seed from which")
    assert "x-alflow" not in json.dumps(schema)


def test_broken_plugins_are_left_out():
    assert "broken" not in json_schema()["$defs"]["models"]["discriminator"]["mapping"]
