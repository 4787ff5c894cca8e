"""A row as a value: what it tells encoders, which dialect it uses, where its calls go."""

from __future__ import annotations

import pytest

from providers.dialect import Traits, WireRequest
from providers.provider import Provider, address

ROW = Provider(name="acme", base_url="https://api.acme.example/v1", speaks=("openai.chat", "gemini"))


@pytest.mark.parametrize(
    ("caller", "upstream"),
    [("openai.chat", "openai.chat"), ("gemini", "gemini"), ("anthropic.messages", "openai.chat")],
)
def test_speaks_the_callers_dialect_where_it_can(caller: str, upstream: str) -> None:
    """The caller's own dialect is preferred: then nothing needs translating. Else the row's first."""
    assert upstream == ROW.dialect_for(caller)


@pytest.mark.parametrize(
    ("speaks", "caller", "operation", "upstream"),
    [
        (("openai.chat", "openai.embeddings"), "gemini", "embeddings", "openai.embeddings"),
        (("openai.chat", "gemini"), "openai.embeddings", "embeddings", "gemini"),
        (("openai.embeddings", "openai.chat"), "gemini", "chat", "openai.chat"),
        (("openai.chat", "openai.embeddings"), "openai.embeddings", "embeddings", "openai.embeddings"),
        (("openai.chat",), "gemini", "embeddings", "openai.chat"),
        (("openai.chat", "gemini"), "gemini", "count_tokens", "gemini"),
    ],
)
def test_speaks_a_dialect_that_has_the_operation(
    speaks: tuple[str, ...], caller: str, operation: str, upstream: str
) -> None:
    """A row that has chats in one dialect and embeddings in another is asked in the one that fits."""
    row = Provider(name="acme", base_url="https://api.acme.example", speaks=speaks)

    assert upstream == row.dialect_for(caller, operation)


def test_tells_the_encoder_how_it_differs() -> None:
    """`traits` is the part of a row that an encoder may see: no address, no secret."""
    row = Provider(
        name="acme",
        base_url="https://api.acme.example",
        speaks=("openai.chat",),
        secrets=("env:ACME",),
        own=frozenset({"nice"}),
        ignores=frozenset({"seed"}),
        rejects=frozenset({"tools"}),
        quirks=("x",),
    )

    assert (
        Traits(
            own=frozenset({"nice"}),
            ignores=frozenset({"seed"}),
            rejects=frozenset({"tools"}),
            quirks=frozenset({"x"}),
        )
        == row.traits
    )


@pytest.mark.parametrize(
    ("base", "query", "expected"),
    [
        ("https://a.example/v1", {}, "https://a.example/v1/chat/completions"),
        ("https://a.example/v1/", {}, "https://a.example/v1/chat/completions"),
        ("https://a.example", {"alt": "sse"}, "https://a.example/chat/completions?alt=sse"),
        (
            "https://a.example",
            {"k": "a b&c=d/é"},
            "https://a.example/chat/completions?k=a+b%26c%3Dd%2F%C3%A9",
        ),
    ],
)
def test_an_address_is_base_path_and_query(base: str, query: dict[str, str], expected: str) -> None:
    """One slash between base and path; the query is encoded, so no value can add a parameter."""
    assert expected == address(base, WireRequest(path="/chat/completions", query=query))


def test_an_encoded_path_stays_encoded() -> None:
    """The dialect has encoded the path once; a second time would name another model."""
    wire = WireRequest(path="/v1beta/models/a%2Fb:generateContent")

    assert "https://a.example/v1beta/models/a%2Fb:generateContent" == address("https://a.example", wire)


def test_traits_are_those_of_the_model() -> None:
    """What a newer installation can do is not refused for the models that are said to; the rest stays as it is."""
    row = Provider(
        name="acme",
        base_url="https://api.acme.example",
        speaks=("openai.chat",),
        quirks=("no_tool_turns", "text_only", "nice"),
        rejects=frozenset({"tools", "tool_choice", "parallel_tool_calls"}),
        takes=frozenset({"seed"}),
        own=frozenset({"mine"}),
        abilities={"tools": ("new-*", "other"), "vision": ("*",)},
        nice=True,
    )
    old, new = row.traits_for("old"), row.traits_for("new-1")

    assert ({"no_tool_turns", "nice"}, {"nice"}) == (old.quirks, new.quirks)
    assert ({"tools", "tool_choice", "parallel_tool_calls"}, {"parallel_tool_calls"}) == (old.rejects, new.rejects)
    assert ({"seed", "mine"}, {"seed", "mine", "tools", "tool_choice"}) == (old.takes, new.takes)
    assert (True, row.traits_for("other").rejects) == (old.nice, new.rejects)
