"""Messages, written. A turn with calls has a plan (`tool_plan`); text files become `documents` of the request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence

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
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped, join, lose_marks, name_place
from providers.canonical.turns import Talk, has_neighbours, plain_text

from .words import Json, Object

_DETAILS = {"auto": "auto", "low": "low", "high": "high", "original": "high"}


def refuse(field: str, reason: str) -> UnsupportedParameter:
    """The loss would make a wrong answer: nothing is sent."""
    return UnsupportedParameter(f"{field}: {reason}", param=field)


class Writer:
    """Writes the messages of one request."""

    def __init__(self, model: str, losses: Losses) -> None:
        self._losses = losses
        self._thinks = "reasoning" in model or model.startswith("command-a-plus")  # in content; others plan
        self._calls: set[str] = set()
        self._out: Object = {}
        self._content: list[Object] = []
        self.documents: list[Object] = []

    def messages(self, messages: Sequence[Message]) -> list[Object]:
        if type(messages) is Talk:
            return messages.whole()
        out: list[Object] = []
        for message in whole_turns(messages):
            if message.name is not None:
                self._losses.append(dropped(join(message.at, "name"), "the target has no names of participants"))
            text = plain_text(message) if message.role != "tool" else None
            if text is not None:  # most messages
                out.append({"role": message.role, "content": text})
                continue
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            out += [self._result(result) for result in results]
            others = [part for part in message.parts if not isinstance(part, ToolResult)]
            if others or not results:
                out.append(self._message(message, others))
        return out

    def _message(self, message: Message, parts: Sequence[AnyPart]) -> Object:
        role = "user" if message.role == "tool" else message.role
        self._out, self._content = {"role": role}, []
        for part in parts:
            if role == "system" and isinstance(part, Media):
                raise refuse(part.at or "messages", "the target reads text only in system messages")
            _SAY[type(part)](self, part)
        out = self._out
        if role != "assistant":
            out["content"] = _shortest(self._content)
            return out
        if "tool_calls" in out:
            self._plan(message)
        if self._content or "tool_calls" not in out:
            out["content"] = _shortest(_as_one(self._content))
        return out

    def _plan(self, message: Message) -> None:
        """What a model without thinking of its own said before its calls is its plan."""
        thought = [one for one in self._content if one["type"] == "thinking"]
        if thought and not self._thinks:
            self._out["tool_plan"] = "".join(one["thinking"] for one in thought)
            self._content = [one for one in self._content if one["type"] != "thinking"]
        texts = [i for i, part in enumerate(message.parts) if isinstance(part, Text) and part.text]
        calls = [i for i, part in enumerate(message.parts) if isinstance(part, ToolCall)]
        if texts and texts[-1] > calls[0]:
            self._losses.append(approximated(message.at or "messages", "text after a tool call moves before it"))

    # ── parts ──────────────────────────────────────────────────────────────────────

    def _say_text(self, part: Text) -> None:
        lose_marks(part, self._losses)
        if part.citations:
            at = part.citations[0].at or join(part.at, "annotations")
            self._losses.append(dropped(at, "citations of earlier answers are not sent"))
        if part.text:
            self._content.append({"type": "text", "text": part.text})

    def _say_refusal(self, part: Refusal) -> None:
        lose_marks(part, self._losses)
        self._losses.append(approximated(part.at or "refusal", "the target has no refusals: sent as text"))
        self._content.append({"type": "text", "text": part.text})

    def _say_reasoning(self, part: Reasoning) -> None:
        lose_marks(part, self._losses)
        if part.redacted or self._out["role"] != "assistant":
            self._losses.append(dropped(part.at or "reasoning", "the target cannot read this thinking"))
        elif part.text:
            self._content.append({"type": "thinking", "thinking": part.text})

    def _say_media(self, part: Media) -> None:
        lose_marks(part, self._losses)
        at = part.at or "messages"
        if self._out["role"] == "assistant":
            raise refuse(at, "the target reads text only in messages of the model")
        if part.kind == "file":
            self._document(part, at)
            return
        url = part.url if part.base64 is None else f"data:{part.mime_type or 'image/jpeg'};base64,{part.base64}"
        if part.kind != "image" or url is None or not url.startswith(("https://", "http://", "data:")):
            raise refuse(at, "the target reads images only by URL or as data, besides text")
        if part.base64 is not None and part.mime_type is None:
            self._losses.append(approximated(at, "the type of the image is not known: taken for image/jpeg"))
        inner: Object = {"url": url}
        if part.detail is not None:
            inner["detail"] = _DETAILS.get(part.detail, "auto")
            if inner["detail"] != part.detail:
                self._losses.append(approximated(join(at, "detail"), "the target knows auto, low and high"))
        if part.name is not None:
            self._losses.append(dropped(name_place(part), "the target takes no names of images"))
        self._content.append({"type": "image_url", "image_url": inner})

    def _document(self, part: Media, at: str) -> None:
        """A text file as one of the request's documents, which the model may cite."""
        text = _text_of(part)
        if text is None:
            raise refuse(at, "the target reads files only where they are text")
        if part.detail not in (None, "auto"):
            self._losses.append(dropped(join(at, "detail"), "the target has no levels of detail of files"))
        title = {"title": part.name} if part.name is not None else {}
        self.documents.append({"data": {**title, "text": text}})
        self._losses.append(approximated(at, "a file is one of the documents of the whole request"))

    def _say_call(self, part: ToolCall) -> None:
        lose_marks(part, self._losses)
        self._calls.add(part.id)
        arguments = part.arguments
        if part.kind == "custom":
            arguments = msgspec.json.encode({"input": arguments}).decode()
            at = part.at or "messages"
            self._losses.append(approximated(at, "the target has no custom tools: the input stands under `input`"))
        function = {"name": part.name, "arguments": arguments if arguments.strip() else "{}"}
        self._out.setdefault("tool_calls", []).append({"id": part.id, "type": "function", "function": function})

    def _say_opaque(self, part: Opaque) -> None:
        lose_marks(part, self._losses)
        self._losses.append(dropped(part.at or part.kind, "a block that only another dialect knows"))

    # ── results ────────────────────────────────────────────────────────────────────

    def _result(self, result: ToolResult) -> Object:
        at = result.at or "messages"
        if result.call_id not in self._calls:
            raise refuse(at, "this tool result answers no tool call before it")
        lose_marks(result, self._losses)
        self._out, self._content = {"role": "tool"}, []
        for part in result.parts:
            if isinstance(part, Media):
                raise refuse(part.at or at, "the target reads text only in results of tools")
            _SAY[type(part)](self, part)
        content = _shortest(self._content)
        if result.is_error:
            self._losses.append(approximated(at, "the target has no mark of failed results: said in the text"))
            if type(content) is str and not content.lower().startswith("error"):
                content = f"Error: {content}"
        return {"role": "tool", "tool_call_id": result.call_id, "content": content}


_SAY: Mapping[type, Callable[..., None]] = {
    Text: Writer._say_text,
    Refusal: Writer._say_refusal,
    Reasoning: Writer._say_reasoning,
    Media: Writer._say_media,
    ToolCall: Writer._say_call,
    Opaque: Writer._say_opaque,
}


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


def _as_one(content: list[Object]) -> list[Object]:
    """What the model said in pieces as one text of each kind, where nothing else stands between."""
    out: list[Object] = []
    for item in content:
        kind = item["type"]
        if out and out[-1]["type"] == kind:
            out[-1] = {"type": kind, kind: out[-1][kind] + item[kind]}
        else:
            out.append(item)
    return out


def _shortest(content: list[Object]) -> Json:
    """Content as a string where it is one text, else as a list."""
    if not content:
        return ""
    return content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content


def _text_of(part: Media) -> str | None:
    """The text of a file that is one."""
    kind = (part.mime_type or "").partition(";")[0].strip().lower()
    if part.base64 is None or not (kind.startswith("text/") or kind in ("application/json", "application/xml")):
        return None
    try:
        return base64.b64decode(part.base64, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
