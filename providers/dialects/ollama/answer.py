"""Whole answers, both ways: of a chat (`message`) and of a generate request (`response`)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    ChatResponse,
    Choice,
    Logprobs,
    Media,
    Reasoning,
    Refusal,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, MalformedRequest
from providers.canonical.loss import Losses, approximated, dropped, lose_answer, lose_part, lose_stop
from providers.canonical.tokens import fitted
from providers.dialect import WireResponse
from providers.dialects.unread import lose_weights
from providers.wire import json as wire_json
from providers.wire.json import decode_upstream, encode

from .errors import decode_error
from .messages import arguments_in, read_spoken
from .spoken import write_own_call
from .words import COUNTS, NAME, Json, Object, finish_of, finish_word, form_of, leftovers, make_form, seconds_of
from .words import timestamp as timestamp_of

# ── reading ────────────────────────────────────────────────────────────────────────────


def checked(body: Json, wire: WireResponse) -> Object:
    """An answer as an object. UpstreamError for an error under 200, BadUpstreamBytes for what is none."""
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    if body.get("error"):
        raise decode_error(wire)
    return body


def decode(wire: WireResponse) -> ChatResponse:
    """A whole answer."""
    body = checked(decode_upstream(wire.body), wire)
    if type(body.get("message")) is not dict and type(body.get("response")) is not str:
        raise BadUpstreamBytes("the upstream's answer holds no message")
    if body.get("done") is False:
        raise BadUpstreamBytes("the upstream's answer is not finished")
    try:
        return _read(body, wire.body)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise BadUpstreamBytes("the upstream's answer is not a chat answer") from None


def _read(body: Object, data: bytes) -> ChatResponse:
    rest = dict(body)
    del_done = rest.pop("done", None)
    model = rest.pop("model") if rest.get("model") and type(rest["model"]) is str else None
    created_at = rest.get("created_at")
    if "message" in rest:
        message = dict(rest.pop("message"))
    else:
        message = {"content": rest.pop("response")} | ({"thinking": rest.pop("thinking")} if "thinking" in rest else {})
    role = message.pop("role", None) if "message" in body else "assistant"
    written = arguments_in(data) if message.get("tool_calls") else []
    parts, content = read_spoken(message, "message", created_at, written)
    logprobs = rest.pop("logprobs") if rest.get("logprobs") else None
    calls = any(isinstance(part, ToolCall) for part in parts)
    finish = finish_of(rest.pop("done_reason", None), calls=calls)
    usage = read_usage(rest)
    for key in COUNTS:
        rest.pop(key, None)
    said, silent = leftovers(message)
    extra, keep = leftovers(rest)
    form = make_form(content=content, silent=silent, role=None if role == "assistant" else [role])
    choice = Choice(
        parts=parts,
        finish=finish,
        logprobs=read_logprobs(logprobs) if logprobs else None,
        extra={"message": said} if said else None,
        form=form,
    )
    return ChatResponse(
        dialect=NAME,
        model=model,
        created=seconds_of(created_at),
        choices=(choice,),
        usage=usage,
        extra=extra,
        form=make_form(keep=keep, done="absent" if del_done is None else None),
    )


def read_usage(body: Mapping[str, Json]) -> Usage | None:
    """The counts of a last line. A prompt that was still in the server's memory is not counted by older ones."""
    raw = {key: body[key] for key in COUNTS if key in body}
    if not raw:
        return None
    asked, answered = (wire_json.as_count(raw.get(key)) for key in ("prompt_eval_count", "eval_count"))
    total = asked + answered if asked is not None and answered is not None else None
    return Usage(input_tokens=asked, output_tokens=answered, total_tokens=total, raw=raw)


def read_logprobs(raw: list[Object]) -> Logprobs:
    """TypeError, ValueError or KeyError for what is none."""
    return Logprobs(content=tuple(_token(one) for one in raw))


def _token(raw: Object) -> TokenLogprob:
    rest = dict(raw)
    token, logprob = wire_json.as_text(rest.pop("token")), wire_json.as_number(rest.pop("logprob"))
    spelled, top = rest.pop("bytes", None), rest.pop("top_logprobs", None)
    return TokenLogprob(
        token=token,
        logprob=logprob,
        bytes=tuple(spelled) if spelled is not None else None,
        top=tuple(_token(one) for one in top or ()),
        extra=rest or None,
    )


# ── writing ────────────────────────────────────────────────────────────────────────────


def encode_response(response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
    """An answer for a caller. Times that nobody measured are left out, as servers leave out what is zero."""
    own = response.dialect == NAME
    choice = response.choices[0] if response.choices else Choice(finish=response.blocked)
    if len(response.choices) > 1:
        losses.append(dropped("choices", "the caller's dialect has one answer"))
    body: Object = {"model": response.model or request.model, "created_at": timestamp_of(response.created)}
    if generates(request):
        spoken = _Spoken(own, losses, calls=False).said(choice, response)
        body["response"] = spoken.pop("content", "")
        spoken.pop("role", None)
        body |= spoken
    else:
        body["message"] = _Spoken(own, losses).said(choice, response)
    if not (own and form_of(response).get("done")):
        body["done"] = True
    word, same = finish_word(choice.finish, own)
    if not same:
        losses.append(approximated("done_reason", f"the answer ended with {ended_with(choice)}"))
    if choice.finish is not None:
        lose_stop(choice.finish, losses)
    if choice.finish is None or choice.finish.raw is not None or not own:
        body["done_reason"] = word
    if choice.logprobs is not None:
        body["logprobs"] = write_logprobs(choice.logprobs, own, losses)
    body |= write_usage(response.usage, own)
    if own:
        body.update(response.extra or {})
        body.update(form_of(response).get("keep", {}))
    else:
        lose_answer(response, losses)
    return WireResponse(status=200, headers={"content-type": "application/json"}, body=encode(body))


def generates(request: ChatRequest) -> bool:
    """Does the caller await an answer in the shape of /api/generate?"""
    return request.dialect == NAME and form_of(request).get("task") == "generate"


def ended_with(choice: Choice) -> str:
    return (choice.finish.raw or choice.finish.reason) if choice.finish else "nothing said"


class _Spoken:
    """Writes the message of one answer."""

    def __init__(self, own: bool, losses: Losses, *, calls: bool = True) -> None:
        self._own = own
        self._losses = losses
        self._calls = calls
        self._texts: list[str] = []
        self._out: Object = {"role": "assistant", "content": ""}

    def said(self, choice: Choice, response: ChatResponse) -> Object:
        for part in choice.parts:
            self._say(part)
        if response.blocked is not None and not response.choices:
            self._texts.append(refusal_of(response))
        out = self._out
        out["content"] = "".join(self._texts)
        if self._own:
            self._restore(choice)
        return out

    def _restore(self, choice: Choice) -> None:
        form, out = form_of(choice), self._out
        if form.get("content") == "absent":
            out.pop("content")
        elif "content" in form:
            out["content"] = form["content"][0]
        if form.get("role"):
            out.pop("role")
        out.update((choice.extra or {}).get("message", {}))
        out.update(form.get("silent", {}))

    def _say(self, part: AnyPart) -> None:
        out = self._out
        if part.seal is not None and not isinstance(part, ToolCall):
            self._losses.append(dropped("message.signature", "the caller's dialect has no place for a signature"))
        match part:
            case Text():
                self._texts.append(part.text)
                if part.citations:
                    self._losses.append(dropped("message.citations", "the caller's dialect has no citations"))
            case Reasoning():
                if part.text:
                    out["thinking"] = out.get("thinking", "") + part.text
            case Refusal():
                self._texts.append(part.text)
                self._losses.append(approximated("message.content", "the caller's dialect has no refusals: text"))
            case ToolCall() if self._calls:
                calls = out.setdefault("tool_calls", [])
                calls.append(write_own_call(part) if self._own else write_call(part, len(calls), self._losses))
            case Media() if self._own:
                out.setdefault("images", []).append(part.base64)
            case _:  # the official client cannot read images in an answer
                lose_part("message", part, self._losses)


def refusal_of(response: ChatResponse) -> str:
    """What a caller is told of a blocked prompt."""
    finish = response.blocked
    return (finish.message if finish else None) or "The request was blocked."


def write_call(call: ToolCall, index: int, losses: Losses) -> Object:
    """A call for a caller, with its id, which newer clients send back."""
    arguments = as_object(call, losses)
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments}}


def as_object(call: ToolCall, losses: Losses) -> Json:
    """Arguments as an object, byte for byte where they are one; what is none stands under `value`."""
    if call.kind == "custom":
        losses.append(approximated("message.tool_calls", "a custom tool's input stands under `input`"))
        return {"input": call.arguments}
    text = call.arguments
    if not text.strip():
        return {}
    value: Json = text
    try:
        data = text.encode()
        if type(wire_json.decode(data)) is dict:
            # Pretty-printed arguments must not break a line of a stream.
            return msgspec.Raw(msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data)
        value = msgspec.Raw(data.strip())
    except (MalformedRequest, UnicodeEncodeError):
        value = text.encode("utf-8", "replace").decode()
    losses.append(approximated("message.tool_calls", "arguments that are no object stand under `value`"))
    return {"value": value}


def write_usage(usage: Usage | None, own: bool) -> Object:
    """The counts of a last line. What is not known is left out."""
    if usage is None:
        return {}
    if own and usage.raw is not None:
        return dict(usage.raw)
    usage = fitted(usage)
    counts = {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    return {key: count for key, count in counts.items() if count is not None}


def write_logprobs(logprobs: Logprobs, own: bool, losses: Losses) -> list[Object]:
    if not own:
        lose_weights(logprobs, losses, tokens=True)
    return [_write_token(token, False, own) for token in (logprobs.content or ()) + (logprobs.refusal or ())]


def _write_token(token: TokenLogprob, inner: bool, own: bool) -> Object:
    out: Object = {"token": token.token, "logprob": token.logprob}
    if token.bytes is not None:
        out["bytes"] = list(token.bytes)
    if not inner and token.top:
        out["top_logprobs"] = [_write_token(one, True, own) for one in token.top]
    return {**out, **token.extra} if own and token.extra else out


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def relay_response(wire: WireResponse, task: str) -> Usage | None:
    """Checks an answer that goes on untouched."""
    body = checked(decode_upstream(wire.body), wire)
    key, kind = _ANSWERS[task]
    if type(body.get(key)) is not kind:
        raise BadUpstreamBytes(f"the upstream's answer holds no {key}")
    return read_usage(body)


_ANSWERS: Mapping[str, tuple[str, type]] = {
    "chat": ("message", dict),
    "generate": ("response", str),
    "embed": ("embeddings", list),
    "embeddings": ("embedding", list),
}
