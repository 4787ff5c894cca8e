"""Upstreams by https: certificates are checked, a row may bring its own roots, and calls are whole."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes import FakeUpstream
from tests.lanes import KEYS, LANES, TABLE, Lane
from tests.running import running

lanes = pytest.mark.parametrize("lane", LANES, ids=[lane.name for lane in LANES])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1, signed by itself, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "isthmus test upstream")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path_factory.mktemp("tls") / "upstream.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def served(certificate: Path) -> FakeUpstream:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return FakeUpstream(tls=context)


def trusting(certificate: Path) -> str:
    return TABLE.replace("{base_url:", f'{{ca_file: "{certificate}", base_url:')


@lanes
async def test_calls_and_streams_go_through_https(lane: Lane, certificate: Path) -> None:
    """Whole and streamed, on connections that are kept."""
    async with (
        served(certificate) as upstream,
        running(trusting(certificate), KEYS, up=upstream.url, attempts=1) as gateway,
    ):
        assert upstream.url.startswith("https://")
        upstream.script(lane.whole("first"), lane.stream("sec", "ond"), lane.whole("x" * 100_000))
        first = await gateway.post(lane.path(), lane.body())
        second = await gateway.post(lane.path(stream=True), lane.body(stream=True))
        third = await gateway.post(lane.path(), lane.body("y" * 200_000))

        assert (200, "first") == (first.status, lane.text_of(first.json))
        assert "second" == lane.hear(second.body).text and lane.hear(second.body).complete
        assert 100_000 == len(lane.text_of(third.json))
        assert upstream.requests[0].connection is upstream.requests[1].connection


@lanes
async def test_a_certificate_of_nobody_we_know_is_refused(lane: Lane, certificate: Path) -> None:
    """502, and the request is not sent."""
    async with served(certificate) as upstream, running(TABLE, KEYS, up=upstream.url, attempts=1) as gateway:
        answer = await gateway.post(lane.path(), lane.body())

        assert 502 == answer.status and "upstream_unreachable" == lane.code(answer.json["error"])
        assert [] == upstream.requests
