"""What is fuzzed, and what must hold for every input whatever it is.

A target takes one input (bytes) and raises for a fault of ours. All else that a case needs (which task, how a stream
is cut, which row it goes to) is drawn from the input itself, so the input alone repeats a case. The rules:

- only errors of the tree are raised, and of the right branch: a caller's request is the caller's fault, an upstream's
  answer the upstream's;
- what was read can be written: in every dialect, as valid JSON, in a form that its own reader takes;
- a stream's events come in legal order, and the same ones however the bytes are cut;
- what readers with a simpler twin say is what the twin says (JSON, event streams).
"""

from __future__ import annotations

import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from typing import Any
from urllib.parse import unquote

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest
from providers.canonical.errors import (
    Bug,
    CallerError,
    MalformedRequest,
    RouterError,
    TransportError,
    UpstreamError,
    mask,
)
from providers.canonical.loss import Losses, blame, header, in_callers_words
from providers.canonical.stream import ChoiceEnd, PartEvent, ResponseEnd, StreamEvent, check, fold, unfold
from providers.catalog import catalog
from providers.dialect import PLAIN, Asked, Dialect, Traits, WireRequest, WireResponse
from providers.dialects import DIALECTS
from providers.dialects.upstream_only import UpstreamOnly
from providers.wire import json as wire_json
from providers.wire.eventstream import EventStreamDecoder
from providers.wire.hints import retry_after
from providers.wire.lines import JsonArrayDecoder, LineDecoder
from providers.wire.sse import SseDecoder
from router import strict_yaml, upstream_path
from tests.fidelity.through import caller_of, completed

from . import seeds
from .mutate import AMAZON, LINES, SSE, SSE_OR_ARRAY, Framing, JsonMutator, StreamMutator, change_bytes

Mutate = Callable[[Random, bytes], bytes]

FROM_UPSTREAM = (UpstreamError, TransportError)
CALLERS = [one for one in DIALECTS.values() if not isinstance(one, UpstreamOnly)]
CHATTING = [one for one in DIALECTS.values() if "chat" in one.operations]
CHAT_CALLERS = [one for one in CHATTING if one in CALLERS]

PARAMS: dict[str, list[dict[str, str]]] = {
    "gemini": [
        {"model": "gemini-2.5-flash", "task": task}
        for task in ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
    ],
    "ollama.chat": [{"task": task} for task in ("chat", "chat", "generate", "embed", "embeddings")],
    "anthropic.messages": [{}, {}, {"task": "count_tokens"}],
}
HEADERS = [
    {},
    {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01"},
    {"openai-beta": "é"},
    {"anthropic-beta": ""},
]


class Broken(AssertionError):
    """A rule does not hold for an input."""


def holds(condition: object, rule: str) -> None:
    if not condition:
        raise Broken(rule)


def dice_of(data: bytes) -> Random:
    return Random(zlib.crc32(data))


def as_json(data: bytes) -> Any:
    """Strictly: no NaN, no lone surrogates, no bytes that are not UTF-8."""
    data.decode()
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise Broken(f"not JSON: {error}: {data[:200]!r}") from None


@cache
def traits_of(name: str) -> Sequence[Traits]:
    """What the catalogue's rows say of a dialect's upstreams, each combination once."""
    keys = ("own", "ignores", "rejects", "quirks")
    rows = [row for row in catalog().values() if name in row["speaks"]]
    found = [Traits(**{key: frozenset(row.get(key, ())) for key in keys}) for row in rows]
    return list({repr(one): one for one in (PLAIN, *found)}.values())


# ── requests ───────────────────────────────────────────────────────────────────────────


def request(dialect: Dialect, data: bytes) -> None:
    """A caller's body: read, relayed, understood, written for every upstream."""
    dice = dice_of(data)
    params = dice.choice(PARAMS.get(dialect.name, [{}]))
    query = {"alt": "sse"} if params.get("task") == "streamGenerateContent" else {}
    wire = WireRequest(path="/", query=query, headers=dict(dice.choice(HEADERS)), body=data)
    try:
        asked = dialect.read(wire, params)
    except CallerError as error:
        _told(dialect, error)
        return
    _relayed(dialect, asked, dice)
    vectors = dialect.operation(asked.task) == "embeddings"
    try:
        understood = _codec(dialect).decode_embeddings(asked) if vectors else dialect.decode_request(asked)
    except CallerError as error:
        _told(dialect, error)
        return
    for upstream in DIALECTS.values():
        if dialect.operation(asked.task) in upstream.operations:
            _sent(dialect, upstream, understood, dice.choice(traits_of(upstream.name)))


def _codec(dialect: Dialect) -> Any:
    return dialect.embeddings


def _told(dialect: Dialect, error: RouterError) -> None:
    """An error has a form in every caller's dialect, whole and in a stream."""
    holds(400 <= error.status <= 599, "a status that is none")
    for stream in (False, True):
        wire = dialect.encode_error(error, stream=stream)
        holds(400 <= wire.status <= 599, "a status that is none")
        _readable(wire.body)


def _readable(body: bytes) -> None:
    """One JSON value, or a stream of them."""
    for line in [body] if body[:1] == b"{" else re.findall(rb"(?m)^data: (.+)$", body):
        if line != b"[DONE]":
            as_json(line)


def _relayed(dialect: Dialect, asked: Asked, dice: Random) -> None:
    losses: Losses = []
    traits = dice.choice(traits_of(dialect.name))
    try:
        wire = dialect.relay_request(asked, "model-2", losses, traits)
    except CallerError as error:
        _told(dialect, error)
        return
    as_json(wire.body)
    if traits == PLAIN:
        again = WireRequest(path="/", query=wire.query, headers=asked.wire.headers, body=wire.body)
        dialect.read(again, asked.params)


def _sent(caller: Dialect, upstream: Dialect, understood: ChatRequest | EmbeddingsRequest, traits: Traits) -> None:
    losses: Losses = []
    understood = msgspec.structs.replace(understood, model="model-2")
    try:
        if isinstance(understood, EmbeddingsRequest):
            wire = _codec(upstream).encode_embeddings_request(understood, losses, traits)
        else:
            wire = upstream.encode_request(understood, losses, traits)
    except CallerError as error:
        blame(error, understood, caller.paths)
        _told(caller, error)
        return
    as_json(wire.body)
    holds(wire.path.isascii() and wire.path.isprintable(), "a path that cannot be sent")
    holds(header(in_callers_words(losses, understood, caller.paths)).isascii(), "losses that cannot be sent")
    if upstream in CALLERS and not (traits.own or traits.quirks):
        _taken(upstream, wire, understood)


def _taken(upstream: Dialect, wire: WireRequest, understood: ChatRequest | EmbeddingsRequest) -> None:
    """What we write in a dialect is what we take in it."""
    if upstream.name == "gemini":
        params = {"model": "model-2", "task": wire.path.partition("?")[0].rpartition(":")[2]}
    else:
        params = {"task": wire.path.rpartition("/")[2]} if upstream.name in PARAMS else {}
    try:
        upstream.read(
            WireRequest(path=wire.path, query=wire.query, headers=wire.headers, body=wire.body), params, depth=200
        )
    except MalformedRequest as error:
        raise Broken(f"{upstream.name} is written as its own reader refuses it: {error}") from error


# ── answers ────────────────────────────────────────────────────────────────────────────


def answer(dialect: Dialect, data: bytes) -> None:
    """An upstream's whole answer: understood, told to every caller whole and as a stream; relayed."""
    wire = WireResponse(status=200, headers={"content-type": "application/json"}, body=data)
    if dialect.embeddings is not None:
        _vectors(dialect, wire, dice_of(data))
    if dialect in CALLERS:
        with_upstream_faults(partial(dialect.relay_response, wire, asked_of(dialect)))
    if dialect not in CHATTING:
        return
    response = with_upstream_faults(partial(dialect.decode_response, wire))
    if response is not None:
        _answered(response, but=dialect)  # whose callers are relayed
        events = check(unfold(completed(response)))
        for caller in CHAT_CALLERS:
            _streamed(caller, events, None)


def with_upstream_faults(call: Callable[[], Any]) -> Any:
    """What the call gives; None where it finds fault with the upstream, which can be told to every caller."""
    try:
        return call()
    except FROM_UPSTREAM as error:
        for caller in CALLERS:
            _told(caller, error)
        return None


@cache
def asked_of(dialect: Dialect, *, stream: bool = False) -> Asked:
    """A small request of the dialect."""
    if "chat" not in dialect.operations:
        return dialect.read(WireRequest(path="/", body=b'{"model":"m","input":["Hi","Ho"]}'), {})
    request = caller_of(dialect, stream=stream)
    wire = dialect.encode_request(request, [])
    task = "streamGenerateContent" if stream else "generateContent"
    params = {"model": "m", "task": task} if dialect.name == "gemini" else {}
    return dialect.read(WireRequest(path="/", query=wire.query, headers=wire.headers, body=wire.body), params)


def _answered(response: ChatResponse, but: Dialect | None = None) -> None:
    response = completed(response)
    for caller in CHAT_CALLERS:
        if caller is but:
            continue
        losses: Losses = []
        request = caller_of(caller)
        wire = caller.encode_response(response, request, losses)
        as_json(wire.body)
        holds(header(in_callers_words(losses, request, caller.paths)).isascii(), "losses that cannot be sent")


def _vectors(dialect: Dialect, wire: WireResponse, dice: Random) -> None:
    response = with_upstream_faults(partial(_codec(dialect).decode_embeddings_response, wire))
    if response is None:
        return
    inputs = tuple(EmbeddingInput(at=f"input[{i}]") for i in range(len(response.vectors) or 1))
    for caller in CALLERS:
        if caller.embeddings is None:
            continue
        request = EmbeddingsRequest(
            dialect=caller.name, model="m", inputs=inputs, encoding=dice.choice([None, "float", "base64"])
        )
        told = with_upstream_faults(partial(_codec(caller).encode_embeddings, response, request, []))
        if told is not None:
            as_json(told.body)


def refusal(dialect: Dialect, data: bytes) -> None:
    """The body of a refusal: always an UpstreamError that can be told, never anything else."""
    dice = dice_of(data)
    kind = dice.choice(["application/json", "text/html", "text/event-stream", "", "x; charset=\u00e9"])
    waits = dice.choice([{}, {"retry-after": dice.choice(["1", "-1", "nan", "1e400", "Wed, 99 Foo", "٣"])}])
    status = dice.choice([400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504, 529, 599])
    error = dialect.decode_error(WireResponse(status=status, headers={"content-type": kind, **waits}, body=data))
    holds(isinstance(error, UpstreamError), f"{type(error).__name__} is no UpstreamError")
    holds(mask(error.message) == error.message, "a secret is told")
    holds(error.retry_after is None or 0 <= error.retry_after < math.inf, "a wait that is none")
    for caller in CALLERS:
        _told(caller, error)


# ── streams ────────────────────────────────────────────────────────────────────────────


def pieces(dice: Random, data: bytes) -> list[bytes]:
    """The bytes cut at random: into a few pieces, into many, or byte by byte."""
    if len(data) < 2000 and dice.random() < 0.2:
        return [data[i : i + 1] for i in range(len(data))]
    most = dice.choice([1, 3, 20, 200])
    marks = sorted({dice.randint(0, len(data)) for _ in range(most)})
    return [data[a:b] for a, b in itertools.pairwise([0, *marks, len(data)])]


def stream(dialect: Dialect, data: bytes) -> None:
    """An upstream's stream: legal events, the same for any cut, told to every caller."""
    dice = dice_of(data)
    events, error = _decoded(dialect, [data])
    again, other = _decoded(dialect, pieces(dice, data))
    holds(events == again, "the events depend on the cuts")
    holds((type(error), str(error)) == (type(other), str(other)), f"the cuts decide the fault: {error!r}, {other!r}")
    check(events)
    if error is None:
        _complete(events)
        _answered(fold(events), but=dialect)
    for caller in CHAT_CALLERS:
        _streamed(caller, events, error)


def _decoded(dialect: Dialect, chunks: Sequence[bytes]) -> tuple[list[StreamEvent], RouterError | None]:
    decoder = dialect.stream_decoder()
    events: list[StreamEvent] = []
    try:
        for chunk in chunks:
            if decoder.finished:
                break
            events += decoder.feed(chunk)
        events += decoder.close()
    except FROM_UPSTREAM as error:
        return events, error
    return events, None


def _complete(events: Sequence[StreamEvent]) -> None:
    holds(events and isinstance(events[-1], ResponseEnd), "a stream without its end")
    begun = {event.choice for event in events if isinstance(event, PartEvent)}
    ended = {event.choice for event in events if isinstance(event, ChoiceEnd)}
    holds(begun <= ended, "a choice without its end")


def _streamed(caller: Dialect, events: Sequence[StreamEvent], error: RouterError | None) -> None:
    """The events as the caller gets them."""
    losses: Losses = []
    request = caller_of(caller, stream=True)
    encoder = caller.stream_encoder(request, losses)
    out = [encoder.feed(event) for event in events]
    out.append(encoder.close() if error is None else encoder.error(error))
    _framed(encoder.content_type, b"".join(out))
    in_callers_words(losses, request, caller.paths)


def _framed(content_type: str, out: bytes) -> None:
    """Events or lines of JSON, the last one whole."""
    if "event-stream" not in content_type:
        for line in out.splitlines() if "ndjson" in content_type else [out]:
            as_json(line)
        return
    decoder = SseDecoder()
    for data, _, _ in decoder.feed(out):
        if data is not None and data != b"[DONE]":
            as_json(data)
    holds(decoder.close() == b"", "an event that is not whole")


def relay(dialect: Dialect, data: bytes) -> None:
    """The relay's tap: gives out what came in, the same for any cut."""
    dice = dice_of(data)
    out, error = _tapped(dialect, [data])
    again, other = _tapped(dialect, pieces(dice, data))
    # A LF that comes apart from its CR belongs to the next event, and goes with it or not at all.
    holds(_one_line_end(out) == _one_line_end(again), "what is given out depends on the cuts")
    holds((type(error), str(error)) == (type(other), str(other)), f"the cuts decide the fault: {error!r}, {other!r}")
    holds(len(out) <= len(data) + 4096, "more is given out than came in")


def _one_line_end(data: bytes) -> bytes:
    return re.sub(rb"\r\n|\r", b"\n", data).rstrip(b"\n")


def _tapped(dialect: Dialect, chunks: Sequence[bytes]) -> tuple[bytes, RouterError | None]:
    tap = dialect.stream_relay(asked_of(dialect, stream=True))
    out: list[bytes] = []
    try:
        for chunk in chunks:
            if tap.finished:
                break
            out.append(tap.feed(chunk))
        out.append(tap.close())
    except FROM_UPSTREAM as error:
        tap.error(error)
        return b"".join(out), error
    tap.error(Bug())
    holds(tap.started or not any(out), "given out, and not said so")
    return b"".join(out), None


# ── bytes ──────────────────────────────────────────────────────────────────────────────


def json_text(data: bytes) -> None:
    """What callers send is read as the standard library reads it strictly, what upstreams send can be written again."""
    with_upstream_faults(lambda: as_json(wire_json.encode(wire_json.decode_upstream(data))))
    try:
        value = wire_json.decode_object(data)
    except MalformedRequest:
        return
    holds(value == json.loads(data, parse_constant=float), "read otherwise than the standard library does")
    top = wire_json.top_level(data)
    holds(top.keys() == value.keys(), "other fields at the top level")
    doubled: list[int] = []
    json.loads(data, object_pairs_hook=lambda pairs: doubled.append(len(pairs) - len(dict(pairs))) or dict(pairs))
    holds(wire_json.has_duplicates(data, top) == bool(doubled[-1]), "a field twice, or not")
    holds(as_json(wire_json.splice(top, {})) == value, "spliced into something else")
    as_json(wire_json.escape_lines(wire_json.encode(value)))


def sse(data: bytes) -> None:
    """Event streams are read by the letter of their specification, whatever the cuts; what white space there is around
    data counts for nothing.

    A CR at the very end may be half of a CRLF: the event that it ends may wait for what comes next.
    """
    found = [(told.strip(), name) for told, name in _split_by_letter(data)]
    legal = [found, found[:-1]] if data.endswith(b"\r\n\r") else [found]
    for chunks in ([data], pieces(dice_of(data), data)):
        decoder = SseDecoder()
        events = [event for chunk in chunks for event in decoder.feed(chunk)]
        read = [(told.strip(), name) for told, name, _ in events if told is not None]
        holds(read in legal, "not by the letter")
        raw = b"".join(event[2] for event in events) + decoder.close()
        holds(len(raw) <= len(data), "more bytes than came")


def _split_by_letter(data: bytes) -> list[tuple[bytes, bytes | None]]:
    """WHATWG HTML, section 9.2.6, with all bytes at hand. A last line without its end is not a line."""
    found: list[tuple[bytes, bytes | None]] = []
    told: list[bytes] = []
    name: bytes | None = None
    for line in re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        key, _, value = line.partition(b":")
        if not line:
            if told:
                found.append((b"\n".join(told), name))
            told, name = [], None
        elif key == b"data":
            told.append(value.removeprefix(b" "))
        elif key == b"event":
            name = value.removeprefix(b" ")
    return found


def lines(data: bytes) -> None:
    """JSON lines and JSON arrays are cut where they end, whatever the cuts."""
    for make in (LineDecoder, JsonArrayDecoder):
        results = []
        for chunks in ([data], pieces(dice_of(data), data)):
            decoder = make()
            results.append(_fed(decoder, chunks))
        holds(results[0] == results[1], f"{make.__name__}: the result depends on the cuts")
    decoder = LineDecoder()
    whole = [line + b"\n" for line in data.split(b"\n")[:-1] if line.strip()]
    holds([line for line in decoder.feed(data) if line.strip()] == whole, "other lines")


def frames(data: bytes) -> None:
    """Binary frames: read whatever the cuts; damage is told."""
    one, other = (_fed(EventStreamDecoder(), chunks) for chunks in ([data], pieces(dice_of(data), data)))
    holds(one == other, "the frames depend on the cuts")


def _fed(decoder: Any, chunks: Sequence[bytes]) -> tuple[list[Any], Any]:
    found: list[Any] = []
    try:
        for chunk in chunks:
            found += decoder.feed(chunk)
        return found, decoder.close()
    except TransportError as error:
        return found, str(error)


def path(data: bytes) -> None:
    """An upstream named in a path: understood or refused, and a log never shows the key."""
    target, prefix = data.decode("latin-1"), "/api/v1/proxy/"
    rows = {"openai": "https://api.openai.com/v1", "g": "https://g.example"}
    listed, dice = [upstream_path.Listed(*row) for row in rows.items()], dice_of(data)
    shown = upstream_path.redacted(target, prefix, dice.choice([None, listed]))
    unlisted = dice.choice([True, False, ("*.example",)])
    try:
        found = upstream_path.parse(target, prefix, listed, unlisted=unlisted, default=True)
    except upstream_path.PathProblem as problem:
        holds(problem.status in (400, 403, 404), "a status that is none")
        return
    holds(len([one for one in (found.default, found.listed, found.base_url) if one]) == 1, "not one upstream")
    if found.key is not None and len(found.key) > 12:
        told = repr(msgspec.structs.replace(found, base_url=None))  # which may hold the same letters, or more keys
        said = (shown + told).replace("/chat/completions", "")  # of which a key may be a piece
        others = max(unquote(unquote(target)).count(found.key) - 1, 0)  # hosts may have the same letters
        holds(said.count(found.key) <= others, "the key is shown")
    if found.base_url is not None:
        holds(re.fullmatch(r"https://[a-z0-9._-]+(/[\x21-\x7e]*)?", found.base_url), "a base URL that is none")


def yaml(data: bytes) -> None:
    """A route table: values that know their place, or problems that do."""
    node, problems = strict_yaml.read(data)
    holds(node is not None or problems, "nothing, and nothing wrong")
    if node is not None:
        node.plain()
    rows = data.count(b"\n") + data.count(b"\r") + data.count(b"\xc2\x85") + data.count(b"\xe2\x80") + 2
    for problem in problems:
        holds(1 <= problem.line <= rows and problem.column >= 1, f"no such place: {problem}")


def hints(data: bytes) -> None:
    """What headers say of waiting: seconds, or nothing."""
    text = data.decode("latin-1")
    headers = {"retry-after": text[: len(text) // 2], "date": text[len(text) // 2 :], "retry-after-ms": text[:9]}
    for names in (("retry-after", "date"), ("retry-after-ms",), tuple(headers)):
        found = retry_after({name: headers[name] for name in names})
        holds(found is None or 0 <= found < math.inf, "a wait that is none")


# ── all of them ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Target:
    """One decoder. `group` shares a budget of time in `make test`."""

    name: str
    group: str
    rule: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate


def _json_mutate(found: Callable[[], Sequence[bytes]]) -> Mutate:
    return lambda dice, data: JsonMutator(dice, seeds.words(), found()).mutate(data)


def _stream_mutate(found: Callable[[], Sequence[bytes]], framing: Framing) -> Mutate:
    return lambda dice, data: StreamMutator(dice, seeds.words(), found(), framing).mutate(data)


def _of_dialect(dialect: Dialect) -> list[Target]:
    name = dialect.name
    framing = FRAMINGS.get(name, SSE)
    found: list[tuple[str, Any, Any, Any, bool]] = [
        ("request", request, seeds.requests, None, dialect in CALLERS),
        ("answer", answer, seeds.answers, None, True),
        ("error", refusal, seeds.errors, None, True),
        ("stream", stream, seeds.streams, framing, dialect in CHATTING),
        ("relay", relay, seeds.streams, framing, dialect in CHAT_CALLERS),
    ]
    targets = []
    for word, rule, corpus, how, there in found:
        inputs = partial(corpus, name)
        mutate = _json_mutate(inputs) if how is None else _stream_mutate(inputs, how)
        if there:
            targets.append(Target(f"{word}:{name}", name, partial(rule, dialect), inputs, mutate))
    return targets


FRAMINGS = {"gemini": SSE_OR_ARRAY, "ollama.chat": LINES, "bedrock.converse": AMAZON}


def _bytes() -> list[Target]:
    chat, gemini, ollama = (partial(seeds.streams, name) for name in ("openai.chat", "gemini", "ollama.chat"))
    bodies = partial(seeds.requests, "openai.chat")
    amazon = partial(seeds.streams, "bedrock.converse")

    def either(dice: Random, data: bytes) -> bytes:
        return _stream_mutate(gemini, dice.choice([SSE_OR_ARRAY, LINES]))(dice, data)

    return [
        Target("json", "bytes", json_text, bodies, _json_mutate(bodies)),
        Target("sse", "bytes", sse, chat, _stream_mutate(chat, SSE)),
        Target("lines", "bytes", lines, lambda: [*gemini(), *ollama()], either),
        Target("frames", "bytes", frames, amazon, _stream_mutate(amazon, AMAZON)),
        Target("path", "bytes", path, lambda: PATHS, _change_path),
        Target("yaml", "bytes", yaml, _tables, _change_table),
        Target("hints", "bytes", hints, lambda: [b"Wed, 21 Oct 2026 07:28:00 GMT" * 2, b"30"], change_bytes),
    ]


_HEADS = [
    *("https://api.openai.com/v1", "api.openai.com/v1", "openai", "default", "https:/g.example", "http://[::1]:80"),
    *("https://x.example:443/a/b", "https%3A%2F%2Fapi.openai.com%2Fv1", "https%253A%252F%252Fx.example%252Fv1"),
    "https://user@x.example",
]
_KEYS = ["sk-abcdefghijklmnopqrstuvwx", "-", "", "a%2Fb", "%2e%2e", "AIzaabcdefghijklmnop", "key%2520key"]
_TAILS = ["/chat/completions", "/v1/messages", "/embeddings", "/v1beta/models/gemini-2.5-flash:generateContent"]
PATHS = [f"/api/v1/proxy/{head}/{key}{tail}".encode() for head in _HEADS for key in _KEYS for tail in _TAILS]
_ODD_PATHS = [
    *(
        b"%",
        b"%2f",
        b"%252f",
        b"..",
        b"/",
        b"//",
        b"\\",
        b"@",
        b"#",
        b"?",
        b":",
        b"%00",
        b"\xe9",
        b"[",
        b"]",
        b".",
        b";",
    )
]


def _change_path(dice: Random, data: bytes) -> bytes:
    if dice.random() < 0.3:
        return change_bytes(dice, data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randint(len(b"/api/v1/proxy/"), max(len(data), 14))
        other = dice.choice([*_ODD_PATHS, dice.choice(PATHS)[14:]])
        data = data[:at] + other * dice.choice([1, 1, 1, 300]) + data[at + dice.randint(0, 3) :]
    return data


@cache
def _tables() -> Sequence[bytes]:
    table = (seeds.SPECS.parent.parent / "routes.yaml").read_bytes()
    parts = [part + b"\n" for part in re.split(rb"\n(?=[a-z])", table)]
    odd = [b"a: &x [1, 2]\nb: *x\nc: {<<: *x, d: 0o17}\n", b"- a\n", b"a: |\n  text\n  more\nb: >-\n  x\n"]
    return [table, *parts, *odd]


_ODD_YAML = [
    *(b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b"---\n", b"...\n", b"%YAML 1.2\n", b"? ", b"- ", b": "),
    *(b"{", b"}", b"[", b"]", b"\t", b"|", b">", b"'", b'"', b"#", b"\x00", b"\xc2\x85", b"\xe2\x80\xa8", b"0x"),
    *(b"9" * 40, b"  ", b"\r\n", b",", b"\xff"),
]


def _change_table(dice: Random, data: bytes) -> bytes:
    for _ in range(dice.randint(1, 4)):
        at = dice.randint(0, len(data))
        data = data[:at] + dice.choice(_ODD_YAML) * dice.choice([1, 1, 1, 40, 2000]) + data[at:]
    return change_bytes(dice, data) if dice.random() < 0.3 else data[: 64 << 10]


TARGETS: dict[str, Target] = {
    target.name: target for target in [*itertools.chain(*map(_of_dialect, DIALECTS.values())), *_bytes()]
}
