"""Does a call fit a `when`? Each condition by itself, and all of them together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import ChatRequest, Media, Message, ServerTool, Text, Tool, ToolCall, ToolResult
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest
from router.conditions import HeaderIs, When
from router.policy.fitting import Facts, Meant, unmet

IMAGE = Media(kind="image", base64="AAAA")


def chat(*parts: Any, **more: Any) -> ChatRequest:
    return ChatRequest(
        dialect="x", model="m", messages=(Message(role="user", parts=parts or (Text(text="Hi"),)),), **more
    )


def call(
    meant: Meant | None = None, *, headers: dict[str, list[str]] | None = None, understood: bool = True, **more: Any
) -> Facts:
    said = {"key": None, "owner": "o", "model": "gpt-5", "operation": "chat", "stream": False, "size": 400, **more}
    request = (meant or chat()) if understood else None
    return Facts(headers=lambda name: (headers or {}).get(name, []), understand=lambda: request, **said)


def header(name: str = "x-tier", **more: Any) -> When:
    return When(header=(HeaderIs(name=name, **more),))


GOLD = {"x-tier": ["gold"]}


@pytest.mark.parametrize(
    ("when", "yes", "no"),
    [
        (When(key=("team-*",)), call(key="team-a"), call(key="other")),
        (When(key=("team-*",)), call(key="team-a"), call(key=None)),
        (When(model=("gpt-*", "o3")), call(model="o3"), call(model="o3-mini")),
        (When(stream=True), call(stream=True), call()),
        (When(stream=False), call(), call(stream=True)),
        (When(operation=("embeddings",)), call(operation="embeddings"), call()),
        (When(tools=True), call(chat(tools=(Tool(name="f"),))), call()),
        (When(tools=True), call(chat(tools=(ServerTool(dialect="x", kind="s", raw={}),))), call()),
        (When(tools=False), call(), call(chat(tools=(Tool(name="f"),)))),
        (When(media=("image",)), call(chat(IMAGE)), call()),
        (When(media=("file", "image")), call(chat(Text(text="a"), IMAGE)), call(chat(Media(kind="audio", url="u")))),
        (When(media=()), call(), call(chat(IMAGE))),
        (When(above=10), call(chat(Text(text="x" * 100))), call()),
        (When(below=10), call(), call(chat(Text(text="x" * 100)))),
        (header(present=True), call(headers=GOLD), call()),
        (header(present=False), call(), call(headers=GOLD)),
        (header(equals=("gold", "silver")), call(headers=GOLD), call(headers={"x-tier": ["golden"]})),
        (header(prefix=("go",)), call(headers={"x-tier": ["a", " gold"]}), call(headers={"x-tier": ["a go"]})),
        (header(equals=("gold",)), call(headers=GOLD), call(headers={"x-tier": ["GOLD"]})),
    ],
)
def test_a_condition_holds_or_does_not(when: When, yes: Facts, no: Facts) -> None:
    """And what does not is told with its name."""
    (name,) = [
        name
        for name in ("key", "model", "stream", "operation", "tools", "media", "header", "above", "below")
        if getattr(when, name) not in (None, ()) or (name == "media" and when.media == ())
    ]

    assert unmet([when], yes) is None
    assert (unmet([when], no) or "").startswith("tokens" if name in ("above", "below") else name)


def test_the_same_number_parts_all_calls() -> None:
    """What is not above is below: no call falls between two targets."""
    facts = [call(chat(Text(text="x" * length))) for length in range(100)]
    for number in (5, 12):
        both = [(unmet([When(above=number)], each), unmet([When(below=number)], each)) for each in facts]

        assert all((above is None) != (below is None) for above, below in both)
        assert 2 == len({above is None for above, _ in both})


def test_media_in_results_of_tools_count() -> None:
    """They are as much in the call as any other."""
    result = ToolResult(call_id="1", parts=(Text(text="a"), IMAGE))

    assert unmet([When(media=("image",))], call(chat(ToolCall(id="1", name="f", arguments="{}"), result))) is None


def test_embeddings_have_media_and_tokens_and_no_tools() -> None:
    """What is to become vectors is looked at, too."""
    wanted = EmbeddingsRequest(dialect="x", model="m", inputs=(EmbeddingInput(parts=(Text(text="x" * 100), IMAGE)),))
    facts = call(wanted, operation="embeddings")

    assert unmet([When(media=("image",), above=200, tools=False)], facts) is None
    assert unmet([When(tools=True)], facts) == "tools: the call offers none"


@pytest.mark.parametrize("when", [When(tools=True), When(tools=False), When(media=("image",)), When(media=())])
def test_what_only_the_upstream_understands_fits_nothing_that_must_be_understood(when: When) -> None:
    """Neither this nor its contrary: a target is not sent what it may not be made for."""
    assert (unmet([when], call(understood=False)) or "").endswith("only the upstream understands this call")


def test_its_tokens_are_known_by_its_length() -> None:
    """400 bytes are about 100 tokens."""
    assert unmet([When(above=99, below=100)], call(understood=False)) is None


def test_a_request_is_understood_once_and_only_when_it_must_be() -> None:
    """A condition on the key costs no decoding."""
    seen: list[int] = []

    def understand() -> ChatRequest:
        seen.append(1)
        return chat()

    facts = Facts(
        key="k",
        owner="o",
        headers=lambda name: (),
        model="m",
        operation="chat",
        stream=False,
        size=1,
        understand=understand,
    )
    assert unmet([When(key=("k",), stream=False)], facts) is None
    assert [] == seen
    unmet([When(tools=True), When(media=("image",))], facts)
    unmet([When(above=5)], facts)

    assert [1] == seen


SOME = st.builds(
    When,
    key=st.sampled_from([(), ("a",), ("b*",)]),
    stream=st.sampled_from([None, True, False]),
    tools=st.sampled_from([None, True, False]),
    above=st.sampled_from([None, 3, 50]),
    media=st.sampled_from([None, (), ("image",)]),
)


@given(st.lists(SOME, max_size=3), st.sampled_from(["a", "bc", None]), st.booleans(), st.booleans())
def test_all_of_them_must_hold(conditions: list[When], key: str | None, stream: bool, image: bool) -> None:
    """A list fits exactly when each of it does; each, when each of its parts does."""
    facts = call(chat(IMAGE) if image else chat(), key=key, stream=stream)
    parts = [
        When(**{name: getattr(when, name)})
        for when in conditions
        for name in ("key", "stream", "tools", "above", "media")
    ]

    assert (unmet(conditions, facts) is None) == all(unmet([part], facts) is None for part in parts)
