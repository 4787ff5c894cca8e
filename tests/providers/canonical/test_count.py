"""The rule of thumb for tokens."""

from __future__ import annotations

import msgspec

from providers.canonical.chat import ChatRequest, Media, Message, Opaque, Text, Tool, ToolCall, ToolResult
from providers.canonical.count import MEDIA_TOKENS, USUAL_OUTPUT, estimate, foreseen


def counted(*parts: object, tools: tuple[Tool, ...] = ()) -> int:
    message = Message(role="user", parts=parts)  # type: ignore[arg-type]
    return estimate(ChatRequest(dialect="x", model="m", messages=(message,), tools=tools)).total_tokens


def test_an_estimate_says_that_it_is_one() -> None:
    """It is never mistaken for the provider's count."""

    assert estimate(ChatRequest(dialect="x", model="m", messages=())).estimated


def test_text_counts_four_characters_a_token() -> None:
    """Four hundred characters are a hundred tokens, and a little for the turn."""

    assert 100 <= counted(Text(text="x" * 400)) <= 110


def test_everything_that_is_sent_counts() -> None:
    """Media, calls, results, tools and blocks that we do not understand."""
    call = ToolCall(id="1", name="f", arguments="x" * 40)
    result = ToolResult(call_id="1", parts=(Text(text="x" * 40),))

    assert counted(Media(kind="image", url="https://x/y.png")) >= MEDIA_TOKENS
    assert counted(call) >= 10 and counted(result) >= 10
    assert counted(Opaque(dialect="d", kind="k", raw={"a": "x" * 40})) >= 10
    assert counted(tools=(Tool(name="f", description="x" * 400),)) >= 100


def test_what_a_call_may_take_is_what_the_caller_allows() -> None:
    """Its own most, for each answer that it wants; the usual where it names none, and nothing where it only counts."""
    plain = ChatRequest(dialect="x", model="m", messages=(Message(role="user", parts=(Text(text="x" * 40),)),))
    bound = msgspec.structs.replace(plain, max_output_tokens=50, n=2)

    assert {"input": 13, "output": USUAL_OUTPUT} == foreseen(plain)
    assert {"input": 13, "output": 100} == foreseen(bound)
    assert {"input": 13, "output": 0} == foreseen(msgspec.structs.replace(bound, count=True))
