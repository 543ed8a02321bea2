"""audit_loss: whether a loss of anybody is a bound, and by what factor it is off.

Dimensions: B batch, L tokens, V vocabulary, N strings of the language.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hdiff.audit.checks import Check, Subject, mean_and_error
from hdiff.audit.exact import ExactDenoiser
from hdiff.audit.language import AuditLanguage
from hdiff.corruption import TokenMasking
from hdiff.errors import DataError

GIVEN = ("logits", "model", "x_0", "x_t", "is_masked", "t", "p_mask", "mask_id", "vocab_size", "generator")
"""Arguments that a loss may ask for, by name."""

Predict = Callable[[Tensor], Tensor]
"""Scores of the clean tokens, float (B, L, V), of a state: long (B, L), `mask_id` where hidden."""

ROWS = 64
ROUNDS = 400


@dataclass(frozen=True)
class LossReport:
    """What the audit found of a loss.

    Attributes:
        checks: A predictor that knows nothing, and the exact posterior; in nats per token.
        factor: Value of the predictor that knows nothing, over log V; 1 for a bound.
        verdict: One sentence.
    """

    checks: tuple[Check, ...]
    factor: float
    verdict: str


def audit_loss(
    loss: Callable[..., Tensor], *, name: str, rows: int = ROWS, rounds: int = ROUNDS
) -> LossReport:
    """Puts a loss before the uniform predictor and the exact posterior of a language that is enumerated.

    Tokens are hidden independently with probability t, and t is stratified on (0, 1]: what masked diffusion
    does with a linear schedule. A loss that asks for `model` hides tokens itself. The first predictor must
    score log V per token, the second the entropy: below it nothing is a bound.

    Args:
        loss: Returns a loss in nats: per token if it is one number, of each row (B,), or of each token
            (B, L). Its parameters are filled by name from `GIVEN`.
        name: Its name in the table.
        rows: Rows B of a batch.
        rounds: Batches.

    Returns:
        The report.

    Raises:
        DataError: If the loss asks for something else, raises, or returns something else.
    """
    language = AuditLanguage()
    corruption = TokenMasking(mask_id=language.vocab_size, count="bernoulli")
    subject = Subject(name, corruption, language)
    exact = ExactDenoiser(language, corruption)
    mask_id = language.vocab_size
    one_hot = torch.nn.functional.one_hot(language.strings, language.vocab_size).double()  # (N, L, V)

    def know_nothing(x_t: Tensor) -> Tensor:
        return torch.zeros(*x_t.shape, language.vocab_size, dtype=torch.float64)

    def know_all(x_t: Tensor) -> Tensor:
        """Marginals of the posterior; at visible tokens as flat as those who know nothing."""
        marginals = torch.einsum("bn,nlv->blv", exact.posterior(x_t), one_hot).clamp(min=1e-30).log()
        return marginals.masked_fill(x_t.ne(mask_id)[..., None], 0.0)

    wanted = _wanted(loss, name)
    uniform = _run(loss, wanted, know_nothing, subject, rows, rounds)
    posterior = _run(loss, wanted, know_all, subject, rows, rounds)
    expected = (math.log(language.vocab_size), language.entropy / language.length)
    checks = [
        _check(subject, kind, values, value)
        for kind, values, value in zip(
            ("uniform_predictor", "exact_posterior"), (uniform, posterior), expected, strict=True
        )
    ]
    factor = mean_and_error(uniform)[0] / expected[0]
    return LossReport(tuple(checks), factor, _verdict(name, checks, factor))


def _check(subject: Subject, kind: str, values: Tensor, expected: float) -> Check:
    mean, error = mean_and_error(values)
    tolerance = 4 * error + 1e-3 * expected
    return subject.check(kind, mean, expected, tolerance, abs(mean - expected) <= tolerance < 0.1 * expected)


def _verdict(name: str, checks: list[Check], factor: float) -> str:
    uniform, posterior = checks
    if uniform.passed and posterior.passed:
        return f"{name} is a bound on -log p(x_0), in nats per token"
    values = (uniform.value, uniform.expected, posterior.value, posterior.expected, posterior.tolerance)
    if None in values or not all(math.isfinite(value) for value in values if value is not None):
        return f"{name} is not a bound: its values are not finite"
    assert posterior.value is not None
    assert posterior.expected is not None
    assert posterior.tolerance is not None
    of_posterior = posterior.value / posterior.expected
    off = f"it is off by a factor of {factor:.2f}"
    if abs(of_posterior - factor) > 0.05 * abs(factor):
        off = f"it is off by factors of {factor:.2f} and {of_posterior:.2f}, so no constant mends it"
    if posterior.value < posterior.expected - posterior.tolerance:
        return f"{name} is not a bound: the exact posterior scores less than the entropy; {off}"
    return f"{name} is above the bound, and no likelihood: {off}"


def _wanted(loss: Callable[..., Tensor], name: str) -> list[str]:
    """Names of the arguments that a loss asks for."""
    parameters = inspect.signature(loss).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in _REST]
    unknown = [parameter for parameter in required if parameter not in GIVEN]
    if unknown:
        raise DataError(
            f"the loss {name} asks for '{unknown[0]}', which the audit does not have; wrap it in a function "
            f"of {', '.join(GIVEN)}"
        )
    wanted = [p.name for p in parameters if p.name in GIVEN]
    if not {"logits", "model"} & set(wanted):
        raise DataError(
            f"the loss {name} asks for neither logits nor model, so no predictor reaches it; add one of them"
        )
    return wanted


_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _run(
    loss: Callable[..., Tensor],
    wanted: list[str],
    predict: Predict,
    subject: Subject,
    rows: int,
    rounds: int,
) -> Tensor:
    """Nats per token of every batch, float64 (rounds,)."""
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(rounds):
        x_0 = subject.language.sample(rows, generator).input_ids
        t = (torch.arange(rows) + torch.rand(rows, generator=generator, dtype=torch.float64)) / rows
        t = 1 - t[torch.randperm(rows, generator=generator)]  # (0, 1]
        is_masked = torch.rand(x_0.shape, generator=generator, dtype=torch.float64) < t[:, None]
        x_t = x_0.masked_fill(is_masked, subject.language.vocab_size)
        given: dict[str, Any] = {
            "model": predict,
            "x_0": x_0,
            "x_t": x_t,
            "is_masked": is_masked,
            "t": t,
            "p_mask": t[:, None].expand_as(x_0),
            "mask_id": subject.language.vocab_size,
            "vocab_size": subject.language.vocab_size,
            "generator": generator,
        }
        if "logits" in wanted:
            given["logits"] = predict(x_t)
        losses.append(_per_token(loss(**{key: given[key] for key in wanted}), x_0, subject.name))
    return torch.stack(losses)


def _per_token(value: Any, x_0: Tensor, name: str) -> Tensor:
    """What a loss returned, as nats per token of the batch."""
    if isinstance(value, Tensor) and value.shape in ((), x_0.shape, x_0.shape[:1]):
        nats = value.detach().double()
        return nats.mean() / x_0.shape[1] if nats.ndim == 1 else nats.mean()
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    raise DataError(
        f"the loss {name} returned {shape}; return a tensor: one number per token, or (B,) per row, or (B, L)"
    )
