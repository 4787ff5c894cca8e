"""What the models of this family can do, read from their names, for there is no other place that says it.

Sources: the Gemini 3 developer guide (signatures, thinking levels), the parameter tables of the package litellm
1.109.1 (penalties, sampling), vercel/ai `google-provider.ts` (https URLs), google-genai 3.3.0 (fields).
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

_VERSION = re.compile(r"(?:^|-)(\d+)(?:[.-](\d{1,2})(?!\d))?(?=-|$)")

#: A name without a number follows the newest flash or pro model (`gemini-flash-latest`).
_LATEST = (3, 6)
_UNKNOWN = (2, 5)


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One model's abilities. `generation` is (3, 5) for gemini-3.5-flash."""

    generation: tuple[int, int]
    kind: str  # flash, flash-lite, pro
    gemma: bool = False

    @property
    def json_schema(self) -> bool:
        """Does it read parametersJsonSchema and responseJsonSchema? Else only the OpenAPI subset."""
        return not self.gemma and self.generation >= (2, 0)

    @property
    def signs(self) -> bool:
        """Does it refuse a function call without its thought signature, and take call ids back?"""
        return not self.gemma and self.generation >= (3, 0)

    @property
    def validates(self) -> bool:
        """Does it know the function calling mode VALIDATED?"""
        return not self.gemma and self.generation >= (2, 5)

    @property
    def reads_urls(self) -> bool:
        """Does the server fetch https URLs given as fileData for it?"""
        return not self.gemma and self.generation >= (2, 5)

    @property
    def part_resolution(self) -> bool:
        """May a part say its mediaResolution?"""
        return self.signs

    @property
    def media_results(self) -> bool:
        """May a functionResponse hold images?"""
        return self.signs

    @property
    def penalties(self) -> bool:
        return self.generation < (3, 0)

    @property
    def samples(self) -> bool:
        """Do temperature, topP and topK have an effect?"""
        if self.kind == "flash-lite":
            return self.generation < (3, 5)
        return self.kind != "flash" or self.generation < (3, 6)

    @property
    def thinking(self) -> str:
        """How thinking is set: `level`, `budget`, or `` for not at all."""
        if self.gemma or self.generation < (2, 5):
            return ""
        return "level" if self.generation >= (3, 0) else "budget"


@lru_cache(maxsize=512)
def family(model: str) -> Family:
    """The abilities of `model` (`gemini-3-pro-preview`, `models/gemini-2.5-flash`). Unknown names: as 2.5 flash."""
    name = model.rpartition("/")[2].lower()
    kind = "flash-lite" if "flash-lite" in name else "pro" if "-pro" in name else "flash"
    if name.startswith("gemma"):
        return Family(generation=(0, 0), kind=kind, gemma=True)
    match = _VERSION.search(name) if name.startswith("gemini") else None
    if match is not None:
        return Family(generation=(int(match[1]), int(match[2] or 0)), kind=kind)
    return Family(generation=_LATEST if name.startswith("gemini") and "latest" in name else _UNKNOWN, kind=kind)


# ── reasoning effort ───────────────────────────────────────────────────────────────────

#: Tokens by effort for models with budgets. low, medium and high are what Google's own OpenAI layer uses.
_BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
#: (least that thinks, most, can it be switched off)
_RANGES = {"flash": (1, 24576, True), "flash-lite": (512, 24576, True), "pro": (128, 32768, False)}
EFFORTS = frozenset({"none", *_BUDGETS})


def budget_for(model: Family, effort: str) -> tuple[int, bool]:
    """The thinkingBudget of an effort word, and whether it says exactly that."""
    least, most, off = _RANGES[model.kind]
    if effort == "none":
        return (0, True) if off else (least, False)
    if effort == "minimal" and model.kind == "pro":
        return least, True
    if effort in ("xhigh", "max"):
        return most, True
    return _BUDGETS[effort], True


def budget_within(model: Family, budget: int) -> tuple[int, bool]:
    """A budget in tokens brought into the model's range, and whether it was in it."""
    least, most, off = _RANGES[model.kind]
    if budget == -1 or (budget == 0 and off):
        return budget, True
    fitting = min(max(budget, least), most)
    return fitting, fitting == budget


def level_for(model: Family, effort: str) -> tuple[str, bool]:
    """The thinkingLevel of an effort word, and whether it says exactly that."""
    if effort in ("none", "minimal"):
        lowest = "low" if model.kind == "pro" or model.generation >= (3, 7) else "minimal"
        return lowest, effort == lowest
    if effort == "medium" and model.kind == "pro" and model.generation == (3, 0):
        return "high", False
    if effort in ("xhigh", "max"):
        return "high", False
    return effort, True


def effort_of(budget: int) -> str | None:
    """The effort word nearest to a budget in tokens; None where the model decides (-1)."""
    if budget < 0:
        return None
    return "none" if budget == 0 else "low" if budget <= 1024 else "medium" if budget <= 8192 else "high"
