"""Abilities: what a model can be asked for on the page, and why not."""

from __future__ import annotations

from collections.abc import Mapping

from hdiff.control.skeleton import Skeleton, skeleton_types
from hdiff.control.verification import FREE
from hdiff.errors import DataError
from hdiff.serve.served_run import ServedRun


def refusals(run: ServedRun) -> dict[str, str | None]:
    """Why this model cannot do a thing, by thing: `fresh`, `sentence`, `infill`, `keywords`, `skeleton`."""
    if run.is_autoregressive:
        reason = "This is an autoregressive model: it scores text from left to right and writes none here."
        return dict.fromkeys(("fresh", "sentence", "infill", "keywords", "skeleton"), reason)
    kind = run.recipe.corruption["kind"]
    has_units = run.corruption.masked_units() is not None
    gaps = None if has_units else f"Given words need a model of masked units; this one is of {kind}."
    resumes = has_units or bool(run.corruption.type_sizes)
    return {
        "fresh": None,
        "sentence": None if resumes else f"The sampler of {kind} starts from a fresh text only.",
        "infill": gaps,
        "keywords": gaps,
        "skeleton": _refusal_of_skeletons(run),
    }


def _refusal_of_skeletons(run: ServedRun) -> str | None:
    try:
        skeleton_types(Skeleton.parse(f"{FREE}:1"), run.corruption, labels_of(run))
    except DataError as error:
        sentence = str(error)
        return f"{sentence[:1].upper()}{sentence[1:]}."
    return None


def labels_of(run: ServedRun) -> Mapping[str, Mapping[str, int]]:
    """For each level of its data the numbers of its labels."""
    return (run.folder.record.get("data") or {}).get("labels") or {}
