"""The shipped rows: each is complete, says where its facts are from, and can carry a call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from providers.auth import check, sign
from providers.canonical.chat import ChatRequest, Message, Text
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest
from providers.canonical.errors import UnsupportedParameter
from providers.catalog import catalog
from providers.dialect import WireRequest
from providers.dialects import DIALECTS, QUIRKS
from providers.provider import PLANNED, Provider, address
from router.config import load

# Keys of a `providers` row in routes.yaml that a shipped row may have, and where its facts are from.
KEYS = {"base_url", "speaks", "source", "auth", "secret", "secrets", "headers", "query", "quirks"}
KEYS |= {"own", "ignores", "rejects", "timeouts", "attempts", "retry_on", "concurrency", "queue"}
KEYS |= {"takes", "ranges", "credits"}
KEYS |= {"alternation", "on_invalid_json", "nice", "tools", "response_format", "vision"}
EMBED = EmbeddingsRequest(dialect="test", model="some-model", inputs=(EmbeddingInput(parts=(Text(text="Hello"),)),))
TINY = ChatRequest(
    dialect="test",
    model="some-model",
    messages=(Message(role="user", parts=(Text(text="Hello"),)),),
    max_output_tokens=50,  # some dialects insist on it
)


def provider(name: str) -> Provider:
    """The row as the value that calls are made with."""
    row = catalog()[name]
    fields = {key: value for key, value in row.items() if key in Provider.__struct_fields__}
    fields |= {"timeouts": {}, "retry_on": None}  # written as durations, and as numbers: router/config.py reads them
    secrets = row.get("secrets") or ([row["secret"]] if "secret" in row else [])
    return msgspec.convert({"name": name, "secrets": secrets, **fields}, Provider)


@pytest.mark.parametrize("name", catalog())
def test_a_row_is_complete(name: str) -> None:
    """A row says where the upstream lives, what it speaks, and the page that says so; no key is misspelt."""
    row = catalog()[name]

    assert set() == set(row) - KEYS
    assert {"base_url", "speaks", "source"} <= set(row)
    assert isinstance(row["source"], str) and row["source"].strip()


@pytest.mark.parametrize("name", catalog())
def test_a_row_authenticates_in_a_known_way(name: str) -> None:
    """A way to sign that exists, and a reference to a secret exactly where one is needed."""
    row = catalog()[name]

    assert check(row.get("auth", "bearer")) is None
    assert ("secret" in row) == (row.get("auth") != "none")
    assert str(row.get("secret", "env:X")).startswith("env:")


@pytest.mark.parametrize("name", catalog())
def test_a_base_url_is_plain(name: str) -> None:
    """https for everything that is not on this machine; no credentials, query, fragment or trailing slash."""
    url = urlsplit(re.sub(r"\{[a-z]+\}", "x", catalog()[name]["base_url"]))

    assert url.hostname
    assert "https" == url.scheme or url.hostname in ("localhost", "127.0.0.1", "local")
    assert ("", "", None) == (url.query, url.fragment, url.username)
    assert not catalog()[name]["base_url"].endswith("/")


def test_no_field_is_both_passed_and_held_back() -> None:
    """`own`, `ignores` and `rejects` exclude each other: a field has one fate."""
    for name, row in catalog().items():
        fates = [*row.get("own", ()), *row.get("ignores", ()), *row.get("rejects", ())]

        assert len(fates) == len(set(fates)), name


def test_rows_cannot_be_changed() -> None:
    """The catalog is shared by every table that is ever loaded: nobody merges into it in place."""
    with pytest.raises(TypeError):
        catalog()["openai"]["base_url"] = "https://elsewhere.example"  # type: ignore[index]
    with pytest.raises(TypeError):
        catalog()["new"] = {}  # type: ignore[index]


UNLIMITED = {"alphakek", "alchemyst"}  # they take no max_tokens


@pytest.mark.parametrize("name", catalog())
def test_a_row_can_carry_a_call(name: str) -> None:
    """Every dialect of chats that a row speaks writes a small request for it, to an address below its base."""
    row = provider(name)
    for dialect in row.speaks:
        if dialect not in DIALECTS:
            continue
        losses: list[Any] = []
        spoken: Any = DIALECTS[dialect]

        wire: WireRequest
        if "chat" in spoken.operations:
            wire = spoken.encode_request(TINY, losses, row.traits)
        else:
            wire = spoken.embeddings.encode_embeddings_request(EMBED, losses)

        expected = ["max_output_tokens"] if name in UNLIMITED else []
        assert expected == [loss.field for loss in losses if loss.kind != "invented"]
        assert b"Hello" in wire.body
        assert address(row.base_url, wire).startswith(row.base_url + "/")


@pytest.mark.parametrize("name", catalog())
def test_quirks_are_those_of_its_dialects(name: str) -> None:
    """A row names no quirk that nobody knows; one of a dialect that is still to come is not named yet."""
    row = catalog()[name]

    assert set() == set(row.get("quirks", ())) - {
        quirk for dialect in row["speaks"] for quirk in QUIRKS.get(dialect, ())
    }
    assert set(row["speaks"]) <= {*DIALECTS, *PLANNED}


def test_the_catalog_is_broad() -> None:
    """Whoever comes with a key of a well-known vendor finds its row; the given systems have theirs."""
    named = set(catalog())

    assert 30 <= len(named)
    assert {"openai", "azure", "gemini", "vertex", "anthropic", "bedrock", "mistral", "groq", "deepseek"} <= named
    assert {"together", "fireworks", "openrouter", "xai", "perplexity", "cerebras", "nvidia", "sambanova"} <= named
    assert {"huggingface", "cohere", "moonshot", "github-models", "ollama", "vllm", "llamacpp", "lmstudio"} <= named
    assert {"aleph-alpha", "alphakek", "alphaedge", "alchemyst", "alchemyst-openai"} <= named


# ── what each row makes of one request ─────────────────────────────────────────────────────────

#: What stands in the place of `{words}` in a base_url.
OWN = {"resource": "acme", "region": "eu-west-1", "location": "europe-west1", "project": "p1"} | {
    "account": "a1",
    "gateway": "g1",
}
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
ASKED: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello", "name": "Ann"},
        {"role": "user", "content": [{"type": "text", "text": "again"}]},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
    "tool_choice": "required",
    "max_completion_tokens": 9,
    "n": 1,
    "seed": 7,
    "stream": True,
}
ASKS_USAGE = {"stream_options": {"include_usage": True}}
BEARER = ("authorization", "Bearer k-dummy")
GONE = object()


def messages(*changes: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    """The messages of `ASKED` with fields of some replaced, or GONE."""
    changed = [dict(message) for message in ASKED["messages"]]
    for index, fields in changes:
        changed[index] = {key: value for key, value in (changed[index] | fields).items() if value is not GONE}
    return {"messages": changed}


LAX = {"tools": [{"type": "function", "function": {"name": "f"}}]}
SHORT = {"max_completion_tokens": GONE, "max_tokens": 9}
SYSTEM = (0, {"role": "system"})
UNNAMED = (1, {"name": GONE})
THOUGHT = (3, {"reasoning_content": " "})
NO_NULLS = (3, {"refusal": GONE})
NINE = ((3, {"tool_calls": [CALLS[0] | {"id": "Bu09e4fdz"}]}), (4, {"tool_call_id": "Bu09e4fdz"}))
FULL = {
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}},
        }
    ]
}
FREE = {"tool_choice": "auto"}
SINGLE = {"n": GONE}

#: Name of a row -> its URL, the header with the key, and how the body differs from what the caller sent. A refusal is
#: named by its field.
CHAT: dict[str, tuple[str, tuple[str, str] | None, dict[str, Any] | str]] = {
    "demo": ("simulated://local/chat/completions", None, ASKS_USAGE),
    "openai": ("https://api.openai.com/v1/chat/completions", BEARER, ASKS_USAGE),
    "azure": (
        "https://acme.openai.azure.com/openai/v1/chat/completions",
        ("api-key", "k-dummy"),
        ASKS_USAGE,
    ),
    "azure-deployments": (
        "https://acme.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
        ("api-key", "k-dummy"),
        ASKS_USAGE,
    ),
    "mistral": (
        "https://api.mistral.ai/v1/chat/completions",
        BEARER,
        {
            **messages(SYSTEM, UNNAMED, NO_NULLS, *NINE),
            **SHORT,
            **FULL,
            "seed": GONE,
            "random_seed": 7,
            "tool_choice": "any",
        },
    ),
    "groq": (
        "https://api.groq.com/openai/v1/chat/completions",
        BEARER,
        {**messages(UNNAMED, NO_NULLS), **SINGLE, **ASKS_USAGE},
    ),
    "deepseek": (
        "https://api.deepseek.com/v1/chat/completions",
        BEARER,
        {**messages(SYSTEM, THOUGHT), **FREE, **ASKS_USAGE},
    ),
    "moonshot": (
        "https://api.moonshot.ai/v1/chat/completions",
        BEARER,
        {**messages(THOUGHT), **FREE, **LAX, **SHORT, **ASKS_USAGE},
    ),
    "zhipu": (
        "https://api.z.ai/api/paas/v4/chat/completions",
        BEARER,
        {**messages(SYSTEM, THOUGHT), **ASKS_USAGE},
    ),
    "alibaba": (
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions",
        BEARER,
        ASKS_USAGE,
    ),
    "together": ("https://api.together.ai/v1/chat/completions", BEARER, ASKS_USAGE),
    "fireworks": ("https://api.fireworks.ai/inference/v1/chat/completions", BEARER, ASKS_USAGE),
    "openrouter": ("https://openrouter.ai/api/v1/chat/completions", BEARER, ASKS_USAGE),
    "xai": ("https://api.x.ai/v1/chat/completions", BEARER, {**messages(UNNAMED), **LAX, **ASKS_USAGE}),
    "perplexity": ("https://api.perplexity.ai/chat/completions", BEARER, "tools"),
    "cerebras": (
        "https://api.cerebras.ai/v1/chat/completions",
        BEARER,
        {**messages(SYSTEM), **ASKS_USAGE},
    ),
    "nvidia": ("https://integrate.api.nvidia.com/v1/chat/completions", BEARER, {**SHORT, **ASKS_USAGE}),
    "sambanova": (
        "https://api.sambanova.ai/v1/chat/completions",
        BEARER,
        {**messages((2, {"content": "again"})), **SHORT, **SINGLE, "seed": GONE, **ASKS_USAGE},
    ),
    "huggingface": ("https://router.huggingface.co/v1/chat/completions", BEARER, ASKS_USAGE),
    "github-models": ("https://models.github.ai/inference/chat/completions", BEARER, ASKS_USAGE),
    "google-openai": (
        "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        BEARER,
        ASKS_USAGE,
    ),
    "cohere-openai": ("https://api.cohere.ai/compatibility/v1/chat/completions", BEARER, ASKS_USAGE),
    "anthropic-openai": (
        "https://api.anthropic.com/v1/chat/completions",
        BEARER,
        {**LAX, **SINGLE, "seed": GONE, **ASKS_USAGE},
    ),
    "deepinfra": ("https://api.deepinfra.com/v1/openai/chat/completions", BEARER, ASKS_USAGE),
    "nebius": ("https://api.studio.nebius.com/v1/chat/completions", BEARER, ASKS_USAGE),
    "ovhcloud": ("https://oai.endpoints.kepler.ai.cloud.ovh.net/v1/chat/completions", BEARER, ASKS_USAGE),
    "vercel": ("https://ai-gateway.vercel.sh/v1/chat/completions", BEARER, ASKS_USAGE),
    "cloudflare": (
        "https://gateway.ai.cloudflare.com/v1/a1/g1/compat/chat/completions",
        BEARER,
        ASKS_USAGE,
    ),
    "friendli": ("https://api.friendli.ai/serverless/v1/chat/completions", BEARER, ASKS_USAGE),
    "volcengine": (
        "https://ark.cn-beijing.volces.com/api/v3/chat/completions",
        BEARER,
        {**messages(SYSTEM), **ASKS_USAGE},
    ),
    "ollama-openai": ("http://localhost:11434/v1/chat/completions", None, {**LAX, **SHORT, **ASKS_USAGE}),
    "vllm": ("http://localhost:8000/v1/chat/completions", None, ASKS_USAGE),
    "llamacpp": ("http://localhost:8080/v1/chat/completions", None, ASKS_USAGE),
    "lmstudio": ("http://localhost:1234/v1/chat/completions", None, ASKS_USAGE),
    "aleph-alpha": ("https://api.aleph-alpha.com/chat/completions", BEARER, "messages[3]"),
    "alphakek": ("https://api.alphakek.ai/v1/chat/completions", BEARER, "messages[3]"),
    "alphaedge": ("https://api.alphaedge-ai.com/v1/chat/completions", BEARER, "messages[3]"),
    "alchemyst-openai": (
        "https://platform-backend.getalchemystai.com/api/v1/proxy/default/chat/completions",
        BEARER,
        ASKS_USAGE,
    ),
}

#: Rows of other dialects: URL of a small call, headers that sign it.
OTHERS: dict[str, tuple[str, dict[str, str]]] = {
    "anthropic": ("https://api.anthropic.com/v1/messages", {"x-api-key": "k-dummy", "anthropic-version": "2023-06-01"}),
    "deepseek-anthropic": (
        "https://api.deepseek.com/anthropic/v1/messages",
        {"x-api-key": "k-dummy", "anthropic-version": "2023-06-01"},
    ),
    "gemini": (
        "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
        {"x-goog-api-key": "k-dummy"},
    ),
    "vertex": (
        "https://europe-west1-aiplatform.googleapis.com/v1/projects/p1/locations/europe-west1/publishers/google"
        "/models/m:generateContent",
        dict([BEARER]),
    ),
    "bedrock": ("https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse", dict([BEARER])),
    "cohere": ("https://api.cohere.com/v2/chat", dict([BEARER])),
    "ollama": ("http://127.0.0.1:11434/api/chat", {}),
    "alchemyst": ("https://platform-backend.getalchemystai.com/api/v1/chat/generate", dict([BEARER])),
}


def signed(row: Provider, wire: WireRequest) -> tuple[str, WireRequest]:
    """The call as it would go out: its address, and the request with a dummy key."""
    wire.query = {**wire.query, **row.query}
    base = row.base_url.format(**OWN)
    return address(base, wire), sign(row.auth, wire, "k-dummy") if row.secrets else wire


def test_every_row_is_in_a_table() -> None:
    """What a row does to a call is written down here, for each of them."""
    assert set(catalog()) == {*CHAT, *OTHERS}


@pytest.mark.parametrize("name", CHAT)
def test_a_call_of_an_openai_client(name: str) -> None:
    """Relayed to each compatible row: address, key, and exactly the differences of its table."""
    url, key, changes = CHAT[name]
    row = provider(name)
    chat = DIALECTS["openai.chat"]
    asked = chat.read(WireRequest(path="/v1/chat/completions", body=msgspec.json.encode(ASKED)), {})
    if isinstance(changes, str):
        with pytest.raises(UnsupportedParameter) as refused:
            chat.relay_request(asked, "m", [], row.traits)
        assert changes == refused.value.param
        return
    expected = {field: value for field, value in {**ASKED, **changes}.items() if value is not GONE}

    where, wire = signed(row, chat.relay_request(asked, "m", [], row.traits))

    assert (url, expected) == (where, msgspec.json.decode(wire.body))
    assert {"content-type": "application/json", **dict([key] if key else [])} == wire.headers


@pytest.mark.parametrize("name", OTHERS)
def test_a_call_in_another_dialect(name: str) -> None:
    """Translated for each row that speaks another dialect: address and key."""
    url, headers = OTHERS[name]
    row = provider(name)

    where, wire = signed(
        row, DIALECTS[row.speaks[0]].encode_request(msgspec.structs.replace(TINY, model="m"), [], row.traits)
    )

    assert url == where
    assert headers == {key: value for key, value in wire.headers.items() if key in headers}
    assert b"k-dummy" not in wire.body


def test_a_table_with_every_row(tmp_path: Path) -> None:
    """`isthmus check` takes them all, once the words in braces are replaced; it says which words those are."""
    rows = {
        name: {"base_url": str(row["base_url"]).format(**OWN)} if "{" in row["base_url"] else {}
        for name, row in catalog().items()
    }
    environ = {reference.removeprefix("env:"): "k" for row in catalog().values() if (reference := row.get("secret"))}
    text = msgspec.json.encode({"providers": rows}).decode() + "\n"
    path = tmp_path / "routes.yaml"
    path.write_text(text[:-2] + ', "routes": [{"path": "/x", "speaks": "openai.chat", "to": "models"}]}')

    loaded = load(path, environ)

    assert () == loaded.problems
    assert [] == [str(w) for w in loaded.warnings if "is not available in this version" not in w.message]
    assert loaded.settings is not None
    assert {name for name, row in catalog().items() if set(row["speaks"]) & set(DIALECTS)} == set(
        loaded.settings.providers
    )
