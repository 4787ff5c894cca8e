"""Small differences of compatible servers that several rows share, each named in a row's `quirks`.

They change the body that is about to be sent, and `deployments` its path, in both lanes alike: in the relay lane the
caller's own objects are not touched, what changes is copied. What a change takes away is declared as a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped, invented
from providers.dialect import Traits
from providers.dialects._openai.values import Json, Object

from . import narrow
from .closed import any_tool, closed_messages, nine_character_ids, random_seed

PATH = "/chat/completions"

#: How the text of earlier thinking is called in messages, where the upstream wants it back.
REASONING = "reasoning_content"
_NOTHING_THOUGHT = " "  # the least that is accepted (litellm's moonshot transformation; an empty text is refused)


def path(model: str, quirks: frozenset[str]) -> str:
    """Where a call goes, below base_url. Azure's older form names the deployment there, in the place of the model."""
    if "deployments" in quirks:
        return f"/openai/deployments/{quote(model, safe='-._~')}{PATH}"
    return PATH


def query(traits: Traits, body: Object) -> dict[str, str]:
    """What a call says in its URL, taken out of the body: `nice`, that of the body before that of the row."""
    if "nice" not in traits.quirks:
        return {}
    nice = body.pop("nice", None)
    if type(nice) not in (bool, type(None)):
        raise MalformedRequest("nice must be a boolean", param="nice")
    return {"nice": "true"} if (traits.nice if nice is None else nice) else {}


def apply(quirks: frozenset[str], body: Object, losses: Losses, *, exact: bool) -> None:
    """Changes `body`, whose values may be the caller's and stay as they are.

    `exact`: messages stand where the caller put them, so that a loss can name one of them.
    """
    for name, change in _CHANGES.items():
        if name in quirks:
            change(body, losses, exact)


# ── parameters ─────────────────────────────────────────────────────────────────────────


def _max_tokens(body: Object, losses: Losses, exact: bool) -> None:
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")


def _usage_unasked(body: Object, losses: Losses, exact: bool) -> None:
    options = body.pop("stream_options", None)
    if type(options) is dict and any(value for key, value in options.items() if key != "include_usage"):
        losses.append(dropped("stream_options", "the target takes no such options"))


def _one_choice(body: Object, losses: Losses, exact: bool) -> None:
    if body.pop("n", None) not in (None, 1):
        raise UnsupportedParameter("the target gives one choice", param="n")


def _no_required_choice(body: Object, losses: Losses, exact: bool) -> None:
    if body.get("tool_choice") == "required":
        body["tool_choice"] = "auto"
        losses.append(approximated("tool_choice", "the target cannot be made to call a tool"))


def _no_strict(body: Object, losses: Losses, exact: bool) -> None:
    tools = body.get("tools")
    if type(tools) is list:
        body["tools"] = [
            _lax(tool, f"tools[{i}].function.strict" if exact else "tools", losses) for i, tool in enumerate(tools)
        ]


def _lax(tool: Json, at: str, losses: Losses) -> Json:
    function = tool.get("function") if type(tool) is dict else None
    if type(function) is not dict or "strict" not in function:
        return tool
    if function["strict"]:
        losses.append(dropped(at, "the target does not hold models to a schema"))
    return {**tool, "function": {key: value for key, value in function.items() if key != "strict"}}


def _no_nulls(body: Object, losses: Losses, exact: bool) -> None:
    for key in [key for key, value in body.items() if value is None]:
        del body[key]
    _each(body, lambda message, _: {key: v for key, v in message.items() if v is not None or key == "content"})


# ── messages ───────────────────────────────────────────────────────────────────────────


def _each(body: Object, change: Callable[[Object, int], Object]) -> None:
    messages = body.get("messages")
    if type(messages) is list:
        body["messages"] = [
            change(message, i) if type(message) is dict else message for i, message in enumerate(messages)
        ]


def _at(index: int, key: str, exact: bool) -> str:
    return f"messages[{index}].{key}" if exact else "messages"


def _no_names(body: Object, losses: Losses, exact: bool) -> None:
    def unnamed(message: Object, index: int) -> Object:
        if "name" not in message:
            return message
        if message["name"]:
            losses.append(dropped(_at(index, "name", exact), "the target takes no names"))
        return {key: value for key, value in message.items() if key != "name"}

    _each(body, unnamed)


def _system_role(body: Object, losses: Losses, exact: bool) -> None:
    _each(body, lambda message, _: {**message, "role": "system"} if message.get("role") == "developer" else message)


def _string_content(body: Object, losses: Losses, exact: bool) -> None:
    def flat(message: Object, index: int) -> Object:
        parts = message.get("content")
        if type(parts) is not list:
            return message
        texts = [text for part in parts if (text := _text(part)) is not None]
        if len(texts) < len(parts):
            return message
        if len(parts) > 1 or any(part.keys() - {"type", "text"} for part in parts):
            losses.append(approximated(_at(index, "content", exact), "the target takes one plain text"))
        return {**message, "content": "\n".join(texts)}

    _each(body, flat)


def _text(part: Json) -> str | None:
    """The text of a part, a refusal's as well; None for one of another kind."""
    if type(part) is not dict:
        return None
    text = part.get("refusal") if part.get("type") == "refusal" else part.get("text")
    return text if type(text) is str else None


def _reasoning_back(body: Object, losses: Losses, exact: bool) -> None:
    def thoughtful(message: Object, index: int) -> Object:
        if message.get("role") != "assistant" or not message.get("tool_calls") or message.get(REASONING):
            return message
        losses.append(invented(_at(index, REASONING, exact), "the target wants the thinking that led to a call"))
        return {**message, REASONING: _NOTHING_THOUGHT}

    _each(body, thoughtful)


def _alternate(body: Object, losses: Losses, exact: bool) -> None:
    """After the system messages at the start, turns of user and assistant by turns: neighbours become one."""
    messages = body.get("messages")
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        return
    out: list[Object] = []
    for message in messages:
        if message.get("role") in ("system", "developer") and any(_is_turn(before) for before in out):
            message = {**message, "role": "user"}
            _repaired(losses, "the target takes system messages at the start only")
        last = out[-1] if out else {}
        if _is_turn(message) and message.get("role") == last.get("role") and _can_join(last, message):
            out[-1] = {**last, **message, "content": _joined(last.get("content"), message.get("content"))}
            _repaired(losses, "the target wants turns that alternate: neighbours are joined")
        else:
            out.append(message)
    body["messages"] = out


def _repaired(losses: Losses, reason: str) -> None:
    losses.append(approximated("messages", reason))


def _is_turn(message: Mapping[str, Any]) -> bool:
    return message.get("role") in ("user", "assistant")


def _can_join(one: Object, other: Object) -> bool:
    return not (one.keys() & other.keys() - {"role", "content"})


def _joined(one: Json, other: Json) -> Json:
    """Two contents as one: texts with a blank line between, lists of parts one after the other."""
    if type(one) is str and type(other) is str:
        return f"{one}\n\n{other}" if one and other else one or other
    return [*_parts(one), *_parts(other)]


def _parts(content: Json) -> list[Json]:
    if type(content) is list:
        return content
    return [{"type": "text", "text": content}] if content else []


#: Those that change answers, wholly or also: providers/mending.py makes them, between canonical values.
ANSWERS = frozenset({"stop_here", "hide_tool_calls", "strip_fence", "unwrap_list"})

#: In the order in which they are made.
_CHANGES: Mapping[str, Callable[[Object, Losses, bool], None]] = {
    **narrow.CHANGES,
    "max_tokens": _max_tokens,
    "random_seed": random_seed,
    "any_tool": any_tool,
    "usage_unasked": _usage_unasked,
    "one_choice": _one_choice,
    "no_required_choice": _no_required_choice,
    "no_strict": _no_strict,
    "no_nulls": _no_nulls,
    "no_names": _no_names,
    "system_role": _system_role,
    "string_content": _string_content,
    "reasoning_back": _reasoning_back,
    **narrow.LATE_CHANGES,
    "alternate": _alternate,
    "nine_character_ids": nine_character_ids,
    "closed_messages": closed_messages,
}

QUIRKS = frozenset({*_CHANGES, *ANSWERS, "deployments", "nice"})
