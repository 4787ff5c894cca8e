"""The yardstick: the barest proxy that aiohttp's server and client make. Everything goes on as it is.

No route table, no keys, no metrics, no log, no timeouts, no checks: what is left is the cost of the HTTP stack that
the gateway stands on, with the settings that make it fastest (docs/performance.md). Given the upstream's address as its
only argument; prints the port it listens on, then serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import aiohttp
import uvloop
from aiohttp import web


class PassThrough:
    """Sends each request on and gives the answer back, whole or as a stream."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.upstream = upstream
        self.session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {"Content-Type": "application/json", "Authorization": request.headers.get("Authorization", "")}
        async with self.session.post(self.upstream + request.path_qs, data=body, headers=headers) as answer:
            kind = answer.headers.get("Content-Type", "")
            if "event-stream" not in kind:
                return web.Response(status=answer.status, body=await answer.read(), headers={"Content-Type": kind})
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": kind})
            await response.prepare(request)
            async for data in answer.content.iter_any():  # whatever has arrived, in one write
                await response.write(data)
            await response.write_eof()
            return response


async def _main(upstream: str) -> None:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        timeout=aiohttp.ClientTimeout(total=None),
    )
    async with session:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{tail:.*}", PassThrough(upstream, session).handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        print(runner.addresses[0][1], flush=True)
        await stop.wait()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
