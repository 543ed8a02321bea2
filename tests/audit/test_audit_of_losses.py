"""`hdiff audit --loss`: losses of anybody, right and wrong, before predictors of known value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.audit import audit_loss
from hdiff.cli import run as hdiff
from hdiff.errors import DataError


def cross_entropy(logits: Tensor, x_0: Tensor) -> Tensor:
    return F.cross_entropy(logits.transpose(1, 2), x_0, reduction="none")  # (B, L)


def per_token(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    return cross_entropy(logits, x_0) * is_masked / p_mask


def per_row(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    return per_token(logits, x_0, is_masked, p_mask).sum(1)


def per_batch(logits: Tensor, x_0: Tensor, is_masked: Tensor, t: Tensor) -> Tensor:
    kept = is_masked.flatten()
    losses = F.cross_entropy(logits.flatten(0, 1)[kept], x_0.flatten()[kept], reduction="none")
    return (losses / t.repeat_interleave(x_0.shape[1])[kept]).sum() / x_0.numel()


def in_float32_with_log_softmax(logits: Tensor, x_0: Tensor, x_t: Tensor, mask_id: int, t: Tensor) -> Tensor:
    nll = -logits.float().log_softmax(-1).gather(-1, x_0[..., None]).squeeze(-1)
    return (nll * (x_t == mask_id) / t[:, None].float()).mean()


def hides_itself(model: Callable[[Tensor], Tensor], x_0: Tensor, mask_id: int) -> Tensor:
    t = torch.rand(len(x_0), 1, dtype=torch.float64).clamp(min=1e-4)
    hidden = torch.rand(x_0.shape, dtype=torch.float64) < t
    nll = cross_entropy(model(x_0.masked_fill(hidden, mask_id)), x_0)
    return (nll * hidden / t).mean()


def with_exact_counts(model: Callable[[Tensor], Tensor], x_0: Tensor, mask_id: int, **_: Any) -> Tensor:
    length = x_0.shape[1]
    count = torch.randint(1, length + 1, (len(x_0), 1))
    hidden = torch.rand(x_0.shape).argsort(1).argsort(1) < count
    nll = cross_entropy(model(x_0.masked_fill(hidden, mask_id)), x_0)
    return (nll * hidden * length / count).sum(1)


BOUNDS = [per_token, per_row, per_batch, in_float32_with_log_softmax, hides_itself, with_exact_counts]


def mean_over_masked(logits: Tensor, x_0: Tensor, is_masked: Tensor, t: Tensor) -> Tensor:
    return (cross_entropy(logits, x_0) / t[:, None])[is_masked].sum() / is_masked.sum()


def without_weight(logits: Tensor, x_0: Tensor, is_masked: Tensor) -> Tensor:
    return (cross_entropy(logits, x_0) * is_masked).mean()


def in_bits(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    return per_token(logits, x_0, is_masked, p_mask) / math.log(2)


def summed(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    return per_token(logits, x_0, is_masked, p_mask).sum()


def twice_normalised(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    return per_token(logits, x_0, is_masked, p_mask).mean() / x_0.shape[1]


def of_masked_models(logits: Tensor, x_0: Tensor, is_masked: Tensor) -> Tensor:
    return cross_entropy(logits, x_0)[is_masked].mean()


def shifted(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    nll = cross_entropy(logits.roll(1, 1), x_0)
    return (nll * is_masked / p_mask).mean()


def entropy_of_the_prediction(logits: Tensor, x_0: Tensor, is_masked: Tensor, t: Tensor) -> Tensor:
    log_p = (logits / 0.5).log_softmax(-1)
    return (-(log_p.exp() * log_p).sum(-1) * is_masked / t[:, None]).mean()


def smoothed(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    nll = F.cross_entropy(logits.transpose(1, 2), x_0, reduction="none", label_smoothing=0.3)
    return nll * is_masked / p_mask


def weighed_by_other_times(logits: Tensor, x_0: Tensor, is_masked: Tensor, t: Tensor) -> Tensor:
    return (cross_entropy(logits, x_0) * is_masked * 2).mean()  # weight 2 in place of 1 / t


def focal(logits: Tensor, x_0: Tensor, is_masked: Tensor, p_mask: Tensor) -> Tensor:
    nll = cross_entropy(logits, x_0)
    return (1 - (-nll).exp()) * nll * is_masked / p_mask


WRONG = [
    (mean_over_masked, 2.0),
    (without_weight, 0.5),
    (in_bits, 1 / math.log(2)),
    (summed, 64 * 4),
    (twice_normalised, 0.25),
    (of_masked_models, 1.0),
    (shifted, 1.0),
    (entropy_of_the_prediction, 1.0),
    (smoothed, 1.0),
    (weighed_by_other_times, 1.0),
    (focal, 2 / 3),
]


@pytest.mark.parametrize("loss", BOUNDS, ids=lambda loss: loss.__name__)
def test_bounds_pass(loss: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    report = audit_loss(loss, name=loss.__name__)
    assert all(check.passed for check in report.checks), report
    assert report.factor == pytest.approx(1, abs=0.03)
    assert "is a bound" in report.verdict


@pytest.mark.parametrize(("loss", "factor"), WRONG, ids=[loss.__name__ for loss, _ in WRONG])
def test_wrong_losses_fail_with_their_factor(loss: Callable[..., Tensor], factor: float) -> None:
    report = audit_loss(loss, name=loss.__name__)
    assert not all(check.passed for check in report.checks), report
    assert report.factor == pytest.approx(factor, rel=0.03)
    assert "is a bound" not in report.verdict
    below = report.checks[1].value < report.checks[1].expected  # type: ignore[operator]
    assert ("not a bound" in report.verdict) == below


def test_a_loss_that_is_not_finite_is_no_bound() -> None:
    report = audit_loss(lambda logits, x_0: logits.mean() / 0, name="broken")
    assert not any(check.passed for check in report.checks)
    assert "not finite" in report.verdict


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda logits, labels: logits.mean(), "asks for 'labels'"),
        (lambda x_0, t: t.mean(), "neither logits nor model"),
        (lambda logits: 1.0, "returned float"),
        (lambda logits: logits, r"returned \(64, 4, 3\)"),
        (lambda logits: logits[0, 0], r"returned \(3,\)"),
        (lambda logits, x_0: None, "returned NoneType"),
    ],
)
def test_losses_that_cannot_be_asked_are_refused(loss: Callable[..., Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        audit_loss(loss, name="mine")


def test_the_command_says_by_what_factor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_losses.py").write_text(
        "import torch.nn.functional as F\n\n"
        "def mean_over_masked(logits, x_0, is_masked, t):\n"
        "    nll = F.cross_entropy(logits.transpose(1, 2), x_0, reduction='none') / t[:, None]\n"
        "    return nll[is_masked].mean()\n\n"
        "def bound(logits, x_0, is_masked, t):\n"
        "    nll = F.cross_entropy(logits.transpose(1, 2), x_0, reduction='none') / t[:, None]\n"
        "    return (nll * is_masked).mean()\n\n"
        "number = 3\n"
    )
    assert hdiff(["audit", "--loss", "my_losses:mean_over_masked"]) == 1
    assert "off by a factor of 2.0" in capsys.readouterr().out
    assert hdiff(["audit", "--loss", "my_losses:bound", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["factor"] == pytest.approx(1, abs=0.03)
    assert len(found["checks"]) == 2
    for arguments, message in (
        (["--loss", "my_losses:number"], "cannot be called"),
        (["--loss", "my_losses"], "module:function"),
        (["--loss", "my_losses:missing"], "missing"),
        (["--loss", "my_losses:bound", "--corruption", "token_masking"], "without --recipe"),
    ):
        assert hdiff(["audit", *arguments]) == 2
        assert message in capsys.readouterr().err
