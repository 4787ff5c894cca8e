"""Token counts as parts that do not overlap: each token is in exactly one, so that they can be priced and added.

Providers count the same token in several numbers: OpenAI's prompt holds the cached ones, Anthropic's does not, Gemini
leaves thinking out of its output. `Usage` has inclusive totals; here they are taken apart. Where the parts that a
provider names are more than its total, the total is right and the later parts are cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

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
