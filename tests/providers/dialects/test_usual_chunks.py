"""Chunks that are nothing but more text are read by a shorter way: it must give what the long one gives."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.errors import RouterError
from providers.canonical.stream import StreamEvent, check
from providers.dialect import StreamDecoder
from providers.dialects import DIALECTS
from providers.wire.eventstream import encode_frame

Json = Any


@dataclass(frozen=True)
class Language:
    """A dialect's stream: how it begins and ends, and what a chunk of text is."""

    name: str
    module: str
    start: tuple[Json, ...]
    text: Callable[[Json], Json]
    others: tuple[Json, ...]  # what may stand between
    end: tuple[Json, ...]
    frame: Callable[[bytes, Json], bytes] = lambda data, body: b"data: %b\n\n" % data

    @property
    def code(self) -> ModuleType:
        return importlib.import_module(self.module)


def _named(data: bytes, body: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(body.get("type", "x")).encode(), data)


def _chat(delta: Json, finish: Json = None, **more: Json) -> Json:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**head, "choices": [choice], **more}


def _gemini(parts: Json, **more: Json) -> Json:
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, **more}
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3}, "modelVersion": "m", "responseId": "r"}


def _uncounted(text: str) -> Json:
    """The first chunks may say nothing of usage."""
    return {key: value for key, value in _gemini([{"text": text}]).items() if key != "usageMetadata"}


def _said(text: Json) -> Json:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def _output(text: Json) -> Json:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return {"type": "response.output_text.delta", **place, "delta": text, "logprobs": [], "sequence_number": 4}


_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}


def _content(text: Json) -> Json:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}


def _block(text: Json) -> Json:
    return {"contentBlockIndex": 0, "delta": {"text": text}, "p": "abc"}


def _frame(data: bytes, body: Json) -> bytes:
    keys = {"role": "messageStart", "stopReason": "messageStop", "usage": "metadata"}
    kind = next((kind for key, kind in keys.items() if key in body), "contentBlockDelta")
    kind = "contentBlockStop" if "delta" not in body and "contentBlockIndex" in body else kind
    return encode_frame({":message-type": "event", ":event-type": kind}, data)


LANGUAGES = (
    Language(
        name="openai.chat",
        module="providers.dialects.openai_chat.stream",
        start=(_chat({"role": "assistant", "content": "a"}), _chat({"content": "b"})),
        text=lambda text: _chat({"content": text}),
        others=(
            _chat({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": 1}),
            _chat({"content": "x"}, obfuscation="zz", service_tier="default"),
            _chat({"reasoning_content": "hm"}),
            _chat({"refusal": "no"}),
            _chat({"content": "x"}, error={"message": "bad"}),
            _chat({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}]}),
            _chat({}, "stop"),
            {"choices": [{"index": 1, "delta": {"content": "other"}}]},
            {"choices": [{"delta": {"content": "no index"}}, {"index": 1, "delta": {"content": "two"}}]},
        ),
        end=(_chat({}, "stop"),),
    ),
    Language(
        name="gemini",
        module="providers.dialects.gemini.stream",
        start=(_uncounted("a"), _uncounted("b")),
        text=lambda text: _gemini([{"text": text}]),
        others=(
            _gemini([{"text": "hm", "thought": True}]),
            _gemini([{"text": "x", "thoughtSignature": "s"}]),
            _gemini([{"text": "x"}, {"text": "y"}]),
            _gemini([{"functionCall": {"name": "f", "args": {"a": 1.0}}}]),
            _gemini([{"text": "x"}], avgLogprobs=0.5),
            _gemini([{"text": "x"}], finishReason="STOP"),
            {"candidates": [{"content": {"parts": [{"text": "x"}]}}]},
            {"candidates": [{"content": {"parts": [{"text": "x"}]}, "index": 1}]},
            {"error": {"code": 503, "message": "busy"}},
        ),
        end=(_gemini([{"text": ""}], finishReason="STOP"),),
    ),
    Language(
        name="anthropic.messages",
        module="providers.dialects.anthropic.stream",
        start=(
            {"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ),
        text=_said,
        others=(
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x"}},
            {"type": "content_block_delta", "index": 2, "delta": {"type": "thinking_delta", "thinking": "x"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        ),
        end=(
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ),
        frame=_named,
    ),
    Language(
        name="openai.responses",
        module="providers.dialects.openai_responses.stream",
        start=(
            {"type": "response.created", "response": {"id": "r", "model": "m"}},
            {"type": "response.output_item.added", "output_index": 0, "item": _MESSAGE},
        ),
        text=_output,
        others=(
            {**_output("x"), "output_index": 1},
            {**_output("x"), "content_index": 1},
            {**_output("x"), "logprobs": [{"token": "x", "logprob": -1.0, "top_logprobs": []}]},
            {"type": "response.output_text.delta", "delta": "no place"},
            {"type": "response.refusal.delta", "output_index": 0, "content_index": 1, "delta": "no"},
            {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "abc"},
            {"type": "response.output_item.done", "output_index": 0, "item": {**_MESSAGE, "status": "completed"}},
            {"type": "error", "message": "bad"},
        ),
        end=({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}},),
        frame=_named,
    ),
    Language(
        name="cohere.chat",
        module="providers.dialects.cohere.stream",
        start=({"type": "message-start", "id": "c"}, _content("a")),
        text=_content,
        others=(
            {**_content("x"), "index": 1},
            {**_content("x"), "logprobs": {"token_ids": [1], "text": "x", "logprobs": [-1.0]}},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": "hm"}}}},
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "plan"}}},
            {"type": "content-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
        ),
        end=({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},),
        frame=_named,
    ),
    Language(
        name="bedrock.converse",
        module="providers.dialects.bedrock.stream",
        start=({"role": "assistant"}, _block("a"), _block("b")),
        text=_block,
        others=(
            {"contentBlockIndex": 1, "delta": {"text": "x"}},
            {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}},
            {"contentBlockIndex": 0},
            {"delta": {"text": "no place"}},
            {"stopReason": "end_turn"},
            {"usage": {"inputTokens": 1, "outputTokens": 2}},
        ),
        end=({"stopReason": "end_turn"}, {"usage": {"inputTokens": 1, "outputTokens": 2}}),
        frame=_frame,
    ),
)
EVERY = pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)

# ── odd spellings ──────────────────────────────────────────────────────────────────────

TEXTS = st.text(max_size=6) | st.sampled_from(['"', "\\", "\n", "\u2028", "é", "😀", "\x7f", "</s>", "]}"])
ODD = st.sampled_from([None, 0, 1, 0.0, 1.5, True, False, "", [], {}, ["x"], {"text": "x"}])
SPACE = st.sampled_from(["", "", "", " ", "\t", "\n", "\r\n", "  "])


@st.composite
def spelled(draw: Callable[..., Any], value: Json) -> str:
    """A JSON text of the value: keys in any order, some twice, some more; any escapes; white space between tokens."""
    if type(value) is str:
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        if draw(st.integers(0, 9)) == 0:
            text = '"' + "".join(f"\\u{unit:04x}" for unit in _units(value)) + '"'
        elif draw(st.integers(0, 19)) == 0:
            text = text[:-1] + draw(st.sampled_from(["\\ud83d", "\t", "\\x", "\\u00e9", "\\/"])) + '"'
        return text
    if type(value) is list:
        return "[" + ",".join(draw(spelled(item)) for item in value) + "]"
    if type(value) is not dict:
        return json.dumps(value)
    pairs = list(value.items())
    if draw(st.integers(0, 3)) == 0:
        pairs = draw(st.permutations(pairs))
    if pairs and draw(st.integers(0, 11)) == 0:
        pairs.insert(draw(st.integers(0, len(pairs))), (draw(st.sampled_from([key for key, _ in pairs])), draw(ODD)))
    if draw(st.integers(0, 11)) == 0:
        pairs.append((draw(st.sampled_from(["x_more", "error", "extra_content", "type"])), draw(ODD)))
    if pairs and draw(st.integers(0, 24)) == 0:
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    written = [f"{draw(SPACE)}{json.dumps(key)}{draw(SPACE)}:{draw(spelled(item))}" for key, item in pairs]
    return "{" + ",".join(written) + draw(SPACE) + "}"


def _units(text: str) -> Iterable[int]:
    raw = text.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2))


@st.composite
def chunks(draw: Callable[..., Any], language: Language) -> list[bytes]:
    """A stream, event by event: mostly text, spelled in any way, and whatever else may come between."""
    bodies = list(language.start)
    for _ in range(draw(st.integers(1, 8))):
        bodies.append(language.text(draw(TEXTS | ODD) if draw(st.integers(0, 9)) == 0 else draw(TEXTS)))
        if draw(st.integers(0, 5)) == 0:
            bodies.append(draw(st.sampled_from(language.others)))
    written = [language.frame(json.dumps(body).encode(), body) for body in language.start]
    written += [language.frame(draw(spelled(body)).encode(), body) for body in bodies[len(language.start) :]]
    return written + [language.frame(json.dumps(body).encode(), body) for body in language.end]


def heard(decoder: StreamDecoder, pieces: Iterable[bytes]) -> tuple[list[StreamEvent], str]:
    """All events, and the fault that ended them."""
    events: list[StreamEvent] = []
    try:
        for piece in pieces:
            events += decoder.feed(piece)
        events += decoder.close()
    except RouterError as fault:
        return events, f"{type(fault).__name__}: {fault}"
    return events, ""


@EVERY
def test_whatever_comes_between(language: Language) -> None:
    """Each other chunk, after text and before more of it: the same events and the same fault."""
    for other in language.others:
        bodies = [*language.start, language.text("one"), language.text("two"), other, other, language.text("three")]
        pieces = [language.frame(json.dumps(body).encode(), body) for body in (*bodies, *language.end)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(language.code, "_PATIENCE", 0)
            expected = heard(DIALECTS[language.name].stream_decoder(), pieces)

        assert expected == heard(DIALECTS[language.name].stream_decoder(), pieces)


@EVERY
@settings(max_examples=40)
@given(data=st.data())
def test_short_way_gives_what_the_long_one_gives(language: Language, data: st.DataObject) -> None:
    """However a chunk is spelled, and whatever stands between: the same events and the same fault."""
    pieces = data.draw(chunks(language))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language.code, "_PATIENCE", 0)
        expected = heard(DIALECTS[language.name].stream_decoder(), pieces)

    assert expected == heard(DIALECTS[language.name].stream_decoder(), pieces)
    assert expected == heard(DIALECTS[language.name].stream_decoder(), [b"".join(pieces)])


@EVERY
def test_short_way_is_taken(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual chunk of each dialect is one that the shorter way knows."""
    seen: list[bytes] = []
    usual = language.code._usual
    monkeypatch.setattr(language.code, "_usual", lambda data: seen.append(data) or usual(data))
    bodies = [*language.start, *(language.text(f"piece {i}") for i in range(20)), *language.end]
    written = [language.frame(json.dumps(body).encode(), body) for body in bodies]
    events, fault = heard(DIALECTS[language.name].stream_decoder(), written)

    assert fault == ""
    assert check(events) == events
    assert len(seen) >= 19


@EVERY
def test_nobody_tries_for_ever(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose chunks have more in them costs a few tries, not one for each chunk."""
    seen: list[bytes] = []
    usual = language.code._usual
    monkeypatch.setattr(language.code, "_usual", lambda data: seen.append(data) or usual(data))
    bodies = [*language.start, *({**language.text(f"piece {i}"), "x_own": i} for i in range(50)), *language.end]
    written = [language.frame(json.dumps(body).encode(), body) for body in bodies]
    events, fault = heard(DIALECTS[language.name].stream_decoder(), written)

    assert fault == ""
    assert sum(type(event).__name__ == "TextDelta" for event in events) >= 50
    assert len(seen) <= 12
