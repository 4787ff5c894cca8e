"""providers/dialects/openai_chat/errors.py; what an error means is in tests/providers/dialects/test_openai_errors.py."""

from __future__ import annotations

from providers.dialect import WireResponse
from providers.dialects.openai_chat.errors import decode_error, envelope


def test_an_error_bears_the_name_of_its_dialect() -> None:
    """A caller with a key of its own gets an upstream's own body only in the dialect that it reads."""
    error = decode_error(WireResponse(status=400, body=b'{"error":{"message":"no","type":"odd","code":"o"}}'))

    assert "openai.chat" == error.dialect
    assert b'{"error":{"message":"no","type":"odd","param":null,"code":"o"}}' == envelope(error)
