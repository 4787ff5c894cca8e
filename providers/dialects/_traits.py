"""What a row says of its upstream, applied to a body that is ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, dropped
from providers.dialect import Traits

Json: TypeAlias = Any


def apply(traits: Traits, body: dict[str, Json], losses: Losses, names: Mapping[str, str]) -> None:
    """Leaves out what the row ignores, naming it; UnsupportedParameter for what it rejects.

    Fields may be `inferenceConfig.topP`; `names` turns them into canonical parameters.
    """
    for field in sorted(traits.rejects):
        holder, key = _find(body, field)
        if holder.get(key) is not None:
            name = names.get(field, field)
            raise UnsupportedParameter(f"{name}: this upstream refuses it", param=name)
    for field in sorted(traits.ignores):
        holder, key = _find(body, field)
        if key in holder:
            del holder[key]
            losses.append(dropped(names.get(field, field), "this upstream ignores it"))


def _find(body: dict[str, Json], field: str) -> tuple[dict[str, Json], str]:
    """The object in which a field stands, or would stand, and its key there."""
    holder = body
    *outer, last = field.split(".")
    for step in outer:
        inner = holder.get(step)
        if type(inner) is not dict:
            return {}, last
        holder = inner
    return holder, last
