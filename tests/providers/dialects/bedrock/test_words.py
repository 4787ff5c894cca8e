"""Names, ids and types as this dialect takes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import UnsupportedParameter
from providers.dialects.bedrock.words import (
    FORMATS,
    MIME_TYPES,
    mime_by_content,
    mime_by_ending,
    read_name,
    written_id,
    written_name,
)
from tests import corpus

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")


@given(st.one_of(st.text(min_size=1, max_size=8), st.from_regex(r"(isthmus_)?[a-z./:_-]{1,12}", fullmatch=True)))
def test_every_name_is_found_again(name: str) -> None:
    """What goes out is legal there and comes back as the caller's own name."""
    written = written_name(name, "tools[0].name")

    assert NAME.fullmatch(written)
    assert name == read_name(written)


@pytest.mark.parametrize("name", ["", "x" * 65, "." * 40])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    """A shortened name could be another tool's."""
    with pytest.raises(UnsupportedParameter) as refusal:
        written_name(name, "tools[0].name")
    assert "tools[0].name" == refusal.value.param


@given(st.text(max_size=90), st.text(max_size=90))
def test_ids_are_legal_and_stay_apart(one: str, other: str) -> None:
    """Two ids never become one; legal ids stay as they are."""
    assert ID.fullmatch(written_id(one))
    assert (one == other) == (written_id(one) == written_id(other))
    assert not ID.fullmatch(one) or one == written_id(one)


def test_formats_are_the_services() -> None:
    """Every format that is written is one that the service has."""
    enums = corpus.definitions("bedrock.converse.request")["$defs"]
    known = {kind: enums[f"{kind.capitalize()}Format"]["enum"] for kind in ("image", "document", "video", "audio")}

    assert [] == [(kind, name) for kind, name in FORMATS.values() if name not in known[kind]]
    assert ("image/jpeg", "video/mpeg") == (MIME_TYPES["image", "jpeg"], MIME_TYPES["video", "mpeg"])


@pytest.mark.parametrize(
    ("name", "mime"), [("a.PDF", "application/pdf"), ("s3://b/x.jpg", "image/jpeg"), ("pdf", None), ("a.zip", None)]
)
def test_types_by_ending(name: str, mime: str | None) -> None:
    """A name may tell what a file is."""
    assert mime == mime_by_ending(name)


@pytest.mark.parametrize(
    ("base64", "mime"), [("iVBORw0KGgoAAA", "image/png"), ("/9j/4AAQ", "image/jpeg"), ("AAAA", None)]
)
def test_types_by_content(base64: str, mime: str | None) -> None:
    """An image tells what it is by its first bytes."""
    assert mime == mime_by_content(base64)
