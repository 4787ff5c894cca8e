"""Errors, both ways: those of all of OpenAI's dialects, under this one's name."""

from __future__ import annotations

from providers.canonical.errors import UpstreamError
from providers.dialect import WireResponse
from providers.dialects import _openai_errors
from providers.dialects._openai_errors import encode_error, envelope

from .words import NAME

__all__ = ["decode_error", "encode_error", "envelope"]


def decode_error(wire: WireResponse) -> UpstreamError:
    """The error that an upstream's answer means. Never raises."""
    return _openai_errors.decode_error(wire, NAME)
