"""Recorded traffic and wire schemas for tests: `cases("openai-chat")`, `schema(file, entry)`.

The files are described in `tests/traffic/README.md` and `tests/specs/NOTICE.md`.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema

Json: TypeAlias = Any

TRAFFIC = Path(__file__).parent / "traffic"
SPECS = Path(__file__).parent / "specs"


@cache
def cases(name: str) -> list[dict[str, Json]]:
    """The recorded cases of one file (`openai-chat`, `gemini`, …), shared between tests: do not change them."""
    with gzip.open(TRAFFIC / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


@cache
def schema(file: str, entry: str) -> jsonschema.Draft202012Validator:
    """A validator: `schema("openai.chat.response", "ChatCompletionChunk").validate(value)`."""
    document = definitions(file)
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{entry}", "$defs": document["$defs"]})


@cache
def definitions(file: str) -> dict[str, Json]:
    """The whole schema document of `tests/specs/{file}.schema.json`."""
    document: dict[str, Json] = json.loads((SPECS / f"{file}.schema.json").read_text(encoding="utf-8"))
    return document
