"""Does an answer keep to the schemas that its caller gave? And what to ask when it does not.

The schemas are the caller's own, whatever the target was told of them: a subset that was relaxed on the way, or none
at all. What checks a value is passed in (`Check`); nothing here knows a library.

    wanted(request)                      is there anything to check?
    breaches(request, response, check)   what breaks which schema, and how
    asked_again(request, …)              the request with the answer, and what was wrong with it, at its end
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Message,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from providers.canonical.loss import Losses, approximated, join, schema_place

Json: TypeAlias = Any
#: What is wrong with a value, a sentence each; nothing when it fits, or when the schema itself cannot be used.
Check: TypeAlias = Callable[[Mapping[str, Json], Json], Sequence[str]]

#: Answers that are none, or not all of one: their finish reason has told the caller already.
_ENDED_OTHERWISE = frozenset({"content_filter", "refusal", "error", "pause"})


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """One text, or one call's arguments, that does not fit. `field`: where the caller wrote the schema."""

    field: str
    reasons: tuple[str, ...]
    choice: int
    call: str | None = None  # the call's id; None: the text


def wanted(request: ChatRequest) -> bool:
    """Did the caller say what an answer, or the arguments of a call, must look like?"""
    wish = request.response_format
    return (wish is not None and wish.kind != "text") or any(_parameters(tool) for tool in request.tools)


def _parameters(tool: Any) -> Mapping[str, Json] | None:
    return tool.parameters if isinstance(tool, Tool) and tool.kind == "function" else None


def breaches(request: ChatRequest, response: ChatResponse, check: Check) -> list[Breach]:
    """Everything that does not fit, in the order of the answer."""
    tools = {tool.name: tool for tool in request.tools if isinstance(tool, Tool)}
    found: list[Breach] = []
    for choice in response.choices:
        if choice.finish is not None and choice.finish.reason in _ENDED_OTHERWISE:
            continue
        calls = [part for part in choice.parts if isinstance(part, ToolCall)]
        text = "".join(part.text for part in choice.parts if isinstance(part, Text))
        if not calls or text.strip():
            found += _in_text(request, choice, text, calls, check)
        for call in calls:
            found += _in_call(tools.get(call.name), choice, call, check)
    return found


def _in_text(
    request: ChatRequest, choice: Choice, text: str, calls: Sequence[ToolCall], check: Check
) -> Sequence[Breach]:
    wish = request.response_format
    if wish is None or wish.kind == "text" or calls:
        return ()  # beside a call a text is a remark, not the answer
    schema: Mapping[str, Json] = {"type": "object"} if wish.kind == "json_object" else wish.schema or {}
    reasons = _wrong(text, schema, check)
    field = schema_place(wish) if wish.schema is not None else wish.at or "response_format"
    return [Breach(field=field, reasons=reasons, choice=choice.index)] if reasons else ()


def _in_call(tool: Tool | None, choice: Choice, call: ToolCall, check: Check) -> Sequence[Breach]:
    schema = _parameters(tool)
    if tool is None or schema is None:
        return ()
    reasons = _wrong(call.arguments or "{}", schema, check)
    field = join(tool.at or "tools", "parameters")
    return [Breach(field=field, reasons=reasons, choice=choice.index, call=call.id)] if reasons else ()


def _wrong(text: str, schema: Mapping[str, Json], check: Check) -> tuple[str, ...]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return ("it is not JSON",)
    return tuple(check(schema, value))


def flags(found: Sequence[Breach]) -> Losses:
    """The breaches as losses of the schemas' fields, each field once."""
    first: dict[str, Breach] = {}
    for breach in found:
        first.setdefault(breach.field, breach)
    return [approximated(field, f"the answer does not fit it: {breach.reasons[0]}") for field, breach in first.items()]


# ── asking again ───────────────────────────────────────────────────────────────────────


def asked_again(request: ChatRequest, response: ChatResponse, found: Sequence[Breach]) -> ChatRequest | None:
    """The request that tells the model what was wrong. None where it could not help: several answers, or one that was
    cut short and would be again."""
    if len(response.choices) != 1 or not found:
        return None
    choice = response.choices[0]
    if choice.finish is not None and choice.finish.reason == "length":
        return None
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    said = Message(role="assistant", parts=choice.parts)
    reply = _results(calls, found) if calls else [_complaint(found)]
    return msgspec.structs.replace(request, messages=(*request.messages, said, *reply))


def _complaint(found: Sequence[Breach]) -> Message:
    reasons = "\n".join(f"- {reason}" for breach in found for reason in breach.reasons)
    text = (
        f"This does not fit the JSON schema of the answer:\n{reasons}\nAnswer again, with nothing but JSON that fits."
    )
    return Message(role="user", parts=(Text(text=text),))


def _results(calls: Sequence[ToolCall], found: Sequence[Breach]) -> list[Message]:
    """A result for every call, for none may be left without one."""
    reasons = {breach.call: "; ".join(breach.reasons) for breach in found if breach.call is not None}
    messages = []
    for call in calls:
        text = "Error: not run, for another call of this turn was wrong. Make it again."
        if call.id in reasons:
            text = f"Error: the arguments do not fit the parameters: {reasons[call.id]}. Make the call again."
        result = ToolResult(call_id=call.id, name=call.name, parts=(Text(text=text),), is_error=True)
        messages.append(Message(role="tool", parts=(result,)))
    return messages


def with_usage_of(first: ChatResponse, second: ChatResponse) -> ChatResponse:
    """The second answer with the tokens of both: its caller pays for both."""
    return msgspec.structs.replace(second, usage=usage_of_both(first.usage, second.usage))


def usage_of_both(first: Usage | None, second: Usage | None) -> Usage | None:
    """What two answers have used; that of the second where one of them is not known. Parts that one of them names are
    parts of the sum."""
    if first is None or second is None:
        return second
    one, two = msgspec.structs.asdict(first), msgspec.structs.asdict(second)
    counts: dict[str, Any] = {name: _sum(one[name], two[name]) for name in one if name.endswith("_tokens")}
    for name in ("input_tokens", "output_tokens"):
        if one[name] is None or two[name] is None:
            counts[name] = two[name]
    totals = [_total(usage) for usage in (first, second)]
    counts["total_tokens"] = totals[1] if totals[0] is None or totals[1] is None else totals[0] + totals[1]
    return Usage(**counts, estimated=first.estimated or second.estimated)


def _sum(one: int | None, two: int | None) -> int | None:
    return None if one is None and two is None else (one or 0) + (two or 0)


def _total(usage: Usage) -> int | None:
    if usage.total_tokens is not None or usage.input_tokens is None or usage.output_tokens is None:
        return usage.total_tokens
    return usage.input_tokens + usage.output_tokens
