"""learned_speeds: the tokens that a run has learned to generate first and last."""

from __future__ import annotations

from typing import Any

from hdiff.runs.folder import RunFolder


def learned_speeds(run: RunFolder, *, num_tokens: int = 20) -> dict[str, Any] | None:
    """The fastest and the slowest tokens of a run with learned speeds.

    Args:
        run: The run.
        num_tokens: How many of each.

    Returns:
        `ratio` (fastest over slowest speed), `earliest` and `latest`: lists of {`token`, `k`}, the extreme
        first. k has the geometric mean 1 over the vocabulary. None if the run learns no speeds.
    """
    rates = getattr(run.model, "token_rates", None)
    if rates is None:
        return None
    k = rates.log_speed.detach().exp()
    order = k.argsort(descending=True, stable=True).tolist()

    def listed(tokens: list[int]) -> list[dict[str, Any]]:
        return [{"token": run.tokenizer.name(token), "k": float(k[token])} for token in tokens]

    return {
        "ratio": float(k.max() / k.min()),
        "earliest": listed(order[:num_tokens]),
        "latest": listed(order[::-1][:num_tokens]),
    }
