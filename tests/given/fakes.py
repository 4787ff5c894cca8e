"""Strict fakes of the given systems: each refuses what its document refuses, and then fails the test that sent it.

    async with AlephAlpha() as upstream:
        upstream.plays(fail(503), ok(order="reversed"))
        …
        assert upstream.seen[0].body == {…}

A fake is a small aiohttp application on a free port of loopback. What it answers is chosen by the test (`plays`, one
scenario a request, then plain good answers), never by what is asked. What the rules call wrong is answered as the
system would and noted in `refused`; leaving the `async with` block fails unless the test expected that (`tolerant`).
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import web

Json: TypeAlias = Any

KEY = "upstream-key"  # the only bearer that a fake takes
GATEWAY_SECRET = "callers-secret"  # must never be seen by an upstream


@dataclass(frozen=True)
class Seen:
    """One request as it came. `target` is the raw path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True)
class Scenario:
    """How one request is answered. `options` are what the system itself may do differently."""

    status: int = 200
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pause: float = 0.0
    cut: int | None = None  # events of a stream after which it just ends
    reset: bool = False  # the connection is dropped at that point, or at once
    split: bool = False
    done: bool = True
    huge: bool = False
    bad_json: bool = False
    options: Mapping[str, Json] = field(default_factory=dict)


def ok(**options: Json) -> Scenario:
    return Scenario(options=options)


def fail(status: int, body: Json = None, **headers: str) -> Scenario:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return Scenario(status=status, body=body, headers=said)


def fail_then_ok(times: int, status: int, body: Json = None) -> list[Scenario]:
    return [*[fail(status, body)] * times, ok()]


def delay(seconds: float) -> Scenario:
    return Scenario(delay=seconds)


def slow_tokens(pause: float) -> Scenario:
    return Scenario(pause=pause)


def cut_after(events: int, **options: Json) -> Scenario:
    return Scenario(cut=events, options=options)


def reset(events: int = 0) -> Scenario:
    return Scenario(cut=events, reset=True)


def split_every_byte(**options: Json) -> Scenario:
    return Scenario(split=True, options=options)


def no_done(**options: Json) -> Scenario:
    return Scenario(done=False, options=options)


def huge_line() -> Scenario:
    return Scenario(huge=True)


def bad_json() -> Scenario:
    return Scenario(bad_json=True)


def redirect(location: str) -> Scenario:
    return Scenario(status=302, headers={"location": location})


class Fake:
    """What all of them do: record, ask for the bearer, play scenarios, write streams."""

    base = ""  # what a base URL of it ends with
    paths: tuple[str, ...] = ()
    done = b"data: [DONE]\n\n"

    def __init__(self, *, tolerant: bool = False) -> None:
        self.seen: list[Seen] = []
        self.refused: list[str] = []
        self.text: Sequence[str] = ("Hel", "lo")
        self._tolerant = tolerant
        self._scenarios: list[Scenario] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Any:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._serve)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        if kind is None:
            assert self._tolerant or self.refused == []
            assert not self._scenarios, f"never played: {self._scenarios}"

    def plays(self, *scenarios: Scenario) -> None:
        """One scenario for each of the next requests."""
        self._scenarios += scenarios

    # ── what a system says for itself ──────────────────────────────────────────────
    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        """What is wrong with a request, None when nothing is."""
        raise NotImplementedError

    def refusal(self, problem: str) -> tuple[int, Json]:
        return 400, {"error": {"message": problem, "type": "invalid_request_error", "param": None, "code": None}}

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        raise NotImplementedError

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        """A stream without its end mark."""
        raise NotImplementedError

    def streams(self, body: dict[str, Json], request: web.Request) -> bool:
        return body.get("stream") is True

    def good_status(self, request: web.Request) -> int:
        return 200

    def other(self, request: web.Request) -> web.Response:
        return web.json_response({"message": "Not found"}, status=404)

    # ── serving ────────────────────────────────────────────────────────────────────
    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.raw_path, headers, body))
        if GATEWAY_SECRET in repr(headers) + request.raw_path:
            self.refused.append("the caller's credential reached the upstream")
        if headers.get("authorization") != f"Bearer {KEY}":
            self.refused.append("a wrong bearer")
            return web.json_response({"error": {"message": "Unauthorized"}}, status=401)
        if request.path not in self.paths:
            if request.method == "GET":
                return self.other(request)
            self.refused.append(f"no such path: {request.method} {request.path}")
            return self.other(request)
        problem = "the body is not a JSON object" if not isinstance(body, dict) else self.problem(body, request)
        if problem is not None:
            self.refused.append(problem)
            status, said = self.refusal(problem)
            return web.json_response(said, status=status)
        scenario = self._scenarios.pop(0) if self._scenarios else ok()
        return await self._play(scenario, body, request)

    async def _play(self, scenario: Scenario, body: dict[str, Json], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(scenario.delay)
        if scenario.status != 200:
            said = {} if scenario.body is None else scenario.body
            return web.json_response(said, status=scenario.status, headers=dict(scenario.headers))
        self.accepted(body)
        if self.streams(body, request):
            return await self._stream(scenario, body, request)
        data = b'{"id": "x", "choices": [' if scenario.bad_json else _dump(self.whole(body, scenario.options))
        status = self.good_status(request)
        return web.Response(body=data, status=status, content_type="application/json")

    def accepted(self, body: dict[str, Json]) -> None:
        """A request was found good."""

    async def _stream(self, scenario: Scenario, body: dict[str, Json], request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        pieces = list(self.events(body, scenario.options))
        if scenario.huge:
            pieces.insert(1, b"data: " + b" " * (17 << 20) + b"\n\n")
        if scenario.bad_json:
            pieces.insert(1, b'data: {"choices": [\n\n')
        if scenario.cut is not None:
            pieces = pieces[: scenario.cut]
        elif scenario.done:
            pieces.append(self.done)
        for piece in pieces:
            for one in (piece[i : i + 1] for i in range(len(piece))) if scenario.split else (piece,):
                await response.write(one)
            await asyncio.sleep(scenario.pause)
        if scenario.reset:
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write_eof()
        return response


def _dump(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _event(value: Json) -> bytes:
    return b"data: " + _dump(value) + b"\n\n"


def _number(value: Json, low: float | None, high: float | None) -> bool:
    if type(value) not in (int, float):
        return False
    return (low is None or value >= low) and (high is None or value <= high)


# ── Aleph Alpha ────────────────────────────────────────────────────────────────────────

QUEUE_FULL = {
    "error": "The request was rejected because we could not guarantee to finish it in a reasonable timeframe. "
    "This specific model is very busy at this moment. Try again later or use another model.",
    "code": "QUEUE_FULL",
}
_AA_FIELDS = {
    *("messages", "model", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("max_tokens", "n", "stop", "stream", "stream_options", "temperature", "top_p", "steering_concepts"),
    *("seed", "service_tier", "user"),
}
_AA_REJECTED = ("response_format", "tools", "tool_choice", "parallel_tool_calls")
_AA_RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_logprobs": (0, 20),
    "max_tokens": (1, None),
    "n": (1, None),
}
_STEERING = re.compile(r"_worker/[a-zA-Z0-9-_]{1,64}")
_HEX = re.compile(r"[0-9a-f]{64}")


class AlephAlpha(Fake):
    """`POST /chat/completions`. `profile` "4.7": a newer installation with tools, JSON schemas and images.

    Options of a scenario: `texts` (pieces for each choice), `order` (round, reversed, random), `last` (`{}` or
    `{"content": None}`), `finish`, `unknown_logprobs`, `in_list`.
    """

    paths = ("/chat/completions",)

    def __init__(self, *, profile: str = "1", tolerant: bool = False) -> None:
        super().__init__(tolerant=tolerant)
        self.new = profile == "4.7"
        self.ignored: list[str] = []  # accepted and without effect: nobody should send them

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if set(request.query) - {"nice"} or request.query.get("nice", "true") not in ("true", "false"):
            return f"a query that is not known: {request.query_string}"
        self.ignored += [key for key in ("seed", "service_tier", "user") if key in body]
        allowed = _AA_FIELDS | ({"response_format", "tools", "tool_choice"} if self.new else set())
        for key in _AA_REJECTED:
            if key in body and key not in allowed:
                return f"{key} is unsupported"
        if unknown := sorted(body.keys() - allowed):
            return f"unknown fields: {unknown}"
        if type(body.get("model")) is not str or type(body.get("messages")) is not list or not body["messages"]:
            return "model and messages are required"
        return self._parameters(body) or self._turns(body["messages"])

    def _parameters(self, body: dict[str, Json]) -> str | None:
        for key, (low, high) in _AA_RANGES.items():
            if key in body and not _number(body[key], low, high):
                return f"{key} is out of range"
        if "top_logprobs" in body and body.get("logprobs") is not True:
            return "top_logprobs without logprobs"
        bias = body.get("logit_bias", {})
        if not isinstance(bias, dict) or not all(_number(one, -100, 100) for one in bias.values()):
            return "logit_bias is out of range"
        stop = body.get("stop", "")
        if type(stop) is not str and not (type(stop) is list and len(stop) > 1):
            return "stop is a string, or several"
        concepts = body.get("steering_concepts", [])
        if type(concepts) is not list or (self.new and len(concepts) > 1):
            return "steering_concepts: one at a time"
        if not all(type(one) is str and (_STEERING.fullmatch(one) or _HEX.fullmatch(one)) for one in concepts):
            return "a steering concept that does not exist"
        form = body.get("response_format")
        return "response_format: json_schema only" if form is not None and form["type"] != "json_schema" else None

    def _turns(self, messages: list[Json]) -> str | None:
        before = "assistant"
        for number, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            if "name" in message:
                self.ignored.append("name")
            if self.new and (role == "tool" or message.get("tool_calls")):
                before = "user" if role == "tool" else role
                continue
            if message.keys() - {"role", "content", "name"}:
                return f"messages[{number}]: unknown fields"
            if type(content) is not str and not (self.new and _is_vision(content)):
                return f"messages[{number}]: content is not a string"
            if role == "system" and number == 0:
                continue
            if role not in ("user", "assistant") or (role == before and not (self.new and before == "user")):
                return f"messages[{number}]: turns must alternate between user and assistant"
            before = role
        return None if before == "user" else "the last message must be of the user"

    def refusal(self, problem: str) -> tuple[int, Json]:
        return 400, {"error": problem, "code": "INVALID_REQUEST"}

    def _texts(self, body: dict[str, Json], options: Mapping[str, Json]) -> list[list[str]]:
        texts = options.get("texts")
        return texts if texts is not None else [list(self.text) for _ in range(body.get("n", 1))]

    def _finish(self, body: dict[str, Json], options: Mapping[str, Json], pieces: list[str]) -> tuple[list[str], str]:
        """What a choice says, and why it ends: cut at its limit, or before a stop text."""
        stops = body.get("stop") or []
        for stop in [stops] if type(stops) is str else stops:
            if stop in "".join(pieces):
                return ["".join(pieces).partition(stop)[0]], "stop"
        most = body.get("max_tokens", len(pieces))
        return pieces[:most], options.get("finish") or ("length" if most < len(pieces) else "stop")

    def _logprobs(self, body: dict[str, Json], options: Mapping[str, Json], piece: str) -> Json:
        if not body.get("logprobs"):
            return None
        unknown = options.get("unknown_logprobs")
        token = {"token": piece, "logprob": -9999.0 if unknown else -0.5, "bytes": list(piece.encode())}
        return {"content": [{**token, "top_logprobs": [] if unknown else [token] * body.get("top_logprobs", 0)}]}

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        choices, count = [], 0
        for index, pieces in enumerate(self._texts(body, options)):
            said, finish = self._finish(body, options, pieces)
            count += len(said)
            message = {"role": "assistant", "content": "".join(said)}
            logprobs = self._logprobs(body, options, "".join(said))
            choices.append({"finish_reason": finish, "index": index, "message": message, "logprobs": logprobs})
        usage = {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}
        answer = {**self._head(body, "chat.completion"), "choices": choices, "usage": usage}
        answer["system_fingerprint"] = ".unknown."
        return [answer] if options.get("in_list") else answer

    def _head(self, body: dict[str, Json], kind: str) -> dict[str, Json]:
        return {"id": f"aa-{len(self.seen)}", "object": kind, "created": 1719000000, "model": body["model"]}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        tracks, count = [], 0
        for index, pieces in enumerate(self._texts(body, options)):
            said, finish = self._finish(body, options, pieces)
            count += len(said)
            tracks.append([*self._chunks(body, options, index, said), (options.get("last", {}), finish, None, index)])
        for delta, finish, logprobs, index in _interleaved(tracks, options.get("order", "round")):
            choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
            fingerprint = ".unknown." if finish else None
            yield _event(
                {
                    **self._head(body, "chat.completion.chunk"),
                    "choices": [choice],
                    "system_fingerprint": fingerprint,
                    "usage": None,
                }
            )
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}
            yield _event({**self._head(body, "chat.completion.chunk"), "choices": [], "usage": usage})

    def _chunks(self, body: dict[str, Json], options: Mapping[str, Json], index: int, said: list[str]) -> list[Json]:
        first: Json = ({"role": "assistant", "content": ""}, None, None, index)
        return [first, *(({"content": piece}, None, self._logprobs(body, options, piece), index) for piece in said)]


def _is_vision(content: Json) -> bool:
    """Texts and images by data URL, without a wish for detail other than auto."""
    for part in content if type(content) is list else [None]:
        if type(part) is not dict or part.get("type") not in ("text", "image_url"):
            return False
        image = part.get("image_url")
        if image is not None and (not image["url"].startswith("data:") or image.get("detail", "auto") != "auto"):
            return False
    return True


def _interleaved(tracks: list[list[Json]], order: str) -> Iterator[Json]:
    dice = random.Random(7)
    left = [list(track) for track in tracks]
    while any(left):
        ready = [track for track in left if track]
        if order == "random":
            yield dice.choice(ready).pop(0)
        elif order == "reversed":
            yield ready[-1].pop(0)  # the last choice is told first, to its end
        else:
            for track in ready:
                yield track.pop(0)


# ── AlphaKEK ───────────────────────────────────────────────────────────────────────────

_KEK_FIELDS = {"model", "messages", "stream", "persona", "json_schema", "temperature", "top_p"}
_KEK_FIELDS |= {"frequency_penalty", "top_k"}
_CREDITS = {"versa": 1, "nexus": 2, "eclipse": 3}


class AlphaKek(Fake):
    """`POST /v1/chat/completions`, `GET /account`; `spent` counts credits.

    Options: `text` (the answer), `own_calls`, `null_deltas`, `no_usage`, `full` (every optional field).
    """

    base = "/v1"
    paths = ("/v1/chat/completions",)

    def __init__(self, *, tolerant: bool = False) -> None:
        super().__init__(tolerant=tolerant)
        self.spent = 0

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if unknown := sorted(body.keys() - _KEK_FIELDS):
            return f"unknown fields: {unknown}"
        if body.get("model") not in _CREDITS:
            return "model: unknown"
        if not isinstance(body.get("json_schema", {}), dict):
            return "json_schema is not an object"
        if type(body.get("persona")) not in (str, type(None)):
            return "persona is not a string"
        for message in body.get("messages") or [None]:
            if type(message) is not dict or message.keys() != {"role", "content"}:
                return "messages: role and content"
            if message["role"] not in ("system", "user", "assistant") or type(message["content"]) is not str:
                return "messages: a role or content that is not known"
        return None

    def refusal(self, problem: str) -> tuple[int, Json]:
        return 422, {"detail": [{"loc": ["body", problem.partition(":")[0]], "msg": problem, "type": "value_error"}]}

    def accepted(self, body: dict[str, Json]) -> None:
        self.spent += _CREDITS[body["model"]]

    def other(self, request: web.Request) -> web.Response:
        if request.path == "/account":
            return web.json_response({"credits": 250 - self.spent, "tier": "PREMIUM"})
        return super().other(request)

    def _text(self, body: dict[str, Json], options: Mapping[str, Json]) -> list[str]:
        if "text" in options:
            return [options["text"]] if type(options["text"]) is str else list(options["text"])
        if "json_schema" in body:
            return [json.dumps(dict.fromkeys(body["json_schema"].get("properties", {}), "x"))]
        return list(self.text)

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        message: dict[str, Json] = {
            "content": "".join(self._text(body, options)),
            "refusal": None,
            "role": "assistant",
            "audio": None,
            "function_call": None,
            "tool_calls": None,
        }
        finish = "stop"
        if options.get("own_calls"):
            function = {"arguments": '{"token": "ETH"}', "name": "create_alert"}
            message["tool_calls"] = [{"id": "call_own", "function": function, "type": "function"}]
            finish = "tool_calls"
        if options.get("full"):
            message |= {
                "refusal": "text",
                "audio": {"id": "a", "data": "AAAA", "expires_at": 0, "transcript": "text"},
            }
        answer: dict[str, Json] = {
            **self._head(body, "chat.completion"),
            "choices": [{"finish_reason": finish, "index": 0, "logprobs": None, "message": message}],
            "service_tier": "scale",
            "system_fingerprint": "fp_1",
            "usage": {
                "completion_tokens": 2,
                "prompt_tokens": 3,
                "total_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 0},
                "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            },
        }
        if options.get("no_usage"):
            del answer["usage"]
        return answer

    def _head(self, body: dict[str, Json], kind: str) -> dict[str, Json]:
        return {"id": f"kek-{len(self.seen)}", "object": kind, "created": 1719000000, "model": body["model"]}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        def chunk(delta: Json, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            return _event({**self._head(body, "chat.completion.chunk"), "choices": [choice]})

        yield chunk({"role": "assistant", "content": ""})
        if options.get("null_deltas"):
            yield chunk({"content": None})
        for piece in self._text(body, options):
            yield chunk({"content": piece})
        if options.get("own_calls"):
            function = {"name": "create_alert", "arguments": '{"token": "ETH"}'}
            yield chunk({"tool_calls": [{"index": 0, "id": "call_own", "type": "function", "function": function}]})
        yield chunk({}, "tool_calls" if options.get("own_calls") else "stop")


# ── AlphaEdge ──────────────────────────────────────────────────────────────────────────

EDGE_ANSWER: dict[str, Json] = {
    "id": "chat-abc123",
    "object": "chat.completion",
    "model": "alphaedge-large-3-2512",
    "created": 1234567890,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello! How can I help you today?"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15},
}


class AlphaEdge(Fake):
    """`POST /v1/chat/completions` with five fields. Options: `usage` (in a stream), `finish`, `text`."""

    base = "/v1"
    paths = ("/v1/chat/completions",)

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if unknown := sorted(body.keys() - {"model", "messages", "max_tokens", "temperature", "stream"}):
            return f"unknown fields: {unknown}"
        if "temperature" in body and not _number(body["temperature"], 0, 2):
            return "temperature must be between 0 and 2"
        return None if body.get("messages") else "messages must not be empty"

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        if "text" not in options:
            return EDGE_ANSWER
        message = {"role": "assistant", "content": options["text"]}
        return {**EDGE_ANSWER, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        head = {**EDGE_ANSWER, "object": "chat.completion.chunk"}
        del head["choices"], head["usage"]
        for piece in options.get("text", self.text):
            yield _event({**head, "choices": [{"index": 0, "delta": {"content": piece}}]})
        if options.get("finish", True):
            last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            yield _event({**head, **last, **({"usage": EDGE_ANSWER["usage"]} if options.get("usage") else {})})


# ── Alchemyst ──────────────────────────────────────────────────────────────────────────

#: The stream as the document prints it, its broken line included; and with the quote of that line escaped.
PRINTED_STREAM = """\
data: {"type":"thinking_update","content":"Planning response"}
data: {"type":"final_response","content":"Here"s your answer..."}
data: {"type":"metadata","content":{"chatId":"...","title":"..."}}
data: [DONE]
"""
FIXED_STREAM = PRINTED_STREAM.replace('Here"s', 'Here\\"s')


class Alchemyst(Fake):
    """`POST /api/v1/chat/generate` (201) and `/generate/stream`, `POST /api/v1/chat`, and its proxy paths.

    Options: `shape` (message, response, kwargs, content, text, none), `raw` (a whole stream as text), `blank` (lines
    between events), `error` (an event with one), `more` (json and replaySessionID in every event).
    """

    paths = (
        "/api/v1/chat/generate",
        "/api/v1/chat/generate/stream",
        "/api/v1/chat",
        "/api/v1/proxy/default/chat/completions",
    )
    done = b"data: [DONE]\n"

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if request.path.endswith("/chat/completions"):
            good = type(body.get("model")) is str and bool(body.get("messages"))
            return None if good else "model and messages are required"
        known = {"chat_history", "persona", "tools", "scope", "stream", "voice", "fastContext", "chatId"}
        if unknown := sorted(body.keys() - known):
            return f"unknown fields: {unknown}"
        history = body.get("chat_history")
        if type(history) is not list or not history:
            return "chat_history must be a non-empty array"
        for entry in history:
            if type(entry) is not dict or type(entry.get("content")) is not str or type(entry.get("role")) is not str:
                return "chat_history: role and content"
        if type(body.get("tools", {})) not in (dict, list):
            return "tools must be an object"
        return None

    def refusal(self, problem: str) -> tuple[int, Json]:
        return 400, {"message": problem}

    def streams(self, body: dict[str, Json], request: web.Request) -> bool:
        return request.path.endswith("/stream") or ("messages" in body and body.get("stream") is True)

    def good_status(self, request: web.Request) -> int:
        return 200 if "/proxy/" in request.path else 201

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        text = "".join(self.text)
        if "messages" in body:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"id": "alc-1", "object": "chat.completion", "created": 1234, "choices": [choice]}
        shapes: dict[str, Json] = {
            "message": {"message": text, "persona": body.get("persona", "maya")},
            "response": {"response": {"content": text}},
            "kwargs": {"response": {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": text}}},
            "content": {"content": text},
            "text": text,
            "none": {"persona": "maya"},
        }
        result = shapes[options.get("shape", "message")]
        return {"result": result, "chatId": "chat-1", "title": "A title", "researchMode": False, "stream": False}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        if "raw" in options:
            yield options["raw"].encode()
            return
        end = b"\n\n" if options.get("blank") else b"\n"
        more = {"json": {"a": 1}, "replaySessionID": "r-1"} if options.get("more") else {}

        def event(kind: str, content: Json) -> bytes:
            return b"data: " + _dump({"type": kind, "content": content, "error": None, **more}) + end

        yield event("thinking_update", "Planning response")
        if options.get("error"):
            yield b"data: " + _dump({"type": "error", "content": None, "error": options["error"]}) + end
            return
        yield event("a_kind_that_is_new", {"x": 1})
        for piece in self.text:
            yield event("final_response", piece)
        yield event("metadata", {"chatId": "chat-1", "title": "A title"})
