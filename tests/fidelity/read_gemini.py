"""Reads Gemini v1beta - requests, answers, streams - into neutral values (see `neutral`)."""

from __future__ import annotations

import json
import re
from typing import Any

from .neutral import (
    Answer,
    Call,
    Choice,
    Fact,
    Function,
    Json,
    Request,
    Said,
    Usage,
    content,
    events,
    in_order_of_calls,
    paired,
    result_of,
    says,
    unescaped,
)


def _camel(key: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), key)


def opened(value: Json) -> tuple[dict[str, Any], dict[str, str]]:
    """An object with camelCase keys, and how each was spelled."""
    return {_camel(key): item for key, item in value.items()}, {_camel(key): key for key in value}


# ── requests ───────────────────────────────────────────────────────────────────────────


def read_request(body: Json) -> Request:
    out = Request()
    rest, names = opened(body)
    at = ""
    if isinstance(rest.get("generateContentRequest"), dict):
        at = names["generateContentRequest"] + "."
        rest, names = opened(rest["generateContentRequest"])
    rest.pop("model", None)
    conversation = _Conversation(out)
    system = rest.pop("systemInstruction", None)
    where = at + names.get("systemInstruction", "")
    if isinstance(system, str):
        conversation.add("system", "text", system, where)
    elif system:
        conversation.content(system, where, "system")
    contents = rest.pop("contents")
    for i, one in enumerate(contents):
        conversation.content(one, f"{at}{names['contents']}[{i}]")
    conversation.finish()
    _tools(out, rest.pop("tools", None), at + names.get("tools", ""))
    _tool_config(out, rest.pop("toolConfig", None), at + names.get("toolConfig", ""))
    _config(out, rest.pop("generationConfig", None), at + names.get("generationConfig", ""))
    for i, setting in enumerate(rest.pop("safetySettings", None) or ()):
        out.facts[f"safety:{i}"] = Fact(setting, f"{at}{names['safetySettings']}[{i}]")
    tier = rest.pop("serviceTier", None)
    if tier:
        word = tier.lower()
        out.fact("service_tier", "default" if word == "standard" else word, at + names["serviceTier"])
    out.fact("metadata", rest.pop("labels", None), at + names.get("labels", ""))
    if rest.pop("store", None):
        out.fact("store", True, at + names["store"])
    for key, value in rest.items():
        out.fact(key, value, at + names[key])
    return out


class _Conversation:
    def __init__(self, out: Request) -> None:
        self.out = out
        self.said: list[Said] = []
        self.calls: list[tuple[int, str | None, str]] = []
        self.results: list[tuple[int, str | None, str]] = []

    def add(self, role: str, kind: str, value: Json, at: str) -> Said:
        one = Said(role, kind, value, at)
        self.said.append(one)
        return one

    def finish(self) -> None:
        paired(self.said, self.calls, self.results)
        self.out.said = in_order_of_calls(self.said)

    def content(self, value: Json, at: str, role: str | None = None) -> None:
        role = role or {"model": "assistant"}.get(value.get("role") or "user", "user")
        for j, part in enumerate(value.get("parts") or ()):
            self.part(role, part, f"{at}.parts[{j}]")
        for key in value.keys() - {"role", "parts"}:
            if says(value[key]):
                self.add(role, "block", {key: value[key]}, f"{at}.{key}")

    def part(self, role: str, part: Json, at: str) -> None:
        rest, names = opened(part)
        thought = rest.pop("thought", None) is True
        signature = rest.pop("thoughtSignature", None)
        marks: dict[str, Fact] = {}
        kind = next((key for key in _DATA if says(rest.get(key)) or (key in rest and key in _OBJECTS)), None)
        inner = rest.pop(kind, None) if kind else None
        where = f"{at}.{names[kind]}" if kind else at
        if thought and kind is None and not rest.get("text"):
            one = self.add(role, "nothing", None, at)  # thinking that is not shown
        elif thought and kind != "text":
            one = self.add(role, "block", {"thought": part}, at)
        elif kind == "text":
            one = self.add(role, "reasoning" if thought else "text", inner, at)
        elif kind in _OBJECTS:
            one = _OBJECTS[kind](self, role, inner or {}, at, where, marks)
        elif kind is not None:
            one = self.add(role, "block", {kind: inner}, at)
        elif signature is not None:
            one = self.add(role, "nothing", None, at)
        else:
            left = {key: value for key, value in rest.items() if key != "text"}
            if not left:
                return
            one = self.add(role, "block", left, at)
            rest = {}
        one.marks.update(marks)
        if signature is not None:
            one.marks["signature"] = Fact(signature, f"{at}.{names['thoughtSignature']}")
        level = rest.pop("mediaResolution", None)
        if level:
            word = str(level.get("level")).upper()
            if word not in ("MEDIA_RESOLUTION_UNSPECIFIED", "MEDIA_RESOLUTION_MEDIUM"):
                one.marks["detail"] = Fact(_DETAILS.get(word, word), f"{at}.{names['mediaResolution']}")
        for key, value in rest.items():
            if says(value) and key != "text":
                one.marks[key] = Fact(value, f"{at}.{names[key]}")

    def blob(self, role: str, inner: Json, at: str, where: str, marks: dict[str, Fact]) -> Said:
        data, names = opened(inner)
        value = content(data.pop("mimeType", None), data.pop("data", ""))
        _marks(data, names, where, marks)
        return self.add(role, "media", value, at)

    def file(self, role: str, inner: Json, at: str, where: str, marks: dict[str, Fact]) -> Said:
        data, names = opened(inner)
        data.pop("mimeType", None)
        uri = data.pop("fileUri", None)
        _marks(data, names, where, marks)
        return self.add(role, "media", {"url": uri}, at)

    def call(self, role: str, inner: Json, at: str, where: str, marks: dict[str, Fact]) -> Said:
        data, names = opened(inner)
        name = unescaped(data.pop("name"))
        one = self.add(role, "call", {"name": name, "arguments": data.pop("args", None) or {}}, at)
        one.id = data.pop("id", None)
        self.calls.append((len(self.said) - 1, one.id, name))
        _marks(data, names, where, marks)
        return one

    def result(self, role: str, inner: Json, at: str, where: str, marks: dict[str, Fact]) -> Said:
        data, names = opened(inner)
        response = data.pop("response", None) or {}
        value: Json = {"object": response}
        if len(response) == 1 and isinstance(next(iter(response.values())), str):
            key, text = next(iter(response.items()))
            if key in ("output", "result"):
                value = result_of(text)
            elif key == "error":
                value = {"error": text}
        elif not response:
            value = {"text": ""} if not inner.get("response") and "response" not in inner else {"object": {}}
        one = self.add("tool", "result", value, at)
        one.id = data.pop("id", None)
        self.results.append((len(self.said) - 1, one.id, unescaped(data.pop("name", None) or "")))
        for k, part in enumerate(data.pop("parts", None) or ()):
            inline, _ = opened(opened(part)[0].get("inlineData") or {})
            file, _ = opened(opened(part)[0].get("fileData") or {})
            medium = content(inline.get("mimeType"), inline["data"]) if inline else {"url": file.get("fileUri")}
            marks[f"media {k}"] = Fact(medium, f"{where}.parts[{k}]")
            if (inline or file).get("displayName"):
                marks[f"name {k}"] = Fact((inline or file)["displayName"], f"{where}.parts[{k}]")
        _marks(data, names, where, marks)
        return one


def _marks(rest: dict[str, Json], names: dict[str, str], at: str, marks: dict[str, Fact]) -> None:
    for key, value in rest.items():
        if says(value):
            marks["filename" if key == "displayName" else key] = Fact(value, f"{at}.{names[key]}")


_OBJECTS = {
    "inlineData": _Conversation.blob,
    "fileData": _Conversation.file,
    "functionCall": _Conversation.call,
    "functionResponse": _Conversation.result,
}
_DATA = (*_OBJECTS, "executableCode", "codeExecutionResult", "toolCall", "toolResponse", "text")
_DETAILS = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "original",
}


def _tools(out: Request, tools: Json, at: str) -> None:
    for i, tool in enumerate(tools or ()):
        entry, names = opened(tool)
        for j, declaration in enumerate(entry.pop("functionDeclarations", None) or ()):
            where = f"{at}[{i}].{names['functionDeclarations']}[{j}]"
            inner, inner_names = opened(declaration)
            upper = not says(inner.get("parametersJsonSchema"))
            parameters = inner.pop("parametersJsonSchema", None) or inner.pop("parameters", None)
            inner.pop("parameters", None)
            made = Function(
                unescaped(inner.pop("name")), where, inner.pop("description", None) or None, parameters, upper
            )
            for key, value in inner.items():
                if says(value):
                    made.marks[key] = Fact(value, f"{where}.{inner_names[key]}")
            out.functions.append(made)
        for key, value in entry.items():
            if value is not None:
                out.facts[f"tool:{at}[{i}].{key}"] = Fact({key: value}, f"{at}[{i}].{names[key]}")


def _tool_config(out: Request, config: Json, at: str) -> None:
    rest, names = opened(config or {})
    raw = rest.pop("functionCallingConfig", None)
    if raw:
        calling, inner_names = opened(raw)
        where = f"{at}.{names['functionCallingConfig']}"
        mode = (calling.pop("mode", None) or "AUTO").upper()
        allowed = [unescaped(one) for one in calling.pop("allowedFunctionNames", None) or []]
        word = {"ANY": "required", "NONE": "none", "AUTO": "auto", "VALIDATED": "auto"}.get(mode, mode)
        if word != "auto" or allowed:
            out.fact("tool_choice", {"mode": word, "names": allowed}, where)
        out.checks = mode in ("VALIDATED", "ANY", "NONE")
        if mode == "VALIDATED":
            out.fact("validated", True, where)
        for key, value in calling.items():
            out.fact(f"toolConfig.{key}", value, f"{where}.{inner_names[key]}")
    for key, value in rest.items():
        out.fact(f"toolConfig.{key}", value, f"{at}.{names[key]}")


_PLAIN = {
    "maxOutputTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
    "seed": "seed",
    "candidateCount": "n",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
_DEFAULTS: dict[str, tuple[Json, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
}


def _config(out: Request, config: Json, at: str) -> None:
    rest, names = opened(config or {})
    for key, name in _PLAIN.items():
        value = rest.pop(key, None)
        if value not in _DEFAULTS.get(name, ()):
            out.fact(name, value, f"{at}.{names.get(key, key)}")
    modalities = [word.lower() for word in rest.pop("responseModalities", None) or ()]
    if modalities and modalities != ["text"]:
        out.fact("modalities", modalities, f"{at}.{names['responseModalities']}")
    mime = rest.pop("responseMimeType", None)
    where = f"{at}.{names.get('responseMimeType', '')}"
    if mime == "application/json":
        out.fact("json", True, where)
    elif mime not in (None, "", "text/plain"):
        out.fact("responseMimeType", mime, where)
    for key in ("responseJsonSchema", "responseSchema"):
        schema = rest.pop(key, None)
        if says(schema):
            out.schema = Fact(schema, f"{at}.{names[key]}")
    thinking, inner = opened(rest.pop("thinkingConfig", None) or {})
    where = f"{at}.{names.get('thinkingConfig', '')}"
    level, budget = thinking.pop("thinkingLevel", None), thinking.pop("thinkingBudget", None)
    if level and not level.upper().endswith("UNSPECIFIED"):
        out.fact("reasoning", {"effort": level.lower()}, f"{where}.{inner['thinkingLevel']}")
    elif budget == 0:
        out.fact("reasoning", {"effort": "none"}, f"{where}.{inner['thinkingBudget']}")
    elif budget is not None:
        out.fact("reasoning", {"budget": budget}, f"{where}.{inner['thinkingBudget']}")
    if thinking.pop("includeThoughts", None):
        out.fact("show_reasoning", True, f"{where}.{inner['includeThoughts']}")
    for key, value in thinking.items():
        out.fact(f"thinkingConfig.{key}", value, f"{where}.{inner[key]}")
    for key, value in rest.items():
        out.fact("audio" if key == "speechConfig" else key, value, f"{at}.{names[key]}")


# ── answers ────────────────────────────────────────────────────────────────────────────

_FILTERED = ["SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"]
_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "1": "stop",
    "2": "length",
    "3": "content_filter",
}


def read_answer(body: Json) -> Answer:
    out = Answer()
    _chunk(out, body)
    _finish(out)
    return out


def read_stream(data: bytes) -> Answer:
    """SSE, one JSON array, or a bare error object: by the first byte."""
    out = Answer()
    if data.lstrip()[:1] in (b"[", b"{"):
        whole = json.loads(data)
        chunks = whole if isinstance(whole, list) else [whole]
    else:
        chunks = [json.loads(payload) for _, payload in events(data) if payload != b"[DONE]"]
    for chunk in chunks:
        if "error" in chunk:
            out.error = chunk["error"]
            break
        _chunk(out, chunk)
    _finish(out)
    out.complete = bool(out.choices or out.blocked) and all(choice.word for choice in out.choices.values())
    return out


def _chunk(out: Answer, body: Json) -> None:
    out.id = out.id or body.get("responseId") or None
    out.model = out.model or body.get("modelVersion") or None
    if body.get("usageMetadata"):
        out.usage = _usage(body["usageMetadata"])
    out.blocked = (body.get("promptFeedback") or {}).get("blockReason") or out.blocked
    for place, candidate in enumerate(body.get("candidates") or ()):
        choice = out.choices.setdefault(candidate.get("index") or (0 if "index" in candidate else place), Choice())
        for part in (candidate.get("content") or {}).get("parts") or ():
            _hear(choice, part)
        _sources(choice, candidate.get("groundingMetadata") or {})
        word = candidate.get("finishReason")
        choice.word = str(word) if word not in (None, "FINISH_REASON_UNSPECIFIED", 0) else choice.word
        choice.why = candidate.get("finishMessage") or choice.why
        tokens = (candidate.get("logprobsResult") or {}).get("chosenCandidates")
        if tokens is not None:
            choice.tokens = (choice.tokens or []) + [token.get("token", "") for token in tokens]


def _sources(choice: Choice, grounding: Json) -> None:
    """The addresses that some piece of the text rests on; others were only looked at."""
    chunks = grounding.get("groundingChunks") or []
    used = [i for one in grounding.get("groundingSupports") or () for i in one.get("groundingChunkIndices") or ()]
    for i in used:
        url = (chunks[i].get("web") or {}).get("uri") if i < len(chunks) else None
        choice.sources += [url] if url and url not in choice.sources else []


def _hear(choice: Choice, part: Json) -> None:
    part, _ = opened(part)
    choice.seals += [part["thoughtSignature"]] if part.get("thoughtSignature") else []
    thought = part.get("thought") is True
    if part.get("functionCall") is not None and not thought:
        call = part["functionCall"]
        if "partialArgs" in call or "willContinue" in call or not call.get("name"):
            _hear_piece(choice, part, call)
            return
        made = Call(call["name"], call.get("args") or {}, call.get("id"), part.get("thoughtSignature"))
        choice.calls.append(made)
    elif part.get("inlineData") and not thought:
        made = content(part["inlineData"].get("mimeType"), part["inlineData"].get("data", ""))
        # An answer that is spoken stands in chat without its type: compared by its bytes.
        choice.media.append(
            {**made, "type": "audio"} if made["type"] in ("", "audio") or made["type"][:6] == "audio/" else made
        )
    elif "text" in part:
        if thought:
            choice.reasoning += part["text"]
        else:
            choice.text += part["text"]
    else:
        choice.foreign += [key for key in part if key not in ("thought", "thoughtSignature")]


def _hear_piece(choice: Choice, part: Json, call: Json) -> None:
    """Arguments that come by path (Vertex): `{"name"}` opens a call, `{}` closes it."""
    if call.get("name"):
        choice.calls.append(Call(call["name"], {}, call.get("id"), part.get("thoughtSignature")))
    for piece in call.get("partialArgs") or ():
        steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.$\[\]'\"]+", piece["jsonPath"])]
        value = next((piece[key] for key in ("stringValue", "numberValue", "boolValue") if key in piece), None)
        _put(choice.calls[-1].arguments, steps, value)


def _put(holder: Any, steps: list[str | int], value: Json) -> None:
    """Sets what stands at a path; a text that is there already goes on."""
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        holder.extend([None] * (step + 1 - len(holder)))
    before = holder[step] if isinstance(step, int) else holder.get(step)
    if rest:
        if before is None:
            before = holder[step] = [] if isinstance(rest[0], int) else {}
        _put(before, rest, value)
    else:
        holder[step] = before + value if isinstance(before, str) and isinstance(value, str) else value


def _finish(out: Answer) -> None:
    for choice in out.choices.values():
        word = choice.word or ""
        filtered = word in _FILTERED or word.startswith("IMAGE_") or word == "NO_IMAGE"
        choice.finish = (
            "content_filter" if filtered else _FINISH.get(word, "error" if word else "stop" if choice.heard else None)
        )
        if choice.calls and choice.finish == "stop":
            choice.finish = "tool_calls"
        if choice.finish == "content_filter":
            choice.refusal = choice.why


def _usage(raw: Json) -> Usage:
    def count(key: str) -> int:
        return int(raw.get(key) or 0)

    prompt = count("promptTokenCount") + count("toolUsePromptTokenCount")
    answered, thoughts, total = count("candidatesTokenCount"), count("thoughtsTokenCount"), count("totalTokenCount")
    inclusive = thoughts and prompt + answered == total
    return Usage(
        input=prompt,
        output=answered if inclusive else answered + thoughts,
        total=total,
        cached=count("cachedContentTokenCount"),
        reasoning=thoughts,
        sound=(_of("AUDIO", raw, "promptTokensDetails"), _of("AUDIO", raw, "candidatesTokensDetails")),
        pictures=(_of("IMAGE", raw, "promptTokensDetails"), _of("IMAGE", raw, "candidatesTokensDetails")),
    )


def _of(kind: str, raw: Json, key: str) -> int:
    return sum(one.get("tokenCount") or 0 for one in raw.get(key) or () if one.get("modality") == kind)


__all__ = ["read_answer", "read_request", "read_stream"]
