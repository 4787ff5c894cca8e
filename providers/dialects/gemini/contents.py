"""Messages of another dialect -> `contents` and `systemInstruction`.

Roles are user and model; results of tools stand in the user content after their calls, in the order of the calls,
one for each; neighbours of one role are joined, part by part. Source: Gemini 3 developer guide, project notes
(dialects/gemini.md).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from providers.canonical.chat import (
    AnyPart,
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
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped, invented, join, lose_marks, name_place
from providers.canonical.turns import MOST_TURNS, Talk, plain_text, whole_turns
from providers.dialects.gemini.models import Family
from providers.dialects.gemini.names import FAMILY, NAME, Json
from providers.dialects.gemini.parts import LEVEL_OF, encode_media, encode_opaque, encode_text, finish_part
from providers.wire import json as wire_json

#: base64 of `skip_thought_signature_validator`, the documented stand-in for a signature that nobody has (guide, g3).
DUMMY_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="

#: Ids that this family did not make: ours, those of OpenAI, Anthropic, Bedrock and vLLM, the short ones of examples.
_FOREIGN_ID = re.compile(
    r"call_(?:\d{1,3}|i[0-9a-f]{12}_\d+|\d+_.*|[A-Za-z0-9]{16,})|(?:toolu|srvtoolu|tooluse|fc|chatcmpl-tool)[_-].*",
    re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,127}")
_PREFIX = "isthmus_"
_EMPTY = " "
_IN_TURN = ("user", "model") * (MOST_TURNS // 2)

#: What the server fetches by URL, by suffix (vercel/ai, google-provider.ts).
_BY_SUFFIX = {
    "bmp": "image/bmp",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "pdf": "application/pdf",
    "json": "application/json",
    "js": "text/javascript",
    "html": "text/html",
    "htm": "text/html",
    "css": "text/css",
    "txt": "text/plain",
    "xml": "text/xml",
    "csv": "text/csv",
    "rtf": "text/rtf",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpg",
    "mov": "video/quicktime",
    "avi": "video/avi",
    "flv": "video/x-flv",
    "webm": "video/webm",
    "wmv": "video/wmv",
    "3gp": "video/3gpp",
}
_FETCHED = frozenset(_BY_SUFFIX.values())
_OTHER_SUFFIXES = {
    "gif": "image/gif",
    "svg": "image/svg+xml",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
}
_INLINE = ("image/", "audio/", "video/", "text/")
_INLINE_TYPES = frozenset({"application/pdf", "application/json", "application/rtf", "application/x-javascript"})
_FILES_API = re.compile(r"https://[^/]*/v1(?:beta|alpha)?/files/|gs://|https://(?:www\.)?youtu(?:be\.com|\.be)/")


# ── names and ids ──────────────────────────────────────────────────────────────────────


def written_name(name: str, at: str) -> str:
    """A function name as this dialect takes it; an illegal one is escaped so that `read_name` finds it again."""
    if _NAME.fullmatch(name):
        return name
    escaped = _PREFIX + re.sub(r"[^A-Za-z0-9_.\-]", lambda match: f":{ord(match[0]):x}:", name)
    if not name or not _NAME.fullmatch(escaped):
        raise UnsupportedParameter(f"{at or 'name'}: the target takes no such function name", param=at or "name")
    return escaped


def read_name(name: str) -> str:
    """The caller's name of a function that `written_name` escaped."""
    if not name.startswith(_PREFIX):
        return name
    original = re.sub(r":([0-9a-f]{1,6}):", lambda match: chr(int(match[1], 16)), name[len(_PREFIX) :])
    return name if not original or _NAME.fullmatch(original) else original


def _keeps_id(identifier: str, made: bool, model: Family) -> bool:
    """Is the id sent? Newer models want back the ids that they gave; older ones refuse the field."""
    return model.signs and not made and _FOREIGN_ID.fullmatch(identifier) is None


def _is_plain(part: Text) -> bool:
    """Is there nothing to a text but its words?"""
    return part.seal is None and part.cache is None and not part.citations


# ── contents ───────────────────────────────────────────────────────────────────────────


class Contents:
    """Builds the contents of one request."""

    def __init__(self, request: ChatRequest, model: Family, losses: Losses) -> None:
        self._model = model
        self._losses = losses
        self._names: dict[str, str] = {}
        self.system: list[dict[str, Json]] = []
        self.contents: list[dict[str, Json]] = []
        self._steps: list[tuple[int, dict[str, Json], ToolCall]] = []  # (content, part, call) of each first call
        self._turn = 0  # the content with which the current turn began
        if type(request.messages) is Talk:
            self._take(request.messages)
        else:
            self._build(whole_turns(request.messages))
            self._sign()

    def _take(self, talk: Talk) -> None:
        if talk.system is not None:
            self.system.append({"text": talk.system})
        self.contents = [{"role": role, "parts": [{"text": text}]} for role, text in zip(_IN_TURN, talk.texts)]

    def _build(self, messages: Sequence[Message]) -> None:
        i = 0
        while i < len(messages):
            message = messages[i]
            if message.name is not None:
                self._losses.append(dropped(join(message.at, "name"), "the target has no names of participants"))
            text = plain_text(message)
            if text and message.role in ("user", "assistant"):  # most messages
                if message.role == "user":
                    self._ask([{"text": text}])
                else:
                    self._append("model", [{"text": text}])
                i += 1
                continue
            if message.role == "system":
                self._add_system(message)
                i += 1
                continue
            if message.role == "assistant":
                i = self._add_model(messages, i)
                continue
            self._add_user(message)
            i += 1

    def _add_system(self, message: Message) -> None:
        parts = self._parts(message.parts)
        if not parts:
            return
        if not self.contents:
            self.system.extend(parts)
            return
        self._losses.append(
            approximated(message.at, "the target takes system text only at the start: sent as user text")
        )
        self._append("user", parts)

    def _add_user(self, message: Message) -> None:
        stray = next((part for part in message.parts if isinstance(part, ToolResult)), None)
        if stray is not None:
            written = self._result(stray)
            rest = tuple(part for part in message.parts if part is not stray)
            self._append("user", [written])
            if rest:
                self._add_user(msgspec.structs.replace(message, parts=rest))
            return
        parts = self._parts(message.parts)
        if not parts:
            parts = [{"text": _EMPTY}]
            self._losses.append(invented(message.at or "messages", "the target refuses an empty message"))
        self._ask(parts)

    def _ask(self, parts: list[dict[str, Json]]) -> None:
        """More of the user: a turn begins with what is more than results of tools."""
        last = self.contents[-1] if self.contents else None
        if last is None or last["role"] != "user" or not any("functionResponse" in one for one in last["parts"]):
            self._turn = len(self.contents)
        self._append("user", parts)

    def _add_model(self, messages: Sequence[Message], i: int) -> int:
        """An assistant message and the results of its calls, which follow it. Returns where to go on."""
        message = messages[i]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        for call in calls:
            self._names[call.id] = call.name
        parts = self._parts(message.parts)
        if not parts:
            self._losses.append(approximated(message.at or "messages", "an empty message of the model is left out"))
            return i + 1
        first = len(self.contents)
        self._append("model", parts)
        if calls:
            place = self.contents[-1]["parts"]
            first_call = next(part for part in place if "functionCall" in part)
            if not self._steps or self._steps[-1][1] is not first_call:
                self._steps.append((first, first_call, calls[0]))
        i += 1
        if not calls:
            return i
        results, rest, i = _following(messages, i)
        if results or i < len(messages):
            self._append("user", self._answers(calls, results, message.at))
        for part_rest in rest:
            written = self._parts(part_rest)
            if written:
                self._append("user", written)
        return i

    def _answers(self, calls: list[ToolCall], results: list[ToolResult], at: str) -> list[dict[str, Json]]:
        """The results of one step in the order of its calls."""
        waiting = list(results)
        ordered: list[ToolResult] = []
        for call in calls:
            found = next((result for result in waiting if result.call_id == call.id), None)
            if found is None:
                raise MalformedRequest(f"{call.at or at}: no result for this tool call follows", param=call.at or at)
            waiting.remove(found)
            ordered.append(found)
        return [self._result(result) for result in (*ordered, *waiting)]

    def _append(self, role: str, parts: list[dict[str, Json]]) -> None:
        """Adds parts to the last content if it is of the same role, else opens one. Parts are never joined."""
        last = self.contents[-1] if self.contents else None
        if last is not None and last["role"] == role:
            last["parts"].extend(parts)
        else:
            self.contents.append({"role": role, "parts": parts})

    def _sign(self) -> None:
        """Signs the first call of each step of the current turn if nobody did: the newer models refuse it else.

        A turn begins with a user content that is more than results of tools.
        """
        if not self._model.signs:
            return
        for place, part, call in self._steps:
            if place >= self._turn and "thoughtSignature" not in part:
                part["thoughtSignature"] = DUMMY_SIGNATURE
                field = join(call.at, "thought_signature") if call.at else "thought_signature"
                self._losses.append(invented(field, "the signature of this call is not known; a stand-in is sent"))

    # ── parts ──────────────────────────────────────────────────────────────────────

    def _parts(self, parts: Iterable[AnyPart]) -> list[dict[str, Json]]:
        written = [
            {"text": part.text} if type(part) is Text and part.text and _is_plain(part) else self._part(part)
            for part in parts
        ]
        return [part for part in written if part is not None]

    def _lose_citations(self, part: Text) -> None:
        if part.citations:
            at = part.citations[0].at or join(part.at, "annotations")
            self._losses.append(dropped(at, "the target takes no citations"))

    def _part(self, part: AnyPart) -> dict[str, Json] | None:
        if isinstance(part, Opaque):
            return self._opaque(part)
        if isinstance(part, Reasoning):
            return self._reasoning(part)
        lose_marks(part, self._losses, origin=FAMILY)
        match part:
            case Text():
                self._lose_citations(part)
                signed = part.seal is not None and part.seal.origin == FAMILY
                return encode_text(part, own=False) if part.text or signed else None
            case Media():
                return self._media(part)
            case Refusal():
                self._losses.append(approximated(part.at or "refusal", "the target has no refusals: sent as text"))
                return {"text": part.text} if part.text else None
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part)

    def _opaque(self, part: Opaque) -> dict[str, Json] | None:
        lose_marks(part, self._losses, origin=FAMILY)
        if part.dialect == NAME:
            return encode_opaque(part, own=False)
        self._losses.append(dropped(part.at or part.kind, "a block that only another dialect knows"))
        return None

    def _reasoning(self, part: Reasoning) -> dict[str, Json] | None:
        if part.seal is not None and part.seal.origin == FAMILY:
            return encode_text(part, own=False)
        self._losses.append(dropped(part.at or "reasoning", "thinking of another model is not sent"))
        return None

    def _call(self, part: ToolCall) -> dict[str, Json]:
        call: dict[str, Json] = {"name": written_name(part.name, join(part.at, "name")), "args": self._args(part)}
        if _keeps_id(part.id, part.invented_id, self._model):
            call["id"] = part.id
        return finish_part({"functionCall": call}, part, own=False)

    def _args(self, part: ToolCall) -> Json:
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

    # ── results ────────────────────────────────────────────────────────────────────

    def _result(self, part: ToolResult) -> dict[str, Json]:
        lose_marks(part, self._losses, origin=FAMILY)
        name = self._names.get(part.call_id) or part.name
        if name is None:
            raise UnsupportedParameter(
                f"{part.at}: the target needs the name of the function, and no earlier call has this id", param=part.at
            )
        texts = [inner.text for inner in part.parts if isinstance(inner, Text)]
        for inner in part.parts:
            if isinstance(inner, Text):
                lose_marks(inner, self._losses, origin=FAMILY)
                self._lose_citations(inner)
        result: dict[str, Json] = {
            "name": written_name(name, part.at),
            "response": self._response(part, "".join(texts)),
        }
        if _keeps_id(part.call_id, part.invented_id, self._model):
            result["id"] = part.call_id
        media = [written for inner in part.parts if (written := self._inner(inner)) is not None]
        if media:
            if not self._model.media_results:
                raise UnsupportedParameter(f"{part.at}: this model takes text only in results of tools", param=part.at)
            result["parts"] = media
        return {"functionResponse": result}

    def _inner(self, part: Text | Media | Opaque) -> dict[str, Json] | None:
        if isinstance(part, Text):
            return None
        if isinstance(part, Opaque):
            return self._opaque(part)
        lose_marks(part, self._losses, origin=FAMILY)
        written = self._media(part)
        if written.pop("mediaResolution", None) is not None:
            self._losses.append(dropped(join(part.at, "detail"), "the target has no resolution of parts of results"))
        return written

    def _response(self, part: ToolResult, text: str) -> Json:
        """The result as an object: a JSON object as it is, every other text under `output` or `error`.

        An object with `$ref` would be read as a pointer to a part, so it goes as text.
        """
        if part.is_error:
            return {"error": text}
        if text.lstrip().startswith("{") and '"$ref"' not in text:
            try:
                data = text.encode()
                if type(wire_json.decode(data)) is dict and "$ref" not in text:
                    return msgspec.Raw(data)
            except (MalformedRequest, UnicodeEncodeError):
                pass
        return {"output": text}

    # ── media ──────────────────────────────────────────────────────────────────────

    def _media(self, part: Media) -> dict[str, Json]:
        if part.name is not None:
            self._losses.append(dropped(name_place(part), "the target takes no file names"))
        ready = self._located(part)
        written = encode_media(ready, own=False)
        if part.detail not in (None, "auto"):
            level = LEVEL_OF.get(part.detail or "")
            if level is not None and self._model.part_resolution:
                written["mediaResolution"] = {"level": level}
            else:
                self._losses.append(dropped(join(part.at, "detail"), "this model has no resolution of parts"))
        return written

    def _located(self, part: Media) -> Media:
        """The part with everything that this dialect needs to know: content or URI, and the MIME type."""
        if part.url is not None and part.url[:5].lower() == "data:":
            part = _from_data_url(part)
        if part.base64 is not None:
            mime_type = part.mime_type or _by_suffix(part.name or "")
            if mime_type is None and part.kind == "image":
                mime_type = "image/jpeg"
                self._losses.append(approximated(part.at, "the type of the image is not known: taken for image/jpeg"))
            if mime_type is None or not (mime_type.startswith(_INLINE) or mime_type in _INLINE_TYPES):
                raise _unreadable(part, f"the target reads no {mime_type or 'file of unknown type'}")
            return msgspec.structs.replace(part, mime_type=mime_type)
        uri = part.url or part.file_id or ""
        if _FILES_API.match(uri):
            return msgspec.structs.replace(part, url=uri)
        if part.url is None or not uri.lower().startswith("https://"):
            raise _unreadable(part, "the target reads files by content or by https URL only")
        if not self._model.reads_urls:
            raise _unreadable(part, "this model does not read URLs")
        return msgspec.structs.replace(part, mime_type=self._type_of_url(part, uri))

    def _type_of_url(self, part: Media, uri: str) -> str:
        mime_type = part.mime_type or _by_suffix(_path_of(uri))
        if mime_type is None:
            if part.kind == "video" or part.kind == "audio":
                raise _unreadable(part, "the type of what the URL holds is not known")
            mime_type = "image/jpeg" if part.kind == "image" else "application/pdf"
            self._losses.append(
                approximated(part.at, f"the type of what the URL holds is not known: taken for {mime_type}")
            )
        if mime_type not in _FETCHED:
            raise _unreadable(part, f"the target reads no {mime_type} by URL")
        return mime_type


def _following(messages: Sequence[Message], i: int) -> tuple[list[ToolResult], list[tuple[AnyPart, ...]], int]:
    """The results that follow a message with calls, what else stands in the same messages, and where to go on."""
    results: list[ToolResult] = []
    rest: list[tuple[AnyPart, ...]] = []
    while i < len(messages) and messages[i].role in ("tool", "user"):
        found = [part for part in messages[i].parts if isinstance(part, ToolResult)]
        if not found:
            break
        results.extend(found)
        others = tuple(part for part in messages[i].parts if not isinstance(part, ToolResult))
        if others:
            rest.append(others)
        i += 1
    return results, rest, i


def _by_suffix(path: str) -> str | None:
    suffix = path.rpartition(".")[2].lower() if "." in path else ""
    return _BY_SUFFIX.get(suffix) or _OTHER_SUFFIXES.get(suffix)


def _path_of(uri: str) -> str:
    """The path of a URL; nothing where it is none."""
    try:
        return urlsplit(uri).path
    except ValueError:  # "https://["
        return ""


def _unreadable(part: Media, why: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"{part.at or part.kind}: {why}", param=part.at or part.kind)


def _from_data_url(part: Media) -> Media:
    """`data:image/png;base64,…` as content; one that is not base64 is encoded."""
    head, comma, data = (part.url or "")[5:].partition(",")
    if not comma:
        raise MalformedRequest(f"{part.at or 'url'}: not a data URL", param=part.at or "url")
    words = head.split(";")
    if words[-1].strip().lower() != "base64":
        data = b64encode(unquote_to_bytes(data)).decode()
    return msgspec.structs.replace(
        part, url=None, base64=data, mime_type=words[0].lower() or part.mime_type or "text/plain"
    )
