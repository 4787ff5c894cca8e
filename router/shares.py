"""What of each limit one of several workers enforces: they share no state, so they share the limits out.

The parts of a limit sum to it exactly, so that together the workers let through no more than the file says. A limit
that is smaller than the number of workers would leave one of them with nothing, and whoever reaches that one with a
refusal: it is a problem of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Context, Decimal
from pathlib import Path
from typing import TypeAlias

import msgspec

from providers.canonical.prices import total
from router.settings import AccessSettings, KeyRow, Settings, Unit

MOST_WORKERS = 128
DIGITS = 9  # behind the point of an amount that is shared out
_ROUNDING = Context(prec=60)
Place: TypeAlias = tuple[str | int, ...]

_KEYS: dict[Unit, str] = {"requests": "rpm", "tokens": "tpm"}
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores(quota: Path = _QUOTA) -> int:
    """How many this process may use: what `workers: auto` means. `quota`: what a container may have of them."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, _, period = quota.read_text().partition(" ")
        found = min(found, -(-int(most) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": nothing is said
        pass
    return max(1, min(found, MOST_WORKERS))


def part(limit: int, number: int, of: int) -> int:
    """That of one worker, numbered from 0."""
    return limit // of + (number < limit % of)


def portion(amount: Decimal, number: int, of: int) -> Decimal:
    """That of an amount, in billionths, the least that a file may say. What is finer than that the first has."""
    each = _billionths(amount) // of
    if number:
        return Decimal(each).scaleb(-DIGITS)
    others = Decimal(each * (of - 1)).scaleb(-DIGITS)
    return total((amount, others.copy_negate()))


def _billionths(amount: Decimal) -> int:
    return int(_ROUNDING.scaleb(amount, Decimal(DIGITS)))


def of_worker(settings: Settings, number: int) -> Settings:
    """The settings with the limits that this worker enforces."""
    workers = settings.workers
    concurrency = part(settings.limits.concurrency, number, workers)
    rows = {
        name: msgspec.structs.replace(
            row,
            concurrency=None if row.concurrency is None else part(row.concurrency, number, workers),
            queue=part(row.queue, number, workers),
        )
        for name, row in settings.providers.items()
    }
    return msgspec.structs.replace(
        settings,
        limits=msgspec.structs.replace(settings.limits, concurrency=concurrency),
        providers=rows,
        access=settings.access and _access(settings.access, number, workers),
    )


def _access(access: AccessSettings, number: int, of: int) -> AccessSettings:
    return msgspec.structs.replace(access, keys=tuple(_key(key, number, of) for key in access.keys))


def _key(key: KeyRow, number: int, of: int) -> KeyRow:
    limits, budget = key.limits, key.budget
    if limits is not None:
        limits = {unit: part(most, number, of) for unit, most in limits.items()}
    if budget is not None and of > 1:
        usd, credits = _of(budget.usd, number, of), _of(budget.credits, number, of)
        budget = msgspec.structs.replace(budget, usd=usd, credits=credits)
    return msgspec.structs.replace(key, limits=limits, budget=budget)


def _of(limit: Decimal | None, number: int, of: int) -> Decimal | None:
    return None if limit is None else portion(limit, number, of)


def limits(settings: Settings) -> Iterator[tuple[Place, int]]:
    """All that are shared out and of which everybody needs some, with their places in the file."""
    yield ("server", "limits", "concurrency"), settings.limits.concurrency
    for name, row in settings.providers.items():
        if row.concurrency is not None:
            yield ("providers", name, "concurrency"), row.concurrency
    for index, key in enumerate(settings.access.keys if settings.access else ()):
        for unit, most in (key.limits or {}).items():
            yield ("access", "keys", index, _KEYS[unit]), most


def problems(settings: Settings) -> Iterator[tuple[Place, str]]:
    """Limits of which a worker would have nothing."""
    for place, limit in limits(settings):
        if limit < settings.workers:
            message = f"{written(place)}: {limit} is less than one for each of {settings.workers} workers"
            yield place, f"{message}, which share no state: expected a higher limit, or fewer `server.workers`"


def told(settings: Settings) -> dict[str, str]:
    """What each worker enforces, by the limit's place: `250`, or `2 to 3`."""
    found = {}
    for place, limit in limits(settings):
        least, most = (part(limit, number, settings.workers) for number in (settings.workers - 1, 0))
        found[written(place)] = str(most) if least == most else f"{least} to {most}"
    for index, key in enumerate(settings.access.keys if settings.access else ()):
        for coin, limit_ in key.budget.limits().items() if key.budget else ():
            found[written(("access", "keys", index, "budget", coin))] = f"{limit_} / {settings.workers}"
    return found


def written(place: Place) -> str:
    """`access.keys[0].rpm`"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
