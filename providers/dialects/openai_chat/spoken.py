"""Messages and parts, written: requests towards an upstream, answers towards a caller.

The writer of this dialect's own values puts every spelling back (`messages` says which are kept). For values of
another dialect it keeps to the closed request schema, and declares what has no place there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from providers.canonical.loss import Losses, approximated, dropped, invented, join, lose_beside, lose_marks, name_place
from providers.canonical.turns import Talk, plain_text, whole_turns
from providers.dialect import Traits
from providers.dialects._openai.values import Json, Object, restore, to_url

from .details import ORIGIN, details_of
from .messages import form_of
from .quirks import REASONING
from .words import NAME, put_seal, write_citation

_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mp3": "mp3", "audio/mpeg": "mp3"}


def refuse(field: str, reason: str) -> UnsupportedParameter:
    """The loss would make a wrong answer: nothing is sent."""
    return UnsupportedParameter(reason, param=field)


class Writer:
    """Writes the messages of one request."""

    def __init__(self, own: bool, traits: Traits, losses: Losses) -> None:
        self._own = own
        self._traits = traits
        self._losses = losses
        self._calls: set[str] = set()
        self._moved: list[Object] = []  # media that may not stand where they stood: for a user message after it

    def messages(self, messages: Sequence[Message]) -> list[Object]:
        if type(messages) is Talk and not self._own:
            return messages.whole()
        out: list[Object] = []
        for message in messages if self._own else whole_turns(messages):
            if self._own:
                out.append(self._own_message(message))
                continue
            text = plain_text(message) if not self._moved and message.role != "tool" else None
            if text is not None:  # most messages
                out.append({"role": message.role, "content": text})
                continue
            waiting, self._moved = self._moved, []
            for one in self._message(message):
                if waiting and one["role"] != "tool":
                    out.append({"role": "user", "content": waiting})
                    waiting = []
                out.append(one)
            self._moved = waiting + self._moved
        if self._moved:
            out.append({"role": "user", "content": self._moved})
        return out

    # ── our own ────────────────────────────────────────────────────────────────────

    def _own_message(self, message: Message) -> Object:
        form = form_of(message)
        if message.role == "assistant":
            out = self.spoken(message.parts, form)
        elif message.role == "tool":
            out = self._own_result(message, form)
        else:
            out = {"role": form.get("role", message.role)}
            self._put_content(out, [self._part(part) for part in message.parts], form)
        if message.name is not None:
            out["name"] = message.name
        out.update(message.extra or {})
        return restore(out, form)

    def _own_result(self, message: Message, form: Mapping[str, Json]) -> Object:
        result = next(part for part in message.parts if isinstance(part, ToolResult))
        out: Object = {"role": form.get("role", "tool")}
        if not result.invented_id:
            out["tool_call_id"] = result.call_id
        if result.name is not None:
            out["name"] = result.name
        self._put_content(out, [self._part(part) for part in result.parts], form)
        return out

    def _put_content(self, out: Object, parts: list[Object], form: Mapping[str, Json]) -> None:
        spelled = form.get("content")
        if spelled == "list":
            out["content"] = parts
        elif spelled != "absent":
            out["content"] = parts[0]["text"] if parts else None

    # ── foreign ────────────────────────────────────────────────────────────────────

    def _message(self, message: Message) -> list[Object]:
        if message.role == "assistant":
            return [self._assistant(message)]
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        out = [self._result(result) for result in results]
        others = [part for part in message.parts if not isinstance(part, ToolResult)]
        if others or not results:
            moved, self._moved = self._moved, []
            asked = self._asked(message, others)
            if moved:
                text = asked["content"]
                asked["content"] = moved + ([{"type": "text", "text": text}] if isinstance(text, str) else text)
            out.append(asked)
        return out

    def _asked(self, message: Message, parts: Sequence[AnyPart]) -> Object:
        """A system or user message."""
        role = "system" if message.role == "system" else "user"
        written: list[Object] = []
        for part in parts:
            if role == "system" and isinstance(part, Media):
                raise refuse(part.at or "messages", "the target reads only text in system messages")
            if isinstance(part, Text | Media):
                self._lose_citations(part)
                written.append(self._part(part))
            elif isinstance(part, Refusal):
                written.append({"type": "text", "text": part.text})
            else:
                self._lose(part)
        return self._with_name({"role": role, "content": _shortest(written)}, message)

    def _with_name(self, out: Object, message: Message) -> Object:
        if message.name is not None:
            out["name"] = message.name
        return out

    def _assistant(self, message: Message) -> Object:
        out = self.spoken(message.parts, {})
        late = [i for i, part in enumerate(message.parts) if isinstance(part, Text) and part.text]
        calls = [i for i, part in enumerate(message.parts) if isinstance(part, ToolCall)]
        if late and calls and late[-1] > calls[0]:
            self._losses.append(approximated(message.at or "messages", "text after a tool call moves before it"))
        return self._with_name(out, message)

    def _result(self, result: ToolResult) -> Object:
        at = result.at or "messages"
        if result.call_id not in self._calls:
            raise refuse(at, "this tool result answers no tool call before it")
        lose_marks(result, self._losses)
        texts: list[Object] = []
        for part in result.parts:
            if isinstance(part, Text):
                self._lose_citations(part)
                texts.append(self._part(part))
            elif isinstance(part, Media):
                self._moved.append(self._part(part))
                self._losses.append(
                    approximated(part.at or at, "media of a tool result move into a user message after it")
                )
            else:
                self._lose(part)
        content = _shortest(texts)
        if result.is_error:
            self._losses.append(approximated(at, "the target has no mark of failed results: said in the text"))
            if isinstance(content, str) and not content.lower().startswith("error"):
                content = f"Error: {content}"
        return {"role": "tool", "tool_call_id": result.call_id, "content": content}

    def _lose_citations(self, part: AnyPart) -> None:
        if isinstance(part, Text) and part.citations:
            at = part.citations[0].at or part.at or "messages"
            self._losses.append(dropped(at, "the target takes no citations in a request"))

    def _lose(self, part: AnyPart) -> None:
        kind = part.kind if isinstance(part, Opaque) else type(part).__name__
        self._losses.append(dropped(part.at or "messages", f"the target has no place for this part ({kind})"))

    # ── one part of content ────────────────────────────────────────────────────────

    def _part(self, part: AnyPart) -> Object:
        form = form_of(part) if self._own else {}
        match part:
            case Text():
                out: Object = {"type": "text", "text": part.text}
            case Refusal():
                out = {"type": "refusal", "refusal": part.text}
            case Media():
                return self._media(part, form)
            case Opaque() if part.dialect == NAME:
                return dict(part.raw)
            case Reasoning() if "raw" in form:
                return dict(form["raw"])
            case _:
                raise refuse(part.at or "messages", "a part that cannot stand in content")
        if self._own:
            out |= part.extra or {}
        self._mark(out, part, form)
        return restore(out, form)

    def _mark(self, out: Object, part: Any, form: Mapping[str, Json]) -> None:
        """A cache mark, where the row says that the upstream takes one; a seal never stands on content."""
        if part.cache is not None and "cache" in form:
            out.update(form["cache"])
        elif part.cache is not None and "cache_control" in self._traits.own:
            ttl = {"ttl": part.cache.ttl} if part.cache.ttl else {}
            out["cache_control"] = {"type": "ephemeral", **ttl}
            lose_beside(part.cache, self._losses)
        elif not self._own:
            lose_marks(part, self._losses)
            return
        if not self._own and part.seal is not None:
            self._losses.append(dropped(part.seal.at or part.at or "signature", "a signature of another model family"))

    def _media(self, media: Media, form: Mapping[str, Json]) -> Object:
        kind, inner = self._inside(media, form)
        outer: Sequence[str] = form.get("outer", ())
        if self._own:
            inner |= {key: value for key, value in (media.extra or {}).items() if key not in outer}
            restore(inner, form)
        out: Object = {"type": kind, kind: inner["url"] if form.get("bare") else inner}
        if self._own:
            out |= {key: media.extra[key] for key in outer} if media.extra else {}
            out |= form.get("beside", {})
        self._mark(out, media, form)
        return out

    def _inside(self, media: Media, form: Mapping[str, Json]) -> tuple[str, Object]:
        at = media.at or "messages"
        if media.kind == "audio":
            return "input_audio", self._audio(media, at)
        if media.kind == "file":
            return "file", self._file(media, at)
        if media.kind == "video" and not self._own:
            raise refuse(at, "the target reads no video")
        url = to_url(media, self._own)
        if url is None or (not self._own and not url.startswith(("https://", "http://", "data:"))):
            raise refuse(at, "the target reads images only by http(s) URL or as data")
        out: Object = {"url": url}
        if media.detail is not None:
            out["detail"] = media.detail
        if media.name is not None and not self._own:
            self._losses.append(dropped(name_place(media), "the target takes no names of images"))
        return "video_url" if media.kind == "video" else "image_url", out

    def _audio(self, media: Media, at: str) -> Object:
        if media.base64 is None:
            raise refuse(at, "the target reads sound only as data")
        mime = media.mime_type or ""
        format_ = mime.partition("/")[2] if self._own else _FORMATS.get(mime.partition(";")[0].lower(), "")
        if not format_ and not self._own:
            raise refuse(at, "the target reads sound only as wav or mp3")
        return {"data": media.base64, "format": format_} if format_ else {"data": media.base64}

    def _file(self, media: Media, at: str) -> Object:
        if media.base64 is None and not (self._own and (media.file_id or media.url)):
            raise refuse(at, "the target reads files only as data")
        if media.detail not in (None, "auto") and not self._own:
            self._losses.append(dropped(join(at, "detail"), "the target has no levels of detail of files"))
        url = to_url(media, self._own)
        out: Object = {"file_data": url} if url is not None else {"file_id": media.file_id}
        if media.name is not None:
            out["filename"] = media.name
        elif not self._own:
            extension = (media.mime_type or "").partition(";")[0].rpartition("/")[2] or "bin"
            out["filename"] = f"file.{extension}"
            self._losses.append(invented(at, "the target wants a file name"))
        return out

    # ── what an assistant said ─────────────────────────────────────────────────────

    def spoken(self, parts: Sequence[AnyPart], form: Mapping[str, Json]) -> Object:
        """An assistant's message of a request."""
        out: Object = {"role": "assistant"}
        content: list[Object] = []
        calls: list[Object] = []
        for part in parts:
            _SPOKEN[type(part)](self, part, out, content, calls)
        if self._own:
            self._put_content(out, content, form)
        else:
            out["content"] = _shortest(_as_one(content)) if content else None if calls or "refusal" in out else ""
        if calls:
            out["tool_calls"] = calls
        return out

    def _say_text(self, part: Text, out: Object, content: list[Object], calls: list[Object]) -> None:
        if self._own:
            if part.seal is not None:
                put_seal(out, part.seal)
            if part.citations:
                out["annotations"] = [write_citation(citation, True) for citation in part.citations]
            if part.text or not part.at.endswith((".extra_content", ".annotations")):
                content.append(self._part(part))
            return
        self._lose_citations(part)
        written = self._part(part)
        if part.text:
            content.append(written)

    def _say_refusal(self, part: Refusal, out: Object, content: list[Object], calls: list[Object]) -> None:
        if self._own and form_of(part).get("content"):
            content.append(self._part(part))
        else:
            out["refusal"] = out.get("refusal", "") + part.text

    def _say_reasoning(self, part: Reasoning, out: Object, content: list[Object], calls: list[Object]) -> None:
        form = form_of(part)
        if self._own and "raw" in form:
            content.append(self._part(part))
            return
        key = form.get("key", REASONING) if self._own else self._reasoning_key()
        details = self._details(part)
        if details is None and (key is None or part.redacted):
            self._losses.append(dropped(part.at or "reasoning", "the target reads no earlier thinking"))
            return
        if not self._own:
            lose_marks(part, self._losses, origin=None if details is None else ORIGIN)
        elif part.extra:
            out.update(part.extra)
        if details is not None:
            out.setdefault("reasoning_details", []).extend(details)
        if key not in (None, "reasoning_details") and not part.redacted:
            for name in (key, *form.get("also", ())):
                out[name] = out.get(name, "") + part.text

    def _details(self, part: Reasoning) -> list[Json] | None:
        """As OpenRouter takes thinking back, where it told it so."""
        if self._own and "details" in form_of(part):
            return list(form_of(part)["details"])
        return details_of(part.seal) if self._own or "reasoning_details" in self._traits.own else None

    def _reasoning_key(self) -> str | None:
        """What the upstream calls earlier thinking, None where it reads none."""
        if "reasoning_back" in self._traits.quirks:
            return REASONING
        return next((key for key in (REASONING, "reasoning") if key in self._traits.own), None)

    def _say_media(self, part: Media, out: Object, content: list[Object], calls: list[Object]) -> None:
        if self._own and part.at.endswith(".audio"):
            out["audio"] = write_audio(part, True)
        elif self._own and ".images[" in part.at:
            out.setdefault("images", []).append(self._part(part))
        elif self._own:
            content.append(self._part(part))
        else:
            self._moved.append(self._part(part))
            self._losses.append(
                approximated(part.at or "messages", "media of the model move into a user message after it")
            )

    def _say_call(self, part: ToolCall, out: Object, content: list[Object], calls: list[Object]) -> None:
        self._calls.add(part.id)
        if self._own and form_of(part).get("legacy"):
            out["function_call"] = write_call(part, True)["function"]
            return
        seals = self._own or "extra_content" in self._traits.own
        calls.append(write_call(part, self._own, seal=seals))
        if not self._own:
            lose_marks(part, self._losses, origin="gemini" if seals else None)

    def _say_opaque(self, part: Opaque, out: Object, content: list[Object], calls: list[Object]) -> None:
        if part.dialect == NAME:
            content.append(dict(part.raw))
        else:
            self._lose(part)

    def _say_other(self, part: AnyPart, out: Object, content: list[Object], calls: list[Object]) -> None:
        self._lose(part)


_SPOKEN: dict[type, Callable[..., None]] = {
    Text: Writer._say_text,
    Refusal: Writer._say_refusal,
    Reasoning: Writer._say_reasoning,
    Media: Writer._say_media,
    ToolCall: Writer._say_call,
    Opaque: Writer._say_opaque,
    ToolResult: Writer._say_other,
}


def _as_one(texts: list[Object]) -> list[Object]:
    """What the model said in pieces as one text, where nothing else stands between or on them."""
    if len(texts) < 2 or any(part.keys() != {"type", "text"} for part in texts):
        return texts
    return [{"type": "text", "text": "".join(part["text"] for part in texts)}]


def _shortest(parts: list[Object]) -> Json:
    """Content as a string where it is one plain text, else as a list."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def write_call(call: ToolCall, own: bool, *, seal: bool = True) -> Object:
    """One of `tool_calls`. Empty arguments are written as an empty object."""
    form = form_of(call) if own else {}
    text = call.arguments
    inner: Object = {"name": call.name}
    written = form["arguments"][0] if "arguments" in form else text if text or call.kind == "custom" or own else "{}"
    if written is not None or "arguments" not in form:
        inner["input" if call.kind == "custom" else "arguments"] = written
    extra = dict(call.extra or {}) if own else {}
    inner |= extra.pop("function", {})
    inner |= form.get("inside", {})
    out: Object = {}
    if not (own and call.invented_id and form):
        out["id"] = call.id
    if form.get("kind") != "absent":
        out["type"] = call.kind
    out[call.kind] = inner
    if "index" in form:
        out["index"] = form["index"][0]
    out |= extra
    if seal and call.seal is not None and call.seal.origin == "gemini":
        put_seal(out, call.seal)
    return restore(out, form)


def write_audio(media: Media, own: bool) -> Object:
    """The `audio` of a message."""
    out: Object = {}
    if media.file_id is not None:
        out["id"] = media.file_id
    if media.base64 is not None:
        out["data"] = media.base64
    if media.transcript is not None:
        out["transcript"] = media.transcript
    if own:
        out |= media.extra or {}
        restore(out, form_of(media))
    return out
