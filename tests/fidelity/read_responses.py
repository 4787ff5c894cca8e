"""Reads OpenAI Responses - requests, answers, streams - into neutral values (see `neutral`)."""

from __future__ import annotations

import json

from .neutral import (
    Answer,
    Call,
    Choice,
    Conversation,
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
    parsed,
    result_of,
    says,
)

_DEFAULTS: dict[str, tuple[Json, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "top_logprobs": (0,),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto",),
    "store": (False,),
    "truncation": ("disabled",),
    "background": (False,),
}
_NAMES = {
    "max_output_tokens": "max_tokens",
    "safety_identifier": "end_user",
    "user": "end_user",
    "prompt_cache_key": "cache_key",
}
#: Bookkeeping of the server that made an item: no part of what was said.
_SILENT = ("id", "status", "type", "created_by")


# ── requests ───────────────────────────────────────────────────────────────────────────


def read_request(body: Json) -> Request:
    out = Request()
    rest = dict(body)
    for key in ("model", "stream", "stream_options"):
        rest.pop(key, None)
    conversation = _Conversation(out)
    instructions = rest.pop("instructions", None)
    if instructions:
        conversation.add("system", "text", instructions, "instructions")
    asked = rest.pop("input", None)
    if isinstance(asked, str):
        conversation.content("user", asked, "input")
    else:
        for i, item in enumerate(asked or ()):
            conversation.item(item, f"input[{i}]")
    conversation.finish()
    _tools(out, rest.pop("tools", None))
    _choice(out, rest.pop("tool_choice", None))
    _reasoning(out, rest.pop("reasoning", None))
    _text(out, rest.pop("text", None))
    for word in rest.pop("include", None) or ():
        if word == "message.output_text.logprobs":
            out.fact("logprobs", True, "include")
        elif word != "reasoning.encrypted_content":
            out.fact(f"include:{word}", True, "include")
    if says(rest.get("safety_identifier")):
        out.fact("other:user", rest.pop("user", None), "user")
    for key, value in rest.items():
        if value not in _DEFAULTS.get(key, ()):
            out.fact(_NAMES.get(key, key), value, key)
    return out


class _Conversation(Conversation):
    def item(self, item: Json, at: str) -> None:
        rest = {key: value for key, value in item.items() if key not in _SILENT}
        kind = item.get("type") or "message"
        read = getattr(self, f"read_{kind}", None)
        if read is None:
            self.add("assistant" if kind.endswith("call") else "user", "block", item, at)
            return
        before = len(self.said)
        read(rest, at)
        left = {key: value for key, value in rest.items() if says(value)}
        if left and len(self.said) == before:
            self.add("user", "nothing", None, at)
        for key, value in left.items():
            self.said[before].marks[key] = Fact(value, f"{at}.{key}")

    def read_message(self, rest: Json, at: str) -> None:
        role = {"developer": "system"}.get(rest["role"], rest["role"])
        del rest["role"]
        self.content(role, rest.pop("content", None), f"{at}.content")

    def content(self, role: str, value: Json, at: str) -> None:
        if isinstance(value, str):
            if value:
                self.add(role, "text", value, at)
            return
        for i, part in enumerate(value or ()):
            self.part(role, part, f"{at}[{i}]")

    def part(self, role: str, part: Json, at: str) -> None:
        rest = {key: value for key, value in part.items() if key != "type"}
        one: Said | None = None
        match part["type"]:
            case "input_text" | "output_text" | "text":
                text = rest.pop("text")
                one = self.add(role, "text", text, at) if text else None
            case "refusal":
                one = self.add(role, "refusal", rest.pop("refusal"), at)
            case "input_image" | "input_file" | "input_audio":
                one = self.add(role, "media", _media(part, rest), at)
            case _:
                one, rest = self.add(role, "block", part, at), {}
        mark = rest.pop("prompt_cache_breakpoint", None)
        if mark:
            one = one or self.add(role, "nothing", None, at)
            one.marks["cache"] = Fact(cache_of(mark), f"{at}.prompt_cache_breakpoint")
        for key, value in rest.items():
            if says(value) and (key, value) != ("detail", "auto"):
                (one or self.add(role, "nothing", None, at)).marks[key] = Fact(value, f"{at}.{key}")

    def read_reasoning(self, rest: Json, at: str) -> None:
        pieces = [*(rest.pop("summary", None) or ()), *(rest.pop("content", None) or ())]
        text = "\n\n".join(piece.get("text", "") for piece in pieces)  # they are paragraphs
        sealed = rest.pop("encrypted_content", None)
        one = self.add("assistant", "reasoning", text, at) if text else self.add("assistant", "nothing", None, at)
        if sealed:
            one.marks["signature"] = Fact(sealed, f"{at}.encrypted_content")

    def read_function_call(self, rest: Json, at: str) -> None:
        self.call(rest.pop("name"), parsed(rest.pop("arguments")), rest.pop("call_id"), at)
        if rest.get("caller") == {"type": "direct"}:
            del rest["caller"]

    def read_custom_tool_call(self, rest: Json, at: str) -> None:
        self.call(rest.pop("name"), rest.pop("input"), rest.pop("call_id"), at, "custom_call")

    def read_function_call_output(self, rest: Json, at: str) -> None:
        value = rest.pop("output", None)
        if not isinstance(value, str | list):
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        parts = [{"type": "input_text", "text": value}] if isinstance(value, str) else value
        text = "".join(part["text"] for part in parts if "text" in part)
        one = self.result(result_of(text), rest.pop("call_id"), "", at)
        if rest.get("caller") == {"type": "direct"}:
            del rest["caller"]
        for i, part in enumerate(parts):
            where = f"{at}.output[{i}]"
            inner = {key: item for key, item in part.items() if key not in ("type", "text")}
            if part["type"] in ("input_image", "input_file"):
                number = sum(name.startswith("media") for name in one.marks)
                one.marks[f"media {number}"] = Fact(_media(part, inner), where)
                if says(inner.get("filename")):
                    one.marks[f"name {number}"] = Fact(inner.pop("filename"), f"{where}.filename")
            for key, item in inner.items():
                if says(item) and (key, item) != ("detail", "auto"):
                    one.marks[f"{i}.{key}"] = Fact(item, f"{where}.{key}")

    read_custom_tool_call_output = read_function_call_output


def _media(part: Json, rest: Json) -> Json:
    """The medium of a part; takes the keys that say it out of `rest`."""
    if part["type"] == "input_audio":
        inner = rest.pop("input_audio")
        return content(f"audio/{inner['format']}", inner["data"])
    id_, url = rest.pop("file_id", None), rest.pop("image_url", None) or rest.pop("file_url", None)
    data = rest.pop("file_data", None)
    if data:
        return from_url(data) if ":" in data[:8] else content(None, data)
    return from_url(url) if url else {"id": id_}


def _tools(out: Request, tools: Json) -> None:
    for i, tool in enumerate(tools or ()):
        at = f"tools[{i}]"
        rest = {key: value for key, value in tool.items() if key != "type"}
        if tool.get("type") == "custom":
            out.facts[f"custom:{tool['name']}"] = Fact(custom_tool(rest), at)
        elif tool.get("type") == "function":
            made = Function(rest.pop("name"), at, rest.pop("description", None) or None, rest.pop("parameters", None))
            for key, value in rest.items():
                if says(value) and value is not False:
                    made.marks[key] = Fact(value, f"{at}.{key}")
            out.functions.append(made)
        else:
            out.facts[f"tool:{at}"] = Fact(tool, at)


def custom_tool(raw: Json) -> Json:
    """A tool that takes free text: what it is for, and the grammar of the text."""
    grammar = raw.get("format") or {}
    grammar = {**grammar, **(grammar.get("grammar") or {})}
    grammar.pop("grammar", None)
    more = {key: value for key, value in raw.items() if key not in ("name", "format") and says(value)}
    return more | ({} if grammar.get("type") in (None, "text") else {"format": dict(sorted(grammar.items()))})


def _choice(out: Request, raw: Json) -> None:
    if raw in (None, "auto"):
        return
    value: Json = {"mode": raw, "names": []}
    if isinstance(raw, dict):
        if raw["type"] == "allowed_tools":
            value = {"mode": raw["mode"], "names": [tool["name"] for tool in raw["tools"]]}
        elif raw["type"] == "function":
            value = {"mode": "required", "names": [raw["name"]]}
        else:
            value = {"mode": raw["type"], "names": [raw["name"]] if raw.get("name") else []}
    out.fact("tool_choice", value, "tool_choice")


def _reasoning(out: Request, raw: Json) -> None:
    rest = dict(raw or {})
    effort = rest.pop("effort", None)
    if effort:
        out.fact("reasoning", {"effort": effort}, "reasoning.effort")
    for key in ("summary", "generate_summary"):
        if says(rest.pop(key, None)):
            out.fact("show_reasoning", True, f"reasoning.{key}")
    for key, value in rest.items():
        if (key, value) not in (("context", "auto"), ("mode", "standard")):
            out.fact(f"reasoning.{key}", value, f"reasoning.{key}")


def _text(out: Request, raw: Json) -> None:
    rest = dict(raw or {})
    out.fact("verbosity", rest.pop("verbosity", None), "text.verbosity")
    wanted = dict(rest.pop("format", None) or {})
    kind = wanted.pop("type", "text")
    if kind != "text":
        out.fact("json", True, "text.format")
        if says(wanted.get("schema")):
            out.schema = Fact(wanted["schema"], "text.format.schema")
        for key in wanted.keys() - {"name", "schema", "strict"}:
            out.fact(f"json_schema.{key}", wanted[key], f"text.format.{key}")
    for key, value in rest.items():
        out.fact(f"text.{key}", value, f"text.{key}")


# ── answers ────────────────────────────────────────────────────────────────────────────


def read_answer(body: Json) -> Answer:
    out = Answer(
        id=body.get("id") or None, model=body.get("model") or None, usage=_usage(body.get("usage")), loose=True
    )
    choice = out.choices[0] = Choice()
    for item in body.get("output") or ():
        _hear(choice, item)
    _end(out, choice, body)
    return out


def _hear(choice: Choice, item: Json) -> None:
    match item.get("type"):
        case "message":
            for part in item.get("content") or ():
                choice.text += part.get("text") or ""
                choice.refusal += part.get("refusal") or ""
                found = [one.get("url") for one in part.get("annotations") or ()]
                choice.sources += [url for url in found if url and url not in choice.sources]
                if part.get("logprobs"):
                    choice.tokens = (choice.tokens or []) + [token["token"] for token in part["logprobs"]]
        case "reasoning":
            for piece in [*(item.get("summary") or ()), *(item.get("content") or ())]:
                choice.reasoning += piece.get("text") or ""
            choice.seals += [item["encrypted_content"]] if item.get("encrypted_content") else []
        case "function_call":
            choice.calls.append(Call(item["name"], parsed(item.get("arguments") or ""), item["call_id"]))
        case "custom_tool_call":
            choice.calls.append(Call(item["name"], item.get("input") or "", item["call_id"]))
        case "image_generation_call" if item.get("result"):
            choice.media.append(content(f"image/{item.get('output_format') or 'png'}", item["result"]))
        case kind:
            choice.foreign.append(str(kind))


def _end(out: Answer, choice: Choice, body: Json) -> None:
    status = body.get("status")
    why = (body.get("incomplete_details") or {}).get("reason")
    choice.word = f"{status} {why}" if why else status
    if status == "incomplete":
        choice.finish = "content_filter" if why == "content_filter" else "length"
    elif status in ("failed", "cancelled"):
        choice.finish, out.error = "error", body.get("error") or {"message": status}
    elif status == "completed" or choice.heard:
        choice.finish = "tool_calls" if choice.calls else "content_filter" if choice.refusal else "stop"


def _usage(raw: Json) -> Usage | None:
    if not raw:
        return None
    return Usage(
        input=raw.get("input_tokens") or 0,
        output=raw.get("output_tokens") or 0,
        total=raw.get("total_tokens") or 0,
        cached=(raw.get("input_tokens_details") or {}).get("cached_tokens") or 0,
        reasoning=(raw.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
        kept=(raw.get("input_tokens_details") or {}).get("cache_write_tokens") or 0,
    )


# ── streams ────────────────────────────────────────────────────────────────────────────


def read_stream(data: bytes) -> Answer:
    """What was told piece by piece; id, model, usage and end from the response events."""
    out = Answer(complete=False, loose=True)
    hearing = Hearing()
    last: Json = {}
    for name, payload in events(data):
        if payload.strip() == b"[DONE]":
            continue
        event = json.loads(payload)
        kind = event.get("type") or name
        if kind == "error":
            out.error = event.get("error") or event
            break
        if isinstance(event.get("response"), dict) and kind.startswith("response."):
            last = event["response"]
            if kind in ("response.completed", "response.incomplete", "response.failed"):
                out.complete = kind != "response.failed"
                break
        else:
            hearing.hear(kind, event)
    choice = out.choices[0] = Choice()
    for item in hearing.items():
        _hear(choice, item)
    out.id, out.model, out.usage = last.get("id") or None, last.get("model") or None, _usage(last.get("usage"))
    if out.error is None:
        _end(out, choice, last)
    return out


class Hearing:
    """Items by their output index, put together from deltas; what a `done` event says counts more."""

    def __init__(self) -> None:
        self.found: dict[int, Json] = {}

    def items(self) -> list[Json]:
        return [self.found[index] for index in sorted(self.found)]

    def hear(self, kind: str, event: Json) -> None:
        index = event.get("output_index")
        if kind == "response.output_item.added":
            item = json.loads(json.dumps(event["item"]))
            self.found[index] = {**item, "content": item.get("content") or []}
        elif kind == "response.output_item.done":
            self.found[index] = event["item"]
        elif index in self.found:
            self.piece(self.found[index], kind, event)

    def piece(self, item: Json, kind: str, event: Json) -> None:
        match kind:
            case "response.output_text.delta":
                part = self.part(item, event["content_index"], "text")
                part["text"] += event["delta"]
                if event.get("logprobs"):
                    part["logprobs"] = (part.get("logprobs") or []) + event["logprobs"]
            case "response.refusal.delta":
                self.part(item, event["content_index"], "refusal")["refusal"] += event["delta"]
            case "response.reasoning_text.delta":
                self.part(item, event["content_index"], "text")["text"] += event["delta"]
            case "response.reasoning_summary_text.delta":
                parts = item.setdefault("summary", [])
                while len(parts) <= event["summary_index"]:
                    parts.append({"text": ""})
                parts[event["summary_index"]]["text"] += event["delta"]
            case "response.function_call_arguments.delta":
                item["arguments"] = (item.get("arguments") or "") + event["delta"]
            case "response.custom_tool_call_input.delta":
                item["input"] = (item.get("input") or "") + event["delta"]
            case "response.function_call_arguments.done":
                item["arguments"] = event["arguments"]

    def part(self, item: Json, index: int, key: str) -> Json:
        parts = item.setdefault("content", [])
        while len(parts) <= index:
            parts.append({})
        parts[index].setdefault(key, "")
        return parts[index]


__all__ = ["Hearing", "custom_tool", "read_answer", "read_request", "read_stream"]
