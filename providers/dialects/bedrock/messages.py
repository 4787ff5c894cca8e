"""Messages of another dialect -> `messages` and `system`.

Turns alternate and begin with the user's: neighbours of one role are joined. The results of a turn's calls stand first
in the next message of the user, in the order of the calls. A block of text is never blank, and beside a document there
is one. Sources: project notes (dialects/canonical.md, others.md); what a live service refuses: hermes-agent#55092 of
NousResearch (blank text in messages, not in results), archestra-ai/archestra#4220 (documents want a text).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from providers.canonical.chat import (
    AnyPart,
    CacheMark,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped, invented, join, lose_beside, name_place
from providers.canonical.turns import MOST_TURNS, SPEAKERS, Talk, plain_text, whole_turns
from providers.dialects.bedrock.words import (
    FAMILY,
    FORMATS,
    NAME,
    PLACEHOLDER,
    Json,
    Object,
    mime_by_content,
    mime_by_ending,
    written_id,
    written_name,
)
from providers.wire import json as wire_json

_TTLS = ("5m", "1h")
_IN_TURN = SPEAKERS * (MOST_TURNS // 2)


class Conversation:
    """Builds the turns of one request. `called` are the names of all functions that its history calls."""

    def __init__(self, request: ChatRequest, losses: Losses) -> None:
        self._losses = losses
        self._documents = 0
        self.system: list[Object] = []
        self.messages: list[Object] = []
        self.called: dict[str, None] = {}
        self.unsigned = False  # the last turn of the model calls tools, and its thinking is not there
        if type(request.messages) is Talk:
            self._take(request.messages)
        else:
            self._build(whole_turns(request.messages))
            self._finish()

    def _take(self, talk: Talk) -> None:
        if talk.system is not None:
            self.system.append({"text": talk.system})
        self.messages = [{"role": role, "content": [{"text": text}]} for role, text in zip(_IN_TURN, talk.texts)]

    def _build(self, messages: Sequence[Message]) -> None:
        i = 0
        while i < len(messages):
            message = messages[i]
            i += 1
            if message.name is not None:
                self._losses.append(dropped(join(message.at, "name"), "the target has no names of participants"))
            text = plain_text(message)
            if text and message.role in ("user", "assistant") and not text.isspace():  # most messages
                self.unsigned = self.unsigned and message.role == "user"
                self._append(message.role, [{"text": text}], message.at)
            elif message.role == "assistant":
                i = self._add_assistant(messages, i)
            elif message.role == "system":
                self._add_system(message)
            else:
                for part in message.parts:
                    if isinstance(part, ToolResult):
                        raise _stray(part)
                self._append("user", self._blocks(message.parts, "user"), message.at)

    def _add_system(self, message: Message) -> None:
        blocks = self._blocks(message.parts, "system")
        if not self.messages:
            self.system += blocks
        elif blocks:
            self._losses.append(
                approximated(message.at, "the target takes system text only at the start: sent as user text")
            )
            self._append("user", blocks, message.at)

    def _add_assistant(self, messages: Sequence[Message], i: int) -> int:
        """An assistant message and the results of its calls, which follow it. Returns where to go on."""
        message = messages[i - 1]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        blocks = self._blocks(message.parts, "assistant")
        self.unsigned = bool(calls) and not any("reasoningContent" in block for block in blocks)
        if not blocks:
            self._losses.append(approximated(message.at or "messages", "an empty message of the model is left out"))
            return i
        self._append("assistant", blocks, message.at)
        if not calls:
            return i
        results, rest, i = _following(messages, i)
        if results or i < len(messages):
            self._append("user", [*self._results(calls, results, message.at), *self._blocks(rest, "user")], message.at)
        return i

    def _results(self, calls: list[ToolCall], results: list[ToolResult], at: str) -> list[Object]:
        """The results of one turn in the order of its calls."""
        waiting = list(results)
        blocks: list[Object] = []
        for call in calls:
            found = next((result for result in waiting if result.call_id == call.id), None)
            if found is None:
                raise MalformedRequest(f"{call.at or at}: no result for this tool call follows", param=call.at or at)
            waiting.remove(found)
            blocks += self._blocks([found], "user")
        for stray in waiting:
            raise _stray(stray)
        return blocks

    def _append(self, role: str, blocks: list[Object], at: str) -> None:
        if role == "assistant" and not self.messages:
            self.messages.append({"role": "user", "content": [{"text": PLACEHOLDER}]})
            self._losses.append(invented(at or "messages", "the target wants the first turn to be the user's"))
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _finish(self) -> None:
        """No turn is empty, and a document has a text beside it."""
        if not self.messages:
            self.messages.append({"role": "user", "content": []})
        for message in self.messages:
            content = message["content"]
            if not any("text" in block for block in content) and (
                not content or any("document" in block for block in content)
            ):
                content.append({"text": PLACEHOLDER})
                self._losses.append(invented("messages", "the target wants a text that is not blank in this turn"))

    # ── blocks ─────────────────────────────────────────────────────────────────────

    def _blocks(self, parts: Sequence[AnyPart], role: str) -> list[Object]:
        blocks: list[Object] = []
        for part in parts:
            written = self._block(part, role)
            blocks += written
            if part.cache is not None:
                self._mark(part, blocks, bool(written))
        return blocks

    def _mark(self, part: Part, blocks: list[Object], written: bool) -> None:
        mark = part.cache
        if mark is None:
            return
        if written:
            blocks.append(cache_point(mark, part.at, self._losses))
        else:
            self._losses.append(dropped(mark.at or part.at, "what was to be cached up to here is not sent"))

    def _block(self, part: AnyPart, role: str) -> list[Object]:
        """The block of a part: none where it has nothing to say."""
        if isinstance(part, Reasoning):
            return self._reasoning(part)
        if part.seal is not None:
            self._losses.append(dropped(part.seal.at or part.at or "signature", "a signature of another model family"))
        match part:
            case Text():
                return self._text(part)
            case Media():
                return [self._media(part, role)]
            case Refusal():
                self._losses.append(approximated(part.at or "refusal", "the target has no refusals: sent as text"))
                return self._text(Text(text=part.text, at=part.at))
            case ToolCall():
                return [self._call(part)]
            case ToolResult():
                if role != "user":
                    raise _stray(part)
                return [self._result(part)]
            case Opaque():
                if part.dialect == NAME:
                    return [{part.kind: part.raw}]
                self._losses.append(dropped(part.at or part.kind, "a block that only another dialect knows"))
                return []

    def _text(self, part: Text) -> list[Object]:
        self._lose_citations(part)
        if part.text.strip():
            return [{"text": part.text}]
        if part.text:
            self._losses.append(dropped(part.at or "messages", "the target takes no blank text: it is left out"))
        return []

    def _lose_citations(self, part: Text) -> None:
        if part.citations:
            at = part.citations[0].at or join(part.at, "annotations")
            self._losses.append(dropped(at, "the target takes no citations"))

    def _reasoning(self, part: Reasoning) -> list[Object]:
        if part.seal is None or part.seal.origin != FAMILY:
            self._losses.append(dropped(part.at or "reasoning", "thinking of another model is not sent"))
            return []
        if part.redacted:
            return [{"reasoningContent": {"redactedContent": part.seal.value}}]
        return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.seal.value}}}]

    def _call(self, part: ToolCall) -> Object:
        name = written_name(part.name, join(part.at, "name"))
        self.called[name] = None
        made = self._id(part.id, join(part.at, "called"))
        return {"toolUse": {"toolUseId": made, "name": name, "input": self._input(part)}}

    def _id(self, identifier: str, at: str) -> str:
        """An id as the service takes it. Each dialect has its own word for it, which its `paths` know."""
        written = written_id(identifier)
        if written != identifier:
            self._losses.append(approximated(at, "the target takes no such ids: another is sent"))
        return written

    def _input(self, part: ToolCall) -> Json:
        """The arguments as an object, byte for byte where they are one."""
        if part.kind == "custom":
            self._losses.append(approximated(part.at, "the target has no custom tools: the input stands under `input`"))
            return {"input": part.arguments}
        if not part.arguments.strip():
            return {}
        try:
            data = part.arguments.encode()
            value = wire_json.decode(data)
        except (MalformedRequest, UnicodeEncodeError):
            message = f"{part.at}: the arguments of the call are not valid JSON, which the target needs"
            raise MalformedRequest(message, param=part.at) from None
        if type(value) is dict:
            return msgspec.Raw(data)
        self._losses.append(approximated(part.at, "arguments that are no object stand under `value`"))
        return {"value": msgspec.Raw(data)}

    def _result(self, part: ToolResult) -> Object:
        content = [block for inner in part.parts for block in self._inner(inner)]
        answered = self._id(part.call_id, join(part.at, "answered"))
        result: Object = {"toolUseId": answered, "content": content or [{"text": ""}]}
        if part.is_error:
            result["status"] = "error"  # success goes without saying: some models refuse the field
        return {"toolResult": result}

    def _inner(self, part: Text | Media | Opaque) -> list[Object]:
        if part.cache is not None:
            at = part.cache.at or join(part.at, "cache_control")
            self._losses.append(dropped(at, "the target takes no cache marks inside results"))
        if isinstance(part, Text):
            self._lose_citations(part)
            return [{"text": part.text}]
        if isinstance(part, Media):
            block = self._media(part, "user")
            if "audio" in block:
                raise _unreadable(part, "the target takes no sound in results of tools")
            return [block]
        return self._block(part, "user")

    # ── media ──────────────────────────────────────────────────────────────────────

    def _media(self, part: Media, role: str) -> Object:
        if role != "user":
            raise _unreadable(part, "the target takes media in turns of the user only")
        if part.detail not in (None, "auto"):
            self._losses.append(dropped(join(part.at, "detail"), "the target has one resolution of images"))
        kind, format_, source = _located(part)
        if kind == "document":
            self._documents += 1
            if part.name is not None:
                self._losses.append(dropped(name_place(part), "a neutral name is sent: the model reads names"))
            return {"document": {"format": format_, "name": f"document-{self._documents}", "source": source}}
        if part.name is not None:
            self._losses.append(dropped(name_place(part), "the target takes names of documents only"))
        return {kind: {"format": format_, "source": source}}


def cache_point(mark: CacheMark, at: str, losses: Losses) -> Object:
    """A block that asks to cache what stands before it."""
    point: Object = {"type": "default"}
    lose_beside(mark, losses)
    if mark.ttl in _TTLS:
        point["ttl"] = mark.ttl
    elif mark.ttl is not None:
        losses.append(approximated(mark.at or at, f"the target keeps for {' or '.join(_TTLS)}: for 5m"))
    return {"cachePoint": point}


def _located(part: Media) -> tuple[str, str, Object]:
    """Kind of block, format and source of media."""
    url = part.url or ""
    mime_type = part.mime_type
    base64 = part.base64
    if url[:5].lower() == "data:":
        head, _, data = url[5:].partition(",")
        mime_type = head.partition(";")[0].lower() or mime_type
        base64 = data if head.lower().endswith(";base64") else b64encode(unquote_to_bytes(data)).decode()
    if base64 is not None:
        mime_type = mime_type or mime_by_ending(part.name or "") or mime_by_content(base64)
        source: Object = {"bytes": base64}
    elif url.startswith("s3://"):
        mime_type = mime_type or mime_by_ending(url)
        source = {"s3Location": {"uri": url}}
    else:
        raise _unreadable(part, "the target reads files by content or from S3 only")
    found = FORMATS.get((mime_type or "").partition(";")[0].strip().lower())
    if found is None:
        raise _unreadable(part, f"the target reads no {mime_type or 'file of unknown type'}")
    return (*found, source)


def _unreadable(part: Media, why: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"{part.at or part.kind}: {why}", param=part.at or part.kind)


def _stray(part: ToolResult) -> UnsupportedParameter:
    at = part.at or "messages"
    return UnsupportedParameter(f"{at}: the target wants the call of this result right before it", param=at)


def _following(messages: Sequence[Message], i: int) -> tuple[list[ToolResult], list[AnyPart], int]:
    """The results that follow a message with calls, what else stands in the same messages, and where to go on."""
    results: list[ToolResult] = []
    rest: list[AnyPart] = []
    while i < len(messages) and any(isinstance(part, ToolResult) for part in messages[i].parts):
        for part in messages[i].parts:
            if isinstance(part, ToolResult):
                results.append(part)
            else:
                rest.append(part)
        i += 1
    return results, rest, i
