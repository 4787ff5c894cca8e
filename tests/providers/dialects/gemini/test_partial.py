"""Arguments in pieces: each goes where its path says."""

from __future__ import annotations

import pytest

from providers.canonical.errors import BadUpstreamBytes
from providers.dialects.gemini.names import Json
from providers.dialects.gemini.partial import PartialCall


def test_a_text_goes_on_only_where_it_was_said_to() -> None:
    """The same path without that begins anew; other values are never joined."""
    call = PartialCall(0, "f")
    for text, more in (("a", True), ("b", False), ("c", False)):
        call.add({"jsonPath": "$.x[1]['y z']", "stringValue": text, "willContinue": more})
    call.add({"jsonPath": "$.n", "numberValue": 1, "willContinue": True})
    call.add({"jsonPath": "$.n", "numberValue": 2})

    assert {"x": [None, {"y z": "c"}], "n": 2} == call.arguments


@pytest.mark.parametrize("pieces", [[{"jsonPath": 1}], [{"jsonPath": "$.a[999999999]"}], [{"jsonPath": "$[0]"}], ["x"]])
def test_pieces_that_do_not_fit_are_refused(pieces: list[Json]) -> None:
    """Neither a broken path nor a giant index takes the gateway down."""
    partial = PartialCall(0, "f")
    with pytest.raises(BadUpstreamBytes):
        for piece in pieces:
            partial.add(piece)
