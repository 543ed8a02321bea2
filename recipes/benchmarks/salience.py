"""Fits the combined salience on gold keywords and measures every method on others; prints one JSON object.

Usage: python recipes/benchmarks/salience.py TRAIN.jsonl VALID.jsonl [--texts 4000]

Keywords: words inside slot values, as in E2E: lines with text, and spans [first word, end word, slot].
Counts are taken over the texts of the file that is scored, which needs no keywords. ROC AUC over all words of
VALID together, with a 95 % interval from 1,000 resamplings of its texts; `lexical` is the mean score of each
lower-cased word form over TRAIN under the combination, a function of the form alone.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hdiff.parsers import Combination, WordStatistics, load_parser, salience_class
from hdiff.parsers.keyword_evaluation import GoldKeywords, are_keywords, read_keywords, roc_auc
from hdiff.parsers.salience_base import SALIENCES
from hdiff.structure import SpanTree

NEEDS = ("heads", "entities")


def forms(tree: SpanTree) -> list[str]:
    """The lower-cased words."""
    return [tree.text[word.start : word.end].lower() for word in tree.words]


def interval(scores: Sequence[Sequence[float]], flags: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """95 % interval of the AUC over resampled texts."""
    generator = np.random.default_rng(0)
    lengths = np.array([len(row) for row in scores])
    flat_scores, flat_flags = np.concatenate(scores), np.concatenate(flags).astype(bool)
    _, ranks = np.unique(flat_scores, return_inverse=True)
    text = np.repeat(np.arange(len(scores)), lengths)
    positive = np.zeros((len(scores), ranks.max() + 1), dtype=np.float32)
    negative = np.zeros_like(positive)
    np.add.at(positive, (text[flat_flags], ranks[flat_flags]), 1)
    np.add.at(negative, (text[~flat_flags], ranks[~flat_flags]), 1)
    means = []
    for _ in range(1000):
        weight = np.bincount(generator.integers(0, len(scores), len(scores)), minlength=len(scores))
        p, n = weight.astype(np.float32) @ positive, weight.astype(np.float32) @ negative
        below = np.concatenate([[0], n.cumsum()[:-1]])
        means.append(float((p * (below + n / 2)).sum() / (p.sum() * n.sum())))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def measure(
    gold: Sequence[GoldKeywords], trees: Sequence[SpanTree], scores: Sequence[Sequence[float]]
) -> dict[str, float]:
    """AUC and its interval, of scores rounded to 4 decimals, which bounds memory."""
    rounded = [np.round(row, 4).tolist() for row in scores]
    flags = [are_keywords(text, tree) for text, tree in zip(gold, trees, strict=True)]
    auc = roc_auc([s for row in rounded for s in row], [f for row in flags for f in row])
    low, high = interval(rounded, flags)
    return {"roc_auc": round(auc, 4), "low": round(low, 4), "high": round(high, 4)}


def main() -> None:
    """Runs what the arguments ask for."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("train", type=Path)
    arguments.add_argument("valid", type=Path)
    arguments.add_argument("--texts", type=int, default=4000, help="texts of TRAIN to fit on, spread evenly")
    chosen = arguments.parse_args()
    parser = load_parser("spacy", annotations=NEEDS)
    num_lines = sum(1 for _ in chosen.train.open(encoding="utf-8"))
    train = read_keywords(chosen.train, every=max(1, num_lines // chosen.texts), limit=chosen.texts)
    trees = list(parser.parse(text.text for text in train))
    statistics = WordStatistics.of(trees, pairs=True)
    flags = [are_keywords(text, tree) for text, tree in zip(train, trees, strict=True)]
    fitted = Combination.fit(trees, flags, statistics)

    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for tree in trees:
        for form, score in zip(forms(tree), fitted.scores(tree), strict=True):
            sums[form][0] += score
            sums[form][1] += 1
    mean = sum(total for total, _ in sums.values()) / sum(count for _, count in sums.values())

    valid = read_keywords(chosen.valid)
    trees = list(parser.parse(text.text for text in valid))
    statistics = WordStatistics.of(trees, pairs=True)
    rows: dict[str, Any] = {}
    for name in SALIENCES:
        method = salience_class(name).of(statistics)
        rows[name] = measure(valid, trees, [method.scores(tree) for tree in trees])
    refitted = Combination(statistics, fitted.weights)
    rows["combined, refitted"] = measure(valid, trees, [refitted.scores(tree) for tree in trees])
    lexical = [[sums[f][0] / sums[f][1] if f in sums else mean for f in forms(tree)] for tree in trees]
    rows["lexical"] = measure(valid, trees, lexical)
    print(
        json.dumps(
            {
                "fitted_on": len(train),
                "texts": len(valid),
                "words": sum(len(tree.words) for tree in trees),
                "methods": rows,
                "weights": dict(fitted.weights),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
