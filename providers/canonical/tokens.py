"""Token counts as parts that do not overlap: each token is in exactly one, so that they can be priced and added.

Providers count the same token in several numbers: OpenAI's prompt holds the cached ones, Anthropic's does not, Gemini
leaves thinking out of its output. `Usage` has inclusive totals; here they are taken apart. Where the parts that a
provider names are more than its total, the total is right and the later parts are cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

import msgspec

from providers.canonical.chat import Usage

#: The parts of what was read, in the order in which they are taken from the total; what is left is `input`.
INPUT_PARTS = ("cache_read", "cache_write_1h", "cache_write", "tool_prompt", "input_audio", "input_image")
#: The same of what was written; what is left is `output`.
OUTPUT_PARTS = ("reasoning", "output_audio", "output_image")
_special = attrgetter(
    *("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "tool_prompt_tokens"),
    *("input_audio_tokens", "input_image_tokens"),
    *("reasoning_tokens", "output_audio_tokens", "output_image_tokens"),
)
KINDS = ("input", *INPUT_PARTS, "output", *OUTPUT_PARTS)


def parts(usage: Usage) -> dict[str, int]:
    """Tokens by kind (`KINDS`); kinds of which nothing is known, or of which there were none, are not there.

    `cache_write` is what is kept for the usual time (5 minutes), `cache_write_1h` what is kept for an hour.
    """
    if not any(_special(usage)):
        totals = (("input", usage.input_tokens), ("output", usage.output_tokens))
        return {kind: count for kind, count in totals if count and count > 0}
    written, longer = usage.cache_write_tokens, usage.cache_write_1h_tokens
    read = {
        "cache_read": usage.cache_read_tokens,
        "cache_write_1h": longer,
        "cache_write": written if written is None or longer is None else max(0, written - longer),
        "tool_prompt": usage.tool_prompt_tokens,
        "input_audio": usage.input_audio_tokens,
        "input_image": usage.input_image_tokens,
    }
    said = {
        "reasoning": usage.reasoning_tokens,
        "output_audio": usage.output_audio_tokens,
        "output_image": usage.output_image_tokens,
    }
    found = dict(_taken(usage.input_tokens, "input", read.items()))
    found.update(_taken(usage.output_tokens, "output", said.items()))
    return found


def fitted(usage: Usage) -> Usage:
    """The counts as another dialect's callers are told them: no part is more than what it is a part of, and the total
    is not less than input and output. Of these two, one that is unknown is what the total leaves; else it is at least
    its known parts. What nothing is known of stays unknown.
    """
    asked, answered = usage.input_tokens, usage.output_tokens
    if asked is None or answered is None:
        asked, answered = _completed(usage)
    changed: dict[str, int | None] = {}
    known = usage.total_tokens is not None or (asked is not None and answered is not None)
    if known and (usage.total_tokens or 0) < (asked or 0) + (answered or 0):
        changed["total_tokens"] = (asked or 0) + (answered or 0)
    if any(_special(usage)):
        changed |= _within(asked, usage, ("cache_read_tokens", "cache_write_tokens", "tool_prompt_tokens"))
        written = changed.get("cache_write_tokens", usage.cache_write_tokens)
        changed |= _within(written, usage, ("cache_write_1h_tokens",))
        # Sound and pictures may have come from the cache, but not from tools; some of what was thought may be sound.
        tool_prompt = changed.get("tool_prompt_tokens", usage.tool_prompt_tokens) or 0
        seen = None if asked is None else asked - tool_prompt
        changed |= _within(seen, usage, ("input_audio_tokens", "input_image_tokens"))
        changed |= _within(answered, usage, ("reasoning_tokens",))
        changed |= _within(answered, usage, ("output_audio_tokens", "output_image_tokens"))
    if asked == usage.input_tokens and answered == usage.output_tokens and not changed:
        return usage
    return msgspec.structs.replace(usage, input_tokens=asked, output_tokens=answered, **changed)


def _completed(usage: Usage) -> tuple[int | None, int | None]:
    """Input and output, one or both of which nobody told."""
    asked, answered, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if total is not None and asked is not None:
        return asked, max(total - asked, 0) or None
    if total is not None and answered is not None:
        return max(total - answered, 0) or None, answered
    read = (usage.cache_read_tokens, usage.cache_write_tokens, usage.tool_prompt_tokens)
    return (
        sum(filter(None, read)) or None if asked is None else asked,
        usage.reasoning_tokens or None if answered is None else answered,
    )


def _within(total: int | None, usage: Usage, names: Iterable[str]) -> dict[str, int | None]:
    """Those of the parts that are cut, so that together they are no more than the total."""
    cut: dict[str, int | None] = {}
    left = total
    for name in names:
        count = getattr(usage, name)
        if left is None or count is None:
            continue
        if count > left:
            cut[name] = left
        left -= min(count, left)
    return cut


def _taken(total: int | None, rest: str, kinds: Iterable[tuple[str, int | None]]) -> Iterable[tuple[str, int]]:
    left = total
    for kind, count in kinds:
        if not count or count < 0:
            continue
        if left is not None:
            count = min(count, left)
            left -= count
        if count:
            yield kind, count
    if left and left > 0:
        yield rest, left
