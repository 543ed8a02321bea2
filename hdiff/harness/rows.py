"""rows_of: a context and a continuation of any length as rows that a model can score. No lm_eval."""

from __future__ import annotations

from collections.abc import Sequence

from hdiff.evaluation.continuations import Continuation


def rows_of(
    context: Sequence[int], continuation: Sequence[int], *, eos_id: int, max_tokens: int, is_end_given: bool
) -> list[Continuation]:
    """Rows whose scores add up to that of the continuation, each of its tokens scored once.

    A row is an end-of-text token, as much of what comes before as fits, and what is scored. A continuation
    that is longer than a row is cut; every part after the first has at least half a row before it. Each part
    is given what is before it, so that the sum is a chain of conditional likelihoods and, of bounds, a bound.

    Args:
        context: Tokens that are given.
        continuation: Tokens to score; nothing to score has no rows.
        eos_id: Id of the token that ends a text.
        max_tokens: Tokens of a row between its ends.
        is_end_given: Whether the end of the text is shown behind the last part, to models that look ahead.

    Returns:
        The rows.
    """
    before, remaining = list(context), list(continuation)
    rows: list[Continuation] = []
    while remaining:
        size = max_tokens if not rows else max(1, max_tokens - max_tokens // 2)
        scored, remaining = remaining[:size], remaining[size:]
        room = min(len(before), max_tokens - len(scored))
        given = before[len(before) - room :]
        end = [eos_id] if is_end_given and not remaining else []
        first = 1 + len(given)
        rows.append(Continuation((eos_id, *given, *scored, *end), first, first + len(scored)))
        before += scored
    return rows
