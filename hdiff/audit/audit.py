"""audit: which corruptions, schedules and heads are checked, and by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from hdiff.audit.answer_lengths import answer_lengths
from hdiff.audit.any_order import any_order
from hdiff.audit.blocks import (
    exact_posterior_of_blocks,
    frequency_in_blocks,
    leak_of_blocks,
    network_leak_of_blocks,
)
from hdiff.audit.checks import Check, Subject, exact_posterior, uniform_predictor
from hdiff.audit.exact import NotUnderstood
from hdiff.audit.frequencies import masking_frequency, sampler_distribution
from hdiff.audit.given_tokens import given_tokens
from hdiff.audit.language import AuditLanguage
from hdiff.audit.memory import order_leak, structure_leak
from hdiff.audit.network import HeadSpec, bound_above_entropy, head_name, network_leak
from hdiff.audit.noise import exact_noise, noise_frequency, noise_network, noise_sampler
from hdiff.audit.rate_gradient import rate_gradient
from hdiff.corruption import (
    BlockCorrupted,
    BlockMasking,
    Corrupted,
    Corruption,
    Gaussian,
    LearnedRates,
    RateMatched,
    SoftMasking,
    SpanMasking,
    TokenMasking,
    TreeCascade,
    UniformState,
    UnitMasking,
)
from hdiff.corruption.arguments import Count
from hdiff.corruption.gaussian import GaussianCorrupted
from hdiff.corruption.uniform_state import UniformCorrupted
from hdiff.data.token_classes.of_head import stand_in_classes
from hdiff.errors import DataError
from hdiff.heads import HEADS
from hdiff.schedules import SCHEDULES, LinearSchedule, Schedule

Maker = Callable[[Schedule, Count], Corruption]


@dataclass(frozen=True)
class Family:
    """How corruptions with one kind of `Corrupted` are checked.

    Attributes:
        weights: Checks that depend on the schedule.
        states: Checks of what the states show.
        laws: Checks against laws that the audit knows for the built-in classes and those derived from them.
        networks: Checks of a network with a head, by name.
    """

    weights: tuple[Callable[[Subject], list[Check]], ...]
    states: tuple[Callable[[Subject], list[Check]], ...]
    laws: tuple[Callable[[Subject], list[Check]], ...]
    networks: tuple[Callable[[Subject, HeadSpec], list[Check]], ...]


_NOISE = Family(
    weights=(exact_noise,),
    states=(given_tokens,),
    laws=(noise_frequency, noise_sampler),
    networks=(noise_network,),
)

FAMILIES: dict[type[Corrupted], Family] = {
    Corrupted: Family(
        weights=(uniform_predictor, exact_posterior),
        states=(structure_leak, order_leak, given_tokens),
        laws=(masking_frequency, sampler_distribution, rate_gradient),
        networks=(bound_above_entropy, network_leak, any_order),
    ),
    BlockCorrupted: Family(
        weights=(uniform_predictor, exact_posterior_of_blocks),
        states=(leak_of_blocks, given_tokens),
        laws=(frequency_in_blocks, sampler_distribution),
        networks=(bound_above_entropy, network_leak_of_blocks),
    ),
    UniformCorrupted: _NOISE,
    GaussianCorrupted: _NOISE,
}
"""Checks by the class of the corrupted batch."""

_V = AuditLanguage.vocab_size
_LEVELS = ("clause", "phrase", "word")
_LABELS = {"types": ("boundary", "label"), "num_labels": 2}


def _maker(cls: type[Corruption], **options: Any) -> Maker:
    return lambda schedule, count: cls(**options, mask_id=_V, schedule=schedule, count=count)  # type: ignore[call-arg]


_tree = partial(_maker, TreeCascade)
_rates = partial(_maker, RateMatched, num_buckets=2)
_soft = partial(_maker, SoftMasking, num_classes=2)

_BUCKETS = {"types": ("boundary", "salience"), "num_buckets": 2}

_KNOWN = (
    UnitMasking,
    BlockMasking,
    TreeCascade,
    SoftMasking,
    RateMatched,
    LearnedRates,
    UniformState,
    Gaussian,
)

BUILT_IN: dict[str, Maker] = {
    "token_masking": _maker(TokenMasking),
    "span_masking random": _maker(SpanMasking, segmentation="random", lengths={1: 0.4, 2: 0.4, 3: 0.2}),
    "block_masking": _maker(BlockMasking, block_size=2),
    "block_masking unequal": _maker(BlockMasking, block_size=3),
    "tree_cascade 1 level": _tree(),
    "tree_cascade 3 levels": _tree(levels=_LEVELS, **_LABELS),
    "tree_cascade k by level": _tree(levels=_LEVELS[:2], k={"clause": 3.0, "phrase": 1.5, "token": 1.0}),
    "tree_cascade k by salience": _tree(k={"token": [1.0, 4.0]}, **_BUCKETS),
    "tree_cascade unit node": _tree(levels=_LEVELS[1:], unit="node"),
    "tree_cascade type_unit node": _tree(levels=_LEVELS, type_unit="node", **_LABELS),
    "tree_cascade nodes, salience": _tree(
        levels=_LEVELS[1:], unit="node", type_unit="node", k={"token": [1.0, 4.0]}, **_BUCKETS
    ),
    "tree_cascade fine_to_coarse": _tree(levels=_LEVELS[1:], direction="fine_to_coarse", **_LABELS),
    "rate_matched keyword_first": _rates(order="keyword_first"),
    "rate_matched keyword_last": _rates(order="keyword_last"),
    "rate_matched k_inside": _rates(order="keyword_first", ratio=2.0, level="phrase", k_inside=2.0),
    "rate_matched lexical": _rates(order="keyword_first"),
    "learned_rates": _maker(LearnedRates),
    "soft_masking clusters": _soft(classes="clusters", table=(0, 1, 0), class_k=2.0),
    "soft_masking random": _soft(classes="random", table=(1, 0, 0), token_k=2.0),
    "soft_masking nested": _maker(
        SoftMasking, classes={"kind": "clusters"}, table=((0, 1, 0), (0, 1, 2)), class_k=2.0
    ),
    "soft_masking syntax": _soft(classes="syntax", level="phrase"),
    "uniform_state": lambda schedule, count: UniformState(mask_id=_V, schedule=schedule),
    "gaussian": lambda schedule, count: Gaussian(mask_id=_V, schedule=schedule, embedding_width=4),
}
"""Corruptions that are audited if none is named: a function of schedule and count each."""


AUDITED_HEADS: tuple[HeadSpec, ...] = (
    *HEADS,
    *({"kind": kind, "classes": "random"} for kind in ("product", "autoregressive")),
)
"""Heads that are audited if none is named."""


def audit(
    corruptions: Mapping[str, Corruption] | None = None,
    heads: Sequence[HeadSpec] = AUDITED_HEADS,
    *,
    progress: Callable[[str], None] | None = None,
) -> list[Check]:
    """Audits corruptions with heads.

    Args:
        corruptions: Name -> corruption with `mask_id` 3; None: all that are built in, with every schedule
            for exact counts, and the linear one for independent times.
        heads: Names of heads, `module:Class` or `{kind: ...}`, for the checks that train or read a network.
        progress: Called with the name of each corruption before it is audited.

    Returns:
        All checks.

    Raises:
        DataError: If a corruption does not fit the language, or gives no bound on -log p(x_0).
    """
    checks: list[Check] = []
    if corruptions is not None:
        for name, corruption in corruptions.items():
            if progress is not None:
                progress(name)
            checks += _run(_subject(name, corruption), heads)
        return checks
    schedules: list[tuple[Schedule, Count]] = [(kind(), "exact") for kind in SCHEDULES.values()]
    schedules.append((LinearSchedule(), "bernoulli"))
    for name, make in BUILT_IN.items():
        if progress is not None:
            progress(name)
        for schedule, count in schedules:
            if _is_noise(name) and (count != "exact" or _ends_early(name, schedule)):
                continue  # noise has no counts, and Gaussian noise no schedule that ends before 1
            subject = _subject(name, make(schedule, count), is_lexical=name.endswith("lexical"))
            checks += _run(subject, heads, with_states=isinstance(schedule, LinearSchedule))
    return checks + answer_lengths()


def _is_noise(name: str) -> bool:
    return name in ("uniform_state", "gaussian")


def _ends_early(name: str, schedule: Schedule) -> bool:
    return name == "gaussian" and schedule.end < 1


def audit_one(corruption: Corruption, head: HeadSpec = "product", *, name: str | None = None) -> list[Check]:
    """Audits one corruption with one head.

    Args:
        corruption: The corruption; its `mask_id` must be 3, the vocabulary size of the audit's language.
        head: Its head; a name, `module:Class` or `{kind: ...}`.
        name: Its name in the checks; None for that of its class.

    Returns:
        All checks.

    Raises:
        DataError: See `audit`.
    """
    return audit({type(corruption).__name__ if name is None else name: corruption}, [head])


def _subject(name: str, corruption: Corruption, *, is_lexical: bool = False) -> Subject:
    """The corruption and a language that fits it; structure given for free gives way to the legal bound."""
    if corruption.conditional_on_structure:
        corruption = corruption.unconditional()
        name = f"{name} (unconditional)"
    if corruption.mask_id is None:
        corruption = copy(corruption)
        corruption.mask_id = _V
    if corruption.mask_id != _V:
        raise DataError(
            f"the corruption has mask_id {corruption.mask_id}; the audit's language has {_V} tokens, so give "
            f"mask_id={_V}"
        )
    if (small := corruption.for_toy_language(_V, AuditLanguage.length)).block_size != corruption.block_size:
        name = f"{name} (blocks of {small.block_size})"
    corruption = small.with_statistics(
        token_classes=lambda asking: stand_in_classes({"classes": asking.class_spec}, _V)
    )
    num_buckets = int(getattr(corruption, "num_buckets", 2))
    language = AuditLanguage(is_lexical=is_lexical, num_buckets=min(num_buckets, 2))
    return Subject(name, corruption, language)


def _run(subject: Subject, heads: Sequence[HeadSpec], *, with_states: bool = True) -> list[Check]:
    kind = type(_whole(subject))
    if kind not in FAMILIES:
        return [subject.unaudited(f"{kind.__name__} is not in hdiff.audit.FAMILIES")]
    family = FAMILIES[kind]
    if not subject.corruption.takes_joint_heads:
        heads = [head for head in heads if head_name(head) == "product"]
    try:
        checks = [result for weigh in family.weights for result in weigh(subject)]
        if not with_states:
            return checks
        # Laws are known for these; of other classes only what every bound must hold is checked.
        is_known = isinstance(subject.corruption, _KNOWN)
        for look in family.states + (family.laws if is_known else ()):
            checks += look(subject)
        return checks + [r for head in heads for look_at in family.networks for r in look_at(subject, head)]
    except NotUnderstood as error:
        return [subject.unaudited(str(error))]


def _whole(subject: Subject) -> Corrupted:
    """All strings at t = 1."""
    batch = subject.language.every()
    t = torch.ones(len(batch.input_ids), dtype=torch.float64)
    return subject.corruption.corrupt(batch, t, generator=torch.Generator().manual_seed(0))
