"""How much to think, in the words of each family of models: fields of `additionalModelRequestFields`.

With thinking on, Claude takes no sampling parameters; with a budget for it, it cannot be made to call a tool either
(dialects/anthropic.md). Recorded traffic shows that one that decides itself how much to think can.
"""

from __future__ import annotations

from providers.canonical.chat import ChatRequest, ReasoningConfig, Tool
from providers.canonical.loss import Losses, approximated, dropped
from providers.dialects.bedrock.models import Family
from providers.dialects.bedrock.words import Object

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_LEAST = 1024
#: Efforts from less to more; a model that lacks one is given the nearest that it has.
_ORDER = ("minimal", "low", "medium", "high", "xhigh", "max")


def encode_thinking(request: ChatRequest, model: Family, unsigned: bool, losses: Losses) -> tuple[Object, bool]:
    """The fields, and whether the model will think under Claude's restrictions.

    `unsigned`: the history ends in calls whose thinking is not there; a model with a budget refuses to go on thinking.
    """
    wanted = request.reasoning
    if wanted is None:
        return {}, False
    if wanted.effort is not None and wanted.effort not in (*_ORDER, "none"):
        losses.append(dropped("reasoning", f"the target knows no effort {wanted.effort[:32]}"))
        return {}, False
    off = wanted.effort == "none" or wanted.budget == 0
    if wanted.show and wanted.effort is None and wanted.budget is None:
        losses.append(dropped("show_reasoning", "nothing says how much to think"))
    match model.thinking:
        case "budget":
            return _budget(request, wanted, off, unsigned, losses)
        case "adaptive" | "always":
            return _adaptive(wanted, model, off, losses), not off or model.thinking == "always"
        case "none":
            if not off and (wanted.effort is not None or wanted.budget):
                losses.append(dropped("reasoning", "this model cannot be told how much to think"))
            return {}, False
        case _:
            return _by_effort(wanted, model, off, losses), False


def _budget(
    request: ChatRequest, wanted: ReasoningConfig, off: bool, unsigned: bool, losses: Losses
) -> tuple[Object, bool]:
    if off or (wanted.effort is None and wanted.budget is None):
        return {}, False
    if unsigned:
        losses.append(dropped("reasoning", "the thinking that led to the last calls is not there: it is switched off"))
        return {}, False
    if _forced(request):
        losses.append(dropped("reasoning", "the model does not think here: it is made to call a tool"))
        return {}, False
    exact = wanted.budget is not None and wanted.budget >= _LEAST
    tokens = _BUDGETS[wanted.effort or "medium"] if wanted.budget is None or wanted.budget < 0 else wanted.budget
    tokens = max(tokens, _LEAST)
    most = request.max_output_tokens
    if most is not None:
        if most <= _LEAST:
            losses.append(dropped("reasoning", f"the target thinks with more than {_LEAST} tokens of output only"))
            return {}, False
        room = most - 1 if exact else max(most // 2, _LEAST)
        exact = exact and tokens <= room
        tokens = min(tokens, room)
    if not exact:
        losses.append(approximated("reasoning", f"the target takes a number of tokens: {tokens}"))
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}, True


def _forced(request: ChatRequest) -> bool:
    """Must the model call a tool that is there? Its caller's program counts on the call, not on the thinking."""
    choice = request.tool_choice
    if choice is None or choice.mode != "required":
        return False
    return any(isinstance(tool, Tool) and (not choice.names or tool.name in choice.names) for tool in request.tools)


def _adaptive(wanted: ReasoningConfig, model: Family, off: bool, losses: Losses) -> Object:
    if off and model.thinking == "adaptive":
        return {"thinking": {"type": "disabled"}}
    thinking: Object = {"type": "adaptive"}
    if wanted.show is not False:
        thinking["display"] = "summarized"
    effort = _effort(wanted, model, "low" if off else None, losses)
    return {"thinking": thinking, **({"output_config": {"effort": effort}} if effort else {})}


def _by_effort(wanted: ReasoningConfig, model: Family, off: bool, losses: Losses) -> Object:
    if model.thinking == "nova" and off:
        return {"reasoningConfig": {"type": "disabled"}}
    none = "none" if model.thinking == "nested" else "low"
    effort = "none" if off and none == "none" else _effort(wanted, model, "low" if off else None, losses)
    if effort is None:
        return {}
    match model.thinking:
        case "nova":
            return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}
        case "nested":
            return {"reasoning": {"effort": effort}}
        case _:
            return {"reasoning_effort": effort}


def _effort(wanted: ReasoningConfig, model: Family, instead: str | None, losses: Losses) -> str | None:
    """The nearest effort that the model has; None leaves it to the model. `instead`: in the place of none at all."""
    effort = instead or wanted.effort
    if effort is None and wanted.budget is not None and wanted.budget > 0:
        effort = next((word for word, tokens in _BUDGETS.items() if wanted.budget <= tokens), "max")
    if effort is None:
        return None
    place = _ORDER.index(effort)
    found = min(model.efforts, key=lambda word: (abs(_ORDER.index(word) - place), -_ORDER.index(word)))
    if found != wanted.effort:
        losses.append(approximated("reasoning", f"the nearest amount of thinking that this model has: {found}"))
    return found
