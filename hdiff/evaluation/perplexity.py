"""perplexity_text: the perplexity that nats per token stand for, and what it may be called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def what_is_bounded(bound: Mapping[str, Any]) -> str:
    """Of what an evaluation gives the value or a bound: `-log p(x_0)`, or of answers given their prompts."""
    return "-log p(answer | prompt)" if bound.get("given") == "prompt" else "-log p(x_0)"


def perplexity_text(bound: Mapping[str, Any]) -> str | None:
    """`perplexity per token (upper bound) 82.3`, exp of the nats; None for a bound given the structure."""
    if bound.get("conditional_on_structure"):
        return None
    label = "perplexity per token" if bound["kind"] == "exact" else "perplexity per token (upper bound)"
    return f"{label} {shown(bound['nats_per_token'])}"


def shown(nats: float) -> str:
    """exp(nats) in three or four digits."""
    value = math.exp(min(nats, 700.0))  # the largest float is about exp(709)
    if value >= 1e7:
        return f"{value:.2e}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
