"""Messages, written for an upstream.

A message is one text, raw images and calls. Results are paired by order and by the name of their tool, so the results
of one turn are brought into the order of its calls. Only ids that a server of this kind made go back to it.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from providers.canonical.chat import (
    AnyPart,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped, join, lose_marks, name_place
from providers.canonical.turns import Talk, has_neighbours, plain_text
from providers.wire import json as wire_json

from .words import Json, Object, form_of, is_its_own


def refuse(field: str, reason: str) -> UnsupportedParameter:
    """The loss would make a wrong answer: nothing is sent."""
    return UnsupportedParameter(f"{field}: {reason}", param=field)


class Writer:
    """Writes the messages of one request."""

    def __init__(self, own: bool, losses: Losses) -> None:
        self._own = own
        self._losses = losses
        self._begin("user")

    def messages(self, messages: Sequence[Message]) -> list[Object]:
        if self._own:
            return [self._own_message(message) for message in messages]
        if type(messages) is Talk:
            return messages.whole()
        turns = whole_turns(messages)
        out: list[Object] = []
        i = 0
        while i < len(turns):
            message = turns[i]
            i += 1
            text = plain_text(message) if message.role != "tool" else None
            if text is not None:  # most messages
                out.append({"role": message.role, "content": text})
                continue
            calls = [part for part in message.parts if isinstance(part, ToolCall)]
            stray = next((part for part in message.parts if isinstance(part, ToolResult)), None)
            if stray is not None:
                raise refuse(stray.at or "messages", "this tool result answers no tool call before it")
            out += self._message(message)
            if calls:
                results, rest, i = following(turns, i)
                out += self._results(calls, results, message.at, last=not results and i == len(turns))
                for other in rest:
                    out += self._message(other)
        return out

    # ── our own ────────────────────────────────────────────────────────────────────

    def _own_message(self, message: Message) -> Object:
        form = form_of(message)
        out: Object = {"role": message.role}
        parts: Sequence[AnyPart] = message.parts
        if message.role == "tool":
            result = next(part for part in parts if isinstance(part, ToolResult))
            if form["name"] != "absent":
                out[form["name"]] = result.name
            if not result.invented_id:
                out["tool_call_id"] = result.call_id
            parts = (*result.parts, *(part for part in parts if part is not result))
        if "content" not in form:
            out["content"] = "".join(part.text for part in parts if isinstance(part, Text))
        elif form["content"] != "absent":
            out["content"] = form["content"][0]
        for part in parts:
            if isinstance(part, Reasoning):
                out["thinking"] = part.text
        if images := self.images(parts):
            out["images"] = images
        if calls := [write_own_call(part) for part in parts if isinstance(part, ToolCall)]:
            out["tool_calls"] = calls
        out.update(message.extra or {})
        return {**out, **form.get("keep", {})}

    def images(self, parts: Iterable[AnyPart]) -> list[Json]:
        """The images among the parts, as they were written."""
        return [form_of(part).get("raw", part.base64) for part in parts if isinstance(part, Media)]

    # ── foreign ────────────────────────────────────────────────────────────────────

    def _message(self, message: Message) -> list[Object]:
        """One message, or several of one role: each has one text, with images before or behind it."""
        if message.name is not None:
            self._losses.append(dropped(join(message.at, "name"), "the target has no names of participants"))
        self._begin(message.role if message.role != "tool" else "user")
        for part in message.parts:
            _SAY[type(part)](self, part)
        if message.role == "assistant":
            self._note_order(message)
        return self._turn

    def _begin(self, role: str, **more: Json) -> None:
        self._turn: list[Object] = []
        self._next({"role": role, **more})

    def _next(self, head: Object) -> None:
        self._out = {**head, "content": ""}
        self._turn.append(self._out)
        self._full = False  # images and then a text: what comes now stands behind them

    def _note_order(self, message: Message) -> None:
        """Calls and images stand beside what the model said: text behind them moves."""
        kinds = [type(part) for part in message.parts if isinstance(part, Text | Media | ToolCall)]
        if Text in kinds and kinds != sorted(kinds, key=lambda kind: kind is not Text):
            self._losses.append(approximated(message.at or "messages", "the target takes text before all else"))

    def _write(self, text: str) -> None:
        """What the model said in pieces is one text; of others each text is a message of its own."""
        role, said = self._out["role"], self._out["content"]
        if not text:
            return
        if said and role in ("user", "system"):
            self._next({"role": role})
        elif said and role == "tool":
            text = f"{said}\n\n{text}"
        elif said:
            text = said + text
        self._full = "images" in self._out
        self._out["content"] = text

    def _say_text(self, part: Text) -> None:
        lose_marks(part, self._losses)
        if part.citations:
            at = part.citations[0].at or join(part.at, "annotations")
            self._losses.append(dropped(at, "the target takes no citations"))
        if part.text and self._out["content"] and self._out["role"] == "tool":
            self._losses.append(approximated(part.at or "messages", "the target takes one text: the parts are joined"))
        self._write(part.text)

    def _say_refusal(self, part: Refusal) -> None:
        lose_marks(part, self._losses)
        self._losses.append(approximated(part.at or "refusal", "the target has no refusals: sent as text"))
        self._write(part.text)

    def _say_reasoning(self, part: Reasoning) -> None:
        lose_marks(part, self._losses)
        if part.redacted or self._out["role"] != "assistant":
            self._losses.append(dropped(part.at or "reasoning", "the target cannot read this thinking"))
        elif part.text:
            self._out["thinking"] = self._out.get("thinking", "") + part.text

    def _say_media(self, part: Media) -> None:
        at = part.at or "messages"
        lose_marks(part, self._losses)
        if part.kind != "image":
            raise refuse(at, "the target reads text and images only")
        data = _bytes_of(part)
        if data is None:
            raise refuse(at, "the target reads images only as data, not by URL")
        try:
            binascii.a2b_base64(data, strict_mode=True)
        except ValueError:
            raise MalformedRequest(f"{at}: the image is not base64", param=at) from None
        if part.detail not in (None, "auto"):
            self._losses.append(dropped(join(part.at, "detail"), "the target knows no resolution of images"))
        if part.name is not None:
            self._losses.append(dropped(name_place(part), "the target takes no file names"))
        if self._full and self._out["role"] != "tool":
            self._next({"role": self._out["role"]})
        self._out.setdefault("images", []).append(data)

    def _say_call(self, part: ToolCall) -> None:
        lose_marks(part, self._losses)
        call: Object = {"function": {"name": part.name, "arguments": self._arguments(part)}}
        if not part.invented_id and is_its_own(part.id):
            call = {"id": part.id, **call}
        self._out.setdefault("tool_calls", []).append(call)

    def _arguments(self, part: ToolCall) -> Json:
        """The arguments as an object, byte for byte where they are one."""
        at = part.at or "messages"
        if part.kind == "custom":
            self._losses.append(approximated(at, "the target has no custom tools: the input stands under `input`"))
            return {"input": part.arguments}
        if not part.arguments.strip():
            return {}
        try:
            data = part.arguments.encode()
            value = wire_json.decode(data)
        except (MalformedRequest, UnicodeEncodeError):
            message = f"{at}: the arguments of the call are not valid JSON, which the target needs"
            raise MalformedRequest(message, param=at) from None
        if type(value) is dict:
            return msgspec.Raw(data)
        self._losses.append(approximated(at, "arguments that are no object stand under `value`"))
        return {"value": msgspec.Raw(data)}

    def _say_opaque(self, part: Opaque) -> None:
        lose_marks(part, self._losses)
        self._losses.append(dropped(part.at or part.kind, "a block that only another dialect knows"))

    # ── results ────────────────────────────────────────────────────────────────────

    def _results(self, calls: list[ToolCall], results: list[ToolResult], at: str, *, last: bool) -> list[Object]:
        """The results of one turn in the order of its calls. `last`: the conversation ends with the calls."""
        if last:
            return []
        waiting = list(results)
        out: list[Object] = []
        for call in calls:
            found = next((result for result in waiting if result.call_id == call.id), None)
            if found is None:
                raise MalformedRequest(f"{call.at or at}: no result for this tool call follows", param=call.at or at)
            waiting.remove(found)
            out.append(self._result(found, call))
        if waiting:
            raise refuse(waiting[0].at or "messages", "this tool result answers no tool call before it")
        return out

    def _result(self, result: ToolResult, call: ToolCall) -> Object:
        at = result.at or "messages"
        lose_marks(result, self._losses)
        self._begin("tool", tool_name=call.name)
        if not call.invented_id and is_its_own(call.id):
            self._out["tool_call_id"] = call.id
        for part in result.parts:
            _SAY[type(part)](self, part)
        if result.is_error:
            self._losses.append(approximated(at, "the target has no mark of failed results: said in the text"))
            if not self._out["content"].lower().startswith("error"):
                self._out["content"] = f"Error: {self._out['content']}"
        return self._out


_SAY: Mapping[type, Callable[..., None]] = {
    Text: Writer._say_text,
    Refusal: Writer._say_refusal,
    Reasoning: Writer._say_reasoning,
    Media: Writer._say_media,
    ToolCall: Writer._say_call,
    Opaque: Writer._say_opaque,
}


def write_own_call(call: ToolCall) -> Object:
    """One of `tool_calls` as it was written."""
    form = form_of(call)
    extra = dict(call.extra or {})
    inner: Object = {"name": call.name, **extra.pop("function", {}), **form.get("inside", {})}
    if "index" in form:
        inner["index"] = form["index"][0]
    if form.get("arguments") != "absent":
        inner["arguments"] = None if "arguments" in form else msgspec.Raw(call.arguments.encode())
    out: Object = {} if call.invented_id else {"id": call.id}
    return {**out, "function": inner, **extra, **form.get("keep", {})}


def whole_turns(messages: Sequence[Message]) -> Sequence[Message]:
    """Neighbouring messages of the model are one turn: other dialects' clients keep a stream in pieces."""
    if not has_neighbours(messages):
        return messages
    out: list[Message] = []
    for message in messages:
        last = out[-1] if out else None
        if last is not None and last.role == message.role == "assistant":
            out[-1] = msgspec.structs.replace(last, parts=last.parts + message.parts)
        else:
            out.append(message)
    return out


def following(messages: Sequence[Message], i: int) -> tuple[list[ToolResult], list[Message], int]:
    """The results that follow a message with calls, what else stands in the same messages, and where to go on."""
    results: list[ToolResult] = []
    rest: list[Message] = []
    while i < len(messages) and messages[i].role in ("tool", "user"):
        found = [part for part in messages[i].parts if isinstance(part, ToolResult)]
        if not found:
            break
        results += found
        others = tuple(part for part in messages[i].parts if not isinstance(part, ToolResult))
        if others:
            rest.append(msgspec.structs.replace(messages[i], role="user", parts=others))
        i += 1
    return results, rest, i


def _bytes_of(part: Media) -> str | None:
    """Raw base64 of an image; None where only its URL is known."""
    if part.base64 is not None:
        return part.base64
    url = part.url or ""
    head, comma, data = url.partition(",")
    return data if comma and head.lower().startswith("data:") and head.lower().endswith(";base64") else None
