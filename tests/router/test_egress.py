"""What a caller names is called only at public addresses, and what was checked is what is connected to.

No test here leaves the machine: the sockets that the connector asks for are refused at the last moment by
`Recorder`, after the checks had their say, so that public addresses are noted and never called.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import get_args

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from router.egress import (
    AddressInfo,
    CallerNamedConnector,
    CheckedResolver,
    EgressDenied,
    Reason,
    checked_socket_factory,
    is_own,
    plain_socket,
    refusal,
)
from tests.fakes import FakeUpstream, json_answer, redirect

PUBLIC = "93.184.215.14"

# ── the decision ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC,
        "8.8.8.8",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "11.0.0.0",
        "192.0.1.0",
        "2606:4700:4700::1111",
        "2a00:1450:4001:81b::200a",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
        "2620:fe::fe",
    ],
)
def test_public_addresses_may_be_called(address: str) -> None:
    """A globally routable address, also in a mapped or translated form, is not refused."""
    assert refusal(address) is None


REFUSED_V4: list[tuple[str, Reason]] = [
    ("127.0.0.1", "loopback"),
    ("127.0.0.2", "loopback"),
    ("127.255.255.255", "loopback"),
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "reserved"),
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("192.168.0.1", "private"),
    ("169.254.169.254", "metadata"),
    ("169.254.170.2", "metadata"),
    ("169.254.0.1", "link_local"),
    ("100.64.0.1", "shared"),
    ("100.100.100.200", "metadata"),
    ("100.127.255.255", "shared"),
    ("168.63.129.16", "metadata"),
    ("192.0.0.1", "reserved"),
    ("192.0.0.192", "reserved"),
    ("192.0.2.1", "reserved"),
    ("192.88.99.1", "reserved"),
    ("198.18.0.1", "reserved"),
    ("198.19.255.255", "reserved"),
    ("198.51.100.1", "reserved"),
    ("203.0.113.1", "reserved"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
]
WRAPPINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda v4: v4,
    "mapped": lambda v4: f"::ffff:{v4}",
    "compatible": lambda v4: f"::{v4}",
    "nat64": lambda v4: f"64:ff9b::{v4}",
    "6to4": lambda v4: str(ipaddress.IPv6Address(0x2002 << 112 | int(ipaddress.IPv4Address(v4)) << 80 | 1)),
    "isatap": lambda v4: f"2001:4860::5efe:{v4}",
}


@pytest.mark.parametrize(("address", "reason"), REFUSED_V4)
def test_addresses_that_are_not_public_are_refused(address: str, reason: Reason) -> None:
    """R02: every range that is not globally routable is refused, with its reason."""
    assert reason == refusal(address)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped_addresses_are_unwrapped(wrapping: str) -> None:
    """R01, R02: an IPv6 form of a refused IPv4 address is refused as well."""
    for address, _ in REFUSED_V4:
        assert refusal(WRAPPINGS[wrapping](address)) is not None, address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a9fe:a9fe::1", "metadata"),
        ("64:ff9b:1::7f00:1", "private"),
        ("64:ff9b:1::808:808", "private"),
        ("fe80::1", "link_local"),
        ("fe80::1%eth0", "link_local"),
        ("fc00::1", "private"),
        ("fdff::1", "private"),
        ("fec0::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "reserved"),
        ("100::1", "reserved"),
        ("3fff::1", "reserved"),
        ("5f00::1", "reserved"),
        ("2001::1", "unspecified"),
        ("4000::1", "reserved"),
        ("2001:0:808:808:0:0:80ff:fffe", "loopback"),
        ("2001:0:808:808:0:0:f7f7:f7f7", "reserved"),
        ("2001:0:7f00:1:0:0:f7f7:f7f7", "loopback"),
        ("::808:808", "reserved"),
        ("2001:2::1", "reserved"),
    ],
)
def test_ipv6_ranges_are_refused(address: str, reason: Reason) -> None:
    """Every IPv6 range but global unicast is refused, and Teredo for what is inside it or for itself."""
    assert reason == refusal(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "8.8.8.8 ",
        "①②⑦.0.0.1",
        "[::1]",
        "::1]",
        "8.8.8",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """Only canonical addresses are judged; any other text is refused."""
    assert refusal(address) == "malformed"


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_local_passes(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Our tables are never wider than those of the standard library, and reasons come from the closed set."""
    reason = refusal(str(address))

    assert reason is None or reason in get_args(Reason)
    if reason is None and not (isinstance(address, ipaddress.IPv6Address) and refusal_by_content(address)):
        assert address.is_global
        assert not address.is_multicast


def refusal_by_content(address: ipaddress.IPv6Address) -> bool:
    return address.ipv4_mapped is not None or address.sixtofour is not None


@given(st.ip_addresses(v=4))
def test_a_wrapping_never_opens_what_is_closed(address: ipaddress.IPv4Address) -> None:
    """What is refused as IPv4 is refused in every IPv6 form."""
    if refusal(str(address)) is not None:
        for wrap in WRAPPINGS.values():
            assert refusal(wrap(str(address))) is not None


# ── our own address ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("gw.example", 443, True),
        ("GW.Example.", 443, True),
        ("gw.example", 8443, False),
        ("x.gw.example", 443, False),
        ("203.0.113.7", 8080, True),
        ("::ffff:203.0.113.7", 8080, True),
        ("[::ffff:cb00:7107]", 8080, True),
        ("127.0.0.1", 9000, True),
        ("localhost", 9000, True),
        ("a.localhost", 9000, True),
        ("[::1]", 9000, True),
        ("0.0.0.0", 9000, True),
        ("127.0.0.1", 8080, False),
        ("198.51.100.1", 9000, False),
    ],
)
def test_own_address(host: str, port: int, expected: bool) -> None:
    """R10: our names, addresses and, for a listener on all addresses, every local spelling are our own."""
    own = [("gw.example", 443), ("203.0.113.7", 8080), ("0.0.0.0", 9000)]

    assert expected is is_own(host, port, own)


# ── the enforcement ──────────────────────────────────────────────────────────────────


class StubResolver(AbstractResolver):
    """Answers look-ups from a list, the last answer for ever, and counts them."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


class Recorder:
    """A socket maker that notes where a connection would have gone, and makes none."""

    def __init__(self) -> None:
        self.called: list[tuple[str, int]] = []

    def __call__(self, info: AddressInfo) -> socket.socket:
        self.called.append((info[4][0], info[4][1]))
        raise OSError("a test connects to nobody")


@pytest.fixture
async def canary() -> AsyncIterator[FakeUpstream]:
    """A listener on loopback that nobody may reach."""
    async with FakeUpstream() as fake:
        fake.always(json_answer({"reached": True}))
        yield fake

        assert [] == fake.connections


async def call(connector: CallerNamedConnector, url: str) -> None:
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, allow_redirects=False):
        pass


async def denied(connector: CallerNamedConnector, url: str) -> Reason:
    with pytest.raises(EgressDenied) as caught:
        await call(connector, url)
    return caught.value.reason


async def test_a_public_name_is_looked_up_once_and_called_there(canary: FakeUpstream) -> None:
    """One look-up per connection, and the address that was checked is the one that is called."""
    recorder, resolver = Recorder(), StubResolver([PUBLIC])

    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectorError):
            await call(CallerNamedConnector(resolver=resolver, make=recorder), "https://good.example/")

    assert ["good.example"] * 2 == resolver.asked
    assert [(PUBLIC, 443)] * 2 == recorder.called


@pytest.mark.parametrize("answer", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], ["2606:4700::1", "::1"]])
async def test_a_name_with_one_private_address_is_refused(canary: FakeUpstream, answer: list[str]) -> None:
    """R11: of two addresses, one private, neither is called."""
    recorder, resolver = Recorder(), StubResolver(answer)
    connector = CallerNamedConnector(resolver=resolver, make=recorder, also=[("evil.example", canary.port)])

    reason = await denied(connector, f"http://evil.example:{canary.port}/")

    assert "loopback" == reason
    assert (["evil.example"], []) == (resolver.asked, recorder.called)


async def test_a_name_that_changes_reaches_nobody(canary: FakeUpstream) -> None:
    """R11: an answer that was public for one connection does not open the next one."""
    recorder, resolver = Recorder(), StubResolver([PUBLIC], ["127.0.0.1"])
    url = f"http://evil.example:{canary.port}/"
    connector = CallerNamedConnector(resolver=resolver, make=recorder, also=[("evil.example", canary.port)])
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
        with pytest.raises(EgressDenied):
            await session.get(url)

    assert 2 == len(resolver.asked)
    assert [(PUBLIC, canary.port)] == recorder.called


async def test_the_sockets_are_checked_without_the_resolver(canary: FakeUpstream) -> None:
    """A connector with nothing but the socket factory makes no connection to a refused address either."""
    connector = aiohttp.TCPConnector(
        resolver=StubResolver(["127.0.0.1"]), use_dns_cache=False, socket_factory=checked_socket_factory()
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        for url in (f"http://evil.example:{canary.port}/", f"http://127.0.0.1:{canary.port}/"):
            with pytest.raises(EgressDenied, match="loopback"):
                await session.get(url)


async def test_the_socket_factory_tries_no_second_address(canary: FakeUpstream) -> None:
    """With several addresses and only the socket factory, the private ones are never connected to."""
    recorder = Recorder()
    connector = aiohttp.TCPConnector(
        resolver=StubResolver([PUBLIC, "127.0.0.1", "::1"]),
        use_dns_cache=False,
        socket_factory=checked_socket_factory(make=recorder),
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises((EgressDenied, aiohttp.ClientError)):
            await session.get(f"http://evil.example:{canary.port}/")

    assert {PUBLIC} >= {address for address, _ in recorder.called}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1/", "loopback"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:127.0.0.1]/", "loopback"),
        ("https://169.254.169.254/latest/", "metadata"),
        ("https://10.0.0.1/", "private"),
        ("https://[64:ff9b::7f00:1]/", "loopback"),
        ("https://[2002:7f00:1::]/", "loopback"),
        ("https://0.0.0.0/", "unspecified"),
        ("https://①②⑦.0.0.1/", "loopback"),
        ("https://100.64.0.1/", "shared"),
        ("https://[fec0::1]/", "private"),
        ("https://[fe80::1]/", "link_local"),
        ("http://good.example/", "scheme"),
        ("http://good.example:443/", "scheme"),
        ("https://good.example:8443/", "port"),
        ("https://good.example:22/", "port"),
        ("https://gw.example/", "own"),
        ("https://GW.example./", "own"),
    ],
)
async def test_literal_addresses_schemes_and_ports(url: str, reason: Reason) -> None:
    """A literal address is checked like a name's, and only https on port 443 is a caller's to name."""
    recorder, resolver = Recorder(), StubResolver([PUBLIC])

    found = await denied(CallerNamedConnector(resolver=resolver, make=recorder, own=[("gw.example", 443)]), url)

    assert reason == found
    assert ([], []) == (resolver.asked, recorder.called)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1"])
async def test_numbers_that_are_no_addresses_reach_nobody(host: str) -> None:
    """A number that the system would read as an address makes no connection."""
    recorder, resolver = Recorder(), StubResolver(["127.0.0.1"])

    with pytest.raises((EgressDenied, aiohttp.ClientError)):
        await call(CallerNamedConnector(resolver=resolver, make=recorder), f"https://{host}/")

    assert [] == recorder.called


async def test_a_name_of_our_own_address_is_a_loop() -> None:
    """R10: a strange name that leads to our public address is refused as our own."""
    recorder, resolver = Recorder(), StubResolver([PUBLIC])
    connector = CallerNamedConnector(resolver=resolver, make=recorder, own=[(PUBLIC, 443)])

    assert await denied(connector, "https://alias.example/") == "own"
    assert [] == recorder.called


async def test_the_environments_proxy_is_not_used(canary: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy from the environment is refused even where a session trusts the environment."""
    monkeypatch.setenv("HTTPS_PROXY", canary.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    connector = CallerNamedConnector(resolver=StubResolver([PUBLIC]), make=Recorder())
    async with aiohttp.ClientSession(connector=connector, trust_env=True) as session:
        with pytest.raises(EgressDenied, match="proxy"):
            await session.get("https://good.example/")


class Detour:
    """A socket maker that leads every connection that was allowed to one loopback port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, info: AddressInfo) -> socket.socket:
        return _Detoured(self.port, info)


class _Detoured(socket.socket):
    def __init__(self, port: int, info: AddressInfo) -> None:
        super().__init__(info[0], info[1], info[2])
        self._port = port

    def connect(self, address: object) -> None:
        super().connect(("127.0.0.1", self._port))


async def test_a_redirect_to_a_forbidden_host_is_refused_where_it_would_be_followed(
    canary: FakeUpstream,
) -> None:
    """R07: a session that wrongly follows redirects does not get past the door."""
    async with FakeUpstream() as upstream:
        upstream.script(redirect(f"http://127.0.0.1:{canary.port}/"), redirect("https://169.254.169.254/"))
        connector = CallerNamedConnector(
            resolver=StubResolver([PUBLIC]), make=Detour(upstream.port), also=[("good.example", 80)]
        )
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(EgressDenied, match="scheme"):
                await session.get("http://good.example/")
            with pytest.raises(EgressDenied, match="metadata"):
                await session.get("http://good.example/")

    assert 2 == len(upstream.requests)


async def test_an_allowed_upstream_answers_and_its_connection_is_kept() -> None:
    """What may be called is called, and a kept connection needs no second look-up."""
    resolver = StubResolver([PUBLIC])
    async with FakeUpstream() as upstream:
        upstream.always(json_answer({"ok": True}))
        connector = CallerNamedConnector(resolver=resolver, make=Detour(upstream.port), also=[("Good.example", 80)])
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(2):
                async with session.get("http://good.example/") as answer:
                    assert {"ok": True} == await answer.json()

    assert ([1, 2], ["good.example"]) == ([request.turn for request in upstream.requests], resolver.asked)


async def test_the_systems_resolver_is_checked_too() -> None:
    """Without a resolver of its own the door asks the system, and a local name is refused."""
    recorder = Recorder()

    assert await denied(CallerNamedConnector(make=recorder), "https://localhost/") == "loopback"
    assert [] == recorder.called


async def test_a_name_that_is_not_known_is_no_refusal() -> None:
    """What the resolver raises stays what it is."""

    class Empty(StubResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            raise OSError(None, "no such name")

    with pytest.raises(aiohttp.ClientConnectorDNSError):
        await call(CallerNamedConnector(resolver=Empty([]), make=Recorder()), "https://nowhere.example/")


async def test_closing_a_checked_resolver_closes_what_is_inside() -> None:
    """The resolver that was handed in is closed with the one around it."""
    closed = []

    class Closing(StubResolver):
        async def close(self) -> None:
            closed.append(True)

    await CheckedResolver(Closing([PUBLIC])).close()

    assert [True] == closed


def test_plain_sockets_are_of_the_kind_that_was_asked_for() -> None:
    """A checked factory without a maker of its own makes ordinary sockets for what may be called."""
    make = checked_socket_factory()
    with make((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("2606:4700::1", 443, 0, 0))) as made:
        assert socket.AF_INET6 == made.family
    with plain_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (PUBLIC, 443))) as made:
        assert socket.AF_INET == made.family


def test_a_refusal_names_its_reason_only() -> None:
    """The exception's text holds no address."""
    with pytest.raises(EgressDenied) as caught:
        checked_socket_factory()((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.11.12.13", 443)))

    assert ("private", "egress denied: private") == (caught.value.reason, str(caught.value))
