"""Reads OpenAI Chat Completions - requests, answers, streams - into neutral values (see `neutral`)."""

from __future__ import annotations

import json

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
    cache_of,
    content,
    events,
    from_url,
    in_order_of_calls,
    paired,
    parsed,
    result_of,
    says,
)

#: Values that are what happens anyway: leaving them out says the same.
DEFAULTS: dict[str, tuple[Json, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto",),
    "store": (False,),
    "modalities": (["text"],),
    "tool_choice": ("auto",),
}
_NAMES = {
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "safety_identifier": "end_user",
    "user": "end_user",
    "prompt_cache_key": "cache_key",
}
_REASONING = ("reasoning_content", "reasoning")


# ── requests ───────────────────────────────────────────────────────────────────────────


def read_request(body: Json) -> Request:
    out = Request()
    rest = dict(body)
    messages = rest.pop("messages")
    for key in ("model", "stream", "stream_options"):
        value = rest.pop(key, None)
        if key == "stream_options" and isinstance(value, dict):
            others = {k: v for k, v in value.items() if k != "include_usage" and v is not False}
            out.fact("stream_options", others, key)
    if says(rest.get("max_completion_tokens")):
        out.fact("other:max_tokens", rest.pop("max_tokens", None), "max_tokens")
    if says(rest.get("safety_identifier")):
        out.fact("other:user", rest.pop("user", None), "user")
    _Conversation(out).read(messages)
    _tools(out, rest)
    _choice(out, rest)
    _format(out, rest.pop("response_format", None))
    stop = rest.pop("stop", None)
    out.fact("stop", [stop] if isinstance(stop, str) and stop else stop, "stop")
    effort = rest.pop("reasoning_effort", None)
    if says(effort):
        out.fact("reasoning", {"effort": effort}, "reasoning_effort")
    tier = rest.pop("service_tier", None)
    out.fact("service_tier", None if tier == "auto" else "default" if tier == "standard" else tier, "service_tier")
    for key, value in rest.items():
        if value not in DEFAULTS.get(key, ()):
            out.fact(_NAMES.get(key, key), value, key)
    return out


class _Conversation:
    def __init__(self, out: Request) -> None:
        self.out = out
        self.said: list[Said] = []
        self.calls: list[tuple[int, str | None, str]] = []
        self.results: list[tuple[int, str | None, str]] = []

    def read(self, messages: Json) -> None:
        for i, message in enumerate(messages):
            self.message(message, f"messages[{i}]")
        paired(self.said, self.calls, self.results)
        self.out.said = in_order_of_calls(self.said)

    def add(self, role: str, kind: str, value: Json, at: str) -> Said:
        one = Said(role, kind, value, at)
        self.said.append(one)
        return one

    def message(self, message: Json, at: str) -> None:
        rest = dict(message)
        role = {"developer": "system", "function": "tool"}.get(rest.pop("role"), message["role"])
        before = len(self.said)
        if role == "tool":
            self.result(rest, at)
        else:
            if role == "assistant":
                self.reasoning(rest, at)
            self.content(role, rest.pop("content", None), f"{at}.content")
            if role == "assistant":
                self.spoken(rest, at)
        rest.pop("tool_call_id", None)
        left = {key: value for key, value in rest.items() if says(value)}
        if left and len(self.said) == before:
            self.add(role, "nothing", None, at)
        for key, value in left.items():
            self.said[before].marks[key] = Fact(value, f"{at}.{key}")

    def content(self, role: str, value: Json, at: str) -> None:
        if isinstance(value, str):
            if value:
                self.add(role, "text", value, at)
            return
        for i, part in enumerate(value or ()):
            self.part(role, part, f"{at}[{i}]")

    def part(self, role: str, part: Json, at: str) -> None:
        rest = dict(part)
        kind = rest.pop("type", None)
        inner = rest.pop(kind, None)
        one: Said | None = None
        more: Json = {}
        if kind == "text":
            one = self.add(role, "text", inner, at) if inner else None
        elif kind == "thinking":  # Mistral's
            text = inner if isinstance(inner, str) else "".join(piece.get("text", "") for piece in inner)
            one = self.add(role, "reasoning", text, at)
        elif kind == "refusal":
            one = self.add(role, "refusal", inner, at)
        elif kind in ("image_url", "video_url"):
            more = dict(inner) if isinstance(inner, dict) else {"url": inner}
            one = self.add(role, "media", from_url(more.pop("url")), at)
            if more.get("detail") == "auto":
                del more["detail"]
        elif kind == "input_audio":
            more = dict(inner)
            one = self.add(role, "media", content(f"audio/{more.pop('format', '')}", more.pop("data")), at)
        elif kind == "file":
            more = dict(inner)
            data, file_id = more.pop("file_data", None), more.pop("file_id", None)
            value = {"id": file_id} if not data else from_url(data) if ":" in data[:8] else content(None, data)
            one = self.add(role, "media", value, at)
        else:
            one = self.add(role, "block", {kind: inner}, at)
        for key, value in more.items():
            if one is not None and says(value):
                one.marks[key] = Fact(value, f"{at}.{kind}.{key}")
        for key, value in rest.items():
            if says(value):
                (one or self.add(role, "nothing", None, at)).marks[_mark(key)] = Fact(_kept(key, value), f"{at}.{key}")

    def reasoning(self, rest: Json, at: str) -> None:
        """Two servers' names for it; some clients send the same text under both."""
        before: list[str] = []
        for key in _REASONING:
            value = rest.get(key)
            if isinstance(value, str) and value:
                del rest[key]
                if value not in before:
                    self.add("assistant", "reasoning", value, f"{at}.{key}")
                before.append(value)
        details = rest.get("reasoning_details")
        if isinstance(details, list) and not before:  # OpenRouter's
            text = "".join(one.get("text") or one.get("summary") or "" for one in details)
            if text:
                self.add("assistant", "reasoning", text, f"{at}.reasoning_details")

    def spoken(self, rest: Json, at: str) -> None:
        refusal = rest.pop("refusal", None)
        if refusal:
            self.add("assistant", "refusal", refusal, f"{at}.refusal")
        for i, call in enumerate(rest.pop("tool_calls", None) or ()):
            self.call(call, f"{at}.tool_calls[{i}]")
        legacy = rest.pop("function_call", None)
        if legacy:
            self.call({"function": legacy}, f"{at}.function_call")

    def call(self, call: Json, at: str) -> None:
        rest = dict(call)
        custom = rest.pop("type", "function") == "custom"
        inner = rest.pop("custom" if custom else "function")
        arguments = inner.get("input" if custom else "arguments")
        value = arguments if custom else parsed(arguments) if isinstance(arguments, str) else arguments or {}
        kind = "custom_call" if custom else "call"
        one = self.add("assistant", kind, {"name": inner["name"], "arguments": value}, at)
        one.id = rest.pop("id", None)
        self.calls.append((len(self.said) - 1, one.id, inner["name"]))
        rest.pop("index", None)
        google = (rest.get("extra_content") or {}).get("google") or {}
        if google.get("thought_signature"):
            rest.pop("extra_content")
            one.marks["signature"] = Fact(google["thought_signature"], at)
        for key, value in rest.items():
            if says(value):
                one.marks[key] = Fact(value, f"{at}.{key}")

    def result(self, rest: Json, at: str) -> None:
        value = rest.pop("content", None)
        parts = [value] if isinstance(value, str) else value or []
        texts = [part if isinstance(part, str) else part.get("text", "") for part in parts]
        one = self.add("tool", "result", result_of("".join(texts)), at)
        one.id = rest.get("tool_call_id")
        self.results.append((len(self.said) - 1, one.id, rest.pop("name", None) or ""))
        for i, part in enumerate(parts):
            if isinstance(part, dict):
                for key in part.keys() - {"type", "text"}:
                    name = "cache" if _mark(key) == "cache" else f"{i}.{key}"
                    one.marks[name] = Fact(_kept(key, part[key]), f"{at}.content[{i}].{key}")


def _mark(key: str) -> str:
    return "cache" if key in ("cache_control", "prompt_cache_breakpoint") else key


def _kept(key: str, value: Json) -> Json:
    return cache_of(value) if _mark(key) == "cache" else value


def _tools(out: Request, rest: Json) -> None:
    listed = [(tool, f"tools[{i}]") for i, tool in enumerate(rest.pop("tools", None) or ())]
    listed += [({"function": f}, f"functions[{i}]") for i, f in enumerate(rest.pop("functions", None) or ())]
    for tool, at in listed:
        if "custom" in tool:
            inner = {key: value for key, value in tool["custom"].items() if key != "name"}
            grammar = inner.pop("format", None) or {}
            grammar = {
                **{key: value for key, value in grammar.items() if key != "grammar"},
                **grammar.get("grammar", {}),
            }
            if grammar.get("type") not in (None, "text"):
                inner["format"] = dict(sorted(grammar.items()))
            out.facts[f"custom:{tool['custom']['name']}"] = Fact({k: v for k, v in inner.items() if says(v)}, at)
            continue
        if "function" not in tool:
            out.facts[f"tool:{at}"] = Fact(tool, at)
            continue
        inner = dict(tool["function"])
        beside = {key: value for key, value in tool.items() if key not in ("type", "function")}
        at = at if at.startswith("functions") else f"{at}.function"
        made = Function(inner.pop("name"), at, inner.pop("description", None) or None, inner.pop("parameters", None))
        for key, value in inner.items():
            if says(value) and value is not False:
                made.marks[key] = Fact(value, f"{at}.{key}")
        for key, value in beside.items():
            if says(value):
                made.marks[_mark(key)] = Fact(_kept(key, value), f"{at.rpartition('.')[0]}.{key}")
        out.functions.append(made)


def _choice(out: Request, rest: Json) -> None:
    key = "tool_choice" if rest.get("tool_choice") else "function_call"
    raw = rest.pop("tool_choice", None) or rest.pop("function_call", None)
    if raw in (None, "auto"):
        return
    value: Json = {"mode": "required" if raw == "any" else raw, "names": []}
    if isinstance(raw, dict):
        allowed = raw.get("allowed_tools")
        if allowed:
            names = [tool.get("function", tool)["name"] for tool in allowed["tools"]]
            value = {"mode": allowed["mode"], "names": names}
        elif raw.get("type") == "custom":
            value = {"mode": "custom", "names": [raw["custom"]["name"]]}
        else:
            value = {"mode": "required", "names": [raw.get("function", raw).get("name")]}
    out.fact("tool_choice", value, key)


def _format(out: Request, raw: Json) -> None:
    if not isinstance(raw, dict) or raw.get("type") in (None, "text"):
        return
    if raw["type"] == "json_object":
        out.fact("json", True, "response_format")
        return
    inner = dict(raw.get("json_schema") or {})
    at = "response_format.json_schema"
    out.fact("json", True, "response_format")
    if says(inner.get("schema")):
        out.schema = Fact(inner["schema"], f"{at}.schema")
    # The name is a label, and a target that constrains its answers is always as strict.
    for key in inner.keys() - {"name", "schema", "strict"}:
        out.fact(f"json_schema.{key}", inner[key], f"{at}.{key}")
    for key in raw.keys() - {"type", "json_schema"}:
        out.fact(f"response_format.{key}", raw[key], f"response_format.{key}")


# ── answers ────────────────────────────────────────────────────────────────────────────

_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}


def read_answer(body: Json) -> Answer:
    out = Answer(id=body.get("id") or None, model=body.get("model") or None, usage=_usage(body.get("usage")))
    for place, raw in enumerate(body["choices"]):
        choice = out.choices[raw.get("index", place)] = Choice()
        message = raw.get("message") or {}
        _hear(choice, message)
        for call in message.get("tool_calls") or ():
            choice.calls.append(_call(call))
        if (message.get("function_call") or {}).get("name"):
            choice.calls.append(_call({"function": message["function_call"]}))
        details = raw.get("finish_details") or {}
        _end(choice, raw.get("finish_reason") or details.get("type"))
        _tokens(choice, raw.get("logprobs"))
    return out


def _hear(choice: Choice, said: Json) -> None:
    value = said.get("content")
    for part in [{"type": "text", "text": value}] if isinstance(value, str) else value or ():
        if part.get("type") == "thinking":
            inner = part["thinking"]
            choice.reasoning += inner if isinstance(inner, str) else "".join(one.get("text", "") for one in inner)
        elif part.get("type") == "text":
            choice.text += part["text"]
        elif part.get("type") == "refusal":
            choice.refusal += part["refusal"]
    reasoning = said.get("reasoning_content") or said.get("reasoning")
    choice.plain = choice.plain or bool(reasoning)
    if not choice.plain and isinstance(said.get("reasoning_details"), list):
        reasoning = "".join(one.get("text") or one.get("summary") or "" for one in said["reasoning_details"])
    choice.reasoning += reasoning if isinstance(reasoning, str) else ""
    choice.refusal += said.get("refusal") or ""
    for one in said.get("annotations") or ():
        url = (one.get("url_citation") or {}).get("url")
        choice.sources += [url] if url and url not in choice.sources else []
    for image in said.get("images") or ():
        choice.media.append(from_url(image["image_url"]["url"]))
    choice.transcript += (said.get("audio") or {}).get("transcript") or ""
    if (said.get("audio") or {}).get("data"):
        choice.media.append(
            {**content(None, said["audio"]["data"]), "type": "audio"}
        )  # its format stands in the request


def _call(raw: Json) -> Call:
    custom = raw.get("type") == "custom"
    inner = raw["custom" if custom else "function"]
    arguments = inner.get("input" if custom else "arguments")
    value = arguments if custom else parsed(arguments) if isinstance(arguments, str) else arguments or {}
    google = (raw.get("extra_content") or {}).get("google") or {}
    return Call(inner.get("name") or "", value, raw.get("id") or None, google.get("thought_signature"))


def _end(choice: Choice, word: str | None) -> None:
    choice.word = word
    choice.finish = _FINISH.get(word, "other") if word else ("stop" if choice.heard else None)
    if choice.calls and choice.finish == "stop":
        choice.finish = "tool_calls"


def _tokens(choice: Choice, logprobs: Json) -> None:
    tokens = (logprobs or {}).get("content")
    if tokens is not None:
        choice.tokens = (choice.tokens or []) + [token["token"] for token in tokens]


def _usage(raw: Json) -> Usage | None:
    if not raw:
        return None
    prompt, completion = raw.get("prompt_tokens_details") or {}, raw.get("completion_tokens_details") or {}
    out = Usage(
        input=raw.get("prompt_tokens") or 0,
        output=raw.get("completion_tokens") or 0,
        total=raw.get("total_tokens") or 0,
        cached=prompt.get("cached_tokens") or raw.get("prompt_cache_hit_tokens") or 0,
        reasoning=completion.get("reasoning_tokens") or 0,
        kept=prompt.get("cache_write_tokens") or 0,
        sound=(prompt.get("audio_tokens") or 0, completion.get("audio_tokens") or 0),
        pictures=(prompt.get("image_tokens") or 0, completion.get("image_tokens") or 0),
    )
    if out.reasoning and out.input + out.output + out.reasoning == out.total:
        out.output += out.reasoning  # xAI counts the reasoning beside the completion
    elif out.sound[0] and out.input + out.output + out.sound[0] == out.total:
        out.input += out.sound[0]  # Mistral counts what was spoken beside the prompt
    return out


# ── streams ────────────────────────────────────────────────────────────────────────────


def read_stream(data: bytes) -> Answer:
    """What a client that knows every habit of these servers hears."""
    out = Answer(complete=False)
    listening: dict[int, _Listening] = {}
    usage: Json = None
    for name, payload in events(data):
        if payload == b"[DONE]":
            out.complete = True
            break
        chunk = json.loads(payload)
        if chunk.get("error") or name == "error":
            out.error = chunk.get("error") or chunk
            break
        out.id = out.id or chunk.get("id") or None
        out.model = out.model or chunk.get("model") or None
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or usage
        for raw in chunk.get("choices") or ():
            listening.setdefault(raw.get("index") or 0, _Listening()).hear(raw)
    out.usage = _usage(usage)
    for index, one in sorted(listening.items()):
        out.choices[index] = one.choice
        one.end()
    out.complete = out.complete or (bool(listening) and all(one.word for one in listening.values()))
    return out


class _Listening:
    """One choice while it comes."""

    def __init__(self) -> None:
        self.choice = Choice()
        self.word: str | None = None
        self.calls: list[dict[str, Json]] = []

    def hear(self, raw: Json) -> None:
        delta = raw.get("delta") or {}
        _hear(self.choice, delta)
        for call in delta.get("tool_calls") or ():
            self.call(call)
        if delta.get("function_call"):
            self.call({"index": 0, "function": delta["function_call"]})
        _tokens(self.choice, raw.get("logprobs"))
        if raw.get("finish_reason"):
            self.word = self.word or raw["finish_reason"]

    def call(self, raw: Json) -> None:
        """A piece of a call: of a new one where it brings another id, or an index that is not there yet."""
        index, id_ = raw.get("index"), raw.get("id") or None
        same = [one for one in self.calls if one["index"] == index] or (self.calls[-1:] if index is None else [])
        current = same[-1] if same else None
        if current is None or (id_ and current["id"] and id_ != current["id"]):
            current = {"index": index, "id": None, "name": "", "text": "", "custom": False, "signature": None}
            self.calls.append(current)
        current["id"] = current["id"] or id_
        kind = "custom" if "custom" in raw and "function" not in raw else "function"
        current["custom"] = current["custom"] or kind == "custom"
        inner = raw.get(kind) or {}
        current["name"] = current["name"] or inner.get("name") or ""
        piece = inner.get("input" if kind == "custom" else "arguments")
        current["text"] += piece if isinstance(piece, str) else json.dumps(piece) if piece is not None else ""
        google = (raw.get("extra_content") or {}).get("google") or {}
        current["signature"] = google.get("thought_signature") or current["signature"]

    def end(self) -> None:
        for one in self.calls:
            value = one["text"] if one["custom"] else parsed(one["text"])
            self.choice.calls.append(Call(one["name"], value, one["id"], one["signature"]))
        _end(self.choice, self.word)


__all__ = ["read_answer", "read_request", "read_stream"]
