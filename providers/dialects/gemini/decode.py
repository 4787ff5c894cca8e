"""A caller's request -> canonical. What has no canonical place goes to `extra`; see parts.py for the `form` of parts.

`form` of the request: `alt` (how the stream is asked for), `version`, `collection`, `snake` (paths spelled in
snake_case), `config` (original words of generationConfig values that we understand differently), and `wrapped` for
a countTokens body with generateContentRequest.
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers.canonical.chat import (
    AnyPart,
    AudioConfig,
    ChatRequest,
    Message,
    ReasoningConfig,
    ResponseFormat,
    Role,
    SafetySetting,
    ServerTool,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
)
from providers.canonical.turns import Places, as_talk
from providers.dialect import Asked
from providers.dialects.gemini.names import NAME, PATHS, Json, Names, RawPart, alt_of, plain, raw_contents, raw_part
from providers.dialects.gemini.parts import RequestIds, decode_part, is_text
from providers.dialects.gemini.read import Plain, is_one_text, refuse, take
from providers.schemas import from_openapi
from providers.wire import json as wire_json
from providers.wire.json import wrong
from providers.wire.memory import read_once

#: generationConfig field -> canonical parameter, where the value is the same.
NUMBERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}
INTEGERS = {"maxOutputTokens": "max_output_tokens", "seed": "seed", "candidateCount": "n", "logprobs": "top_logprobs"}
_SIMPLE = frozenset({*NUMBERS, *INTEGERS, "responseLogprobs", "stopSequences"})
_SPEAKERS: dict[str, Role] = {"user": "user", "model": "assistant"}
_PLACES = Places("contents", "parts[0]")
_TIERS = {"standard": "default"}
TIER_OF = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}


class _Decoding:
    """One request while it is decoded."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.snake: Names = {}  # canonical path -> path as written, for top-level and generationConfig fields
        self.form: dict[str, Json] = {}
        self.extra: dict[str, Json] = {}
        self.fields: dict[str, Any] = {}
        self.paths: dict[str, str] = {}
        self.ids = RequestIds()

    def open(self, value: dict[str, Json], at: str) -> dict[str, Json]:
        """`value` in camelCase; how its keys were spelled is noted under the path `at`."""
        names: Names = {}
        opened = plain(value, names)
        for name, key in names.items():
            self.snake[f"{at}.{name}" if at else name] = key
        return opened

    def written(self, path: str) -> str:
        """A path in the words of the caller."""
        steps = path.split(".")
        return ".".join(self.snake.get(".".join(steps[: i + 1]), step) for i, step in enumerate(steps))

    def spelled(self, at: str) -> dict[str, Json]:
        """For the `form` of what stands at a path: its keys that were spelled otherwise."""
        names = {path[len(at) + 1 :]: key for path, key in self.snake.items() if path.startswith(f"{at}.")}
        return {"snake": names} if names else {}


def decode_request(asked: Asked) -> ChatRequest:
    """The canonical request. MalformedRequest for fields that cannot be understood."""
    if asked.usual is not None and (read := _decode_common(asked, asked.usual)) is not None:
        return read
    work = _Decoding(asked)
    body = work.open(asked.fields, "")
    raw = asked.top.get("contents") if asked.usual is None else None
    prefix = ""
    if asked.task == "countTokens" and isinstance(body.get("generateContentRequest"), dict):
        work.form["wrapped"] = {key: value for key, value in body.items() if key != "generateContentRequest"}
        body = work.open(body["generateContentRequest"], "")
        raw = None
        prefix = f"{work.snake.get('generateContentRequest', 'generateContentRequest')}."
    _decode_config(work, body.get("generationConfig"))
    messages = _decode_messages(work, body, bytes(raw) if raw else b"", prefix)
    _decode_tool_config(work, body)
    _decode_top(work, body)
    _note_spelling(work, prefix)
    return ChatRequest(
        dialect=NAME,
        model=asked.model,
        messages=messages,
        tools=_decode_tools(work, body),
        safety=_decode_safety(work, body),
        stream=asked.stream,
        include_usage=True,
        count=asked.task == "countTokens",
        extra=work.extra or None,
        form=work.form or None,
        paths=work.paths or None,
        **work.fields,
    )


_COMMON = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
_FEWEST = 2  # parameters of a route: model and task


def _decode_common(asked: Asked, contents: list[Plain]) -> ChatRequest | None:
    """A request with nothing in it but what most have, and spelled as most spell it; None where there is more to it."""
    body = asked.fields
    fields: dict[str, Any] = {}
    for key in body:
        if key not in _COMMON:
            return None
    config = body.get("generationConfig")
    for key, value in config.items() if config else ():
        if key in NUMBERS and (type(value) is float or type(value) is int):
            fields[NUMBERS[key]] = value
        elif key in INTEGERS and type(value) is int:
            fields[INTEGERS[key]] = value
        else:
            return None
    tools = read_once(body["tools"], "gemini: read", _read_tools) if body.get("tools") else ()
    for tool in tools:
        if type(tool) is not Tool or tool.response is not None:
            return None
    system = None
    if "systemInstruction" in body:
        written = body["systemInstruction"]
        if type(written) is not dict or len(written) != 1 or not is_one_text(written):
            return None
        text = Text(text=written["parts"][0]["text"], at="systemInstruction.parts[0]")
        system = Message(role="system", parts=(text,), at="systemInstruction")
    if len(asked.params) > _FEWEST or (not tools and "tools" in body) or (not config and "generationConfig" in body):
        return None
    query = asked.wire.query
    return ChatRequest(
        dialect=NAME,
        model=asked.model,
        messages=_usual(contents, system),
        tools=tools,
        stream=asked.stream,
        include_usage=True,
        form={"alt": alt} if query and (alt := alt_of(query)) else None,
        **fields,
    )


_TAKEN = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig"}
    | {"cachedContent", "serviceTier", "labels", "store", "model"}
)


def _decode_top(work: _Decoding, body: dict[str, Json]) -> None:
    fields = work.fields
    fields["cached_content"] = wire_json.take_string(body, "cachedContent")
    fields["store"] = wire_json.take_bool(body, "store")
    tier = wire_json.take_string(body, "serviceTier")
    if tier is not None:
        fields["service_tier"] = _TIERS.get(tier.lower(), tier.lower())
        work.form["tier"] = tier
    labels = wire_json.take_object(body, "labels")
    if labels is not None:
        if not all(type(value) is str for value in labels.values()):
            raise refuse("labels", "labels must be an object of strings")
        fields["metadata"] = labels
    if "model" in body:
        work.form["model"] = body["model"]
    for key, value in body.items():
        if key not in _TAKEN:
            work.extra[work.snake.get(key, key)] = value  # nobody knows it: it stays as it was spelled


def _note_spelling(work: _Decoding, prefix: str) -> None:
    asked = work.asked
    for key in ("version", "collection"):
        if key in asked.params:
            work.form[key] = asked.params[key]
    if alt := alt_of(asked.wire.query):
        work.form["alt"] = alt
    if work.snake:
        work.form["snake"] = work.snake
    if not work.snake and not prefix:
        return
    for parameter, usual in PATHS.items():
        written = prefix + work.written(usual)
        if written != usual:
            work.paths[parameter] = written


# ── messages ───────────────────────────────────────────────────────────────────────────


def _decode_messages(work: _Decoding, body: dict[str, Json], raw: bytes, prefix: str) -> tuple[Message, ...]:
    messages: list[Message] = []
    system = body.get("systemInstruction")
    if system is not None:
        messages.append(_decode_system(work, system, prefix + work.snake.get("systemInstruction", "systemInstruction")))
    if work.asked.usual is not None:
        return _usual(work.asked.usual, messages[0] if messages else None)
    raws: list[list[RawPart]] | None = None  # looked for when there is something that is not plain
    call_id, result_id = work.ids.call, work.ids.result
    for i, content in enumerate(body["contents"]):
        at = f"{prefix}contents[{i}]"
        items = content["parts"]
        if len(content) == 2 and len(items) == 1 and is_text(items[0]):  # most contents
            speaker = _SPEAKERS.get(content.get("role") or "")
            if speaker is not None:
                text = Text(text=items[0]["text"], at=f"{at}.parts[0]")
                messages.append(Message(role=speaker, parts=(text,), at=at))
                continue
        if raws is None:
            raws = raw_contents(raw)
        parts = tuple(
            decode_part(part, f"{at}.parts[{j}]", call_id, result_id, raw_part(raws, i, j) if raws else None)
            for j, part in enumerate(content["parts"])
        )
        if any(part.seal is not None for part in parts):
            parts = tuple(map(_placed, parts, content["parts"]))
        role = content.get("role", False)
        form = None if role == "user" or role == "model" else {"role": role}
        extra = None
        if len(content) > (2 if "role" in content else 1):
            extra = {key: value for key, value in content.items() if key not in ("role", "parts")} or None
        if role == "model":
            messages.append(Message(role="assistant", parts=parts, at=at, form=form, extra=extra))
        elif not any(type(part) is ToolResult for part in parts):
            messages.append(Message(role="user", parts=parts, at=at, form=form, extra=extra))
        else:
            messages.extend(_split(parts, at, form, extra))
    return tuple(messages)


def _usual(contents: list[Plain], system: Message | None) -> tuple[Message, ...]:
    """The contents of a usual request, after its system text."""
    texts = [content.parts[0].text for content in contents]
    roles = [_SPEAKERS[content.role] for content in contents]
    return as_talk(_PLACES.messages(roles, texts), roles, texts, system)


def _placed(part: AnyPart, raw: dict[str, Json]) -> AnyPart:
    """The part with the place of its signature, so that the loss of it can be named."""
    if part.seal is None:
        return part
    key = "thoughtSignature" if "thoughtSignature" in raw else "thought_signature"
    return msgspec.structs.replace(part, seal=msgspec.structs.replace(part.seal, at=f"{part.at}.{key}"))


def _decode_system(work: _Decoding, system: Json, at: str) -> Message:
    if type(system) is str:
        return Message(role="system", parts=(Text(text=system, at=at),), at=at, form={"string": True})
    parts = tuple(
        decode_part(part, f"{at}.parts[{j}]", work.ids.call, work.ids.result) for j, part in enumerate(system["parts"])
    )
    form = {"role": system["role"]} if "role" in system else None
    extra = {key: value for key, value in system.items() if key not in ("role", "parts")}
    return Message(role="system", parts=parts, at=at, form=form, extra=extra or None)


def _split(
    parts: tuple[AnyPart, ...], at: str, form: dict[str, Json] | None, extra: dict[str, Json] | None
) -> list[Message]:
    """A content with results of tools as one message, or as several where other parts stand between them."""
    messages: list[Message] = []
    run: list[AnyPart] = []
    for i, part in enumerate(parts):
        run.append(part)
        is_result = isinstance(part, ToolResult)
        if i + 1 < len(parts) and isinstance(parts[i + 1], ToolResult) is is_result:
            continue
        kind: Role = "tool" if is_result else "user"
        joined = {"joined": True} if messages else form
        messages.append(Message(role=kind, parts=tuple(run), at=at, form=joined, extra=None if messages else extra))
        run = []
    return messages


# ── generationConfig ───────────────────────────────────────────────────────────────────


def _decode_config(work: _Decoding, config: Json) -> None:
    if config is None:
        return
    config = dict(work.open(config, "generationConfig"))
    if not config:
        work.form["config"] = {}
    fields, at = work.fields, "generationConfig"
    for key in config:
        if key in NUMBERS:
            fields[NUMBERS[key]] = wire_json.take_number(config, key, at)
        elif key in INTEGERS:
            fields[INTEGERS[key]] = wire_json.take_integer(config, key, at)
    fields["logprobs"] = wire_json.take_bool(config, "responseLogprobs", at)
    stop = wire_json.take_list(config, "stopSequences", at)
    if stop is not None:
        if not all(type(word) is str for word in stop):
            raise refuse(f"{at}.stopSequences", f"{at}.stopSequences must be an array of strings")
        fields["stop"] = tuple(stop)
        if not stop:
            work.form["stop"] = []
    config = {key: value for key, value in config.items() if key not in _SIMPLE}
    if not config:
        return
    _decode_modalities(work, config)
    _decode_format(work, config)
    _decode_thinking(work, config)
    _decode_speech(work, config)
    for key, value in config.items():
        work.extra[f"{at}.{key}"] = value


def _decode_modalities(work: _Decoding, config: dict[str, Json]) -> None:
    modalities = wire_json.take_list(config, "responseModalities", "generationConfig")
    if not modalities or not all(type(word) is str for word in modalities):
        return
    work.fields["modalities"] = tuple(word.lower() for word in modalities)
    if any(word != word.upper() for word in modalities):
        work.form["modalities"] = modalities
    del config["responseModalities"]


def _decode_format(work: _Decoding, config: dict[str, Json]) -> None:
    at = "generationConfig"
    key = next((key for key in ("responseJsonSchema", "responseSchema") if config.get(key) is not None), None)
    mime_type = wire_json.take_string(config, "responseMimeType", at)
    if key is None and mime_type is None:
        return
    form: dict[str, Json] = {} if mime_type is not None else {"mime": None}
    extra: dict[str, Json] = {}
    if mime_type not in (None, "application/json", "text/plain"):
        extra["responseMimeType"] = mime_type
    kind: Any = "text" if mime_type in (None, "text/plain") else "json_object"
    schema: Json = None
    where = at
    if key is not None:
        schema = wire_json.take_object(config, key, at)
        kind = "json_schema"
        where = f"{at}.{work.snake.get(f'{at}.{key}', key)}"
        form["schema"] = key
        if key == "responseSchema":
            form["original"] = schema
            schema = from_openapi(schema or {})
        del config[key]
    elif mime_type is not None:
        where = f"{at}.{work.snake.get(f'{at}.responseMimeType', 'responseMimeType')}"
    if extra and schema is None:
        return  # text/x.enum and its like without a schema: only this dialect knows
    config.pop("responseMimeType", None)
    if mime_type is not None:
        form["mime"] = mime_type
    work.paths["response_format"] = where
    work.fields["response_format"] = ResponseFormat(kind=kind, schema=schema, form=form, extra=extra or None, at=where)


def _decode_thinking(work: _Decoding, config: dict[str, Json]) -> None:
    at = "generationConfig.thinkingConfig"
    value = wire_json.take_object(config, "thinkingConfig", "generationConfig")
    if value is None:
        return
    thinking = work.open(value, at)
    level = wire_json.take_string(thinking, "thinkingLevel", at)
    known = level is not None and not level.lower().endswith("unspecified")
    rest = {key: item for key, item in thinking.items() if key not in ("thinkingBudget", "includeThoughts")}
    if known:
        rest.pop("thinkingLevel")
    work.fields["reasoning"] = ReasoningConfig(
        effort=level.lower() if known and level else None,
        budget=wire_json.take_integer(thinking, "thinkingBudget", at),
        show=wire_json.take_bool(thinking, "includeThoughts", at),
        extra=rest or None,
        form={**({"level": level} if known else {}), **work.spelled(at)} or None,
        at=work.written(at),
    )
    del config["thinkingConfig"]


def _decode_speech(work: _Decoding, config: dict[str, Json]) -> None:
    """A prebuilt voice has a name that others may know; every other way to say a voice stays ours."""
    match config.get("speechConfig"):
        case {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": str(name), **none}, **nothing}, **nil} if not (
            none or nothing or nil
        ):
            work.fields["audio"] = AudioConfig(voice=name, at="generationConfig.speechConfig")
            del config["speechConfig"]


# ── tools ──────────────────────────────────────────────────────────────────────────────


def _decode_tools(work: _Decoding, body: dict[str, Json]) -> tuple[Tool | ServerTool, ...]:
    raws = body.get("tools") or []
    tools = read_once(raws, "gemini: read", _read_tools)
    if "tools" in body and not body["tools"]:
        work.form["tools"] = body["tools"]
    for tool in tools:
        if type(tool) is Tool and tool.response is not None and tool.form and tool.form.get("response") == "json":
            spelled = tool.form.get("names", {}).get("responseJsonSchema", "responseJsonSchema")
            work.paths[f"{tool.at}.response"] = f"{tool.at}.{spelled}"
    return tools


def _read_tools(raws: list[Json]) -> tuple[Tool | ServerTool, ...]:
    tools: list[Tool | ServerTool] = []
    for i, written in enumerate(raws):
        names: Names = {}
        entry = plain(written, names)
        for key, value in entry.items():
            form: dict[str, Json] = {"entry": i, "snake": names} if names else {"entry": i}
            at = f"tools[{i}].{names.get(key, key)}"
            if key == "functionDeclarations" and value:
                tools.extend(_decode_function(one, f"{at}[{j}]", form) for j, one in enumerate(value))
            else:
                inner: Names = {}
                raw = plain(value, inner) if type(value) is dict else value
                if inner:
                    form["names"] = inner
                tools.append(ServerTool(dialect=NAME, kind=key, raw=raw, form=form, at=at))
    return tuple(tools)


def _decode_function(value: Json, at: str, entry: dict[str, Json]) -> Tool:
    if type(value) is not dict:
        raise wrong(at, "an object", value)
    names: Names = {}
    declaration = plain(value, names)
    form = dict(entry)
    if names:
        form["names"] = names
    name = wire_json.take_string(declaration, "name", at)
    if not name:
        raise refuse(f"{at}.name", f"{at}.name must be a string")
    known = {"name", "description", "parametersJsonSchema", "parameters", "responseJsonSchema", "response"}
    return Tool(
        name=name,
        description=wire_json.take_string(declaration, "description", at),
        parameters=_decode_schema(declaration, "parameters", at, form),
        response=_decode_schema(declaration, "response", at, form),
        extra={key: item for key, item in declaration.items() if key not in known} or None,
        form=form,
        at=at,
    )


def _decode_schema(declaration: dict[str, Json], key: str, at: str, form: dict[str, Json]) -> Json:
    """`parametersJsonSchema` as it is, or `parameters` as JSON Schema; the form knows which, and the original."""
    schema = wire_json.take_object(declaration, f"{key}JsonSchema", at)
    if schema is not None:
        form[key] = "json"
        return schema
    original = wire_json.take_object(declaration, key, at)
    if original is None:
        return None
    form[key] = original
    return from_openapi(original)


def _decode_tool_config(work: _Decoding, body: dict[str, Json]) -> None:
    value = body.get("toolConfig")
    if value is None:
        return
    config = dict(work.open(value, "toolConfig"))
    if not config:
        work.form["toolConfig"] = {}
    at = "toolConfig.functionCallingConfig"
    calling = config.get("functionCallingConfig")
    if type(calling) is dict:
        calling = work.open(calling, at)
        mode = calling.get("mode")
        known = _MODES.get(mode.upper()) if type(mode) is str else None
        names = calling.get("allowedFunctionNames")
        if isinstance(mode, str) and known is not None and _are_names(names):
            rest = {key: item for key, item in calling.items() if key not in ("mode", "allowedFunctionNames")}
            work.fields["tool_choice"] = ToolChoice(
                mode=known,  # type: ignore[arg-type]  # the values of _MODES
                names=tuple(names or ()),
                validated=mode.upper() == "VALIDATED",
                form={"mode": mode, **({"names": names} if names == [] else {}), **work.spelled(at)},
                extra=rest or None,
                at=work.written(at),
            )
            del config["functionCallingConfig"]
    for key, item in config.items():
        work.extra[f"toolConfig.{key}"] = item


def _are_names(value: Json) -> bool:
    return value is None or (type(value) is list and all(type(name) is str and name for name in value))


def _decode_safety(work: _Decoding, body: dict[str, Json]) -> tuple[SafetySetting, ...]:
    settings = body.get("safetySettings")
    if settings is None:
        return ()
    if settings == []:
        work.form["safety"] = []
    at, _ = take(work.asked.body, "safetySettings")
    return tuple(
        SafetySetting(
            category=setting["category"],
            threshold=setting.get("threshold"),
            extra={key: item for key, item in setting.items() if key not in ("category", "threshold")} or None,
            at=f"{at}[{i}]",
        )
        for i, setting in enumerate(settings or ())
    )
