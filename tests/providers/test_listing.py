"""The list of models, in each family's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from providers.canonical.errors import MalformedRequest, MethodNotAllowed, UnknownModel
from providers.listing import Question, answer, beside, dialect_of, is_list, is_listing, reply

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


def test_a_list_has_no_other_use() -> None:
    """One of its models may also be the beginning of a task."""
    assert [True, True, False, False] == [
        is_list(path) for path in ("/v1/models", "/v1beta/models", "/v1/models/fast", "/v1/chat/completions")
    ]


def test_a_refusal_is_read_in_the_form_that_was_asked_for() -> None:
    """Path, key and version decide, as for the list."""
    asked = [
        ("/v1/models/x", (), {}),
        ("/v1/models/x", ("anthropic-version",), {}),
        ("/v1/models/x", ("anthropic-version", "x-goog-api-key"), {}),
        ("/v1/models/x", (), {"key": "k"}),
        ("/v1beta/models/x", (), {}),
    ]

    assert ["openai.chat", "anthropic.messages", "gemini", "gemini", "gemini"] == [
        dialect_of(path, headers, query) for path, headers, query in asked
    ]


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


# ── beside a route of ollama.chat ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("route", "speaks", "paths"),
    [
        ("/ollama/api/{task}", "ollama.chat", {"tags", "show", "version"}),
        ("/ollama/api/chat", "ollama.chat", {"tags", "show", "version"}),
        ("/ollama/api/{task}", "openai.chat", set()),
        ("/internal/summarise", "ollama.chat", set()),
        ("/proxy/{url:url}/{key:secret}/api/chat", "ollama.chat", set()),
    ],
)
def test_what_is_asked_beside_a_route(route: str, speaks: str, paths: set[str]) -> None:
    """Only of that dialect, only where its clients look, and never where a key may stand in the path."""
    found = beside(route, speaks)

    assert {f"/ollama/api/{path}" for path in paths} | ({"/ollama", "/ollama/"} if paths else set()) == set(found)


def test_a_route_without_a_prefix() -> None:
    """Then the root says that somebody is there."""
    assert {"/api/tags": "tags", "/api/show": "show", "/api/version": "version", "/": "alive"} == beside(
        "/api/chat", "ollama.chat"
    )


def replied(question: Question, body: bytes = b"", method: str = "GET") -> Any:
    return json.loads(reply(question, method, body, NAMES, 1700000000).body)


def test_the_list_of_models_in_that_form() -> None:
    """Names under both keys; each model has a digest of its own."""
    found = replied("tags")["models"]

    assert [(name, name) for name in NAMES] == [(row["name"], row["model"]) for row in found]
    assert "2023-11-14T22:13:20+00:00" == found[0]["modified_at"]
    assert 2 == len({row["digest"] for row in found})


@pytest.mark.parametrize("key", ["model", "name"])
def test_one_model_in_that_form(key: str) -> None:
    """By either of the names that the field had."""
    found = replied("show", json.dumps({key: "fast"}).encode(), "POST")

    assert {"general.basename": "fast"} == found["model_info"]
    assert "tools" in found["capabilities"]


@pytest.mark.parametrize(
    ("question", "method", "body", "error"),
    [
        ("show", "POST", b'{"model": "nope"}', UnknownModel),
        ("show", "POST", b"{}", MalformedRequest),
        ("show", "POST", b"", MalformedRequest),
        ("show", "GET", b"", MethodNotAllowed),
        ("tags", "POST", b"{}", MethodNotAllowed),
    ],
)
def test_questions_that_have_no_answer(question: Question, method: str, body: bytes, error: type[Exception]) -> None:
    """What is not there, what cannot be read, and the wrong method."""
    with pytest.raises(error):
        reply(question, method, body, NAMES, 0)


def test_life_and_version() -> None:
    """A line of text; a version that clients compare with theirs."""
    assert b"Ollama is running" == reply("alive", "HEAD", b"", (), 0).body
    assert [True] * 3 == [part.isdigit() for part in replied("version")["version"].split(".")]
