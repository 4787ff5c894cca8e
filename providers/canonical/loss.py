"""Losses: what a translation could not carry across unchanged, as values, and how they are written in headers.

Encoders append losses; decoding never loses anything. A loss is named by a path in the caller's own body. Encoders
name parameters by their canonical word (`top_k`); `in_callers_words` turns those into the caller's path
(`generationConfig.topK`). Values that stand in a list carry their path themselves (`Value.at`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias
from urllib.parse import quote

import msgspec

from providers.canonical.chat import (
    CacheMark,
    ChatRequest,
    ChatResponse,
    Finish,
    Media,
    Message,
    Object,
    Opaque,
    Part,
    ResponseFormat,
    ToolCall,
    ToolResult,
    Value,
)
from providers.canonical.errors import CallerError
from providers.canonical.turns import Talk

Kind: TypeAlias = Literal["dropped", "approximated", "invented"]


class Loss(msgspec.Struct, frozen=True):
    """One thing that did not survive: `field` is a path in the caller's body, `reason` one sentence for the caller.

    `literal`: the path is already in the caller's words, though it may look like a canonical parameter.
    """

    field: str
    kind: Kind
    reason: str
    literal: bool = False


Losses: TypeAlias = list[Loss]


def dropped(field: str, reason: str) -> Loss:
    return Loss(field, "dropped", reason)


def approximated(field: str, reason: str) -> Loss:
    return Loss(field, "approximated", reason)


def invented(field: str, reason: str) -> Loss:
    return Loss(field, "invented", reason)


def at_least_one(limit: int, losses: Losses) -> int:
    """`max_output_tokens` for a target that takes no 0: Anthropic's callers warm its cache with an empty answer."""
    if limit > 0:
        return limit
    losses.append(approximated("max_output_tokens", "the target answers with one token at least"))
    return 1


def join(at: str, key: str) -> str:
    """`key` below the path `at`: join("messages[1]", "name") == "messages[1].name"."""
    return f"{at}.{key}" if at else key


def schema_place(wanted: ResponseFormat) -> str:
    """Where the caller wrote the schema of the answer: beside its name, or on its own."""
    if not wanted.at:
        return "response_format"
    return wanted.at if "schema" in (wanted.form or {}) else join(wanted.at, "schema")


def name_place(media: Part) -> str:
    """Where the caller wrote the name of a file."""
    return (media.form or {}).get("name_at") or join(media.at, "filename")


class Worded(Protocol):
    """A request that knows where its caller wrote a parameter."""

    @property
    def paths(self) -> Mapping[str, str] | None: ...


def in_callers_words(losses: Iterable[Loss], request: Worded, names: Mapping[str, str]) -> Losses:
    """The losses with canonical parameter names replaced by the caller's paths, each (field, kind) once.

    A name with dots in it stands for what is below an item of a list: `tools[].parameters`, with as many brackets.
    """
    paths = request.paths or {}
    seen: dict[tuple[str, str], Loss] = {}
    for loss in losses:
        field = loss.field
        if not loss.literal:
            field = paths.get(field) or names.get(field) or (_respelled(field, names) if "." in field else field)
        seen.setdefault((field, loss.kind), Loss(field, loss.kind, loss.reason))
    return list(seen.values())


_INDEX = re.compile(r"\[\d+\]")


def _respelled(field: str, names: Mapping[str, str]) -> str:
    """A path below an item of a list, in the caller's words: `tools[].parameters` may be `tools[].input_schema`."""
    general = _INDEX.sub("[]", field)
    for name, path in names.items():
        if "." in name and (general == name or general.startswith(f"{name}.")):
            pieces = (path + general[len(name) :]).split("[]")
            indexes = [*_INDEX.findall(field), ""]
            return "".join(piece + index for piece, index in zip(pieces, indexes, strict=True))
    return field


def blame(error: CallerError, request: Worded, names: Mapping[str, str]) -> None:
    """Puts a refusal that names a canonical parameter into the caller's words: its `param` and the head of its text."""
    word = error.param
    if word is None:
        return
    field = (request.paths or {}).get(word) or names.get(word)
    if field is not None and field != word:
        error.param = field
        if error.message.startswith(f"{word}:"):
            error.message = field + error.message[len(word) :]


def lose_extras(request: ChatRequest, dialect: str, losses: Losses) -> None:
    """Declares everything that only the caller's dialect understands, when the target speaks another.

    Covers `extra` of the request and of every value in it. Seals, cache marks and opaque parts are declared by the
    encoder where it meets them, for some targets have a place for them.
    """
    if request.dialect == dialect:
        return
    if request.extra:
        lose_extra(request, losses)
    if type(request.messages) is not Talk:
        _lose_said(request.messages, losses)
    for tool in request.tools:
        if tool.extra:
            lose_extra(tool, losses)
    for setting in request.safety:
        lose_extra(setting, losses)
    for single in (request.tool_choice, request.response_format, request.reasoning, request.audio):
        if single is not None:
            lose_extra(single, losses)


def _lose_said(messages: Sequence[Message], losses: Losses) -> None:
    """A result's own name is lost where it is not that of the call: elsewhere ids pair the two."""
    called: dict[str, str] = {}
    for message in messages:
        if message.extra:
            lose_extra(message, losses)
        for part in message.parts:
            if part.extra:
                lose_extra(part, losses)
            if type(part) is ToolCall:
                called[part.id] = part.name
            elif type(part) is ToolResult:
                if part.name is not None and called.get(part.call_id, part.name) != part.name:
                    losses.append(dropped(join(part.at, "named"), "the result is that of the call with its id"))
                for inner in part.parts:
                    lose_extra(inner, losses)


def lose_extra(value: Value, losses: Losses) -> None:
    """Declares each key of a value's `extra` as dropped, as it was spelled (`form["snake"]`, `form["names"]`). Of an
    object that is understood (`form["inner"]`: where it stood) each key that is left.
    """
    if value.extra:
        form = value.form or {}
        outer, inner = form.get("outer", ()), form.get("inner", {})
        names = form.get("names") or form.get("snake")
        for key, left in value.extra.items():
            if key in inner:
                losses.extend(Loss(join(inner[key], one), "dropped", _NO_FIELD, literal=True) for one in left)
                continue
            at = value.at.rpartition(".")[0] if key in outer else value.at
            written = _spelled(key, names) if names else key
            losses.append(Loss(join(at, written), "dropped", _NO_FIELD, literal=not at))


def _spelled(path: str, names: Mapping[str, str]) -> str:
    """A path with its steps as the caller wrote them. `names` has them by themselves, or by the path up to them."""
    steps = path.split(".")
    return ".".join(names.get(".".join(steps[: i + 1]), names.get(step, step)) for i, step in enumerate(steps))


_NO_FIELD = "the target has no such field"


def lose_beside(mark: CacheMark, losses: Losses) -> None:
    """Declares what a cache mark that is carried says beside its time."""
    for key in mark.beside:
        losses.append(dropped(join(mark.at, key), _NO_FIELD))


def lose_marks(part: Part, losses: Losses, *, origin: str | None = None) -> None:
    """Declares a part's cache mark, and its seal unless it comes from `origin`, as dropped."""
    if part.cache is not None:
        at = part.cache.at or join(part.at, "cache_control")
        losses.append(dropped(at, "the target takes no cache marks here"))
    if part.seal is not None and part.seal.origin != origin:
        losses.append(dropped(part.seal.at or part.at or "signature", "a signature of another model family"))


def lose_part(at: str, part: Part, losses: Losses) -> None:
    """Declares a part of an answer that the caller's dialect has no place for: `message.image`."""
    kind = part.kind if isinstance(part, Opaque | Media) else str(type(part).__struct_config__.tag)
    losses.append(dropped(join(at, kind), f"the caller's dialect has no place for this part ({kind})"))


def lose_stop(finish: Finish, losses: Losses) -> None:
    """Declares which sequence ended an answer, where the caller's dialect says only that one did."""
    if finish.stop_sequence is not None:
        losses.append(dropped("stop_sequence", "the caller's dialect does not say which sequence ended the answer"))


#: Of an answer's `extra`: what repeats the request, names the item or pads the event, and times and reckonings of the
#: provider's own. Nobody loses an answer's meaning with them.
_SAYS_NOTHING = frozenset(
    {"background", "conversation", "frequency_penalty", "instructions", "max_output_tokens", "max_tool_calls"}
    | {"metadata", "parallel_tool_calls", "presence_penalty", "previous_response_id", "prompt", "prompt_cache_key"}
    | {"prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "store", "temperature"}
    | {"text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user", "verbosity"}
    | {"id", "index", "object", "status", "type", "obfuscation", "logprobs", "output_text"}
    | {"completed_at", "createTime", "created_at", "billing", "access_programs", "metrics", "avgLogprobs", "token_id"}
)
#: What is carried as far as the caller's dialect has a form for it: sources of Gemini's, Anthropic's explanations.
_IN_PART = frozenset({"groundingMetadata", "stop_details"})


def lose_answer(response: ChatResponse, losses: Losses) -> None:
    """Declares what another dialect's answer says that only its own callers would read: `extra`, at every level."""
    lose_told(response.extra, losses)
    for choice in response.choices:
        lose_told(choice.extra, losses)
        for part in choice.parts:
            if part.extra:
                lose_told(part.extra, losses)


def lose_told(extra: Object | None, losses: Losses) -> None:
    """The same for the `extra` of one value of an answer, or of one event of a stream. It is named as its upstream
    wrote it, for the caller's own body has no such place.
    """
    for key, value in (extra or {}).items():
        if key in _SAYS_NOTHING or value is None or value in ("", [], {}):
            continue
        if key == "message" and isinstance(value, dict):
            lose_told(value, losses)
        elif key in _IN_PART:
            reason = "only what the caller's dialect has a form for is carried"
            losses.append(Loss(key, "approximated", reason, literal=True))
        else:
            losses.append(Loss(key, "dropped", "the caller's dialect has no such field", literal=True))


# ── the header ─────────────────────────────────────────────────────────────────────────

HEADER_LIMIT = 4096


def header(losses: Iterable[Loss], limit: int = HEADER_LIMIT) -> str:
    """`x-isthmus-loss`: `logit_bias=dropped, temperature=approximated`, under `limit` bytes (contract.md section 3).

    Where it would not fit, entries of one list are joined under its path (`messages=dropped`), and if that is
    still too long the rest is left to the log.
    """
    items = list(losses)
    whole = _written(((loss.field, loss.kind) for loss in items), limit)
    if len(whole) < limit:
        return whole
    joined = _written(((loss.field.split("[", 1)[0], loss.kind) for loss in items), limit)
    return joined if len(joined) < limit else joined[: max(joined.rfind(", ", 0, limit + 1), 0)]


def _written(pairs: Iterable[tuple[str, str]], limit: int) -> str:
    """Each pair once, in order; ends soon after `limit` bytes, for a caller may name very many fields."""
    seen: dict[tuple[str, str], str] = {}
    size = 0
    for pair in pairs:
        if pair not in seen:
            entry = seen[pair] = f"{_escaped(pair[0])}={pair[1]}"
            size += len(entry) + 2
            if size > limit + 2:
                break
    return ", ".join(seen.values())


def _escaped(field: str) -> str:
    """Everything outside printable ASCII, and `,` `=` `%`, percent-encoded."""
    if field.isascii() and field.isprintable() and not {",", "=", "%", " "} & set(field):
        return field
    return quote(field, safe="!\"#$&'()*+-./:;<>?@[\\]^_`{|}~")
