"""Streams, read: chunks of any server that speaks this dialect to canonical events.

The tolerances, each seen on the wire: chunks without choices before the first useful one; id, model and usage in any
chunk; call indexes that begin at 1, are missing or shared; ids and names blank, late or repeated; calls whole or in
pieces; thinking under three names; a finish_reason beside text, and `stop` after calls; errors as a key, as an event
or as a bare JSON body; no `[DONE]`, no last empty line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import Opaque, Reasoning, Seal, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated, UpstreamError
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    LogprobsDelta,
    PartEnd,
    PartWhole,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnd,
    ResponseStart,
    SealDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageUpdate,
)
from providers.dialect import WireResponse
from providers.dialects._openai.errors import decode_error
from providers.dialects._openai.values import Json, Object
from providers.dialects.unread import around, by_type, find, keep, known
from providers.wire.halves import Halves
from providers.wire.json import UNREADABLE, as_text, decode_upstream, encode
from providers.wire.sse import LF, SseDecoder, is_silent, last_event, parse, stray, stray_json

from .details import Details, details_text
from .messages import arguments_text, read_audio, read_image
from .response import ANNOTATION, USAGE, call_seed, read_logprobs, read_usage
from .words import NAME, finish_of, join_base64, read_citation, take_seal

_TOP = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint", "obfuscation"}
)
_CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs", "usage"})
_DELTA = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "annotations", "images", "audio", "extra_content"}
    | {"reasoning_content", "reasoning", "reasoning_details"}
)
_CALL = frozenset({"index", "id", "type", "function", "custom", "extra_content"})
_FUNCTION = frozenset({"name", "arguments", "input"})
#: What stands deeper in a delta.
_INSIDE = around(
    annotations=ANNOTATION,
    function_call=known("name", "arguments"),
    extra_content=known(google=known("thought_signature")),
)
_PIECES = by_type(
    {
        "text": known("type", "text"),
        "thinking": known("type", "signature", "closed", thinking=known("type", "text")),
    }
)


class _UsualDelta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    role: Json = None
    content: str
    refusal: None = None
    reasoning_content: None = None
    reasoning: None = None
    tool_calls: None = None
    function_call: None = None


class _UsualChoice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    index: int = 0
    delta: _UsualDelta
    logprobs: None = None
    finish_reason: None = None


class _UsualChunk(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Most chunks: more text, and nothing else that is not known already. Whatever does not fit in is read in full.

    In all of these the fields stand in the order in which they usually come: they are found sooner.
    """

    id: Json = None
    object: Json = None
    created: Json = None
    model: Json = None
    service_tier: None = None
    system_fingerprint: Json = None
    choices: tuple[_UsualChoice]
    usage: None = None
    obfuscation: Json = None


_usual = msgspec.json.Decoder(_UsualChunk).decode
_PATIENCE = 8  # how often a chunk may turn out to be another before it is no longer tried


def fault(data: bytes) -> UpstreamError:
    """The error that an event says."""
    return decode_error(WireResponse(status=200, body=data), NAME)


class ChatStreamDecoder:
    """Bytes to events. `finished` after `[DONE]`, or when a fault waits to be raised."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._sse = SseDecoder(limit)
        self._json = Halves().decode
        self._fault: RouterError | None = None
        self._started = False
        self._seen = False  # any event with data at all
        self._done = False
        self._ended = False
        self._first: Object = {}
        self._extra: Object = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: Object | None = None
        self._tier: str | None = None
        self._id: str | None = None
        self._talking: _Choice | None = None  # who spoke in the last chunk, if that was all of it
        self._patience = _PATIENCE
        self.finished = False

    # ── the contract ───────────────────────────────────────────────────────────────

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        if self.finished:
            return ()
        out: list[StreamEvent] = []
        try:
            for block in self._others(self._sse.blocks(data), out):
                payload, name = parse(block)
                self._event(payload, name, block, out)
                if self._done:
                    break
        except RouterError as error:
            self._hold(error, out)
        return out

    def close(self) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        if not self._done:
            self._rest(self._sse.close(), out)
        if not self._ended:
            self._end(out)
        return out

    def _hold(self, error: RouterError, out: list[StreamEvent]) -> None:
        """What came before a fault is given out first."""
        self.finished = True
        self._fault = error
        if not out:
            raise error

    # ── events ─────────────────────────────────────────────────────────────────────

    def _others(self, blocks: Iterable[bytes], out: list[StreamEvent]) -> Iterator[bytes]:
        """Reads those events that are nothing but more of a text that is open, and gives out the others."""
        for block in blocks:
            choice = self._talking
            if choice is not None and block.startswith(b"data: ") and LF not in block:
                try:
                    said = _usual(block[6:]).choices[0]
                except UNREADABLE:
                    self._patience -= 1
                else:
                    text = said.delta.content
                    if text and said.index == choice.index:
                        out.append(TextDelta(choice=choice.index, index=choice.part, text=text))
                        continue
            yield block

    def _event(self, data: bytes | None, name: bytes | None, raw: bytes, out: list[StreamEvent]) -> None:
        if data is None:
            if not is_silent(raw):
                raise fault(stray(raw, self._seen))
            return
        if data == b"[DONE]":
            self._finish_up(out)
        elif data:
            self._seen = True
            if name == b"error":
                raise fault(data)
            self._chunk(self._json(data), data, out)

    def _rest(self, rest: bytes, out: list[StreamEvent]) -> None:
        """Bytes after the last empty line: the end of a stream that lacks it, or half an event."""
        if not rest.strip():
            return
        text = stray_json(rest, self._seen)
        if text is not None:
            decode_upstream(text)
            raise fault(text)
        data, name = last_event(rest)
        if data == b"[DONE]":
            self._finish_up(out)
        elif data:
            try:
                if name != b"error":  # whose text may be any
                    decode_upstream(data)
            except BadUpstreamBytes:
                raise StreamTruncated("the upstream's stream ended inside an event") from None
            self._event(data, name, rest, out)

    def _finish_up(self, out: list[StreamEvent]) -> None:
        self._done = True
        self.finished = True
        self._end(out)

    def _end(self, out: list[StreamEvent]) -> None:
        if not self._seen:
            raise BadUpstreamBytes("the upstream's stream is empty")
        unfinished = [choice for choice in self._choices.values() if not choice.ended]
        if not self._choices or (unfinished and not self._said_all(unfinished)):
            raise StreamTruncated("the upstream's stream ended without a finish_reason")
        self._ended = True
        for choice in unfinished:
            choice.finish("", {}, out)
        if (usage := self.counted) is not None:
            out.append(UsageUpdate(usage=usage))
            find(self._usage, USAGE, self._extra, "usage")
        out.append(ResponseEnd(service_tier=self._tier, extra=self._extra or None))

    @property
    def counted(self) -> Usage | None:
        return read_usage(self._usage) if type(self._usage) is dict else None

    def _said_all(self, unfinished: Sequence[_Choice]) -> bool:
        """`[DONE]` without a finish_reason is an end where something else says so, too: another choice's, or the bill.

        LiteLLM leaves it out for all choices but one, Snowflake altogether.
        """
        return self._done and (self._usage is not None or len(unfinished) < len(self._choices))

    # ── one chunk ──────────────────────────────────────────────────────────────────

    def _chunk(self, chunk: Json, data: bytes, out: list[StreamEvent]) -> None:
        if type(chunk) is not dict:
            raise BadUpstreamBytes("the upstream sent an event that is not an object")
        try:
            self._read(chunk, data, out)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError):
            raise BadUpstreamBytes("the upstream sent an event that is not a chunk of a chat completion") from None

    def _read(self, chunk: Object, data: bytes, out: list[StreamEvent]) -> None:
        self._talking = None
        choices = chunk.get("choices") or ()
        if not _TOP.issuperset(chunk):
            self._unusual(chunk, data)
        usage = chunk.get("usage")
        if type(usage) is dict and usage:
            self._usage = usage
        if not self._started:
            self._start(chunk, bool(choices), out)
        elif type(chunk.get("service_tier")) is str:
            self._tier = chunk["service_tier"]
        before = len(out)
        for raw in choices:
            index = raw.get("index")
            if type(index) is not int:
                index = 0
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice(index, self._seed())
            choice.read(raw, out)
            if choice.ended and raw.get("usage") and not usage:  # Moonshot counts within the choice
                self._usage = raw["usage"]
            if self._patience > 0 and len(choices) == 1 and len(out) == before + 1 and choice.talks:
                self._talking = choice

    def _unusual(self, chunk: Object, data: bytes) -> None:
        """Errors, and what only this dialect's own callers understand."""
        groq = chunk.get("x_groq")
        inside: Object = groq if type(groq) is dict else {}
        if chunk.get("error") or chunk.get("object") == "error":  # vLLM's has no envelope
            raise fault(data)
        if inside.get("error"):
            raise decode_error(WireResponse(status=200, body=_error_body(inside["error"])), NAME)
        if type(inside.get("usage")) is dict and inside["usage"] and not chunk.get("usage"):
            self._usage = inside["usage"]
        extra = {key: value for key, value in chunk.items() if key not in _TOP}
        if self._started:
            keep(self._extra, {key: value for key, value in extra.items() if self._first.get(key) != value}, ())
        else:
            keep(self._first, extra, ())

    def _start(self, chunk: Object, useful: bool, out: list[StreamEvent]) -> None:
        """Id and model are those of the first chunk that has them; Azure's first chunk has neither."""
        for key in ("id", "model", "created", "service_tier", "system_fingerprint"):
            value = chunk.get(key)
            if value and not self._first.get(key):
                self._first[key] = value
        if not useful:
            return
        self._started = True
        fields = {key: self._first.pop(key) for key in tuple(self._first) if key in _TOP}
        created = fields.pop("created", None)
        texts = {key: value for key, value in fields.items() if type(value) is str}
        self._id = texts.get("id")
        extra = dict(self._first) or None
        out.append(
            ResponseStart(
                dialect=NAME, created=int(created) if type(created) in (int, float) else None, extra=extra, **texts
            )
        )

    def _seed(self) -> str:
        return call_seed(self._id)


def _error_body(error: Json) -> bytes:
    return encode({"error": error})


# ── one choice ─────────────────────────────────────────────────────────────────────────


class _Call:
    """A tool call while it arrives."""

    def __init__(self, index: Json = None) -> None:
        self.index = index
        self.part = -1  # its number once it has been opened
        self.id: str | None = None
        self.name = ""
        self.kind = "function"
        self.held: list[str] = []  # arguments that came before the name, or with it
        self.any = False  # arguments have been given out
        self.only = ""  # arguments that are all so far
        self.invented = False  # the id is ours
        self.seal: Seal | None = None

    def says_name(self, text: str) -> None:
        """A name, or more of it; some servers say it again each time, whole or as far as it has come."""
        if self.part >= 0 or self.any:
            self.name = self.name or text
        else:
            self.name = text if text.startswith(self.name) else self.name + text

    def takes(self, call_id: str | None, name: Json) -> bool:
        """Is a delta of its index more of this call? Some servers number all their calls alike, and give no ids."""
        if call_id is not None and self.id is not None:
            return self.invented and not name  # the id is late
        if not name or not self.any:
            return True
        return self.index is not None and (not self.name or (name == self.name and not _is_whole(self.only)))


def _is_whole(arguments: str) -> bool:
    try:
        return arguments.startswith("{") and type(decode_upstream(arguments.encode())) is dict
    except (BadUpstreamBytes, UnicodeEncodeError):
        return False


class _Choice:
    """The state of one of n answers."""

    def __init__(self, index: int, seed: str) -> None:
        self.ended = False
        self.index = index
        self._seed = f"{seed}_{index}"
        self._parts = 0
        self._open: type | None = None  # the kind of the text-like part that is open
        self.part = -1  # and its number
        self._calls: list[_Call] = []
        self._refused = False
        self._audio: Object | None = None
        self._sound: list[str] = []
        self._said: list[str] = []
        self._details: Details | None = None  # OpenRouter's, of thinking
        self._is_told = False  # outside of them, too
        self._around: Object = {}  # what stood beside the deltas, and nobody knows
        self._unknown: Object = {}  # the same in them
        self._legacy: _Call | None = None
        self._named: _Call | None = None  # a call of whose name there may be more: it is not open yet

    @property
    def talks(self) -> bool:
        """Is a text open, to which more may come?"""
        return self._open is TextDelta and not self.ended

    def read(self, raw: Object, out: list[StreamEvent]) -> None:
        if not _CHOICE.issuperset(raw):
            keep(self._around, raw, _CHOICE)
        delta = raw.get("delta")
        if raw.get("message"):
            delta = delta or self._instead(raw["message"])
            self._keep(raw["message"], _DELTA)
        if delta:
            if self.ended:
                self._late(delta)
            else:
                self._delta(delta, out)
        logprobs = raw.get("logprobs")
        if logprobs and (logprobs.get("content") or logprobs.get("refusal")):
            out.append(LogprobsDelta(choice=self.index, logprobs=read_logprobs(logprobs)))
        finish = raw.get("finish_reason")
        if finish is not None and not self.ended and (finish or self._calls):
            self.finish(finish, raw, out)

    def _keep(self, said: Json, known: frozenset[str]) -> None:
        """What nobody knows of a message, for its end."""
        if type(said) is dict and not known.issuperset(said):
            keep(self._unknown, said, known)

    def _instead(self, message: Object) -> Object | None:
        """A message where a delta should be: that of a server which streams whole answers. After deltas, as MiniMax
        sends it, it only says them again."""
        if self._parts or self._calls or self.ended:
            return None
        return message

    def _late(self, delta: Object) -> None:
        """After its finish_reason a choice says nothing more; OpenRouter repeats an empty delta with the usage."""
        if any(delta.get(key) for key in ("content", "tool_calls", "reasoning_content", "reasoning", "refusal")):
            raise BadUpstreamBytes("the upstream went on after a finish_reason")

    def _delta(self, delta: Object, out: list[StreamEvent]) -> None:
        content = delta.get("content")
        if len(delta) > 1 or content is None:
            self._unusual(delta, out)
        if content:
            if type(content) is str:
                self._text(TextDelta, content, out)
            else:
                self._chunks(content, out)
        if len(delta) == 1 and content is not None:
            return
        if delta.get("refusal"):
            self._refused = True
            self._text(RefusalDelta, as_text(delta["refusal"]), out)
        calls = delta.get("tool_calls") or ()
        for call in calls:
            self._tool_call(call, out)
        if type(delta.get("function_call")) is dict and not calls:  # llama-cpp-python says the same call in both forms
            self._function_call(delta["function_call"], out)
        if delta.get("annotations"):
            self._cite(delta["annotations"], out)
        for image in delta.get("images") or ():
            part = read_image(image, "")
            if part is not None:
                self._whole(part, out)
        if type(delta.get("audio")) is dict:
            self._hear(delta["audio"])
        if "extra_content" in delta:
            self._sign(dict(delta), out)

    def _unusual(self, delta: Object, out: list[StreamEvent]) -> None:
        self._keep(delta, _DELTA)
        find(delta, _INSIDE, self._around, "message")
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        self._is_told = self._is_told or bool(thought)
        if delta.get("reasoning_details"):
            if not self._is_told:
                thought = details_text(delta["reasoning_details"])
            self._details = self._details or Details()
            self._details.add(delta["reasoning_details"])
        if thought and type(thought) is str:
            self._text(ReasoningDelta, thought, out)

    # ── text-like parts ────────────────────────────────────────────────────────────

    def _text(self, kind: type, text: str, out: list[StreamEvent]) -> None:
        if self._open is not kind:
            self._shut(out)
            self._open = kind
            self.part = self._parts
            self._parts += 1
        out.append(kind(choice=self.index, index=self.part, text=text))

    def _shut(self, out: list[StreamEvent]) -> None:
        """Ends what is open; a call that has been named comes before whatever is said next."""
        if self._named is not None:
            self._open_call(self._named, out)
        if self._open is not None:
            if self._details is not None and self._open is ReasoningDelta and (seal := self._details.take()):
                out.append(SealDelta(choice=self.index, index=self.part, seal=seal))
            out.append(PartEnd(choice=self.index, index=self.part))
            self._open = None

    def _hide(self, out: list[StreamEvent]) -> None:
        """Thinking of which nothing can be read, or whose seal came after it, is a part of its own."""
        if self._details is not None and (seal := self._details.take()):
            self._whole(Reasoning(redacted=True, seal=seal), out)

    def _chunks(self, content: Json, out: list[StreamEvent]) -> None:
        """Content as a list: text and thinking in turns, as Mistral's reasoning models send it."""
        find(content, _PIECES, self._around, "message.content")
        for item in content:
            kind = item.get("type")
            if kind == "text" and type(item.get("text")) is str:
                if item["text"]:
                    self._text(TextDelta, item["text"], out)
            elif kind == "thinking":
                inner = item.get("thinking")
                pieces = [inner] if type(inner) is str else [one.get("text") or "" for one in inner or ()]
                for piece in pieces:
                    if piece:
                        self._text(ReasoningDelta, as_text(piece), out)
            else:
                self._whole(Opaque(dialect=NAME, kind=str(kind), raw=item), out)

    def _whole(self, part: Any, out: list[StreamEvent]) -> None:
        self._shut(out)
        out.append(PartWhole(choice=self.index, index=self._parts, part=part))
        self._parts += 1

    def _cite(self, annotations: list[Json], out: list[StreamEvent]) -> None:
        for raw in annotations:
            if self._open is not TextDelta:
                self._text(TextDelta, "", out)
            out.append(CitationDelta(choice=self.index, index=self.part, citation=read_citation(raw)))

    def _sign(self, delta: Object, out: list[StreamEvent]) -> None:
        seal = take_seal(delta)
        if seal is not None:
            if self._open is not TextDelta:
                self._text(TextDelta, "", out)
            out.append(SealDelta(choice=self.index, index=self.part, seal=seal))

    def _hear(self, audio: Object) -> None:
        """Sound comes in pieces and is given out whole: base64 pieces cannot simply be joined."""
        self._audio = {
            **(self._audio or {}),
            **{key: value for key, value in audio.items() if key not in ("data", "transcript")},
        }
        if audio.get("data"):
            self._sound.append(as_text(audio["data"]))
        if audio.get("transcript"):
            self._said.append(as_text(audio["transcript"]))

    # ── tool calls ─────────────────────────────────────────────────────────────────

    def _tool_call(self, raw: Object, out: list[StreamEvent]) -> None:
        custom = raw.get("type") == "custom" or ("custom" in raw and not raw.get("function"))  # Snowflake writes both
        kind = "custom" if custom else "function"
        inner = raw.get(kind) or {}
        self._keep(raw, _CALL)
        self._keep(inner, _FUNCTION)
        call = self._call_for(raw, inner)
        if call is None:
            return
        if inner.get("name"):
            call.says_name(as_text(inner["name"]))
            call.kind = kind if call.part < 0 else call.kind
        if call.seal is None and "extra_content" in raw:
            call.seal = take_seal(dict(raw))
            if call.seal is not None and call.part >= 0:
                out.append(SealDelta(choice=self.index, index=call.part, seal=call.seal))
        self._argue(call, inner.get("input" if kind == "custom" else "arguments"), out)

    def _call_for(self, raw: Object, inner: Object) -> _Call | None:
        """Which call a delta belongs to: a new id starts one; without an id the index decides. None for an empty one
        that belongs to none."""
        index, call_id = raw.get("index"), as_text(raw.get("id") or "") or None
        name = inner.get("name")
        for call in reversed(self._calls):
            if call_id is not None and call.id == call_id:
                return call
            if call.index == index and call is not self._legacy:
                if call.takes(call_id, name):
                    call.id = call.id or call_id
                    return call
                if call_id is None:
                    break
        if call_id is None and not name and not inner.get("arguments") and not inner.get("input"):
            return None
        call = _Call(index)
        call.id = call_id
        self._calls.append(call)
        return call

    def _function_call(self, raw: Object, out: list[StreamEvent]) -> None:
        if self._legacy is None:
            if not raw.get("name"):
                return
            self._legacy = _Call()
            self._calls.append(self._legacy)
        if raw.get("name"):
            self._legacy.says_name(as_text(raw["name"]))
        self._argue(self._legacy, raw.get("arguments"), out)

    def _argue(self, call: _Call, arguments: Json, out: list[StreamEvent]) -> None:
        text = arguments_text(arguments)
        if text:
            call.only = "" if call.any else text
        if call.part < 0 and text:
            call.held.append(text)
            call.any = True
            text = ""
        if call.part < 0 and call.name and (call.id is not None or call.any):
            if call.any:
                self._open_call(call, out)
            elif self._named is not call:
                self._shut(out)
                self._hide(out)
                self._named = call
        elif text:
            call.any = True
            out.append(ToolCallDelta(choice=self.index, index=call.part, arguments=text))

    def _open_call(self, call: _Call, out: list[StreamEvent]) -> None:
        if self._named is call:
            self._named = None
        self._shut(out)
        self._hide(out)
        call.part = self._parts
        self._parts += 1
        invented = call.invented = call.id is None
        call_id = call.id or (self._seed if call is self._legacy else f"{self._seed}_{self._calls.index(call)}")
        call.id = call_id
        choice, part = self.index, call.part
        out.append(
            ToolCallStart(choice=choice, index=part, id=call_id, name=call.name, kind=call.kind, invented_id=invented)
        )
        if call.seal is not None:
            out.append(SealDelta(choice=choice, index=part, seal=call.seal))
        if call.held:
            out.append(ToolCallDelta(choice=choice, index=part, arguments="".join(call.held)))
            call.held.clear()

    # ── the end ────────────────────────────────────────────────────────────────────

    def finish(self, raw_finish: Json, raw: Object, out: list[StreamEvent]) -> None:
        finish = finish_of(raw_finish, calls=bool(self._calls), refused=self._refused)
        if finish.reason == "error":
            raise fault(_error_body(raw.get("error") or {"message": "the upstream's model failed"}))
        self._shut(out)
        self._hide(out)
        for call in self._calls:
            if not call.name:
                raise BadUpstreamBytes("the upstream sent a tool call without a name")
            if call.part < 0:
                self._open_call(call, out)
        for call in self._calls:
            if not call.any and call.kind == "function":
                out.append(ToolCallDelta(choice=self.index, index=call.part, arguments="{}"))
            out.append(PartEnd(choice=self.index, index=call.part))
        if self._audio is not None and (self._sound or self._said):
            self._audio["data"] = join_base64(self._sound) if self._sound else ""
            self._audio["transcript"] = "".join(self._said)
            self._whole(read_audio(self._audio, ""), out)
        self.ended = True
        extra = self._around | ({"message": self._unknown} if self._unknown else {})
        out.append(ChoiceEnd(choice=self.index, finish=finish, extra=extra or None))
