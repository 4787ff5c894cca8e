"""The input, written: messages and parts to items.

This dialect's own values come out as they went in (`items` says which spellings are kept). Values of another dialect
are written as the closed request schema has them, and what has no place there is declared. Reasoning goes back only
to the models that made it, as the items that they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from providers.canonical.chat import (
    AnyPart,
    Citation,
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
from providers.canonical.loss import Losses, approximated, dropped, invented, join, lose_marks, name_place
from providers.canonical.turns import Talk, plain_text
from providers.dialects._openai.values import Json, Object, restore, to_url

from .items import form_of
from .words import FAMILY, digest, made_id, sealed_item


def refuse(field: str, reason: str) -> UnsupportedParameter:
    """The loss would make a wrong answer: nothing is sent."""
    return UnsupportedParameter(reason, param=field)


# ── our own ────────────────────────────────────────────────────────────────────────────


def write_own(messages: Sequence[Message], losses: Losses) -> Json:
    """The input as its caller wrote it, without signatures of other vendors' models."""
    items: list[Object] = []
    content: list[Object] | None = None
    for message in messages:
        if "instructions" in form_of(message):
            continue
        if form_of(message).get("input") == "string":
            return message.parts[0].text if isinstance(message.parts[0], Text) else ""
        for part in message.parts:
            if isinstance(part, Reasoning) and "raw" not in form_of(part):
                losses.append(dropped(part.at or "input", "reasoning of another model"))
                continue
            if part.seal is not None and part.seal.origin != FAMILY:
                losses.append(dropped(part.seal.at or part.at or "input", "a signature of another model family"))
            item = form_of(part).get("item")
            if item is None and content is not None and isinstance(part, Text | Refusal | Media | Opaque):
                content.append(write_part(part))
            elif item is not None or not isinstance(part, Text) or part.text:
                written, content = _own_item(part, {"role": message.role} if item is None else item)
                items.append(written)
    return items


def _own_item(part: AnyPart, item: Object) -> tuple[Object, list[Object] | None]:
    """The item that a part begins, and the content to which the parts behind it belong."""
    form = form_of(part)
    spelled = {key: value for key, value in item.items() if key not in ("role", "type", "content", "output")}
    if isinstance(part, ToolCall):
        custom = part.kind == "custom"
        kind, key = ("custom_tool_call", "input") if custom else ("function_call", "arguments")
        call: Object = {"type": kind, "call_id": part.id, "name": part.name, key: part.arguments}
        return call | dict(part.extra or {}) | spelled, None
    if isinstance(part, ToolResult):
        return _own_result(part, item) | dict(part.extra or {}) | spelled, None
    if isinstance(part, Reasoning) or (isinstance(part, Media) and "role" not in item):
        return dict(form["raw"]), None
    if isinstance(part, Opaque) and "role" not in item:
        return dict(part.raw), None
    out: Object = {"type": item["type"]} if "type" in item else {}
    out["role"] = item.get("role")
    content = [] if form.get("empty") else [write_part(part)]
    out["content"] = part.text if item.get("content") == "string" and isinstance(part, Text) else content
    out |= {key: (part.extra or {})[key] for key in form.get("outer", ())}
    return out | spelled, content


def _own_result(result: ToolResult, item: Object) -> Object:
    out: Object = {"type": item.get("type", "function_call_output")}
    if not result.invented_id:
        out["call_id"] = result.call_id
    if result.name is not None:
        out["name"] = result.name
    parts = [write_part(part, "input_text") for part in result.parts]
    out["output"] = parts[0]["text"] if item.get("output") == "string" else parts
    return out


def write_part(part: AnyPart, usual: str = "") -> Object:
    """One part of content of this dialect's own."""
    form = form_of(part)
    if isinstance(part, Opaque):
        return dict(part.raw)
    if isinstance(part, Media) and "raw" in form:
        return dict(form["raw"])
    extra = {key: value for key, value in (part.extra or {}).items() if key not in form.get("outer", ())}
    if isinstance(part, Media):
        out = write_media(part, own=True)
    elif isinstance(part, Refusal):
        out = {"type": "refusal", "refusal": part.text}
    elif isinstance(part, Text):
        spoken = form.get("item", {}).get("role") == "assistant" or "annotations" in form.get("keep", {})
        out = {"type": form.get("type") or usual or ("output_text" if spoken else "input_text"), "text": part.text}
        if part.citations:
            out["annotations"] = [write_citation(citation, len(part.text), own=True) for citation in part.citations]
    else:
        raise refuse(part.at or "input", "a part that cannot stand in content")
    return restore(out | extra | form.get("cache", {}), form)


def write_citation(citation: Citation, length: int, *, own: bool) -> Object | None:
    """A citation of a text of `length` characters as an annotation; None: the dialect has no form for it."""
    extra = dict(citation.extra or {}) if own else {}
    if "annotation" in extra:
        raw: Object = extra["annotation"]
        return raw
    if citation.url is None:
        return None
    unknown: Object = {} if own else {"title": "", "start_index": 0, "end_index": length}
    known = {"title": citation.title, "start_index": citation.start, "end_index": citation.end}
    said = {key: value for key, value in known.items() if value is not None}
    return {"type": "url_citation", "url": citation.url, **unknown, **said, **extra}


def write_media(media: Media, *, own: bool) -> Object:
    """An image or a file. What says nothing is left out, but for what the schema asks for."""
    url = to_url(media, own)
    if media.kind == "image":
        out: Object = {"type": "input_image"}
        out |= {"image_url": url} if url is not None else {"file_id": media.file_id}
        if media.detail is not None or not own:
            out["detail"] = media.detail or "auto"
        return out
    out = {"type": "input_file"}
    if media.base64 is not None:
        out["file_data"] = url
    else:
        out |= {"file_url": url} if url is not None else {"file_id": media.file_id}
    if media.name is not None:
        out["filename"] = media.name
    if media.detail is not None:
        out["detail"] = media.detail
    return out


# ── foreign ────────────────────────────────────────────────────────────────────────────


class Writer:
    """Writes the messages of another dialect's request. `knows_files`: its file ids are the target's own."""

    def __init__(self, losses: Losses, *, knows_files: bool = False) -> None:
        self.instructions: str | None = None
        self.items: list[Object] = []
        self._losses = losses
        self._knows_files = knows_files
        self._kinds: dict[str, str] = {}  # of the calls so far
        self._moved: list[Object] = []  # media that may not stand where they stood: for a user message after it
        self._said: list[Object] = []  # of the model's message that is being written

    def write(self, messages: Sequence[Message]) -> None:
        if type(messages) is Talk:
            self.instructions, self.items = messages.system, messages.turns()
            return
        for i, message in enumerate(messages):
            if message.name is not None:
                self._losses.append(dropped(join(message.at, "name"), "the target has no names of participants"))
            text = plain_text(message) if message.role in ("user", "assistant") else None
            if text and not self._moved:  # most messages
                self.items.append({"role": message.role, "content": text})
            elif message.role == "assistant":
                self._assistant(message)
            elif i == 0 and (text := _plain_system(message)) is not None:
                self._lose_part(message.parts[0])
                self.instructions = text
            else:
                self._message(message)
        if self._moved:
            self._user([])

    def _message(self, message: Message) -> None:
        """A system or user message, and results of tools, which may stand in one."""
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        for result in results:
            self._result(result)
        others = [part for part in message.parts if not isinstance(part, ToolResult)]
        if not others and results:
            return
        role = "system" if message.role == "system" else "user"
        parts = [written for part in others if (written := self._asked(part, role)) is not None]
        if role == "system":
            self.items.append({"role": role, "content": shortest(parts)})
        else:
            self._user(parts)

    def _user(self, parts: list[Object]) -> None:
        parts, self._moved = self._moved + parts, []
        self.items.append({"role": "user", "content": shortest(parts)})

    def _asked(self, part: AnyPart, role: str) -> Object | None:
        match part:
            case Text():
                self._lose_part(part)
                return {"type": "input_text", "text": part.text}
            case Refusal():
                return {"type": "input_text", "text": part.text}
            case Media() if role == "system":
                raise refuse(part.at or "messages", "the target reads only text in system messages")
            case Media():
                return self._media(part)
            case _:
                self._lose(part)
                return None

    # ── what the model said ────────────────────────────────────────────────────────

    def _assistant(self, message: Message) -> None:
        before = len(self.items)
        for part in message.parts:
            self._spoken(part)
        self._end_message()
        if len(self.items) == before and not self._moved:
            self.items.append({"role": "assistant", "content": ""})

    def _spoken(self, part: AnyPart) -> None:
        match part:
            case Reasoning():
                self._reasoning(part)
            case Text():
                self._lose_part(part)
                if part.text:
                    self._said.append({"type": "output_text", "text": part.text, "annotations": []})
            case Refusal():
                self._said.append({"type": "refusal", "refusal": part.text})
            case ToolCall():
                self._call(part)
            case Media():
                self._end_message()
                self._moved.append(self._media(part))
                self._losses.append(
                    approximated(part.at or "messages", "media of the model move into a user message after it")
                )
            case _:
                self._lose(part)

    def _end_message(self) -> None:
        """The model's message; its texts are one, for in pieces nothing stood between them."""
        said, self._said = self._said, []
        if not said:
            return
        if all(one["type"] == "output_text" for one in said):
            self.items.append({"role": "assistant", "content": "".join(one["text"] for one in said)})
            return
        seed = digest("".join(one.get("text") or one["refusal"] for one in said))
        identifier = made_id("msg", seed, len(self.items))
        self.items.append(
            {"type": "message", "id": identifier, "role": "assistant", "status": "completed", "content": said}
        )

    def _reasoning(self, part: Reasoning) -> None:
        item = sealed_item(part.seal)
        if item is not None:
            self._end_message()
            self.items.append(item)
            return
        lose_marks(part, self._losses)
        self._losses.append(dropped(part.at or "reasoning", "reasoning of another model is not sent"))

    def _call(self, part: ToolCall) -> None:
        self._end_message()
        lose_marks(part, self._losses)
        self._kinds[part.id] = part.kind
        head: Object = {"type": "function_call", "call_id": part.id, "name": part.name}
        if part.kind == "custom":
            self.items.append({**head, "type": "custom_tool_call", "input": part.arguments})
        else:
            self.items.append({**head, "arguments": part.arguments or "{}"})

    # ── results ────────────────────────────────────────────────────────────────────

    def _result(self, result: ToolResult) -> None:
        at = result.at or "messages"
        kind = self._kinds.get(result.call_id)
        if kind is None:
            raise refuse(at, "this tool result answers no tool call before it")
        lose_marks(result, self._losses)
        parts = [written for part in result.parts if (written := self._inner(part)) is not None]
        output: Json = shortest(parts)
        if result.is_error:
            self._losses.append(approximated(at, "the target has no mark of failed results: said in the text"))
            if isinstance(output, list):
                output = [{"type": "input_text", "text": "Error:"}, *output]
            elif not output.lower().startswith("error"):
                output = f"Error: {output}"
        name = "custom_tool_call_output" if kind == "custom" else "function_call_output"
        self.items.append({"type": name, "call_id": result.call_id, "output": output})

    def _inner(self, part: Text | Media | Opaque) -> Object | None:
        if isinstance(part, Opaque):
            self._lose(part)
            return None
        if isinstance(part, Media):
            return self._media(part)
        self._lose_part(part)
        return {"type": "input_text", "text": part.text}

    # ── parts ──────────────────────────────────────────────────────────────────────

    def _media(self, media: Media) -> Object:
        at = media.at or "messages"
        lose_marks(media, self._losses)
        if media.kind in ("audio", "video"):
            raise refuse(at, f"the target reads no {media.kind}")
        url = to_url(media, False)
        if url is None and not self._knows_files:
            raise refuse(at, "the target does not hold this file")
        if url is not None and not url.startswith(("https://", "http://", "data:")):
            raise refuse(at, "the target reads media only by http(s) URL or as data")
        if media.kind == "image" and media.name is not None:
            self._losses.append(dropped(name_place(media), "the target takes no names of images"))
        out = write_media(media, own=False)
        if media.kind == "file" and media.base64 is not None and media.name is None:
            extension = (media.mime_type or "").partition(";")[0].rpartition("/")[2] or "bin"
            out["filename"] = f"file.{extension}"
            self._losses.append(invented(at, "the target wants a file name"))
        return out

    def _lose_part(self, part: AnyPart) -> None:
        """Marks and sources of a text, which have no place in a request."""
        lose_marks(part, self._losses)
        if isinstance(part, Text) and part.citations:
            at = part.citations[0].at or join(part.at, "annotations")
            self._losses.append(dropped(at, "the target takes no citations in a request"))

    def _lose(self, part: AnyPart) -> None:
        kind = part.kind if isinstance(part, Opaque) else type(part).__name__
        self._losses.append(dropped(part.at or "messages", f"the target has no place for this part ({kind})"))


def _plain_system(message: Message) -> str | None:
    """The text of a system message that can be the instructions."""
    part = message.parts[0] if len(message.parts) == 1 else None
    return part.text if message.role == "system" and isinstance(part, Text) and part.text else None


def shortest(parts: Sequence[Mapping[str, Json]]) -> Json:
    """Content as a string where it is one plain text, else as a list."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return list(parts)
