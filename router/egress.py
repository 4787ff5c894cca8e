"""Which addresses may be called for what a caller names: unlisted upstreams, media URLs.

What the operator wrote into routes.yaml may live anywhere and does not come here. What a caller can name may
only be a public address, reached by https on port 443, and never this gateway itself.

    refusal(address)          the decision, pure: why an address may not be called, or None
    CheckedResolver           a name is refused when any of its addresses is
    checked_socket_factory    no socket is made for a refused address: the last word, also for literal ones
    CallerNamedConnector      all of it, and https, port, proxy and own address, at one door

The check is where the connection is made, not beside it: a name is looked up once per connection, and exactly
the addresses that were checked are connected to. An answer that changes between two look-ups gains nothing.

`ipaddress.is_global` alone is not enough: it is true of NAT64 and 6to4 forms of 127.0.0.1, of multicast, and
of public addresses that a cloud answers itself. Prefixes are those of the IANA special-purpose
registries (RFC 6890 and its updates), embeddings those of RFC 3056, 4291 (2.5.5), 4380, 5214 and 6052.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Literal, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

Reason: TypeAlias = Literal[
    "loopback", "private", "shared", "link_local", "metadata", "multicast", "reserved", "unspecified",
    "malformed", "scheme", "port", "proxy", "own",
]  # fmt: skip
Own: TypeAlias = Collection[tuple[str, int]]
AddressInfo: TypeAlias = "tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]"
MakeSocket: TypeAlias = Callable[[AddressInfo], socket.socket]

HTTPS_PORT = 443

_V4_ROWS: list[tuple[str, Reason]] = [
    ("0.0.0.0/32", "unspecified"),
    ("0.0.0.0/8", "reserved"),
    ("127.0.0.0/8", "loopback"),
    ("10.0.0.0/8", "private"),
    ("172.16.0.0/12", "private"),
    ("192.168.0.0/16", "private"),
    ("169.254.169.254/32", "metadata"),
    ("169.254.170.2/32", "metadata"),  # container credentials
    ("169.254.0.0/16", "link_local"),
    ("100.100.100.200/32", "metadata"),
    ("100.64.0.0/10", "shared"),
    ("168.63.129.16/32", "metadata"),  # public by number, answered by the host below the machine
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "reserved"),
    ("192.88.99.0/24", "reserved"),
    ("198.18.0.0/15", "reserved"),
    ("198.51.100.0/24", "reserved"),
    ("203.0.113.0/24", "reserved"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
]
_V6_ROWS: list[tuple[str, Reason]] = [
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("fd00:ec2::254/128", "metadata"),
    ("fd20:ce::254/128", "metadata"),
    ("fc00::/7", "private"),
    ("fec0::/10", "private"),
    ("64:ff9b:1::/48", "private"),  # NAT64 of one network, which decides what it leads to
    ("fe80::/10", "link_local"),
    ("ff00::/8", "multicast"),
    ("2001::/23", "reserved"),  # Teredo, ORCHID, benchmarking and other protocols
    ("2001:db8::/32", "reserved"),
    ("3fff::/20", "reserved"),
]
_V4 = [(IPv4Network(network), reason) for network, reason in _V4_ROWS]
_V6 = [(IPv6Network(network), reason) for network, reason in _V6_ROWS]
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_MAPPED = IPv6Network("::ffff:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)


class EgressDenied(Exception):
    """A connection that was not made. `reason` is for metric and log; a caller is told one text for all."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"egress denied: {reason}")
        self.reason: Reason = reason


# ── the decision ─────────────────────────────────────────────────────────────────────


def refusal(address: str) -> Reason | None:
    """Why this address may not be called for a caller; None when it may. No address: `malformed`."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "malformed"
    return _refusal_v4(parsed) if isinstance(parsed, IPv4Address) else _refusal_v6(parsed)


def _refusal_v4(address: IPv4Address) -> Reason | None:
    for network, reason in _V4:
        if address in network:
            return reason
    return None if address.is_global else "reserved"


def _refusal_v6(address: IPv6Address) -> Reason | None:
    if address.scope_id is not None:
        return "link_local"
    for embedded in _embedded(address):
        if reason := _refusal_v4(embedded):
            return reason
    if address in _MAPPED or address in _NAT64:
        return None
    for network, reason in _V6:
        if address in network:
            return reason
    if address in _6TO4:
        return None
    return None if address in _UNICAST and address.is_global else "reserved"


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """Every IPv4 address that a tunnel or translator on the way could take out of this one."""
    bits = int(address)
    low = IPv4Address(bits & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64 or (address in _COMPATIBLE and int(low) > 1):
        yield low
    if address in _6TO4:
        yield IPv4Address(bits >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:
        yield IPv4Address(bits >> 64 & 0xFFFFFFFF)  # its server
        yield IPv4Address(~bits & 0xFFFFFFFF)  # the client, stored inverted
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield low


def is_own(host: str, port: int, own: Own) -> bool:
    """Is this one of the gateway's own doors? An own host of 0.0.0.0 or :: is every local spelling."""
    wanted = _plain(host)
    for own_host, own_port in own:
        mine = _plain(own_host)
        if port == own_port and (wanted == mine or (mine in ("0.0.0.0", "::") and _is_here(wanted))):
            return True
    return False


def _plain(host: str) -> str:
    """One spelling per host: lower case, no brackets, no trailing dot, mapped addresses unmapped."""
    host = host.strip("[]").rstrip(".").lower()
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _is_here(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or refusal(host) in ("loopback", "unspecified")


# ── the enforcement ──────────────────────────────────────────────────────────────────


def plain_socket(info: AddressInfo) -> socket.socket:
    """The socket that is made for an address that may be called."""
    family, kind, protocol, *_ = info
    return socket.socket(family, kind, protocol)


def checked_socket_factory(*, own: Own = (), make: MakeSocket = plain_socket) -> MakeSocket:
    """A factory for `aiohttp.TCPConnector` that raises `EgressDenied` instead of making a wrong socket."""

    def make_checked(info: AddressInfo) -> socket.socket:
        _check_address(info[4][0], info[4][1], own)
        return make(info)

    return make_checked


class CheckedResolver(AbstractResolver):
    """Look a name up once, and refuse it when any of its addresses is refused: no name is half public."""

    def __init__(self, inner: AbstractResolver | None = None, *, own: Own = ()) -> None:
        self._inner = inner or aiohttp.ThreadedResolver()
        self._own = own

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `EgressDenied`, and what the inner resolver raises (OSError for an unknown name)."""
        found = await self._inner.resolve(host, port, family)
        for answer in found:
            _check_address(answer["host"], port, self._own)
        return found

    async def close(self) -> None:
        await self._inner.close()


class CallerNamedConnector(aiohttp.TCPConnector):
    """The connector for hosts that callers name: own pool, https on 443, no proxy, public addresses only.

    `also` holds (host, port) pairs that may be called by http or on other ports; their addresses are checked
    like any other's. `own` holds (host, port) of the gateway's own doors. Nothing is cached between
    connections, neither names nor refusals. Redirects are followed by sessions, not by connectors: pass
    `allow_redirects=False`; where that is forgotten, each hop is checked here.
    """

    def __init__(
        self,
        *,
        resolver: AbstractResolver | None = None,
        own: Own = (),
        also: Collection[tuple[str, int]] = (),
        make: MakeSocket = plain_socket,
        limit: int = 200,
        keepalive: float = 15.0,
    ) -> None:
        self._own = own
        self._also = {(_plain(host), port) for host, port in also}
        super().__init__(
            resolver=CheckedResolver(resolver, own=own),
            use_dns_cache=False,
            socket_factory=checked_socket_factory(own=own, make=make),
            limit=limit,
            keepalive_timeout=keepalive,
        )

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the base class names it
    ) -> Connection:
        """Raises `EgressDenied` before a pooled connection is taken or a name looked up."""
        host, port = req.url.raw_host or "", req.url.port or 0
        if req.proxy is not None:
            raise EgressDenied("proxy")
        if is_own(host, port, self._own):
            raise EgressDenied("own")
        if (_plain(host), port) not in self._also:
            if req.url.scheme != "https":
                raise EgressDenied("scheme")
            if port != HTTPS_PORT:
                raise EgressDenied("port")
        return await super().connect(req, traces, timeout)


def _check_address(address: str, port: int, own: Own) -> None:
    # Our own door first: it would be refused as loopback, too, but a loop is what the operator should read.
    if is_own(address, port, own):
        raise EgressDenied("own")
    if reason := refusal(address):
        raise EgressDenied(reason)
