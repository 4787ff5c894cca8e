"""What the headers of a refusal say about trying again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as the official clients read it: `retry-after-ms`, then `retry-after` in seconds or as a date.

    A date counts from the answer's own `date`; without one it cannot be read.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _seconds(text)
    if seconds is not None or text is None:
        return seconds
    try:
        wait = (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return None
    return wait if wait > 0 else None


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None
