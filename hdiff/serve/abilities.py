"""Abilities: what a model can be asked for on the page, and why not."""

from __future__ import annotations

from collections.abc import Mapping

from hdiff.control.skeleton import Skeleton, known_labels, skeleton_types
from hdiff.control.verification import FREE
from hdiff.corruption import Cascade, SoftMasking, TreeCascade, UnitMasking
from hdiff.errors import DataError
from hdiff.models.denoiser import Denoiser
from hdiff.serve.served_run import ServedRun


def refusals(run: ServedRun) -> dict[str, str | None]:
    """Why this model cannot do a thing, by thing: `fresh`, `sentence`, `infill`, `keywords`, `skeleton`.

    Args:
        run: The model.

    Returns:
        A sentence, or None where it can.
    """
    if run.is_autoregressive:
        reason = "This is an autoregressive model: it scores text from left to right and writes none here."
        return dict.fromkeys(("fresh", "sentence", "infill", "keywords", "skeleton"), reason)
    kind = run.recipe.corruption["kind"]
    has_units = isinstance(run.folder.model, Denoiser) and isinstance(run.corruption, UnitMasking)
    is_cascade = isinstance(run.folder.model, Denoiser) and isinstance(run.corruption, Cascade)
    gaps = None if has_units else f"Given words need a model of masked units; this one is of {kind}."
    resumes = has_units or is_cascade
    return {
        "fresh": None,
        "sentence": None if resumes else f"The sampler of {kind} starts from a fresh text only.",
        "infill": gaps,
        "keywords": gaps,
        "skeleton": _refusal_of_skeletons(run),
    }


def labels_of_skeletons(run: ServedRun) -> list[str]:
    """Labels a skeleton may name, most frequent first; empty for models without."""
    corruption, numbers = run.corruption, _labels(run)
    if isinstance(corruption, TreeCascade) and corruption.levels and "label" in corruption.types:
        return list(known_labels(numbers.get(corruption.levels[0], {}), corruption.num_labels))
    if isinstance(corruption, SoftMasking) and not corruption.is_lexical:
        return list(known_labels(numbers.get(corruption.level, {}), corruption.num_classes))
    return []


def _refusal_of_skeletons(run: ServedRun) -> str | None:
    try:
        skeleton_types(Skeleton.parse(f"{FREE}:1"), run.corruption, _labels(run))
    except DataError as error:
        sentence = str(error)
        return f"{sentence[:1].upper()}{sentence[1:]}."
    return None


def _labels(run: ServedRun) -> Mapping[str, Mapping[str, int]]:
    return (run.folder.record.get("data") or {}).get("labels") or {}
