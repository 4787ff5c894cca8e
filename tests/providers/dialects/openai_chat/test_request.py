"""Requests: every field carried in this dialect; from another one, the closed schema kept and every loss named."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from providers.canonical.chat import (
    AudioConfig,
    CacheMark,
    ChatRequest,
    Message,
    ReasoningConfig,
    ResponseFormat,
    SafetySetting,
    ServerTool,
    Text,
    Tool,
    ToolChoice,
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses, in_callers_words
from providers.dialect import PLAIN, Traits
from tests.corpus import schema
from tests.providers.dialects.openai_chat.samples import fields
from tests.providers.dialects.openai_chat.speak import ALL, CHAT, HI, as_asked, ask, decoded, recorded, written

CLOSED = schema("openai.chat.request", "ChatCompletionRequest")
USER = (Message(role="user", parts=(Text(text="Hi"),)),)
FIELDS = list(fields())
WEATHER = Tool(name="get_weather", parameters={"type": "object"}, at="tools[0]")


def foreign(**fields: Any) -> ChatRequest:
    """A request that another dialect's caller wrote."""
    return ChatRequest(**{"dialect": "elsewhere", "model": "m", "messages": USER, **fields})


def sent(request: ChatRequest, traits: Traits = PLAIN) -> tuple[dict[str, Any], list[str]]:
    """What goes upstream; it fits the closed schema."""
    body, losses = written(request, traits)
    CLOSED.validate(body)
    return body, losses


# ── this dialect's own ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ALL)
def test_recorded_requests_come_back_equal(file: str) -> None:
    """Decoded and encoded again, what programs send is the same JSON, and nothing is lost."""
    count = 0
    for case in recorded(file):
        if not case["request_body"]:
            continue
        body = {"model": "m", **case["request_body"]}
        try:
            request = decoded(body)
        except MalformedRequest:
            assert case["status"] == 400, case["id"]
            continue
        out, losses = written(request)
        count += 1

        assert (body, []) == (as_asked(out, body), losses), case["id"]
    assert count >= 20


@pytest.mark.parametrize(("key", "value"), FIELDS, ids=lambda value: json.dumps(value)[:60])
def test_every_field_is_carried(key: str, value: Any) -> None:
    """Each field of the schema, with each kind of value, comes back as it was."""
    body = {"model": "m", "messages": HI, key: value}
    out, losses = written(decoded(body))

    assert (body, []) == (as_asked(out, body), losses)


@pytest.mark.parametrize(("key", "value"), FIELDS, ids=lambda value: json.dumps(value)[:60])
def test_no_field_is_lost_silently(key: str, value: Any) -> None:
    """For another dialect each field is a canonical value, or an extra that its encoder must declare."""
    request, plain = decoded(**{key: value}), decoded()
    silent = {"form", "paths", "stream"} | ({"include_usage"} if key == "stream_options" else set())
    differs = {
        name
        for name in request.__struct_fields__
        if name not in silent and getattr(request, name) != getattr(plain, name)
    }
    says_nothing = value in (None, {}) or key in ("stream", "stream_options")

    assert differs or says_nothing


def test_known_fields_mean_what_canonical_says() -> None:
    """The table of parameters, one by one."""
    request = decoded(
        max_completion_tokens=9,
        temperature=0.5,
        top_p=0.25,
        top_k=3,
        frequency_penalty=1,
        presence_penalty=-1,
        seed=4,
        n=2,
        logprobs=True,
        top_logprobs=2,
        logit_bias={"1": 2},
        parallel_tool_calls=False,
        service_tier="flex",
        safety_identifier="u",
        metadata={"a": "b"},
        store=True,
        verbosity="low",
        prompt_cache_key="k",
        prediction={"type": "content", "content": "x"},
        stop="END",
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "mp3"},
        reasoning_effort="high",
        stream=True,
        stream_options={"include_usage": True},
    )
    expected = {
        "max_output_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 3,
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "seed": 4,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"1": 2},
        "parallel_tool_calls": False,
        "service_tier": "flex",
        "end_user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "verbosity": "low",
        "cache_key": "k",
        "prediction": {"type": "content", "content": "x"},
        "stop": ("END",),
        "modalities": ("text", "audio"),
        "audio": AudioConfig(voice="alloy", format="mp3", at="audio"),
        "reasoning": ReasoningConfig(effort="high", at="reasoning_effort"),
        "stream": True,
        "include_usage": True,
        "extra": None,
    }

    assert expected == {name: getattr(request, name) for name in expected}


def test_older_names_are_remembered() -> None:
    """`max_tokens` and `user` mean the newer fields, and losses name what the caller wrote."""
    request = decoded(max_tokens=9, user="u")

    assert (9, "u") == (request.max_output_tokens, request.end_user)
    assert {"max_output_tokens": "max_tokens", "end_user": "user"} == request.paths
    assert {"model": "m", "messages": HI, "max_tokens": 9, "user": "u"} == written(request)[0]


def test_the_newer_name_counts() -> None:
    """Where both are there, the older one is only this dialect's business."""
    request = decoded(max_tokens=9, max_completion_tokens=8)

    assert (8, {"max_tokens": 9}) == (request.max_output_tokens, request.extra)


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        ("auto", "auto", ()),
        ("none", "none", ()),
        ("required", "required", ()),
        ("any", "required", ()),
        ({"type": "function", "function": {"name": "f"}}, "required", ("f",)),
        ({"type": "custom", "custom": {"name": "f"}}, "required", ("f",)),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            "auto",
            ("f",),
        ),
    ],
)
def test_tool_choice(choice: Any, mode: str, names: tuple[str, ...]) -> None:
    """All its forms mean a mode and names."""
    found = decoded(tool_choice=choice).tool_choice

    assert found is not None
    assert (mode, names) == (found.mode, found.names)


def test_functions_from_before_tools() -> None:
    """`functions` and `function_call` are tools and a choice; they are written back under their own names."""
    body = {
        "model": "m",
        "messages": HI,
        "functions": [{"name": "f", "parameters": {}}],
        "function_call": {"name": "f"},
    }
    request = decoded(body)

    assert ["f"] == [tool.name for tool in request.tools if isinstance(tool, Tool)]
    assert ("required", ("f",)) == (
        request.tool_choice and request.tool_choice.mode,
        request.tool_choice and request.tool_choice.names,
    )
    assert body == written(request)[0]


def test_extras_of_tools_are_named_where_they_stand() -> None:
    """A key beside `function` is named there, one inside it inside it."""
    tool = {"type": "function", "function": {"name": "f", "x": 1}, "y": 2, "cache_control": {"type": "ephemeral"}}
    request = msgspec.structs.replace(decoded(tools=[tool]), dialect="elsewhere")

    assert ["tools[0].y=dropped", "tools[0].function.x=dropped", "tools[0].cache_control=dropped"] == written(request)[
        1
    ]


def test_a_stream_is_always_asked_for_usage() -> None:
    """The gateway counts; the caller's own options stay."""
    body, _ = written(decoded(stream=True, stream_options={"include_obfuscation": False}))

    assert {"include_obfuscation": False, "include_usage": True} == body["stream_options"]
    assert "stream_options" not in written(decoded(stream=True), Traits(ignores=frozenset({"stream_options"})))[0]


# ── another dialect's ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "expected", "losses"),
    [
        ({"max_output_tokens": 9}, {"max_completion_tokens": 9}, []),
        ({"n": 2}, {"n": 2}, []),
        ({"n": 1}, {}, []),
        ({"end_user": "u"}, {"safety_identifier": "u"}, []),
        ({"cache_key": "k"}, {"prompt_cache_key": "k"}, []),
        ({"stop": ("a", "b")}, {"stop": ["a", "b"]}, []),
        ({"stop": tuple("abcde")}, {"stop": list("abcd")}, ["stop=approximated"]),
        ({"temperature": 3}, {"temperature": 2}, ["temperature=approximated"]),
        ({"presence_penalty": -9}, {"presence_penalty": -2}, ["presence_penalty=approximated"]),
        ({"top_k": 5}, {}, ["top_k=dropped"]),
        ({"service_tier": "standard"}, {"service_tier": "default"}, []),
        ({"service_tier": "reserved"}, {}, ["service_tier=dropped"]),
        ({"logit_bias": {"1": 1.5}}, {"logit_bias": {"1": 2}}, ["logit_bias=approximated"]),
        ({"safety": (SafetySetting(category="c", at="safetySettings[0]"),)}, {}, ["safetySettings[0]=dropped"]),
        ({"parallel_tool_calls": False}, {}, ["parallel_tool_calls=dropped"]),
        ({"reasoning": ReasoningConfig(effort="low")}, {"reasoning_effort": "low"}, []),
        ({"reasoning": ReasoningConfig(budget=0)}, {"reasoning_effort": "none"}, ["reasoning=approximated"]),
        ({"reasoning": ReasoningConfig(budget=500, at="t")}, {"reasoning_effort": "low"}, ["t=approximated"]),
        ({"reasoning": ReasoningConfig(budget=5000)}, {"reasoning_effort": "medium"}, ["reasoning=approximated"]),
        ({"reasoning": ReasoningConfig(budget=50000)}, {"reasoning_effort": "high"}, ["reasoning=approximated"]),
        ({"reasoning": ReasoningConfig(budget=-1, show=True)}, {}, ["show_reasoning=dropped"]),
        ({"modalities": ("text", "image")}, {"modalities": ["text"]}, ["modalities=dropped"]),
        ({"audio": AudioConfig(voice="x", format="mp3")}, {"audio": {"voice": "x", "format": "mp3"}}, []),
        (
            {"audio": AudioConfig(voice={"a": 1})},
            {"audio": {"voice": "alloy", "format": "wav"}},
            ["audio=approximated", "audio=invented"],
        ),
        ({"extra": {"labels": {}}}, {}, ["labels=dropped"]),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, []),
    ],
)
def test_parameters(given: dict[str, Any], expected: dict[str, Any], losses: list[str]) -> None:
    """Said in this dialect's words and ranges; what cannot be said is named."""
    body, lost = sent(foreign(**given))

    assert ({"model": "m", "messages": HI, **expected}, losses) == (body, lost)


@pytest.mark.parametrize(
    "given",
    [{"n": 500}, {"cached_content": "cachedContents/1"}, {"modalities": ("image",)}],
)
def test_what_would_make_a_wrong_answer_is_refused(given: dict[str, Any]) -> None:
    """Nothing is sent, and the field is named."""
    with pytest.raises(UnsupportedParameter) as caught:
        written(foreign(**given))

    assert next(iter(given)) == caught.value.param


@pytest.mark.parametrize(
    ("choice", "expected", "losses"),
    [
        (ToolChoice(mode="auto"), "auto", []),
        (ToolChoice(mode="none", names=("get_weather",)), "none", []),
        (ToolChoice(mode="required"), "required", []),
        (
            ToolChoice(mode="required", names=("get_weather",)),
            {"type": "function", "function": {"name": "get_weather"}},
            [],
        ),
        (
            ToolChoice(mode="auto", names=("get_weather",)),
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_weather"}}]},
            },
            [],
        ),
        (ToolChoice(mode="auto", validated=True), "auto", ["tool_choice=approximated"]),
    ],
)
def test_writes_tool_choice(choice: ToolChoice, expected: Any, losses: list[str]) -> None:
    """A mode and names are said in the closest form."""
    body, lost = sent(foreign(tools=(WEATHER,), tool_choice=choice))

    assert (expected, losses) == (body["tool_choice"], lost)


def test_writes_tools() -> None:
    """Functions with all that has a place; the rest, and tools that only another provider runs, is named."""
    search = ServerTool(dialect="elsewhere", kind="googleSearch", raw={}, at="tools[1]")
    tool = msgspec.structs.replace(
        WEATHER, strict=True, response={"type": "string"}, cache=CacheMark(), description="d"
    )
    body, losses = sent(foreign(tools=(tool, search)))

    function = {"name": "get_weather", "description": "d", "parameters": {"type": "object"}, "strict": True}
    assert [{"type": "function", "function": function}] == body["tools"]
    assert ["tools[0].response=dropped", "tools[0].cache_control=dropped", "tools[1]=dropped"] == losses


def test_no_choice_without_tools() -> None:
    """A choice among tools that are all gone is not sent, and its loss is named."""
    search = ServerTool(dialect="elsewhere", kind="googleSearch", raw={}, at="tools[0]")
    body, losses = sent(foreign(tools=(search,), tool_choice=ToolChoice(mode="required"), parallel_tool_calls=True))

    assert {"model", "messages"} == body.keys()
    assert ["tools[0]=dropped", "parallel_tool_calls=dropped", "tool_choice=dropped"] == losses


@pytest.mark.parametrize("name", [None, ""])
def test_a_schema_gets_a_name(name: str | None) -> None:
    """The target demands one."""
    wanted = ResponseFormat(kind="json_schema", name=name, schema={"type": "object"})
    body, losses = sent(foreign(response_format=wanted))

    assert {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}} == body[
        "response_format"
    ]
    assert ["response_format=invented"] == losses


def test_json_mode_needs_the_word() -> None:
    """The target refuses JSON mode when no message speaks of JSON."""
    body, losses = sent(foreign(response_format=ResponseFormat(kind="json_object")))

    assert (["response_format=invented"], "Answer in JSON.") == (losses, body["messages"][0]["content"])
    asked = (Message(role="user", parts=(Text(text="Give me JSON"),)),)
    assert [] == sent(foreign(messages=asked, response_format=ResponseFormat(kind="json_object")))[1]


# ── the row's traits, in both lanes ────────────────────────────────────────────────────


def relayed(traits: Traits = PLAIN, model: str = "m", **fields: Any) -> tuple[Any, list[str]]:
    losses: Losses = []
    wire = CHAT.relay_request(ask(**fields), model, losses, traits)
    return json.loads(wire.body), [f"{loss.field}={loss.kind}" for loss in losses]


def test_ignored_fields_are_not_sent() -> None:
    """Accepted there without effect: dropped and named, under its older name as well."""
    traits = Traits(ignores=frozenset({"seed", "user"}))
    request = decoded(seed=1, safety_identifier="u", temperature=1)
    losses: Losses = []
    body = json.loads(CHAT.encode_request(request, losses, traits).body)

    assert {"model", "messages", "temperature"} == body.keys()
    assert {"seed", "safety_identifier"} == {loss.field for loss in in_callers_words(losses, request, CHAT.paths)}
    assert ({"model": "m", "messages": HI, "n": 1}, ["seed=dropped", "user=dropped"]) == relayed(
        traits, seed=1, user="u", n=1
    )


def test_rejected_fields_are_refused() -> None:
    """Said before anything is sent, in both lanes."""
    traits = Traits(rejects=frozenset({"tools"}))
    tools = [{"type": "function", "function": {"name": "f"}}]

    for call in (lambda: relayed(traits, tools=tools), lambda: written(decoded(tools=tools), traits)):
        with pytest.raises(UnsupportedParameter) as caught:
            call()
        assert "tools" == caught.value.param


def test_upstreams_that_know_only_the_old_name() -> None:
    """The quirk `max_tokens` renames the limit, in both lanes."""
    traits = Traits(quirks=frozenset({"max_tokens"}))

    assert 9 == sent(foreign(max_output_tokens=9), traits)[0]["max_tokens"]
    assert {"model": "m", "messages": HI, "max_tokens": 9} == relayed(traits, max_completion_tokens=9)[0]


def test_own_fields_of_the_row() -> None:
    """What canonical knows and this upstream takes beyond the official schema."""
    traits = Traits(own=frozenset({"top_k"}))

    body, losses = written(foreign(top_k=5), traits)

    assert (5, []) == (body["top_k"], losses)


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def test_relay_leaves_bytes_alone() -> None:
    """Same model, nothing to add: the caller's bytes."""
    asked = ask(b' {"messages": [{"role":"user","content":"H\\u0069"}],  "model":"m", "x":1.50}')

    assert asked.wire.body is CHAT.relay_request(asked, "m", []).body


def test_relay_changes_only_the_model() -> None:
    """Every other value keeps its spelling."""
    asked = ask(b'{"model":"m","messages":[{"role":"user","content":"H\\u0069"}],"x":1.50}')

    assert (
        b'{"model":"n","messages":[{"role":"user","content":"H\\u0069"}],"x":1.50}'
        == CHAT.relay_request(asked, "n", []).body
    )


def test_relay_asks_for_usage() -> None:
    """A stream is asked for usage; the caller's other options stay."""
    body, losses = relayed(stream=True, stream_options={"include_obfuscation": False})

    assert ({"include_obfuscation": False, "include_usage": True}, []) == (body["stream_options"], losses)
    assert "stream_options" not in relayed(Traits(rejects=frozenset({"stream_options"})), stream=True)[0]


def test_both_lanes_send_the_same() -> None:
    """Translating a request into its own dialect and relaying it mean the same body."""
    for case in recorded("openai-chat"):
        if case["request_body"] and case["status"] == 200:
            asked = ask({"model": "m", **case["request_body"]})
            relay = json.loads(CHAT.relay_request(asked, "n", []).body)
            translated, _ = written(msgspec.structs.replace(CHAT.decode_request(asked), model="n"))

            assert relay == translated, case["id"]
