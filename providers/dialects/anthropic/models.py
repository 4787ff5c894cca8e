"""What the models of this family can do, read from their names, for there is no other place that says it.

Sources: the model map of the package litellm 1.109.1 (limits, adaptive thinking, sampling, prefill, forced tools,
mid-conversation system text), pydantic/pydantic-ai 4fda389 (budgets refused from opus 4.7 on). Unknown names count as
the newest family whose rules every later one has kept.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from providers.dialects.anthropic.words import Json, Object

_NAMED = re.compile(r"(opus|sonnet|haiku|fable|mythos)-(\d)(?:[-.](\d))?(?!\d)")
_OLDER = re.compile(r"claude-(\d)(?:[-.](\d))?-(opus|sonnet|haiku)")
_ANCIENT = re.compile(r"claude-(?:v?[12]\b|instant)")
#: Names without a number in a known place: a deployment's own, and `claude-mythos-preview`.
_UNKNOWN = ("opus", (5, 0))
_PREVIEW = (4, 7)

_DEFAULT_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
LEAST_BUDGET = 1024
EFFORTS = ("none", *_DEFAULT_BUDGETS)


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One model's abilities. `generation` is (4, 5) for claude-sonnet-4-5."""

    kind: str  # opus, sonnet, haiku, fable, mythos
    generation: tuple[int, int]

    @property
    def most_output(self) -> int:
        """The largest max_tokens that it takes."""
        if self.generation >= (4, 6):
            return 128_000
        if self.generation >= (4, 5):
            return 64_000
        if self.generation >= (4, 0):
            return 32_000 if self.kind == "opus" else 64_000
        if self.generation >= (3, 7):
            return 64_000
        return 8192 if self.generation >= (3, 5) else 4096

    @property
    def samples(self) -> bool:
        """Does it take temperature, top_p and top_k at all?"""
        return self.generation < (4, 7)

    @property
    def one_of_two(self) -> bool:
        """Does it refuse temperature together with top_p?"""
        return self.generation >= (4, 5)

    @property
    def thinks(self) -> bool:
        return self.generation >= (3, 7)

    @property
    def adaptive(self) -> bool:
        """Does it decide itself how much to think, by effort?"""
        return self.generation >= (4, 6)

    @property
    def budgets(self) -> bool:
        """May thinking be set in tokens?"""
        return self.thinks and self.generation < (4, 7)

    @property
    def always_thinks(self) -> bool:
        return self.kind in ("fable", "mythos") or (self.generation >= (5, 5) and self.kind != "haiku")

    @property
    def extra_high(self) -> bool:
        """Does it know the effort xhigh?"""
        return self.generation >= (4, 7)

    @property
    def forces(self) -> bool:
        """May it be made to call a tool?"""
        if self.kind in ("fable", "mythos"):
            return self.generation < (5, 1)
        return self.generation < (5, 5) or self.kind == "haiku"

    @property
    def prefill(self) -> bool:
        """Does it go on with a last message of its own?"""
        return self.generation < (4, 6)

    @property
    def mid_system(self) -> bool:
        """Does it take system text within the conversation?"""
        return self.generation >= (4, 8)

    @property
    def structured(self) -> bool:
        """Does it keep to a schema (output_config.format, strict tools)?"""
        return self.generation >= (4, 5)


@lru_cache(maxsize=512)
def family(model: str) -> Family:
    """The abilities of `model` (`claude-sonnet-4-5`, `anthropic/claude-3-5-haiku-latest`)."""
    name = model.rpartition("/")[2].lower()
    if match := _NAMED.search(name):
        return Family(kind=match[1], generation=(int(match[2]), int(match[3] or 0)))
    if match := _OLDER.search(name):
        return Family(kind=match[3], generation=(int(match[1]), int(match[2] or 0)))
    if _ANCIENT.search(name):
        return Family(kind="opus", generation=(2, 0))
    kind = next((word for word in ("mythos", "fable", "haiku", "sonnet") if word in name), _UNKNOWN[0])
    return Family(kind=kind, generation=_PREVIEW if "preview" in name else _UNKNOWN[1])


# ── reasoning ──────────────────────────────────────────────────────────────────────────


def budget_for(effort: str) -> int:
    """The tokens of an effort word on models with budgets: a convention, the one of pydantic-ai rounded."""
    return _DEFAULT_BUDGETS[effort]


def effort_for(model: Family, effort: str) -> tuple[str, bool]:
    """The effort word that the model knows, and whether it says the same."""
    if effort in ("none", "minimal"):
        return "low", False
    if effort == "xhigh" and not model.extra_high:
        return "max", False
    return effort, True


def effort_of(budget: int) -> str:
    """The effort word nearest to a budget in tokens."""
    return next((word for word, tokens in _DEFAULT_BUDGETS.items() if budget <= tokens and word != "minimal"), "max")


def adaptive(show: bool | None) -> Object:
    """Adaptive thinking. Newer models leave its text out unless they are asked for it."""
    thinking: dict[str, Json] = {"type": "adaptive"}
    thinking["display"] = "omitted" if show is False else "summarized"
    return thinking
