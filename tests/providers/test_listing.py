"""The list of models, in each family's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from providers.canonical.errors import UnknownModel
from providers.listing import answer, is_listing

NAMES = ["fast", "team/smart"]
SPECS = Path(__file__).parent.parent / "specs"


def listed(path: str, *, headers: tuple[str, ...] = (), query: dict[str, str] | None = None) -> Any:
    return json.loads(answer(path, headers, query or {}, NAMES, 1700000000).body)


@pytest.mark.parametrize("path", ["/v1/models", "/v1beta/models", "/v1alpha/models", "/v1/models/fast"])
def test_these_paths_are_lists(path: str) -> None:
    """One list, or one model of it."""

    assert is_listing(path)


@pytest.mark.parametrize("path", ["/v1/model", "/v1/models/", "/models", "/v2/models", "/v1/chat/completions"])
def test_those_are_not(path: str) -> None:
    """Nothing else is."""

    assert not is_listing(path)


def test_openais_form() -> None:
    """A list object of model objects."""
    body = listed("/v1/models")

    assert ("list", NAMES) == (body["object"], [row["id"] for row in body["data"]])
    assert {"id", "object", "created", "owned_by"} == body["data"][0].keys()


@pytest.mark.parametrize(
    "asked",
    [
        {"path": "/v1beta/models"},
        {"path": "/v1/models", "headers": ("x-goog-api-key",)},
        {"path": "/v1/models", "query": {"key": "k"}},
    ],
)
def test_geminis_form(asked: dict[str, Any]) -> None:
    """By its path's version, its key header, or `?key=`; it fits the schema."""
    body = listed(**asked)
    document = json.loads((SPECS / "gemini.v1beta.response.schema.json").read_text())

    assert ["models/fast", "models/team/smart"] == [row["name"] for row in body["models"]]
    jsonschema.Draft202012Validator({"$ref": "#/$defs/ListModelsResponse", "$defs": document["$defs"]}).validate(body)


def test_anthropics_form() -> None:
    """By its version header."""
    body = listed("/v1/models", headers=("anthropic-version",))

    assert ("fast", "team/smart", False) == (body["first_id"], body["last_id"], body["has_more"])


def test_one_model_is_found_by_its_encoded_name() -> None:
    """And an unknown one is not."""

    assert "team/smart" == listed("/v1/models/team%2Fsmart")["id"]
    assert "models/fast" == listed("/v1beta/models/fast")["name"]
    with pytest.raises(UnknownModel):
        listed("/v1/models/nope")
