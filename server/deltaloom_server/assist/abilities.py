"""What a model can be asked, and the sentence for what it can't.

Invariant: a refusal names the model and says what to do.
"""

from __future__ import annotations

from deltaloom_model.api import Ability, ModelInfo
from deltaloom_model.errors import no_instructions


def refusal(model: ModelInfo | None, need: Ability) -> str | None:
    """Why this model can't be asked for what needs that ability; None where it can, or nobody knows yet."""
    if model is None or need in model.abilities:
        return None
    if need == "instruct" or "instruct" not in model.abilities:
        return no_instructions(model.name)
    if need == "tools":
        return (
            f"{model.name} doesn't call tools in Qwen's XML form; choose a model that does with model.path."
        )
    return f"{model.name} doesn't complete code at a cursor; choose a model that does with model.path."
