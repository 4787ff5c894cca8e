"""Requests, written: what is carried, lost and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import (
    AudioConfig,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Reasoning,
    ReasoningConfig,
    Refusal,
    ResponseFormat,
    SafetySetting,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses
from providers.dialect import PLAIN, Traits, WireRequest
from providers.dialects import DIALECTS

HI = Message(role="user", parts=(Text(text="Hi"),))


def written(*messages: Message, traits: Traits = PLAIN, **fields: Any) -> tuple[WireRequest, dict[str, Any], list[str]]:
    """The request that goes out, its body, and the losses."""
    request = ChatRequest(**{"dialect": "test", "model": "maya", "messages": messages or (HI,), **fields})
    losses: Losses = []
    wire = DIALECTS["alchemyst.chat"].encode_request(request, losses, traits)
    return wire, json.loads(wire.body), [f"{loss.field}={loss.kind}" for loss in losses]


@pytest.mark.parametrize(
    ("model", "persona"), [("maya", "maya"), ("alchemyst/maya", "maya"), ("a/b/maya", "maya"), ("x/", None)]
)
def test_the_model_is_the_persona(model: str, persona: str | None) -> None:
    """What stands behind the last slash; nothing is sent for nothing."""
    assert persona == written(model=model)[1].get("persona")


def test_a_stream_has_its_own_path() -> None:
    """And says so in the body and to the server."""
    whole, stream = written()[0], written(stream=True)[0]

    assert ["/api/v1/chat/generate", "/api/v1/chat/generate/stream"] == [whole.path, stream.path]
    assert ["application/json", "text/event-stream"] == [whole.headers["accept"], stream.headers["accept"]]
    assert (None, True) == (json.loads(whole.body).get("stream"), json.loads(stream.body)["stream"])


def test_messages_are_texts_with_numbers() -> None:
    """Texts of one message on lines of their own; a refusal is text, earlier thinking is not sent."""
    opaque = Opaque(dialect="x", kind="k", raw={})
    _, body, losses = written(
        Message(role="system", parts=(Text(text="S"),)),
        Message(role="user", parts=(Text(text="a"), Text(text="b")), name="n", at="messages[1]"),
        Message(role="assistant", parts=(Reasoning(text="hm", at="r"), Refusal(text="No.", at="f"), opaque)),
        HI,
    )

    assert [
        {"id": "message-1", "role": "system", "content": "S"},
        {"id": "message-2", "role": "user", "content": "a\nb"},
        {"id": "message-3", "role": "assistant", "content": "No."},
        {"id": "message-4", "role": "user", "content": "Hi"},
    ] == body["chat_history"]
    assert ["messages[1].name=dropped", "r=dropped", "f=approximated", "messages=dropped"] == losses


def test_own_fields_pass() -> None:
    """Those of the row as they are; any other is a loss."""
    _, body, losses = written(extra={"scope": "internal", "foo": 1}, traits=Traits(own=frozenset({"scope"})))

    assert ("internal", ["foo=dropped"]) == (body["scope"], losses)


LOST: dict[str, Any] = {
    "max_output_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "frequency_penalty": 1,
    "seed": 1,
    "presence_penalty": 1,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"1": 1},
    "stop": ("x",),
    "parallel_tool_calls": False,
    "reasoning": ReasoningConfig(effort="low"),
    "service_tier": "auto",
    "end_user": "u",
    "metadata": {"a": "b"},
    "store": True,
    "verbosity": "low",
    "prediction": {"a": 1},
    "cache_key": "k",
    "audio": AudioConfig(voice="x"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_has_no_place_is_dropped(name: str) -> None:
    """Each parameter is named; none of it is sent."""
    _, body, losses = written(**{name: LOST[name]})

    assert ({"chat_history", "persona"}, [f"{name}=dropped"]) == (set(body), losses)


def test_what_says_nothing_is_no_loss() -> None:
    """Defaults that were written out."""
    quiet = {"n": 1, "logprobs": False, "store": False, "parallel_tool_calls": True, "metadata": {}, "top_logprobs": 0}

    assert [] == written(**quiet, tool_choice=ToolChoice(mode="none"), response_format=ResponseFormat(kind="text"))[2]


def test_a_stop_that_is_kept_here_is_no_loss() -> None:
    """With the quirk the answer is cut on its way back."""
    assert [] == written(stop=("x",), traits=Traits(quirks=frozenset({"stop_here"})))[2]


def test_stops_that_are_kept_here_are_few_and_short() -> None:
    """Each costs memory for as long as the answer is read."""
    here = Traits(quirks=frozenset({"stop_here"}))
    for stop in (("x",) * 17, ("x" * 257,)):
        with pytest.raises(UnsupportedParameter) as refused:
            written(stop=stop, traits=here)

        assert "stop" == refused.value.param


def test_a_stream_has_fewer_fields() -> None:
    """Its path takes no `voice` and no `fastContext`: they are dropped and named there."""
    traits = Traits(own=frozenset({"scope", "voice", "fastContext"}))
    extra = {"scope": "internal", "voice": True, "fastContext": [1]}
    _, whole, none = written(extra=extra, traits=traits)
    _, stream, losses = written(extra=extra, stream=True, traits=traits)

    assert (extra, []) == ({key: whole[key] for key in extra}, none)
    assert {"chat_history", "persona", "stream", "scope"} == set(stream)
    assert ["fastContext=dropped", "voice=dropped"] == losses


def test_what_the_row_rejects_is_refused() -> None:
    """Also where nothing here knows the field's value: a format of the answer of a new kind."""
    with pytest.raises(UnsupportedParameter) as refused:
        written(extra={"response_format": {"type": "grammar"}}, traits=Traits(rejects=frozenset({"response_format"})))

    assert "response_format" == refused.value.param


def test_what_is_asked_for_beside_text() -> None:
    """Other kinds of an answer, and settings of safety, are dropped; nothing but others is refused."""
    safety = (SafetySetting(category="c", at="safetySettings[0]"),)

    assert ["modalities=dropped", "safetySettings[0]=dropped"] == written(modalities=("text", "audio"), safety=safety)[
        2
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": (Tool(name="f"),)}, "tools"),
        ({"tool_choice": ToolChoice(mode="required")}, "tool_choice"),
        ({"n": 2}, "n"),
        ({"response_format": ResponseFormat(kind="json_object")}, "response_format"),
        ({"cached_content": "c"}, "cached_content"),
        ({"modalities": ("image",)}, "modalities"),
    ],
)
def test_what_would_change_the_meaning_is_refused(fields: dict[str, Any], param: str) -> None:
    """Before anything is sent, by its name."""
    with pytest.raises(UnsupportedParameter) as refused:
        written(**fields)

    assert param == refused.value.param


@pytest.mark.parametrize(
    "part",
    [
        Media(kind="image", url="https://x", at="p"),
        ToolCall(id="c", name="f", arguments="{}", at="p"),
        ToolResult(call_id="c", at="p"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parts_that_are_no_text_are_refused(part: Any) -> None:
    """By their place."""
    with pytest.raises(UnsupportedParameter) as refused:
        written(Message(role="user", parts=(part,)))

    assert "p" == refused.value.param
