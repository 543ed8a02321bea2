"""Trains and evaluates every family of corruption over several seeds, and prints one table of bounds.

Finished runs are kept, so the command can be stopped and started again at any time. Run it from the
checkout, with the data set prepared: `python recipes/benchmarks/corruption.py --data data/mixture`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from compare import add_options, run_all, spread

RECIPE = Path(__file__).with_name("corruption.yaml")
BASELINE = "token"


def _corruption(text: str, *more: str) -> list[str]:
    return [f"corruption={{{text}}}", *more]


SYSTEMS: dict[str, list[str]] = {
    BASELINE: _corruption("kind: token_masking"),
    "span_random": _corruption("kind: span_masking, segmentation: random, lengths: corpus"),
    "span_mixture": _corruption(
        "kind: span_masking, segmentation: mixture, parsed_fraction: 0.5, lengths: corpus"
    ),
    "soft_clusters_64": _corruption("kind: soft_masking, num_classes: 64"),
    "soft_random_64": _corruption("kind: soft_masking, classes: random, num_classes: 64"),
    "soft_clusters_64_k3": _corruption("kind: soft_masking, num_classes: 64, class_k: 3.0"),
    "soft_clusters_16": _corruption("kind: soft_masking, num_classes: 16"),
    "soft_clusters_256": _corruption("kind: soft_masking, num_classes: 256"),
    "soft_syntax": _corruption("kind: soft_masking, classes: syntax, num_classes: 16"),
    "rate_first_4": _corruption("kind: rate_matched, order: keyword_first, ratio: 4.0"),
    "rate_last_4": _corruption("kind: rate_matched, order: keyword_last, ratio: 4.0"),
    "rate_last_16": _corruption("kind: rate_matched, order: keyword_last, ratio: 16.0"),
    "rate_uniform": _corruption("kind: rate_matched, order: uniform"),
    "rate_first_4_lexical": _corruption(
        "kind: rate_matched, order: keyword_first, ratio: 4.0", "data.lexical_salience=true"
    ),
    "rate_last_4_lexical": _corruption(
        "kind: rate_matched, order: keyword_last, ratio: 4.0", "data.lexical_salience=true"
    ),
    "block_16": _corruption("kind: block_masking, block_size: 16"),
    "learned_rates": _corruption("kind: learned_rates"),
    "uniform_state": _corruption("kind: uniform_state, schedule: {kind: polynomial, k: 2.5}"),
    "uniform_state_salience": _corruption(
        "kind: uniform_state, schedule: {kind: polynomial, k: 2.5}, k: [1, 1.3, 1.6, 2]"
    ),
    "gaussian": _corruption("kind: gaussian, embedding_width: 32"),
    "cascade_phrase": _corruption("kind: tree_cascade, levels: [phrase]"),
    "cascade_phrase_k4": _corruption("kind: tree_cascade, levels: [phrase], k: {phrase: 4.0}"),
    "cascade_word": _corruption("kind: tree_cascade, levels: [word]"),
    "cascade_sentence": _corruption("kind: tree_cascade, levels: [sentence]"),
    "cascade_3_levels": _corruption("kind: tree_cascade, levels: [clause, phrase, word]"),
    "cascade_labels": _corruption(
        "kind: tree_cascade, levels: [phrase], types: [boundary, label], num_labels: 8"
    ),
    "cascade_reversed": _corruption(
        "kind: tree_cascade, levels: [clause, phrase, word], direction: fine_to_coarse"
    ),
}

TITLES = {
    "token": "token masking",
    "span_random": "random spans",
    "span_mixture": "half parsed, half random spans",
    "soft_clusters_16": "soft masking, 16 clusters",
    "soft_clusters_64": "soft masking, 64 clusters",
    "soft_clusters_64_k3": "soft masking, 64 clusters, classes earlier (k = 3)",
    "soft_clusters_256": "soft masking, 256 clusters",
    "soft_random_64": "soft masking, 64 random classes (control)",
    "soft_syntax": "soft masking, 16 parts of speech of the parser",
    "rate_first_4": "rate matched, keywords first, ratio 4",
    "rate_last_4": "rate matched, keywords last, ratio 4",
    "rate_uniform": "rate matched, uniform order (control)",
    "block_16": "block diffusion, blocks of 16",
    "learned_rates": "learned speeds per token",
    "uniform_state": "random replacement (`uniform_state`)",
    "gaussian": "diffusion of embeddings (`gaussian`)",
    "cascade_phrase": "tree cascade, phrase boundaries, k = 1",
    "cascade_phrase_k4": "tree cascade, phrase boundaries, k = 4",
    "cascade_3_levels": "tree cascade, boundaries of clauses, phrases and words",
    "cascade_labels": "tree cascade, phrase boundaries and labels",
}
"""How the table names systems; others keep their name."""


def table(arguments: argparse.Namespace) -> str:
    """Markdown: words, structure and total in nats/token, mean and sd over seeds; differences are paired."""

    def bounds(system: str) -> dict[int, dict[str, float]]:
        files = {seed: arguments.out / f"{system}-{seed}" / "eval.json" for seed in arguments.seeds}
        return {seed: json.loads(f.read_text())["bound"] for seed, f in files.items() if f.exists()}

    reference = bounds(BASELINE)
    lines = [
        "| system | seeds | words | structure | total | total - token masking | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for system in arguments.systems:
        bound = bounds(system)
        if not bound:
            continue
        total = [b["nats_per_token"] for b in bound.values()]
        structure = [b["structure_nats_per_token"] for b in bound.values()]
        words = [t - s for t, s in zip(total, structure, strict=True)]
        gaps = [
            b["nats_per_token"] - reference[seed]["nats_per_token"]
            for seed, b in bound.items()
            if seed in reference
        ]
        record = json.loads((arguments.out / f"{system}-{next(iter(bound))}" / "run.json").read_text())
        cells = [TITLES.get(system, system), str(len(bound)), spread(words), spread(structure), spread(total)]
        cells += [spread(gaps) if gaps else "", f"{record['parameters']['total']:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, recipe=RECIPE, out=Path("runs/corruption"), systems=list(SYSTEMS))
    parser.add_argument("--table", action="store_true", help="only print the table of finished runs")
    arguments = parser.parse_args()
    if not arguments.table:
        run_all(arguments, SYSTEMS)
    text = table(arguments)
    (arguments.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
