"""The relay lane: requests, answers and streams of this dialect passed on as they are, and read on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.canonical.chat import ChatResponse, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
from providers.canonical.loss import Losses
from providers.dialect import Asked, Traits, WireRequest, WireResponse
from providers.dialects.gemini.answer import decode_answer, decode_usage, finish_word, no_candidates
from providers.dialects.gemini.encode import apply_traits, sent_threshold, url_path
from providers.dialects.gemini.errors import decode_error, is_error, read_payload, stray_error
from providers.dialects.gemini.frames import Frames
from providers.dialects.gemini.names import Json, alt_of, camel
from providers.dialects.gemini.stream import Writer
from providers.wire import json as wire_json
from providers.wire.sse import is_silent

_GENERATE = ("generateContent", "streamGenerateContent")


# ── requests ───────────────────────────────────────────────────────────────────────────


def relay_request(asked: Asked, model: str, losses: Losses, traits: Traits) -> WireRequest:
    """The caller's own bytes, but for what must change: a threshold that the service spells otherwise, a name of the
    model inside the body, and fields that the row ignores."""
    replace: dict[str, Json] = {}
    drop: set[str] = set()
    _replace_thresholds(asked, replace)
    if model != asked.model:
        _replace_models(asked, model, replace)
    if traits.ignores or traits.rejects:
        body = {**asked.body, **replace}
        nested = {field.partition(".")[0] for field in traits.ignores if "." in field}
        for key in [key for key in body if camel(key) in nested and type(body[key]) is dict]:
            body[key] = replace[key] = dict(body[key])
        apply_traits(body, traits, losses)
        drop = asked.body.keys() - body.keys()
        replace = {key: value for key, value in replace.items() if key in body}
    changed = bool(replace or drop)
    query: dict[str, str] = {key: asked.wire.query[key] for key in ("alt", "$alt") if key in asked.wire.query}
    return WireRequest(
        path=url_path(model, asked.task, asked.params, traits.quirks),
        query=query,
        headers={"content-type": "application/json"},
        body=wire_json.splice(asked.top, replace, frozenset(drop)) if changed else asked.wire.body,
    )


def _replace_thresholds(asked: Asked, replace: dict[str, Json]) -> None:
    for key, raw in asked.top.items():
        if camel(key) == "safetySettings" and b"BLOCK_HIGH_AND_ABOVE" in bytes(raw):
            replace[key] = [
                {**setting, "threshold": sent_threshold(setting.get("threshold"))}
                if "threshold" in setting
                else setting
                for setting in asked.body[key]
            ]


def _replace_models(asked: Asked, model: str, replace: dict[str, Json]) -> None:
    """A body may repeat the model's name; the service wants it to be that of the path."""
    name = model if "/" in model else f"models/{model}"
    for key, value in asked.fields.items():
        if key == "model":
            replace[key] = name
        elif camel(key) == "generateContentRequest" and type(value) is dict and "model" in value:
            replace[key] = {**value, "model": name}
        elif key == "requests" and asked.task == "batchEmbedContents":
            replace[key] = [{**one, "model": name} if "model" in one else one for one in value]


# ── answers ────────────────────────────────────────────────────────────────────────────


def relay_response(wire: WireResponse, asked: Asked) -> Usage | None:
    """Reads a 200 answer that is passed on. Raises for an answer that is an error, is unusable, or is none."""
    if asked.task in _GENERATE:
        return answer(wire).usage
    body = wire_json.decode_upstream(wire.body)
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    if body.get("error"):
        raise decode_error(wire)
    if asked.task == "countTokens":
        total = wire_json.as_count(body.get("totalTokens"))
        if total is None:
            raise BadUpstreamBytes("the upstream's count holds no totalTokens")
        return Usage(input_tokens=total, total_tokens=total, raw=body)
    if "embedding" not in body and "embeddings" not in body:
        raise BadUpstreamBytes("the upstream's answer holds no embedding")
    return decode_usage(body.get("usageMetadata"))


def answer(wire: WireResponse) -> ChatResponse:
    """A 200 answer as canonical value; an error inside it is raised as one."""
    if b'"error"' in wire.body[:256]:
        said = wire_json.decode_upstream(wire.body)
        if is_error(said):
            raise decode_error(wire)
    return decode_answer(wire.body)


# ── streams ────────────────────────────────────────────────────────────────────────────


def _says_something(body: Mapping[str, Json]) -> bool:
    """Is there more in an event than empty words? Until then the call may still go elsewhere."""
    for candidate in body.get("candidates") or ():
        content = candidate.get("content")
        parts = content.get("parts") if type(content) is dict else None
        if candidate.get("finishReason") or (parts and parts != [{"text": ""}]):
            return True
    return bool(body.get("promptFeedback"))


class Relay:
    """Passes a stream on event by event, untouched where it comes in the form that was asked for."""

    def __init__(self, asked: Asked, limit: int) -> None:
        self._sse = alt_of(asked.wire.query) == "sse"
        self._frames = Frames(limit)
        self._writer = Writer(self._sse)
        self._fault: RouterError | None = None
        self._open: dict[Any, bool] = {}  # candidate -> has it a finish reason?
        self._blocked = False
        self._raw_usage: Json = None
        self._usage: Usage | None = None
        self.content_type = self._writer.content_type
        self._seen = False
        self.started = False
        self.finished = False

    @property
    def usage(self) -> Usage | None:
        """What has been counted so far; understood only when somebody asks, for every event brings it anew."""
        if self._raw_usage is not None:
            self._usage = decode_usage(self._raw_usage)
            self._raw_usage = None
        return self._usage

    @usage.setter
    def usage(self, value: Usage | None) -> None:
        self._raw_usage = None
        self._usage = value

    def feed(self, data: bytes) -> bytes:
        if self._fault is not None:
            raise self._fault
        written: list[bytes] = []
        try:
            for payload, raw in self._frames.feed(data):
                self._take(payload, raw, written)
        except RouterError as fault:
            if not written:
                raise
            self._fault = fault
        self.finished = self._frames.finished
        return b"".join(written)

    def _take(self, payload: bytes | None, raw: bytes, written: list[bytes]) -> None:
        if payload is None and not is_silent(raw):
            raise stray_error(raw)
        same = self._frames.form == ("sse" if self._sse else "array")
        if not payload or payload == b"[DONE]":
            if same:
                written.append(raw)
            return
        body = self._read(payload)
        if same:
            self._writer.passed()
            written.append(raw)
        else:
            written.append(self._writer.frame(_compact(payload.strip())))
        self._seen = True
        self.started = self.started or _says_something(body)

    def _read(self, payload: bytes) -> dict[str, Json]:
        body = read_payload(payload)
        candidates = body.get("candidates") or ()
        if type(candidates) not in (list, tuple):
            raise BadUpstreamBytes("the upstream's stream holds candidates that are no array")
        for candidate in candidates:
            if type(candidate) is not dict:
                raise BadUpstreamBytes("the upstream's stream holds a candidate that is no object")
            index = candidate.get("index") or 0
            if type(index) is not int:
                raise BadUpstreamBytes("the upstream's stream holds a candidate without a proper index")
            self._open[index] = self._open.get(index, False) or finish_word(candidate) is not None
        feedback = body.get("promptFeedback")
        if type(feedback) is dict and feedback.get("blockReason"):
            self._blocked = True
        usage = body.get("usageMetadata")
        if usage is not None:
            self._raw_usage = usage
        return body

    def close(self) -> bytes:
        if self._fault is not None:
            raise self._fault
        written: list[bytes] = []
        frames, rest = self._frames.close()
        for payload, raw in frames:
            self._take_last(payload, raw, written)
        if not self._seen:
            raise StreamTruncated("the upstream's stream ended without an event")
        if not all(self._open.values()):
            raise StreamTruncated("the upstream's stream ended without a finish reason")
        if not self._open and not self._blocked:
            raise no_candidates()
        if self._frames.form == "array" and not self._sse:
            written.append(rest if self._frames.finished else b"]")
        elif self._frames.form == "sse" and self._sse:
            written.append(b"" if frames else rest)
        else:
            written.append(self._writer.end())
        return b"".join(written)

    def _take_last(self, payload: bytes | None, raw: bytes, written: list[bytes]) -> None:
        try:
            self._take(payload, raw, written)
        except BadUpstreamBytes:
            if self._frames.form == "object":
                raise
            raise StreamTruncated("the upstream's stream ended inside an event") from None

    def error(self, error: RouterError) -> bytes:
        return self._writer.fault(error)


def _compact(payload: bytes) -> bytes:
    """The same JSON in one line; what only the lenient reader takes is written anew."""
    try:
        return msgspec.json.format(payload, indent=-1)
    except msgspec.DecodeError:
        return wire_json.encode(wire_json.decode_upstream(payload))
