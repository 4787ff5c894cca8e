"""Messages of another dialect -> `system` and `messages`.

Roles are user and assistant, and system where the model takes it within a conversation; neighbours of one role are
joined, block by block; results of tools stand first in the user message right after their calls; no text is empty.
Sources: package anthropic 2.10.0 (message_create_params), the refusals that litellm 1.109.1 works around, project
notes (dialects/anthropic.md, dialects/canonical.md section 2).
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from providers.canonical.chat import (
    AnyPart,
    CacheMark,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import MalformedRequest
from providers.canonical.loss import Losses, approximated, dropped, invented, join, lose_beside, name_place
from providers.canonical.turns import Talk, plain_text, whole_turns
from providers.dialects.anthropic.blocks import source_of
from providers.dialects.anthropic.models import Family
from providers.dialects.anthropic.words import FAMILY, NAME, Json, Object, refuse, written_id, written_name
from providers.wire import json as wire_json

#: Stands where a message must be and the caller said nothing; white space alone is refused.
NOTHING = "(no content)"
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
_SPEAKERS = ("user", "assistant")
_TTLS = frozenset({"5m", "1h"})
_TEXTS = ("application/json", "application/xml", "application/x-yaml")
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?)(;base64)?,", re.IGNORECASE)


class Conversation:
    """Builds the messages of one request. `marks`: each block with a cache mark, and where the caller wrote it.

    The messages have strings as content where one plain text is all.
    """

    def __init__(self, request: ChatRequest, model: Family, losses: Losses) -> None:
        self._model = model
        self._losses = losses
        self._open: dict[str, ToolCall] = {}  # calls that wait for their results, by id
        self._moved: list[Object] = []  # media of the model: they go into the next user message
        self.calls: dict[str, str] = {}  # every call in the history: written name -> the caller's name
        self.system: list[Object] = []
        self.messages: list[Object] = []
        self.marks: list[tuple[Object, str]] = []
        self.last_at = ""  # where the last message stood
        self.unsigned_step = False  # the tool turn that goes on began without signed thinking
        if type(request.messages) is Talk:
            self._take(request.messages)
        else:
            self._build(whole_turns(request.messages))

    @property
    def prefilled(self) -> bool:
        """Does the model have to go on with a message of its own?"""
        return bool(self.messages[-1]["role"] == "assistant")

    # ── order ──────────────────────────────────────────────────────────────────────

    def _take(self, talk: Talk) -> None:
        if talk.system is not None:
            self.system.append({"type": "text", "text": talk.system})
        self.messages = talk.turns()
        self.last_at = talk[-1].at

    def _build(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.name is not None:
                self._losses.append(dropped(join(message.at, "name"), "the target has no names of participants"))
            self.last_at = message.at or self.last_at
            text = plain_text(message)
            if text and not self._open and not self._moved and message.role in _SPEAKERS and not text.isspace():
                role = message.role  # most messages: `_append`, without the call
                block = {"type": "text", "text": text}
                if self.messages and self.messages[-1]["role"] == role:
                    self.messages[-1]["content"].append(block)
                else:
                    self.messages.append({"role": role, "content": [block]})
                continue
            _ADD[message.role](self, message)
        self._close_step()
        if self._moved:
            self._append("user", [])
        if not self.messages or self.messages[0]["role"] != "user":
            self.messages.insert(0, {"role": "user", "content": [{"type": "text", "text": NOTHING}]})
            self._losses.append(invented("messages", "the target wants a message of the user first"))
        if self.prefilled:
            self._trim()
        self._find_step()
        for turn in self.messages:
            turn["content"] = shortest(turn["content"])

    def _add_system(self, message: Message) -> None:
        for part in message.parts:
            if isinstance(part, Media):
                raise refuse(part.at or "messages", "the target reads only text in system messages")
        blocks = self._blocks(message.parts)
        if not blocks:
            return
        if not self.messages:
            self.system.extend(blocks)
            return
        self._close_step()
        if self._model.mid_system:
            self._append("system", blocks)
            return
        self._losses.append(
            approximated(message.at or "messages", "this model takes system text at the start only: sent as user text")
        )
        for block in blocks:
            if block["type"] == "text":
                block["text"] = f"<system>\n{block['text']}\n</system>"
        self._append("user", blocks)

    def _add_user(self, message: Message) -> None:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        others = [part for part in message.parts if not isinstance(part, ToolResult)]
        if results:
            self._append("user", [self._result(result) for result in results])
        if not results or others:
            self._close_step()
            blocks = self._blocks(others)
            if not blocks and not results:
                blocks = [{"type": "text", "text": NOTHING}]
                self._losses.append(invented(message.at or "messages", "the target refuses an empty message"))
            self._append("user", blocks)

    def _add_assistant(self, message: Message) -> None:
        self._close_step()
        blocks = self._blocks(message.parts, of_model=True)
        if not blocks:
            if not self._moved:
                self._losses.append(approximated(message.at or "messages", "an empty message of the model is left out"))
            return
        self._append("assistant", blocks)
        for part in message.parts:
            if isinstance(part, ToolCall):
                self._open[part.id] = part

    def _append(self, role: str, blocks: list[Object]) -> None:
        if role == "user" and self._moved:
            results = [block for block in blocks if block["type"] == "tool_result"]
            blocks = results + self._moved + [block for block in blocks if block["type"] != "tool_result"]
            self._moved = []
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == role:
            last["content"].extend(blocks)
        else:
            self.messages.append({"role": role, "content": blocks})

    def _close_step(self) -> None:
        """Every call has its result in the message right after it."""
        if self._open:
            call = next(iter(self._open.values()))
            at = call.at or "messages"
            raise MalformedRequest(f"{at}: no result for this tool call follows", param=at)

    def _trim(self) -> None:
        """White space at the end of a last message of the model is refused."""
        last = self.messages[-1]["content"][-1]
        if last["type"] == "text" and last["text"] != last["text"].rstrip():
            last["text"] = last["text"].rstrip()
            self._losses.append(approximated(self.last_at or "messages", "white space at the end is not sent"))

    def _find_step(self) -> None:
        """With thinking on, a tool turn that goes on must begin with the signed thinking that began it."""
        last = self.messages[-1]["content"]
        if self.prefilled or not last or last[0]["type"] != "tool_result":
            return
        begun = next(one for one in reversed(self.messages) if one["role"] == "assistant")
        self.unsigned_step = begun["content"][0]["type"] not in ("thinking", "redacted_thinking")

    # ── parts ──────────────────────────────────────────────────────────────────────

    def _blocks(self, parts: Iterable[AnyPart], *, of_model: bool = False) -> list[Object]:
        blocks: list[Object] = []
        for part in parts:
            if of_model and isinstance(part, Media):
                self._moved.append(self._media(part))
                at = part.at or "messages"
                self._losses.append(approximated(at, "media of the model move into a user message after it"))
                continue
            block = _PARTS[type(part)](self, part)
            if block is not None:
                blocks.append(block)
        return blocks

    def _marked(self, block: Object, part: AnyPart) -> Object:
        """The block with its part's cache mark; a signature of another family is named."""
        self._lose_seal(part)
        if part.cache is not None:
            self.mark(block, part.cache, part.at)
        return block

    def mark(self, block: Object, cache: CacheMark, at: str) -> None:
        where = cache.at or join(at, "cache_control")
        mark: Object = {"type": "ephemeral"}
        if cache.ttl in _TTLS:
            mark["ttl"] = cache.ttl
        elif cache.ttl is not None:
            self._losses.append(approximated(where, "the target keeps a cache for 5m or 1h"))
        lose_beside(cache, self._losses)
        block["cache_control"] = mark
        self.marks.append((block, where))

    def _lose_seal(self, part: AnyPart) -> None:
        if part.seal is not None:
            at = part.seal.at or part.at or "signature"
            self._losses.append(dropped(at, "the target takes signatures of its own thinking only"))

    def _text(self, part: Text) -> Object | None:
        if part.citations:
            at = part.citations[0].at or join(part.at, "annotations")
            self._losses.append(dropped(at, "the target takes no citations of other models"))
        if part.text.strip():
            return self._marked({"type": "text", "text": part.text}, part)
        self._lose_seal(part)
        if part.text:
            self._losses.append(dropped(part.at or "messages", "the target refuses text of white space only"))
        if part.cache is not None:
            self._losses.append(dropped(part.cache.at or part.at, "there is nothing to cache in an empty text"))
        return None

    def _refusal(self, part: Refusal) -> Object | None:
        self._losses.append(approximated(part.at or "refusal", "the target has no refusals: sent as text"))
        return self._marked({"type": "text", "text": part.text}, part) if part.text.strip() else None

    def _reasoning(self, part: Reasoning) -> Object | None:
        if part.seal is None or part.seal.origin != FAMILY:
            self._losses.append(dropped(part.at or "reasoning", "thinking of another model is not sent"))
            return None
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.seal.value}
        return {"type": "thinking", "thinking": part.text, "signature": part.seal.value}

    def _opaque(self, part: Opaque) -> Object | None:
        if part.dialect == NAME:
            block: Object = part.raw
            return block
        self._lose_seal(part)
        self._losses.append(dropped(part.at or part.kind, "a block that only another dialect knows"))
        return None

    def _call(self, part: ToolCall) -> Object:
        name = written_name(part.name, join(part.at, "name"))
        self.calls[name] = part.name
        block = {"type": "tool_use", "id": written_id(part.id), "name": name, "input": self._input(part)}
        return self._marked(block, part)

    def _input(self, part: ToolCall) -> Json:
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
            self._losses.append(approximated(at, "arguments that are not valid JSON stand under `value` as text"))
            return {"value": part.arguments.encode("utf-8", "replace").decode()}
        if type(value) is dict:
            return msgspec.Raw(data)
        self._losses.append(approximated(at, "arguments that are no object stand under `value`"))
        return {"value": msgspec.Raw(data)}

    def _result(self, part: ToolResult) -> Object:
        at = part.at or "messages"
        if self._open.pop(part.call_id, None) is None:
            raise refuse(at, "this tool result answers no tool call right before it")
        block: Object = {"type": "tool_result", "tool_use_id": written_id(part.call_id)}
        content = self._blocks(part.parts)
        if content:
            plain = len(content) == 1 and content[0].keys() == {"type", "text"}
            block["content"] = content[0]["text"] if plain else content
        if part.is_error:
            block["is_error"] = True
        return self._marked(block, part)

    # ── media ──────────────────────────────────────────────────────────────────────

    def _media(self, part: Media) -> Object:
        at = part.at or part.kind
        if part.url is not None and part.url[:5].lower() == "data:":
            part = _from_data_url(part)
        if part.kind == "image":
            return self._marked({"type": "image", "source": self._image(part, at)}, part)
        if part.kind != "file":
            raise refuse(at, f"the target reads no {part.kind}")
        self._lose_detail(part)
        block: Object = {"type": "document", "source": self._document(part, at)}
        if part.name:
            block["title"] = part.name
        return self._marked(block, part)

    def _lose_detail(self, part: Media) -> None:
        if part.detail not in (None, "auto"):
            self._losses.append(dropped(join(part.at, "detail"), "the target has no levels of detail"))

    def _image(self, part: Media, at: str) -> Object:
        self._lose_detail(part)
        if part.name is not None:
            self._losses.append(dropped(name_place(part), "the target takes no names of images"))
        if part.base64 is None:
            return self._by_url(part, at, "images")
        said = (part.mime_type or "").partition(";")[0].strip().lower()
        said = "image/jpeg" if said == "image/jpg" else said
        seen = _image_type(part.base64)
        mime = seen or said
        if mime not in _IMAGES:
            raise refuse(at, f"the target reads no {mime or 'image of unknown type'}")
        if said != mime:
            self._losses.append(approximated(at, f"the type of the image is taken from its bytes: {mime}"))
        return source_of(Media(kind="image", base64=part.base64, mime_type=mime))

    def _by_url(self, part: Media, at: str, what: str) -> Object:
        if part.url is None or not part.url.lower().startswith(("https://", "http://")):
            raise refuse(at, f"the target reads {what} only by http(s) URL or as data")
        return {"type": "url", "url": part.url}

    def _document(self, part: Media, at: str) -> Object:
        mime = (part.mime_type or "").partition(";")[0].strip().lower()
        if part.base64 is None:
            if mime not in ("", "application/pdf"):
                raise refuse(at, f"the target reads no {mime} by URL")
            return self._by_url(part, at, "files")
        if mime == "application/pdf" or (not mime and part.base64.startswith("JVBERi")):
            return {"type": "base64", "media_type": "application/pdf", "data": part.base64}
        if not (mime.startswith("text/") or mime in _TEXTS):
            raise refuse(at, f"the target reads no {mime or 'file of unknown type'}")
        try:
            text = b64decode(part.base64).decode("utf-8")
        except (binascii.Error, ValueError):
            raise refuse(at, "the text of this file is not base64 of UTF-8") from None
        if mime != "text/plain":
            self._losses.append(approximated(at, f"the target takes {mime} as plain text"))
        return {"type": "text", "media_type": "text/plain", "data": text}


def shortest(blocks: Json) -> Json:
    """Content as a string where it is one plain text, else as a list."""
    if blocks and len(blocks) == 1 and len(blocks[0]) == 2 and "text" in blocks[0]:  # the other key is the type
        return blocks[0]["text"]
    return blocks or None


_ADD: Mapping[str, Callable[[Conversation, Message], None]] = {
    "system": Conversation._add_system,
    "user": Conversation._add_user,
    "tool": Conversation._add_user,
    "assistant": Conversation._add_assistant,
}
_PARTS: Mapping[type, Callable[..., Object | None]] = {
    Text: Conversation._text,
    Refusal: Conversation._refusal,
    Reasoning: Conversation._reasoning,
    Opaque: Conversation._opaque,
    ToolCall: Conversation._call,
    ToolResult: Conversation._result,
    Media: Conversation._media,
}


def _image_type(data: str) -> str | None:
    """The type of an image by its first bytes: a wrong name is refused."""
    try:
        head = b64decode(data[:32], validate=True)
    except (binascii.Error, ValueError):
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for start, mime in _BEGINNINGS if head.startswith(start)), None)


def _from_data_url(part: Media) -> Media:
    """`data:image/png;base64,…` as content (RFC 2397); one that is not base64 is encoded."""
    url = part.url or ""
    match = _DATA_URL.match(url)
    if match is None:
        raise MalformedRequest(f"{part.at or 'url'}: not a data URL", param=part.at or "url")
    data = url[match.end() :]
    if not match[3]:
        data = b64encode(unquote_to_bytes(data)).decode()
    return msgspec.structs.replace(part, url=None, base64=data, mime_type=match[1].lower() or "text/plain")
