"""Durations, sizes and shares as routes.yaml writes them: `250ms`, `32MiB`, `20%`."""

from __future__ import annotations

import re

from router.strict_yaml import describe

DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
SIZE = re.compile(r"(\d{1,12})(B|kB|MB|GB|KiB|MiB|GiB)")
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


def read_duration_or_zero(value: object) -> float:
    """Seconds. ValueError says what was expected."""
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"expected a duration such as 250ms, 30s, 5m or 1h, found {describe(value)}")
    return float(found[1]) * _SECONDS[found[2]]


def read_duration(value: object) -> float:
    """Seconds, more than none."""
    seconds = read_duration_or_zero(value)
    if seconds <= 0:
        raise ValueError("expected a duration greater than zero")
    return seconds


def read_after(value: object) -> float | None:
    """Seconds, more than none; None for `p95`."""
    if value == "p95":
        return None
    if not isinstance(value, str) or not DURATION.fullmatch(value):
        raise ValueError(f"expected a duration such as 800ms, or p95, found {describe(value)}")
    return read_duration(value)


def read_size(value: object) -> int:
    """Bytes, more than none."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found or not int(found[1]):
        raise ValueError(f"expected a size such as 256KiB or 32MiB, found {describe(value)}")
    return int(found[1]) * _BYTES[found[2]]


def read_share(value: object) -> float:
    """From 0 to 1."""
    found = SHARE.fullmatch(value) if isinstance(value, str) else None
    if not found or float(found[1]) > 100:
        raise ValueError(f"expected a share from 0% to 100%, found {describe(value)}")
    return float(found[1]) / 100


def write_duration(seconds: float) -> str:
    """To the millisecond; up to half an hour in seconds, which read best beside one another."""
    count = round(seconds * 1000)
    if count % 1000:
        return f"{count}ms"
    unit = next(unit for unit in ("h", "m", "s") if count % (_SECONDS[unit] * 1000) == 0)
    return f"{count // 1000}s" if count <= 1_800_000 else f"{count // int(_SECONDS[unit] * 1000)}{unit}"


def write_size(count: int) -> str:
    """In the largest binary unit that fits."""
    for unit in ("GiB", "MiB", "KiB"):
        if count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"
