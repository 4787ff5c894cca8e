"""Usual messages and tools that came before take a shorter way: it must give what the long one gives."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.chat import CacheMark, ChatRequest, Citation, Message, Seal, Text, Tool, ToolCall, ToolResult
from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses
from providers.dialect import Asked, Dialect, WireRequest
from providers.dialects import DIALECTS
from providers.wire import memory
from providers.wire.memory import TOOLS

Json = Any

CALLERS = ("openai.chat", "openai.responses", "anthropic.messages", "gemini", "ollama.chat")
UPSTREAMS = (*CALLERS, "cohere.chat", "bedrock.converse")
#: Where each encoder looks for the plain message.
ENCODERS = {
    "openai.chat": "providers.dialects.openai_chat.spoken",
    "openai.responses": "providers.dialects.openai_responses.written",
    "anthropic.messages": "providers.dialects.anthropic.messages",
    "gemini": "providers.dialects.gemini.contents",
    "ollama.chat": "providers.dialects.ollama.spoken",
    "cohere.chat": "providers.dialects.cohere.messages",
    "bedrock.converse": "providers.dialects.bedrock.messages",
}
EVERY = pytest.mark.parametrize("name", CALLERS)
EVERY_UPSTREAM = pytest.mark.parametrize("name", UPSTREAMS)

# ── encoding ───────────────────────────────────────────────────────────────────────────

TEXTS = st.sampled_from(["", " ", "\n\u2028", "words", "words ", "é😀"]) | st.text(max_size=5)
PARTS = st.builds(
    Text,
    text=TEXTS,
    seal=st.none() | st.none() | st.none() | st.just(Seal(value="s", origin="gemini")),
    cache=st.none() | st.none() | st.none() | st.just(CacheMark(ttl="5m")),
    citations=st.just(()) | st.just(()) | st.just((Citation(url="https://example.com"),)),
    extra=st.none() | st.none() | st.just({"x": 1}),
)
CALL = ToolCall(id="call_1", name="get_weather", arguments="{}")
RESULT = ToolResult(call_id="call_1", parts=(Text(text="12"),))


@st.composite
def conversations(draw: Any) -> tuple[Message, ...]:
    """Messages of any role, mostly one text each; sometimes a call with its result."""
    messages: list[Message] = []
    for i in range(draw(st.integers(1, 6))):
        at = f"messages[{i}]"
        if draw(st.integers(0, 5)) == 0:
            before = tuple(draw(st.lists(PARTS, max_size=1)))
            messages.append(Message(role="assistant", parts=(*before, CALL), at=at))
            messages.append(Message(role="tool", parts=(RESULT,), at=at))
            continue
        role = draw(st.sampled_from(["user", "user", "assistant", "assistant", "system"]))
        parts = tuple(draw(st.lists(PARTS, min_size=1, max_size=1) | st.lists(PARTS, max_size=2)))
        named = draw(st.sampled_from([None, None, None, "someone"]))
        messages.append(Message(role=role, parts=parts, name=named, at=at))
    return tuple(messages)


def written(name: str, request: ChatRequest) -> object:
    """The body and its losses, or the refusal, for which nobody counts losses."""
    losses: Losses = []
    try:
        wire = DIALECTS[name].encode_request(request, losses)
    except RouterError as error:
        return type(error), error.message, error.param
    return wire.body, wire.headers, wire.path, losses


@EVERY_UPSTREAM
@settings(max_examples=60)
@given(messages=conversations())
def test_a_plain_message_is_written_as_any_other(name: str, messages: tuple[Message, ...]) -> None:
    """The same bytes, the same losses, the same refusals."""
    request = ChatRequest(dialect="another", model="some-model", messages=messages, max_output_tokens=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module(ENCODERS[name]), "plain_text", lambda message: None)
        expected = written(name, request)

    assert expected == written(name, request)


@st.composite
def talks(draw: Any) -> tuple[Message, ...]:
    """Messages of one text each: a system text or none, then mostly user and model in turn."""
    roles = draw(st.sampled_from([["system"], []])) + ["user", "assistant"] * draw(st.integers(0, 2)) + ["user"]
    if draw(st.integers(0, 3)) == 0:
        roles.insert(draw(st.integers(0, len(roles))), draw(st.sampled_from(["user", "assistant", "system"])))
    texts = draw(
        st.lists(st.sampled_from(["words", "words ", "é😀"]) | TEXTS, min_size=len(roles), max_size=len(roles))
    )
    return tuple(Message(role=role, parts=(Text(text=text),)) for role, text in zip(roles, texts, strict=True))


#: What a request may say beside its messages: what most say, and what they do not.
WISHES: list[Json] = [
    *({}, {"temperature": 0.3}, {"temperature": 1.7}, {"temperature": 0, "stream": True}),
    *(
        {"top_p": 0.5},
        {"seed": 4},
        {"stop": ("a",)},
        {"n": 2},
        {"store": True},
        {"store": False},
        {"metadata": {"a": "b"}},
    ),
]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@EVERY
@settings(max_examples=12)
@given(messages=talks(), wishes=st.sampled_from(WISHES))
def test_a_talk_is_written_as_its_messages(
    name: str, upstream: str, messages: tuple[Message, ...], wishes: Json
) -> None:
    """From each language to each: the same bytes, losses and refusals, whether or not a writer knows that it is one
    and that the request says no more than most do."""
    said = ChatRequest(dialect="another", model="some-model", messages=messages, max_output_tokens=9, **wishes)
    try:
        request = DIALECTS[name].decode_request(asked(name, said))
    except RouterError:
        return  # no request of this language
    each = msgspec.structs.replace(request, messages=(*request.messages,))
    with looking_at_everything():
        expected = written(upstream, each)

    assert expected == written(upstream, each) == written(upstream, request)


@contextmanager
def looking_at_everything() -> Iterator[None]:
    """While every writer takes a request for one that says more than most."""
    with pytest.MonkeyPatch.context() as patch:
        for module in [sys.modules[name] for name in sys.modules if name.startswith("providers.")]:
            if hasattr(module, "says_more"):
                patch.setattr(module, "says_more", lambda request: True)
        yield


# ── reading ────────────────────────────────────────────────────────────────────────────

#: Where each decoder takes the shorter way with a message that is a role and a text, and how it is closed.
DECODERS: dict[str, tuple[str, str, object]] = {
    "openai.chat": ("providers.dialects.openai_chat.messages", "_plain", lambda raw, number: None),
    "openai.responses": ("providers.dialects.openai_responses.items", "_is_plain", lambda raw: False),
    "anthropic.messages": ("providers.dialects.anthropic.decode", "_plain", lambda raw, number: None),
    "gemini": ("providers.dialects.gemini.decode", "is_text", lambda value: False),
    "ollama.chat": ("providers.dialects.ollama.messages", "_plain", lambda raw, number: None),
}
#: Where each dialect says what is usual.
CHECKS = {
    "openai.chat": "providers.dialects.openai_chat.check",
    "openai.responses": "providers.dialects.openai_responses.check",
    "anthropic.messages": "providers.dialects.anthropic.check",
    "gemini": "providers.dialects.gemini.read",
    "ollama.chat": "providers.dialects.ollama.read",
}
ARGUMENTS = ["{}", '{"a":1.0,"b":[1,  2]}', '{"text":"\\"args\\" \\"input\\" \\"tool_calls\\""}']


@st.composite
def histories(draw: Any) -> tuple[Message, ...]:
    """Messages of one text each, among them calls with their results."""
    messages: list[Message] = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.integers(0, 3)) == 0:
            call = ToolCall(id="call_1", name="get_weather", arguments=draw(st.sampled_from(ARGUMENTS)))
            messages += [Message(role="assistant", parts=(call,)), Message(role="tool", parts=(RESULT,))]
        role = draw(st.sampled_from(["user", "user", "assistant", "system"]))
        messages.append(Message(role=role, parts=(Text(text=draw(TEXTS)),)))
    return tuple(messages)


@EVERY
@settings(max_examples=60)
@given(messages=histories())
def test_among_others_a_plain_message_is_read_as_any_other(name: str, messages: tuple[Message, ...]) -> None:
    """The same canonical messages, wherever a plain one stands among others."""
    request = ChatRequest(dialect="another", model="some-model", messages=messages, max_output_tokens=9)
    try:
        given_ = asked(name, request)
    except RouterError:
        return  # a conversation that this language cannot hold
    place, word, closed = DECODERS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module(CHECKS[name]), "USUAL", None)
        patch.setattr(importlib.import_module(place), word, closed)
        longer = asked(name, request)
        expected = DIALECTS[name].decode_request(longer)

    assert (expected, longer.body) == (DIALECTS[name].decode_request(given_), given_.body)


@EVERY
def test_usual_messages_are_read_in_one_step(name: str) -> None:
    """A conversation of texts alone is usual in every dialect, one with a call in none: else nothing is tested here."""
    said = (Message(role="user", parts=(Text(text="a"),)), Message(role="assistant", parts=(Text(text="b"),)))
    called = (*said, Message(role="assistant", parts=(CALL,)), Message(role="tool", parts=(RESULT,)))
    texts = ChatRequest(dialect="another", model="some-model", messages=(*said, said[0]), max_output_tokens=9)

    assert (3, None) == (
        len(asked(name, texts).usual or ()),
        asked(name, msgspec.structs.replace(texts, messages=called)).usual,
    )


def test_what_waits_for_a_message_stands_in_the_next_plain_one() -> None:
    """Items that a caller of openai.responses brings go into the message after them, however that is written."""
    brought = {"type": "configuration_update", "x": 1}
    plain, spelled = {"role": "user", "content": "hi"}, {"type": "message", "role": "user", "content": "hi"}
    dialect = DIALECTS["openai.responses"]

    def read(item: Json) -> list[tuple[str, list[str]]]:
        body = msgspec.json.encode({"model": "some-model", "input": [brought, item]})
        request = dialect.decode_request(dialect.read(WireRequest(path="/", body=body), {}))
        return [(one.role, [type(part).__name__ for part in one.parts]) for one in request.messages]

    assert [("user", ["Opaque", "Text"])] == read(plain) == read(spelled)


# ── tools that came before ─────────────────────────────────────────────────────────────

SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {"place": {"type": "string", "pattern": "x+"}}, "required": ["place"]},
        {"type": "object", "properties": {"n": {"type": ["integer", "null"], "minimum": 1}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"enum": [1, "x", None]}}},
        {"type": "object", "additionalProperties": False, "properties": {}},
        {},
    ]
)


@st.composite
def functions(draw: Any) -> list[Json]:
    """Tools as a caller of openai.chat writes them."""
    tools: list[Json] = []
    for i in range(draw(st.integers(1, 3))):
        function: Json = {"name": f"tool_{i}", "description": draw(TEXTS), "parameters": draw(SCHEMAS)}
        function |= draw(st.sampled_from([{}, {"strict": True}, {"strict": None}, {"x_more": [1]}]))
        tool = {"type": "function", "function": function}
        tool |= draw(st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral"}}, {"x_beside": 1}]))
        tools.append(draw(st.sampled_from([tool, tool, tool, tool, {"type": "web_search"}])))
    return tools


def asked(name: str, request: ChatRequest) -> Asked:
    """The request as a caller of the dialect sends it."""
    dialect = DIALECTS[name]
    wire = dialect.encode_request(request, [])
    params = {"model": request.model, "task": "generateContent"} if name == "gemini" else {}
    return dialect.read(WireRequest(path=wire.path, query=wire.query, body=wire.body), params)


def origin(tools: list[Json]) -> ChatRequest:
    body = {"model": "some-model", "messages": [{"role": "user", "content": "hi"}], "tools": tools, "max_tokens": 9}
    dialect = DIALECTS["openai.chat"]
    return dialect.decode_request(dialect.read(WireRequest(path="/", body=msgspec.json.encode(body)), {}))


@contextmanager
def nothing_kept() -> Iterator[None]:
    """While nobody remembers anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TOOLS, "made_of", lambda value: None)
        patch.setattr(TOOLS, "read", lambda text: None)
        patch.setattr(TOOLS, "keep", lambda text, value, about: None)
        yield


@EVERY
@settings(max_examples=40)
@given(tools=functions())
def test_tools_that_came_before_mean_the_same(name: str, tools: list[Json]) -> None:
    """In each language: what is read of them the second time is what is read of them when nothing is kept."""
    request = origin([tool for tool in tools if "function" in tool] or tools)
    try:
        first = asked(name, request)
    except RouterError:
        return  # a kind of tool that this language does not have
    second = DIALECTS[name].decode_request(asked(name, request))
    with nothing_kept():
        expected = DIALECTS[name].decode_request(asked(name, request))

    assert DIALECTS[name].decode_request(first) == second == expected
    assert not second.tools or second.tools is DIALECTS[name].decode_request(first).tools


@EVERY_UPSTREAM
@settings(max_examples=40)
@given(
    tools=functions(),
    more=st.sampled_from(
        [
            {},
            {"parallel_tool_calls": False},
            {"tool_choice": {"type": "function", "function": {"name": "tool_0"}}},
            {"tool_choice": "none"},
            {"tool_choice": "required"},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        ]
    ),
    model=st.sampled_from(["some-model", "gemini-3-pro", "gemini-2.0-flash", "claude-opus-4-8", "claude-3-haiku"]),
)
def test_tools_that_came_before_are_written_the_same(name: str, tools: list[Json], more: Json, model: str) -> None:
    """The same bytes and losses for each upstream, however often, for each model and beside other fields."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "tools": tools, "max_tokens": 9, **more}
    wire = WireRequest(path="/", body=msgspec.json.encode(body))
    chat = DIALECTS["openai.chat"]

    def sent() -> object:
        request = chat.decode_request(chat.read(wire, {}))
        return written(name, msgspec.structs.replace(request, dialect="another"))

    with nothing_kept():
        expected = sent()

    assert [expected, expected] == [sent(), sent()]


@EVERY_UPSTREAM
@pytest.mark.parametrize("spelled", ["function", "custom"])
def test_tools_that_came_before_in_another_language_are_none_of_these(name: str, spelled: str) -> None:
    """The same bytes are other tools to each language's callers: what is written of them does not depend on who came
    before."""
    function = {"name": "f", "description": "d", "strict": True, "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": spelled, **function, spelled: function, "input_schema": {"type": "object"}}]
    body = {"model": "m", "max_tokens": 9, "tools": tools}
    said = [{"role": "user", "content": "hi"}]
    callers = [DIALECTS[caller] for caller in CALLERS if caller != "gemini"]
    wire = WireRequest(path="/", body=msgspec.json.encode({**body, "messages": said, "input": said}))

    def sent(caller: Dialect) -> object:
        return written(name, msgspec.structs.replace(caller.decode_request(caller.read(wire, {})), dialect="another"))

    with nothing_kept():
        expected = [sent(caller) for caller in callers]

    assert expected == [sent(caller) for caller in callers] == [sent(caller) for caller in callers[::-1]][::-1]


@EVERY
def test_nobody_changes_what_is_kept(name: str) -> None:
    """Calls share the tools that came before: reading, relaying and writing leave them as they were."""
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}, "strict": True}
    tools = [{"type": "function", "function": {**function, "name": f"f{i}"}} for i in range(2)]
    call = asked(name, origin(tools))
    request = DIALECTS[name].decode_request(call)
    before = copy.deepcopy(call.body["tools"]), msgspec.json.encode(request.tools)
    for upstream in UPSTREAMS:
        for _ in range(2):
            DIALECTS[upstream].encode_request(request, [])
            DIALECTS[upstream].encode_request(
                msgspec.structs.replace(request, tools=tuple(tool for tool in request.tools if isinstance(tool, Tool))),
                [],
            )
    DIALECTS[name].relay_request(call, "another-model", [])

    assert memory.TOOLS.made_of(call.body["tools"]) is not None
    assert before == (call.body["tools"], msgspec.json.encode(request.tools))


# ── checking and reading ───────────────────────────────────────────────────────────────

ODD = st.sampled_from([None, 0, True, [], {}, ["user"], "", "nobody"])
ROLES = st.sampled_from(["user", "assistant", "system", "model", "developer", "tool"]) | ODD
CONTENTS = TEXTS | ODD


def body_of(name: str, message: Json) -> Json:
    """A request with this one message, in which a key that nobody knows makes it take the long way."""
    if name == "gemini":
        content = {"parts": [{"text": message["content"]}]} if "content" in message else {"parts": []}
        content |= {key: value for key, value in message.items() if key != "content"}
        return {"contents": [content]}
    where = "input" if name == "openai.responses" else "messages"
    return {"model": "some-model", "max_tokens": 9, where: [message]}


def fate(name: str, message: Json) -> object:
    """What is wrong with it, or what it means without the unknown key."""
    dialect = DIALECTS[name]
    params = {"model": "some-model", "task": "generateContent"} if name == "gemini" else {}
    wire = WireRequest(path="/", body=msgspec.json.encode(body_of(name, message)))
    try:
        request = dialect.decode_request(dialect.read(wire, params))
    except RouterError as error:
        return type(error), error.message, error.param
    return [msgspec.structs.replace(one, extra=None, parts=tuple(map(_bare, one.parts))) for one in request.messages]


def _bare(part: Any) -> Any:
    """Without the unknown key, wherever a language keeps it."""
    form = {key: value for key, value in (part.form or {}).items() if key != "outer"}
    return msgspec.structs.replace(part, extra=None, form=form or None)


@EVERY
@given(role=ROLES, content=CONTENTS, left_out=st.sampled_from([None, None, None, "role", "content"]))
def test_a_plain_message_is_read_as_any_other(name: str, role: Json, content: Json, left_out: str | None) -> None:
    """The same complaints, and the same meaning, as of a message with a key that nobody knows."""
    message = {"role": role, "content": content}
    message.pop(left_out or "", None)

    assert fate(name, {**message, "x_unknown": 1}) == fate(name, message)
