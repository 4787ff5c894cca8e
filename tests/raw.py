"""A caller without manners: sends exactly the bytes it is given, reads answers without a library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tests.answers import Json

Headers: TypeAlias = Mapping[str, str | None] | Sequence[tuple[str, str]]


def over(own: Mapping[str, str | None], headers: Headers) -> list[tuple[str, str]]:
    """Our headers, with those of the test put over them."""
    theirs = list(headers.items() if isinstance(headers, Mapping) else headers)
    named = {name.lower() for name, _ in theirs}
    both = [*((name, value) for name, value in own.items() if name.lower() not in named), *theirs]
    return [(name, value) for name, value in both if value is not None]


@dataclass
class RawAnswer:
    """An HTTP answer as it came; `rest` is what followed it."""

    code: int
    headers: list[tuple[str, str]]
    body: bytes
    rest: bytes = b""

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[0] if values else None

    def json(self) -> Json:
        return json.loads(self.body)


async def raw_request(port: int, data: bytes, *, host: str = "127.0.0.1", within: float = 5.0) -> bytes:
    """Send exactly these bytes; give those of the first final answer, or all until the other side closed."""
    reader, writer = await asyncio.open_connection(host, port)
    received = b""
    try:
        writer.write(data)
        deadline = time.monotonic() + within
        while parse_answer(received) is None:
            more = await asyncio.wait_for(reader.read(65536), max(0.0, deadline - time.monotonic()))
            if not more:
                break
            received += more
        return received
    except ConnectionResetError:
        return received
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def raw_call(port: int, method: str, target: str, body: bytes = b"", *, headers: Headers = ()) -> RawAnswer:
    """A request whose target no client has rewritten, and its answer."""
    own = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in over(own, headers)),
        "",
        "",
    ]
    received = await raw_request(port, "\r\n".join(lines).encode("latin-1") + body)
    parsed = parse_answer(received, ended=True)
    assert parsed is not None, f"no whole answer in {received[:200]!r}"
    return parsed


def parse_answer(data: bytes, *, ended: bool = False) -> RawAnswer | None:
    """The first final answer in `data`; None while it is not whole. `ended`: nothing more will come."""
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    lines = head.decode("latin-1").split("\r\n")
    code = int(lines[0].split(" ")[1])
    if 100 <= code < 200 and code != 101:
        return parse_answer(rest, ended=ended)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    found = RawAnswer(code, headers, b"")
    if (length := found.header("content-length")) is not None:
        found.body, found.rest = rest[: int(length)], rest[int(length) :]
        return found if len(found.body) == int(length) else None
    if found.header("transfer-encoding") == "chunked":
        return _unchunk(found, rest)
    found.body = rest
    return found if ended or code in (204, 304) else None


def _unchunk(found: RawAnswer, rest: bytes) -> RawAnswer | None:
    body = bytearray()
    while True:
        size, line_end, rest = rest.partition(b"\r\n")
        if not line_end or len(rest) < int(size, 16) + 2:
            return None
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
        if int(size, 16) == 0:
            found.body, found.rest = bytes(body), rest
            return found
