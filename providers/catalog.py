"""The shipped provider rows, read once from `catalog.yaml`: adding a provider means adding a row there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, TypeAlias

import yaml

Row: TypeAlias = Mapping[str, Any]


@cache
def catalog() -> Mapping[str, Row]:
    """Row by name, in the order of the file, not to be changed.

    A row has the keys of a `providers` row of routes.yaml (secrets as references) and `source`, where its
    facts were read.
    """
    text = (files("providers") / "catalog.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(text)
    return MappingProxyType({name: MappingProxyType(row) for name, row in rows.items()})
