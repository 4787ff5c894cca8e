"""The shipped rows: each is complete, says where its facts are from, and can carry a call."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from providers.auth import check
from providers.canonical.chat import ChatRequest, Message, Text
from providers.catalog import catalog
from providers.dialect import WireRequest
from providers.provider import Provider, address

# Keys of a `providers` row in routes.yaml that a shipped row may have, and where its facts are from.
KEYS = {"base_url", "speaks", "source", "auth", "secret", "secrets", "headers", "quirks"}
KEYS |= {"own", "ignores", "rejects", "timeouts", "attempts", "retry_on", "concurrency", "queue"}
KEYS |= {"alternation", "on_invalid_json", "nice", "tools", "response_format", "vision"}
TINY = ChatRequest(
    dialect="test",
    model="some-model",
    messages=(Message(role="user", parts=(Text(text="Hello"),)),),
    max_output_tokens=50,  # some dialects insist on it
)


def provider(name: str) -> Provider:
    """The row as the value that calls are made with."""
    row = catalog()[name]
    fields = {key: value for key, value in row.items() if key in Provider.__struct_fields__}
    secrets = row.get("secrets") or ([row["secret"]] if "secret" in row else [])
    return msgspec.convert({"name": name, "secrets": secrets, **fields}, Provider)


def dialects() -> dict[str, Any]:
    from providers.dialects import DIALECTS

    return dict(DIALECTS)


@pytest.mark.parametrize("name", catalog())
def test_a_row_is_complete(name: str) -> None:
    """A row says where the upstream lives, what it speaks, and the page that says so; no key is misspelt."""
    row = catalog()[name]

    assert set() == set(row) - KEYS
    assert {"base_url", "speaks", "source"} <= set(row)
    assert isinstance(row["source"], str) and row["source"].strip()


@pytest.mark.parametrize("name", catalog())
def test_a_row_authenticates_in_a_known_way(name: str) -> None:
    """A way to sign that exists, and a reference to a secret exactly where one is needed."""
    row = catalog()[name]

    assert check(row.get("auth", "bearer")) is None
    assert ("secret" in row) == (row.get("auth") != "none")
    assert str(row.get("secret", "env:X")).startswith("env:")


@pytest.mark.parametrize("name", catalog())
def test_a_base_url_is_plain(name: str) -> None:
    """https for everything that is not on this machine; no credentials, query, fragment or trailing slash."""
    url = urlsplit(catalog()[name]["base_url"])

    assert url.hostname
    assert "https" == url.scheme or url.hostname in ("localhost", "local")
    assert ("", "", None) == (url.query, url.fragment, url.username)
    assert not catalog()[name]["base_url"].endswith("/")


def test_no_field_is_both_passed_and_held_back() -> None:
    """`own`, `ignores` and `rejects` exclude each other: a field has one fate."""
    for name, row in catalog().items():
        fates = [*row.get("own", ()), *row.get("ignores", ()), *row.get("rejects", ())]

        assert len(fates) == len(set(fates)), name


def test_rows_cannot_be_changed() -> None:
    """The catalog is shared by every table that is ever loaded: nobody merges into it in place."""
    with pytest.raises(TypeError):
        catalog()["openai"]["base_url"] = "https://elsewhere.example"  # type: ignore[index]
    with pytest.raises(TypeError):
        catalog()["new"] = {}  # type: ignore[index]


@pytest.mark.parametrize("name", catalog())
def test_a_row_can_carry_a_call(name: str) -> None:
    """Every dialect that a row speaks writes a small request for it, to an address below its base."""
    row = provider(name)
    for dialect in row.speaks:
        losses: list[Any] = []

        wire: WireRequest = dialects()[dialect].encode_request(TINY, losses, row.traits)

        assert [] == losses
        assert b"Hello" in wire.body
        assert address(row.base_url, wire).startswith(row.base_url + "/")
