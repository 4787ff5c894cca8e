"""Generated values: encoded and decoded again they are the same, minus what was declared lost; cuts change nothing."""

from __future__ import annotations

import base64
import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Media,
    Message,
    Reasoning,
    ReasoningConfig,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
)
from providers.canonical.stream import StreamEvent, check, fold, unfold
from providers.dialect import Dialect

from .answers import READ_STREAM, READ_WHOLE, SINGLE, told
from .neutral import Json
from .through import CALLERS, CHAT, GEMINI, NAMES, ask, caller_of, completed, passed_on

DIALECTS = [CHAT, GEMINI]
MODELS = {"openai.chat": "gpt-4.1", "gemini": "gemini-2.5-flash"}
both = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)

# ── generated values ───────────────────────────────────────────────────────────────────

#: Characters that break careless readers of streams among all others; no half surrogates, which are not text.
texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from('\u2028\u0085\r\n"\\é😀'), min_size=1, max_size=30
)
words = st.text(string.ascii_lowercase + "_", min_size=1, max_size=12)
values: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**29), 10**29)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=4)
images = st.binary(min_size=1, max_size=20).map(
    lambda data: Media(kind="image", mime_type="image/png", base64=base64.b64encode(data).decode())
)


@st.composite
def turns(draw: st.DrawFn) -> tuple[Message, ...]:
    """A conversation: user and assistant in turns, every call answered."""
    out: list[Message] = []
    if draw(st.booleans()):
        out.append(Message(role="system", parts=(Text(text=draw(texts)),)))
    for number in range(draw(st.integers(1, 3))):
        out.append(Message(role="user", parts=(Text(text=draw(texts)), *draw(st.lists(images, max_size=1)))))
        names = draw(st.lists(words, max_size=2))
        calls = [
            ToolCall(id=f"id-{number}-{i}", name=name, arguments=json.dumps(draw(objects)))
            for i, name in enumerate(names)
        ]
        said = [Text(text=draw(texts))] if not calls or draw(st.booleans()) else []
        out.append(Message(role="assistant", parts=(*said, *calls)))
        out += [
            Message(role="tool", parts=(ToolResult(call_id=call.id, name=call.name, parts=(Text(text=draw(texts)),)),))
            for call in calls
        ]
    out.append(Message(role="user", parts=(Text(text=draw(texts)),)))
    return tuple(out)


parameters: dict[str, st.SearchStrategy[Any]] = {
    "max_output_tokens": st.integers(1, 10**6),
    "temperature": st.floats(0, 3).map(lambda value: round(value, 3)),
    "top_p": st.floats(0, 1).map(lambda value: round(value, 3)),
    "top_k": st.integers(1, 100).map(float),
    "stop": st.lists(words, min_size=1, max_size=6, unique=True).map(tuple),
    "frequency_penalty": st.floats(-2, 2).map(lambda value: round(value, 3)),
    "presence_penalty": st.floats(-2, 2).map(lambda value: round(value, 3)),
    "seed": st.integers(-(2**40), 2**40),
    "n": st.integers(2, 8),
    "logit_bias": st.dictionaries(
        st.integers(0, 50000).map(str), st.integers(-100, 100).map(float), min_size=1, max_size=3
    ),
    "service_tier": st.sampled_from(["default", "flex", "priority", "scale"]),
    "end_user": words,
    "store": st.just(True),
    "verbosity": st.sampled_from(["low", "high"]),
    "cache_key": words,
    "metadata": st.dictionaries(words, words, min_size=1, max_size=3),
    "reasoning": st.sampled_from(["none", "low", "medium", "high"]).map(lambda word: ReasoningConfig(effort=word)),
    "tool_choice": st.sampled_from(
        [ToolChoice(mode="none"), ToolChoice(mode="required"), ToolChoice(mode="required", names=("look",))]
    ),
    "response_format": st.sampled_from(
        [
            ResponseFormat(kind="json_object"),
            ResponseFormat(
                kind="json_schema", name="x", schema={"type": "object", "properties": {"a": {"type": "string"}}}
            ),
        ]
    ),
}
TOOL = Tool(name="look", description="Looks.", parameters={"type": "object", "properties": {"a": {"type": "string"}}})
asked = st.fixed_dictionaries({}, optional=parameters)


# ── requests ───────────────────────────────────────────────────────────────────────────


def there_and_back(request: ChatRequest, dialect: Dialect) -> tuple[ChatRequest, set[str]]:
    """What the dialect's own reader makes of what its writer wrote, and the canonical names of what was lost."""
    losses: list[Any] = []
    wire = dialect.encode_request(request, losses)
    params = {"model": request.model, "task": "generateContent"} if dialect is GEMINI else None
    again = dialect.decode_request(ask(dialect, wire.body, params))
    return again, {loss.field for loss in losses}


@both
@given(more=asked)
@settings(max_examples=150)
def test_parameters_come_back_or_are_named(dialect: Dialect, more: dict[str, Any]) -> None:
    """Each parameter has its value again, or its name is among the losses."""
    hello = (Message(role="user", parts=(Text(text="Answer in JSON."),)),)
    request = ChatRequest(dialect="elsewhere", model=MODELS[dialect.name], messages=hello, tools=(TOOL,), **more)
    again, lost = there_and_back(request, dialect)
    changed = {name for name, value in more.items() if _plain(getattr(again, name)) != _plain(value)}

    assert set() == {
        name for name in changed if name not in lost and not (name == "reasoning" and _same_effort(again, request))
    }


def _same_effort(again: ChatRequest, request: ChatRequest) -> bool:
    """A budget stands for the word that it was made from."""
    assert request.reasoning is not None
    budget = again.reasoning.budget if again.reasoning else None
    return {0: "none", 1024: "low", 8192: "medium", 24576: "high"}.get(budget or 0) == request.reasoning.effort


def _plain(value: Any) -> Json:
    """A canonical value without spelling, extras and places, and without what only other dialects say."""
    built = msgspec.to_builtins(value)
    return _bare(built)


def _bare(value: Json) -> Json:
    if isinstance(value, dict):
        return (
            {key: _bare(item) for key, item in value.items() if key not in ("form", "extra", "at", "name", "validated")}
            if "mode" in value or "kind" in value
            else {key: _bare(item) for key, item in value.items() if key not in ("form", "extra", "at")}
        )
    return [_bare(item) for item in value] if isinstance(value, list | tuple) else value


@both
@given(messages=turns())
@settings(max_examples=120)
def test_conversations_come_back(dialect: Dialect, messages: tuple[Message, ...]) -> None:
    """Roles, texts, media, calls with arguments, results with their calls: nothing is lost and nothing is added."""
    again, lost = there_and_back(
        ChatRequest(dialect="elsewhere", model=MODELS[dialect.name], messages=messages), dialect
    )

    assert spelled(messages) == spelled(again.messages)
    assert set() == lost


def spelled(messages: tuple[Message, ...]) -> list[Json]:
    """The conversation part by part; a call by its number, for ids may be made anew."""
    numbers: dict[str, int] = {}
    out: list[Json] = []
    for message in messages:
        for part in message.parts:
            match part:
                case Text():
                    out.append([message.role, part.text])
                case Media():
                    out.append([message.role, part.mime_type, part.base64])
                case ToolCall():
                    numbers[part.id] = len(numbers)
                    out.append(["call", part.name, json.dumps(json.loads(part.arguments or "{}"))])
                case ToolResult():
                    text = "".join(inner.text for inner in part.parts if isinstance(inner, Text))
                    out.append(["result", numbers[part.call_id], _result(text)])
                case _:
                    out.append([type(part).__name__])
    return out


def _result(text: str) -> Json:
    """An object may be spelled anew, and a text that stood alone in one is that text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


# ── answers and streams ────────────────────────────────────────────────────────────────


@st.composite
def answers(draw: st.DrawFn) -> ChatResponse:
    choices = []
    for index in range(draw(st.integers(1, 2))):
        parts: list[Any] = [Reasoning(text=draw(texts))] if draw(st.booleans()) else []
        parts += [Text(text=draw(texts))] if draw(st.booleans()) else []
        names = draw(st.lists(words, max_size=2))
        parts += [
            ToolCall(id=f"id-{index}-{i}", name=name, arguments=json.dumps(draw(objects)))
            for i, name in enumerate(names)
        ]
        parts = parts or [Text(text=draw(texts))]
        reason = "tool_calls" if names else draw(st.sampled_from(["stop", "length", "content_filter"]))
        choices.append(Choice(index=index, parts=tuple(parts), finish=Finish(reason=reason)))
    reasoning = draw(st.integers(1, 50))
    usage = Usage(
        input_tokens=100,
        output_tokens=60 + reasoning,
        total_tokens=160 + reasoning,
        cache_read_tokens=draw(st.integers(0, 100)),
        reasoning_tokens=reasoning,
    )
    return ChatResponse(id="answer-1", model="m-1", created=1_760_000_000, choices=tuple(choices), usage=usage)


def core(response: ChatResponse) -> Json:
    """What an answer says, in an order that every dialect has."""
    usage = response.usage
    assert usage is not None
    counts = [
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cache_read_tokens or 0,
        usage.reasoning_tokens or 0,
    ]
    said = [
        [
            choice.index,
            choice.finish.reason if choice.finish else None,
            [_part(part) for part in choice.parts if _says(part)],
        ]
        for choice in response.choices
    ]
    return [response.id, response.model, counts, said]


def _says(part: Any) -> bool:
    """Chat writes an empty content where there is nothing but thinking."""
    return not isinstance(part, Text) or part.text != ""


def _part(part: Any) -> Json:
    if isinstance(part, ToolCall):
        return ["call", part.id, part.name, json.loads(part.arguments)]
    return [type(part).__name__, part.text]


def stream_of(response: ChatResponse, dialect: Dialect) -> bytes:
    encoder: Any = dialect.stream_encoder(caller_of(dialect, stream=True), [])
    return b"".join([*map(encoder.feed, check(unfold(response))), encoder.close()])


def sayable(response: ChatResponse, name: str) -> ChatResponse:
    """As much of an answer as a language can say: one choice where it has one, reasons and counts that it knows."""
    if name in SINGLE:
        response = msgspec.structs.replace(response, choices=response.choices[:1])
    return response


def heard(response: ChatResponse, name: str) -> Json:
    """`core`, without what the language has no word for."""
    identifier, model, counts, said = core(response)
    if name == "openai.responses":
        identifier = identifier.removeprefix("resp_")
    if name == "anthropic.messages":
        said = [[i, "content_filter" if reason == "refusal" else reason, parts] for i, reason, parts in said]
    if name == "ollama.chat":  # no ids, no filter, two counts; the official client reads no empty thinking
        identifier, counts = None, [*counts[:3], 0, 0]
        calls = [[[*one[:1], None, *one[2:]] if one[0] == "call" else one for one in parts] for _, _, parts in said]
        said = [
            [i, "stop" if reason == "content_filter" else reason, parts]
            for (i, reason, _), parts in zip(said, calls, strict=True)
        ]
        said = [
            [i, "tool_calls" if reason == "stop" and any(one[0] == "call" for one in parts) else reason, parts]
            for i, reason, parts in said
        ]
    return [identifier, model, counts, said]


each = pytest.mark.parametrize("name", CALLERS)


@each
@given(response=answers())
@settings(max_examples=60)
def test_answers_come_back(name: str, response: ChatResponse) -> None:
    """decode(encode(x)) == x for whole answers."""
    dialect, said = NAMES[name], sayable(response, name)
    wire = dialect.encode_response(said, caller_of(dialect), [])

    assert heard(said, name) == heard(dialect.decode_response(wire), name)


@each
@given(response=answers(), data=st.data())
@settings(max_examples=60)
def test_streams_come_back_however_they_are_cut(name: str, response: ChatResponse, data: st.DataObject) -> None:
    """fold(decode(encode(unfold(x)))) == x, and any split of the bytes gives the same events."""
    dialect, said = NAMES[name], sayable(response, name)
    stream = stream_of(said, dialect)
    marks = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *marks], [*marks, len(stream)])]
    whole, cut = events_of(dialect, [stream]), events_of(dialect, pieces)

    assert whole == cut
    assert heard(said, name) == heard(fold(whole), name)


def events_of(dialect: Dialect, pieces: list[bytes]) -> list[StreamEvent]:
    decoder = dialect.stream_decoder()
    found: list[StreamEvent] = []
    for piece in pieces:
        found += decoder.feed(piece)
    return check([*found, *decoder.close()])


@pytest.mark.parametrize(("upstream", "target"), [(a, b) for a in CALLERS for b in CALLERS if a != b])
@given(response=answers())
@settings(max_examples=20)
def test_a_stream_says_to_every_caller_what_the_whole_answer_says(
    upstream: str, target: str, response: ChatResponse
) -> None:
    """Whole and streamed are the same for generated answers, too, as an independent reader understands them."""
    dialect, caller = NAMES[upstream], NAMES[target]
    response = sayable(sayable(response, upstream), target)
    whole = dialect.encode_response(response, caller_of(dialect), [])
    body = json.loads(caller.encode_response(completed(dialect.decode_response(whole)), caller_of(caller), []).body)
    streamed, error = passed_on(caller, dialect, [stream_of(response, dialect)])

    whole_heard, stream_heard = READ_WHOLE[target](body), READ_STREAM[target](streamed)
    if upstream == "ollama.chat":
        stream_heard.id = whole_heard.id  # its answers have none: the gateway makes one

    assert error is None
    assert [] == told(whole_heard, stream_heard, target)
