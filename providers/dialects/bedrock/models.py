"""What the models behind this dialect can do, read from their ids, for there is no other place that says it.

Sources: the model map of the package litellm 1.109.1 (sampling, thinking, forced calls of Claude), recorded traffic,
langchain-ai/docs#5239 and stdapi-ai/stdapi.ai#283 (how each family takes an effort). An inference profile with a name
of its own tells nothing: it counts as a plain model.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

#: budget: a number of tokens; adaptive: an effort, and the model decides; always: adaptive, and never off;
#: nova, flat, nested: an effort, in three spellings; none: nothing can be said.
Thinking = Literal["none", "budget", "adaptive", "always", "nova", "flat", "nested"]

_CLAUDE = re.compile(r"claude-(?:(\d)(?:-(\d{1,2}))?-[a-z]+|([a-z]+)-(\d)(?:-(\d{1,2}))?)(?!\d)")
_ALWAYS = frozenset({"fable", "mythos"})


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One model's abilities."""

    thinking: Thinking = "none"
    samples: bool = True  # takes temperature, topP and top_k
    both: bool = True  # takes temperature and topP together
    forces: bool = True  # can be made to call a tool
    efforts: tuple[str, ...] = ("low", "medium", "high")
    top_k: str | None = None  # where it takes it: a path in additionalModelRequestFields


@lru_cache(maxsize=1024)
def family(model: str) -> Family:
    """The abilities of a model id, an inference profile's id or an ARN."""
    found = _CLAUDE.search(model)
    if found:
        name = found[3] or ""
        version = (int(found[1] or found[4]), int(found[2] or found[5] or 0))
        return _claude(name, version)
    if "claude" in model:
        return Family(top_k="top_k")
    if "amazon.nova" in model:
        return Family(top_k="inferenceConfig.topK", thinking="nova" if "nova-2" in model else "none")
    if "openai.gpt-oss" in model or "moonshot" in model:
        return Family(thinking="flat")
    if "openai.gpt" in model:
        return Family(thinking="nested", efforts=("low", "medium", "high", "xhigh", "max"))
    return Family(top_k="top_k" if "mistral" in model else None)


def _claude(name: str, version: tuple[int, int]) -> Family:
    always = name in _ALWAYS or (version == (5, 5) and name in ("opus", "sonnet"))
    thinking: Thinking = "none"
    if version >= (4, 6):
        thinking = "always" if always else "adaptive"
    elif version >= (3, 7):
        thinking = "budget"
    samples = version < (4, 7)
    efforts = ("low", "medium", "high", "max") if version < (4, 7) else ("low", "medium", "high", "xhigh", "max")
    return Family(
        thinking=thinking,
        samples=samples,
        both=version < (4, 1),
        forces=not (always and version > (5, 0)),
        efforts=efforts,
        top_k="top_k",
    )
