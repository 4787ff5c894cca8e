"""The tree of errors: each class says whose fault it is, and no text of it holds a key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.canonical import errors


def tree(root: type[errors.RouterError]) -> Iterator[type[errors.RouterError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("kind", list(tree(errors.RouterError)), ids=lambda kind: kind.__name__)
def test_every_class_knows_its_status_fault_and_code(kind: type[errors.RouterError]) -> None:
    """A status of its fault's class, a stable code, a kind of its own; and it stands in the drawing."""
    lowest, highest = {"caller": (400, 508), "gateway": (500, 503), "upstream": (400, 504)}[kind.fault]

    assert lowest <= kind.status <= highest
    assert kind.code and kind.kind and kind.code.islower()
    if kind not in (errors.RouterError, errors.EgressDenied) and kind.__module__ == errors.__name__:
        assert kind.__name__ in (errors.__doc__ or "")


SECRETS = [
    "sk-abcdefgh12345678",
    "sk-proj-Ab_-12345678",
    "sk-***************1234",
    "AIzaSyA1234567890abcdefg",
    "ya29.a0AfH6SMBx",
    "Bearer abcdefghijklmnop",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "gsk_1234567890",
    "xai-1234567890abc",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    """In any sentence."""
    masked = errors.mask(f"Incorrect API key provided: {secret}, see ?key={secret}&x=1")

    assert secret not in masked and "***" in masked and "Incorrect API key provided" in masked


@pytest.mark.parametrize(
    "text", ["a task-force of risk-takers", "the token is the key", "model gpt-4o-mini", "key: value"]
)
def test_ordinary_words_are_left_alone(text: str) -> None:
    """No false alarms in prose."""

    assert text == errors.mask(text)


def test_an_upstreams_words_are_masked_as_they_come_in() -> None:
    """The message of an UpstreamError never holds a key."""
    error = errors.UpstreamRejected("bad key sk-abcdefgh12345678", upstream_status=401)

    assert "sk-abcdefgh" not in error.message + str(error)


def test_one_text_for_every_refused_upstream() -> None:
    """The reason is for the log alone."""

    assert str(errors.UpstreamNotAllowed(reason="a")) == str(errors.EgressDenied(reason="b"))
