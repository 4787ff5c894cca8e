"""Reads Ollama `/api/chat` - requests, answers, streams - into neutral values (see `neutral`). Upstreams only."""

from __future__ import annotations

from .neutral import (
    Answer,
    Call,
    Choice,
    Conversation,
    Fact,
    Function,
    Json,
    Request,
    Usage,
    content,
    lines,
    parsed,
    result_of,
    says,
)

_DEFAULTS: dict[str, tuple[Json, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
}


# ── requests ───────────────────────────────────────────────────────────────────────────


def read_request(body: Json) -> Request:
    out = Request(heaped=True)
    rest = dict(body)
    rest.pop("model", None)
    rest.pop("stream", None)
    conversation = _Conversation(out)
    for i, message in enumerate(rest.pop("messages")):
        conversation.message(message, f"messages[{i}]")
    conversation.finish()
    for i, tool in enumerate(rest.pop("tools", None) or ()):
        inner = dict(tool["function"])
        about, wanted = inner.pop("description", None) or None, inner.pop("parameters", None)
        made = Function(inner.pop("name"), f"tools[{i}].function", about, wanted)
        made.marks = {
            key: Fact(value, f"tools[{i}].function.{key}")
            for key, value in inner.items()
            if says(value) and (key, value) != ("strict", False)
        }
        out.functions.append(made)
    think = rest.pop("think", None)
    out.shows = bool(think)
    if think is not None:
        effort: Json = {"effort": think} if isinstance(think, str) else {"budget": -1} if think else {"effort": "none"}
        out.fact("reasoning", effort, "think")
    wanted = rest.pop("format", None)
    out.fact("json", True if wanted else None, "format")
    if isinstance(wanted, dict):
        out.schema = Fact(wanted, "format")
    options = dict(rest.pop("options", None) or {})
    limit = options.pop("num_predict", None)
    out.fact("max_tokens", limit if limit != -1 else None, "options.num_predict")
    for where, found in (("options.", options), ("", rest)):
        for key, value in found.items():
            if value not in _DEFAULTS.get(key, ()):
                out.fact(key, value, f"{where}{key}")
    return out


class _Conversation(Conversation):
    def message(self, message: Json, at: str) -> None:
        role, text = message["role"], message.get("content") or ""
        if role == "tool":
            one = self.result(result_of(text), message.get("tool_call_id"), message.get("tool_name") or "", at)
            for i, data in enumerate(message.get("images") or ()):
                one.marks[f"media {i}"] = Fact(picture(data), f"{at}.images[{i}]")
            return
        if message.get("thinking"):
            self.add(role, "reasoning", message["thinking"], f"{at}.thinking")
        if text:
            self.add(role, "text", text, f"{at}.content")
        for i, data in enumerate(message.get("images") or ()):
            self.add(role, "media", picture(data), f"{at}.images[{i}]")
        for i, call in enumerate(message.get("tool_calls") or ()):
            inner = call["function"]
            self.call(inner["name"], inner["arguments"], call.get("id"), f"{at}.tool_calls[{i}]")


def picture(data: str) -> Json:
    """An image by its bytes alone: its type is not said."""
    return {**content(None, data), "type": "image/*"}


# ── answers ────────────────────────────────────────────────────────────────────────────


def read_answer(body: Json) -> Answer:
    return _read([body])


def read_stream(data: bytes) -> Answer:
    return _read(lines(data))


def _read(found: list[Json]) -> Answer:
    out = Answer(complete=False)
    choice = out.choices[0] = Choice()
    for line in found:
        if "error" in line:
            out.error = line["error"]
            break
        out.model = out.model or line.get("model") or None
        message = line.get("message") or {}
        choice.text += message.get("content") or ""
        choice.reasoning += message.get("thinking") or ""
        for call in message.get("tool_calls") or ():
            inner = call["function"]
            arguments = inner.get("arguments") or {}
            arguments = parsed(arguments) if isinstance(arguments, str) else arguments
            choice.calls.append(Call(inner["name"], arguments, call.get("id") or None))
        if line.get("logprobs"):
            choice.tokens = (choice.tokens or []) + [token["token"] for token in line["logprobs"]]
        if line.get("done"):
            out.complete, choice.word = True, line.get("done_reason") or "stop"
            choice.finish = {"stop": "stop", "length": "length"}.get(choice.word, "other")
            asked, answered = line.get("prompt_eval_count") or 0, line.get("eval_count") or 0
            out.usage = Usage(asked, answered, asked + answered) if "eval_count" in line else None
    if choice.calls and choice.finish == "stop":
        choice.finish = "tool_calls"
    return out


__all__ = ["picture", "read_answer", "read_request", "read_stream"]
