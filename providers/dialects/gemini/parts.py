"""Parts: what stands in a content of a request and of an answer alike.

A part holds one kind of data (`text`, `functionCall`, …) and, beside it, marks: `thought`, `thoughtSignature`,
`mediaResolution`, … A mark that has no canonical place goes to `extra`; how a thing was spelled goes to `form`:

    snake     {camelCase name: the name that the caller wrote}
    thought   False was written
    data      bytes were written in the URL-safe alphabet: `urlsafe`, or `bare` without padding
    args, response   what stood there when it was no object (absent, null), or under which key a text stood
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from providers.canonical.chat import AnyPart, Media, Opaque, Part, Reasoning, Seal, Text, ToolCall, ToolResult
from providers.dialects.gemini.names import FAMILY, NAME, Json, Names, RawPart, plain, respelled
from providers.wire import json as wire_json
from providers.wire.json import wrong

#: Blocks of the provider's own tools: replayed, never run by the caller.
OPAQUE = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_MARKS = frozenset({"thought", "thoughtSignature"})
_INNER = frozenset({"inlineData", "fileData", "functionCall", "functionResponse", *OPAQUE})
_USUAL, _URLSAFE = str.maketrans("-_", "+/"), str.maketrans("+/", "-_")
_LEVELS = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "original",
}
_KINDS: Mapping[str, Literal["image", "audio", "video"]] = {"image": "image", "audio": "audio", "video": "video"}
LEVEL_OF = {detail: level for level, detail in _LEVELS.items()}

Ids = Callable[[str, str | None, str], tuple[str, bool]]  # name, id as given, arguments -> id, did we make it?


# ── wire -> canonical ──────────────────────────────────────────────────────────────────


def is_text(value: Json) -> bool:
    """Is the part text and nothing else, as nearly all are?"""
    return type(value) is dict and len(value) == 1 and type(value.get("text")) is str


def decode_part(value: Json, at: str, call_id: Ids, result_id: Ids, raw: RawPart | None = None) -> AnyPart:
    """One part. MalformedRequest names what is not as it should be."""
    if type(value) is not dict:
        raise wrong(at, "an object", value)
    if is_text(value):
        return Text(text=value["text"], at=at)
    names: Names = {}
    part = plain(value, names)
    form: dict[str, Json] = {}
    decoded = _decode_data(part, at, names, form, (call_id, result_id, raw))
    if names:
        form["snake"] = names
    return msgspec.structs.replace(decoded, form=form) if form else decoded


def _decode_data(
    part: dict[str, Json], at: str, names: Names, form: dict[str, Json], ids: tuple[Ids, Ids, RawPart | None]
) -> AnyPart:
    call_id, result_id, raw = ids
    thought = part.get("thought")
    if thought is True and "text" not in part and len(part.keys() - _MARKS):
        # A draft picture or the like: shown to nobody but the model.
        return Opaque(dialect=NAME, kind="thought", raw=part, at=at)
    if thought is not None and thought is not True:
        form["thought"] = thought
    if "functionCall" in part:
        return _decode_call(part, at, names, form, call_id, raw)
    if "inlineData" in part or "fileData" in part:
        return _decode_media(part, at, names, form)
    if "functionResponse" in part:
        return _decode_result(part, at, names, form, result_id, raw)
    for kind in OPAQUE:
        if kind in part:
            data = part[kind]
            data = plain(data, names) if type(data) is dict else data
            return Opaque(dialect=NAME, kind=kind, raw=data, at=at, **_marks(part, kind, at, names))
    if thought is True:
        if "text" not in part:
            form["text"] = None
        return Reasoning(text=_text(part, at), at=at, **_marks(part, "text", at, names))
    if "text" in part or "thoughtSignature" in part:
        if "text" not in part:
            form["text"] = None
        return Text(text=_text(part, at), at=at, **_marks(part, "text", at, names))
    form["whole"] = True
    return Opaque(dialect=NAME, kind=next(iter(part), "part"), raw=part, at=at)


def _text(part: dict[str, Json], at: str) -> str:
    return wire_json.take_string(part, "text", at) or ""


def _marks(part: dict[str, Json], kind: str, at: str, names: Names) -> dict[str, Any]:
    """The seal of a part, and everything beside its data that we do not know."""
    fields: dict[str, Any] = {}
    signature = wire_json.take_string(part, "thoughtSignature", at)
    if signature is not None:
        fields["seal"] = Seal(
            value=signature, origin=FAMILY, at=f"{at}.{names.get('thoughtSignature', 'thoughtSignature')}"
        )
    rest = {key: item for key, item in part.items() if key != kind and key not in _MARKS}
    if rest:
        fields["extra"] = rest
    return fields


def _inner(part: dict[str, Json], kind: str, at: str, names: Names) -> dict[str, Json]:
    """The data object of a part, which may be null for a field that was written empty."""
    return plain(wire_json.take_object(part, kind, at) or {}, names)


def _more(marks: dict[str, Any], kind: str, rest: dict[str, Json]) -> dict[str, Any]:
    if rest:
        inner = {f"{kind}.{key}": item for key, item in rest.items()}
        marks["extra"] = {**marks.get("extra", {}), **inner}
    return marks


def _decode_call(
    part: dict[str, Json], at: str, names: Names, form: dict[str, Json], call_id: Ids, raw: RawPart | None
) -> ToolCall:
    where = f"{at}.{names.get('functionCall', 'functionCall')}"
    call = _inner(part, "functionCall", at, names)
    name = wire_json.take_string(call, "name", where)
    if not name:
        raise wrong(f"{where}.name", "a string", call.get("name"))
    args = wire_json.take_object(call, "args", where)
    if args is None:
        form["args"] = "null" if "args" in call else "absent"
        arguments = "{}"
    else:
        arguments = (raw.args if raw else None) or wire_json.encode(args).decode()
    given = wire_json.take_string(call, "id", where)
    call_key, invented = call_id(name, given or None, arguments)
    if given == "":
        form["id"] = ""
    rest = {key: item for key, item in call.items() if key not in ("name", "args", "id")}
    marks = _more(_marks(part, "functionCall", at, names), "functionCall", rest)
    return ToolCall(id=call_key, name=name, arguments=arguments, invented_id=invented, at=at, **marks)


def _decode_media(part: dict[str, Json], at: str, names: Names, form: dict[str, Json]) -> Media:
    kind = "inlineData" if "inlineData" in part else "fileData"
    data = _inner(part, kind, at, names)
    where = f"{at}.{names.get(kind, kind)}"
    mime_type = wire_json.take_string(data, "mimeType", where)
    content = wire_json.take_string(data, "data" if kind == "inlineData" else "fileUri", where)
    if content is None:
        raise wrong(f"{where}.{'data' if kind == 'inlineData' else 'fileUri'}", "a string", None)
    if kind == "inlineData" and ("-" in content or "_" in content):
        # Some clients write bytes in the URL-safe alphabet, as proto3 JSON allows; canonical is the usual one.
        form["data"] = "urlsafe" if len(content) % 4 == 0 else "bare"
        content = content.translate(_USUAL)
        content += "=" * (-len(content) % 4)
    rest = {key: item for key, item in data.items() if key not in ("mimeType", "data", "fileUri", "displayName")}
    name = wire_json.take_string(data, "displayName", where)
    if name is not None:
        form["name_at"] = f"{where}.{'displayName' if 'displayName' in part.get(kind, ()) else 'display_name'}"
    marks = _more(_marks(part, kind, at, names), kind, rest)
    return Media(
        kind=media_kind(mime_type),
        mime_type=mime_type,
        base64=content if kind == "inlineData" else None,
        url=content if kind == "fileData" else None,
        name=name,
        detail=_take_detail(marks, form),
        at=at,
        **marks,
    )


def _take_detail(marks: dict[str, Any], form: dict[str, Json]) -> str | None:
    """`mediaResolution: {level}` as a word, when it says one of the three that others know too."""
    extra = marks.get("extra")
    resolution = extra.get("mediaResolution") if extra else None
    if type(resolution) is not dict or list(resolution) != ["level"]:
        return None
    level = resolution["level"]
    detail = _LEVELS.get(level.upper()) if type(level) is str else None
    if detail is None or extra is None:
        return None
    form["level"] = level
    extra = {key: item for key, item in extra.items() if key != "mediaResolution"}
    marks["extra"] = extra or None
    return detail


def media_kind(mime_type: str | None) -> Literal["image", "audio", "video", "file"]:
    """What a MIME type is a kind of; `file` when it is none of the three."""
    return _KINDS.get((mime_type or "").partition("/")[0].lower(), "file")


def _decode_result(
    part: dict[str, Json], at: str, names: Names, form: dict[str, Json], result_id: Ids, raw: RawPart | None
) -> ToolResult:
    where = f"{at}.{names.get('functionResponse', 'functionResponse')}"
    result = _inner(part, "functionResponse", at, names)
    name = wire_json.take_string(result, "name", where)
    response = wire_json.take_object(result, "response", where)
    given = wire_json.take_string(result, "id", where)
    call_key, invented = result_id(name or "", given or None, "")
    parts: list[Text | Media | Opaque] = []
    if response is None:
        form["response"] = "null" if "response" in result else "absent"
    else:
        parts.append(Text(text=_result_text(response, raw, form), at=where))
    for i, inner in enumerate(wire_json.take_list(result, "parts", where) or []):
        media = decode_part(inner, f"{where}.parts[{i}]", call_id=result_id, result_id=result_id)
        if not isinstance(media, Text | Media | Opaque):
            raise wrong(f"{where}.parts[{i}]", "a part with media", inner)
        parts.append(media)
    if "parts" in result and not result["parts"]:
        form["parts"] = result["parts"]
    if name is None:
        form["name"] = None
    rest = {key: item for key, item in result.items() if key not in ("name", "response", "id", "parts")}
    marks = _more(_marks(part, "functionResponse", at, names), "functionResponse", rest)
    return ToolResult(
        call_id=call_key,
        name=name,
        parts=tuple(parts),
        is_error=form.get("response") == "error",
        invented_id=invented,
        at=at,
        **marks,
    )


def _result_text(response: dict[str, Json], raw: RawPart | None, form: dict[str, Json]) -> str:
    """The text of a result: bare where it is all that stands under a usual key, else the object as JSON."""
    if len(response) == 1:
        key, value = next(iter(response.items()))
        if key in ("output", "result", "error") and type(value) is str:
            form["response"] = key
            return value
    return (raw.response if raw else None) or wire_json.encode(response).decode()


def unplaced(part: AnyPart, raw: Json) -> AnyPart:
    """A part of an answer: it stood in no caller's body. A tool's result, which only callers say, stays as it is."""
    if isinstance(part, ToolResult):
        return Opaque(dialect=NAME, kind="functionResponse", raw=raw, form={"whole": True})
    seal = None if part.seal is None else msgspec.structs.replace(part.seal, at="")
    return msgspec.structs.replace(part, at="", seal=seal)


# ── ids ────────────────────────────────────────────────────────────────────────────────


class RequestIds:
    """Names for the calls of a request whose caller gave none: `call_<n>_<name>`, in order.

    A result without an id belongs to the first unanswered call of the same name, else to the first unanswered call.
    """

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []  # (id, name) of calls without an answer

    def call(self, name: str, given: str | None, _arguments: str) -> tuple[str, bool]:
        identifier = given or f"call_{self._count}_{name[:24]}"
        self._count += 1
        self._open.append((identifier, name))
        return identifier, given is None

    def result(self, name: str, given: str | None, _arguments: str) -> tuple[str, bool]:
        match = next((one for one in self._open if one[0] == given), None)
        if given is None:
            match = next((one for one in self._open if one[1] == name), None)
        if match is not None:
            self._open.remove(match)
            return match[0], given is None
        if given is not None:
            return given, False
        identifier = f"call_{self._count}_{name[:24]}"
        self._count += 1
        return identifier, True


class AnswerIds:
    """Names for the calls of an answer whose upstream gave none: `call_i<12 hex digits>_<n>`.

    Made from the answer's own id, so that a stream and a whole answer get the same, and two answers different ones.
    """

    def __init__(self, response_id: str | None) -> None:
        self._seed = response_id
        self._count = 0

    def call(self, name: str, given: str | None, arguments: str) -> tuple[str, bool]:
        if given is not None:
            return given, False
        seed = self._seed or f"{name}\0{arguments}"
        digest = blake2b(seed.encode(), digest_size=6).hexdigest()
        identifier = f"call_i{digest}_{self._count}"
        self._count += 1
        return identifier, True


# ── canonical -> wire ──────────────────────────────────────────────────────────────────


def finish_part(data: dict[str, Json], part: Part, *, own: bool) -> dict[str, Json]:
    """Adds the marks to a part's data: the seal if it is ours, and for our own dialect extras and spelling."""
    if part.seal is not None and part.seal.origin == FAMILY:
        data["thoughtSignature"] = part.seal.value
    if not own:
        return data
    if part.extra:
        _add_extra(data, part.extra)
    if part.form:
        if "thought" in part.form:
            data["thought"] = part.form["thought"]
        if names := part.form.get("snake"):
            return spell(data, names)
    return data


def _add_extra(data: dict[str, Json], extra: Mapping[str, Json]) -> None:
    for key, item in extra.items():
        outer, dot, inner = key.partition(".")
        if dot and outer in _INNER:
            data[outer][inner] = item
        else:
            data[key] = item


def spell(data: dict[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    """A part as its caller spelled it: its own keys and those of its data object, never those of arguments."""
    return respelled(
        {key: respelled(item, names) if key in _INNER and type(item) is dict else item for key, item in data.items()},
        names,
    )


def encode_text(part: Text | Reasoning, *, own: bool) -> dict[str, Json]:
    data: dict[str, Json] = {"text": part.text}
    if own and part.form and "text" in part.form:
        data = {}
    if isinstance(part, Reasoning):
        data["thought"] = True
    return finish_part(data, part, own=own)


def encode_opaque(part: Opaque, *, own: bool) -> dict[str, Json]:
    """A block of this dialect as it was."""
    if part.kind == "thought" or (part.form and part.form.get("whole")):
        names = part.form.get("snake") if part.form else None
        return spell(part.raw, names) if names else dict(part.raw)
    return finish_part({part.kind: part.raw}, part, own=own)


def encode_media(part: Media, *, own: bool) -> dict[str, Json]:
    """Media that this dialect has a place for as it is: by content or by URI."""
    data: dict[str, Json] = {}
    if part.mime_type is not None:
        data["mimeType"] = part.mime_type
    if own and part.name is not None:
        data["displayName"] = part.name
    if part.base64 is not None:
        data["data"] = _spelled_bytes(part.base64, part.form) if own and part.form else part.base64
        return finish_part(_resolved({"inlineData": data}, part, own), part, own=own)
    data["fileUri"] = part.url or part.file_id
    return finish_part(_resolved({"fileData": data}, part, own), part, own=own)


def _spelled_bytes(content: str, form: Mapping[str, Json]) -> str:
    """base64 in the alphabet that the caller used, padded as it was."""
    if "data" not in form:
        return content
    content = content.translate(_URLSAFE)
    return content.rstrip("=") if form["data"] == "bare" else content


def _resolved(data: dict[str, Json], part: Media, own: bool) -> dict[str, Json]:
    if own and part.form and "level" in part.form:
        data["mediaResolution"] = {"level": part.form["level"]}
    return data


def encode_own_call(part: ToolCall) -> dict[str, Json]:
    """A call that came in this dialect, as it came."""
    form = part.form or {}
    call: dict[str, Json] = {"name": part.name}
    if form.get("args") == "null":
        call["args"] = None
    elif form.get("args") != "absent":
        call["args"] = msgspec.Raw(part.arguments.encode())
    if not part.invented_id:
        call["id"] = part.id
    elif "id" in form:
        call["id"] = form["id"]
    return finish_part({"functionCall": call}, part, own=True)


def encode_own_result(part: ToolResult) -> dict[str, Json]:
    """A result that came in this dialect, as it came."""
    form = part.form or {}
    result: dict[str, Json] = {} if "name" in form else {"name": part.name}
    media = list(part.parts)
    if form.get("response") == "null":
        result["response"] = None
    elif form.get("response") != "absent":
        result["response"] = _own_response(media.pop(0) if media else None, form.get("response"))
    if not part.invented_id:
        result["id"] = part.call_id
    if media:
        result["parts"] = [_own_inner(one) for one in media]
    elif "parts" in form:
        result["parts"] = form["parts"]
    return finish_part({"functionResponse": result}, part, own=True)


def _own_response(part: Text | Media | Opaque | None, key: str | None) -> Json:
    text = part.text if isinstance(part, Text) else ""
    return {key: text} if key else msgspec.Raw(text.encode())


def _own_inner(part: Text | Media | Opaque) -> dict[str, Json]:
    if isinstance(part, Media):
        return encode_media(part, own=True)
    return encode_text(part, own=True) if isinstance(part, Text) else encode_opaque(part, own=True)
