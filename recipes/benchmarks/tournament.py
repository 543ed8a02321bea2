"""The tournament: token masking against joint spans on several corpora, one table of all of them.

Each corpus is one ablation (`hdiff ablate tournament.yaml`), resumable and with its own page; this script
runs them one after another and puts the figures that the claim is about side by side. From the checkout,
data sets prepared: `python recipes/benchmarks/tournament.py --data data --corpora tinystories wikitext2`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from ablation_table import judged, spread_of, with_interval
from compare import run, spread

from hdiff.recipe import load_recipe

FILE = Path(__file__).with_name("tournament.yaml")
CORPORA = ("tinystories", "wikitext2", "gutenberg", "e2e", "mixture")


def ablate(corpus: str, arguments: argparse.Namespace) -> None:
    """Trains and evaluates what is missing of one corpus."""
    data, out = arguments.data / corpus, arguments.out / corpus
    out.parent.mkdir(parents=True, exist_ok=True)
    overrides = [
        f"data.path={data}",
        f"output={out}",
        f"name=tournament/{corpus}",
        f"seeds={arguments.seeds}",
    ]
    run(
        ["ablate", str(FILE), *overrides, *arguments.set, "--jobs", str(arguments.jobs)],
        arguments.out / f"{corpus}.log",
    )


def read(corpus: str, out: Path) -> dict[str, Any] | None:
    """The figures of one corpus; None if there are none, or its judge is not scored yet."""
    file = out / corpus / "ablation.json"
    is_judged = (out / corpus / "judge-0" / "eval.json").exists()
    return json.loads(file.read_text()) if file.exists() and is_judged else None


def tokens_per_word(corpus: str, out: Path) -> float:
    """Tokens of the held-out text, separators included, over its words."""
    recipe = load_recipe(out / corpus / "judge-0" / "recipe.yaml")
    manifest = json.loads((Path(recipe.data.path) / "manifest.json").read_text())
    counts = manifest["counts"]["validation"]
    return float((counts["tokens"] + counts["documents"]) / counts["words"])


def judge_bound(corpus: str, out: Path) -> float:
    """Exact nats/token of the judge."""
    found = json.loads((out / corpus / "judge-0" / "eval.json").read_text())
    return float(found["bound"]["nats_per_token"])


def table(out: Path, corpora: tuple[str, ...] = CORPORA) -> str:
    """Markdown of all corpora that have finished runs."""
    found = {corpus: figures for corpus in corpora if (figures := read(corpus, out)) is not None}
    lines = [
        "| corpus | system | seeds | bound, nats/token | perplexity per word | L_1 | L_8 | L_32 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for corpus, figures in found.items():
        per_word = tokens_per_word(corpus, out)
        for name, variant in figures["variants"].items():
            own = variant["figures"]
            if "bound" not in own:
                continue
            words = [math.exp(value * per_word) for value in own["bound"]["by_seed"].values()]
            cells = [
                corpus,
                name,
                str(len(variant["seeds"])),
                spread_of(own["bound"]),
                spread(words, digits=0),
            ]
            cells += [spread_of(own["L"][t]) for t in ("1", "8", "32")]
            lines.append("| " + " | ".join(cells) + " |")
        exact = judge_bound(corpus, out)
        cells = [corpus, "autoregressive judge", "1", f"{exact:.3f}", f"{math.exp(exact * per_word):.0f}"]
        lines.append("| " + " | ".join([*cells, "", "", ""]) + " |")
    steps = [str(t) for t in (1, 2, 4, 8, 16, 32)]
    lines += ["", "| corpus | system | " + " | ".join(f"T = {t}" for t in steps) + " |"]
    lines.append("|---" * (len(steps) + 2) + "|")
    for corpus, figures in found.items():
        for name, variant in figures["variants"].items():
            own = variant["figures"]
            if "judge_nll" not in own:
                continue
            cells = [judged(own, t) for t in steps]
            lines.append(f"| {corpus} | {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| corpus | difference | bound, 95 % interval | verdict | better judged at |",
        "|---" * 5 + "|",
    ]
    for corpus, figures in found.items():
        for gap in figures["differences"]:
            if gap["figure"] != "bound":
                continue
            wins = [
                f"{other['steps']}"
                for other in figures["differences"]
                if (other["variant"], other["reference"]) == (gap["variant"], gap["reference"])
                and other["figure"] == "judge_nll"
                and other["verdict"] == "better"
            ]
            cells = [corpus, f"{gap['variant']} - {gap['reference']}", with_interval(gap)]
            cells += [gap["verdict"], "T = " + ", ".join(wins) if wins else "none"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the prepared data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/tournament"))
    parser.add_argument("--corpora", nargs="*", default=list(CORPORA), choices=CORPORA)
    parser.add_argument("--seeds", default="[0, 1, 2]", help="as in an ablation file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of every run")
    parser.add_argument("--table", action="store_true", help="only print the table of finished runs")
    arguments = parser.parse_args()
    if not arguments.table:
        for corpus in arguments.corpora:
            ablate(corpus, arguments)
    print(table(arguments.out, tuple(arguments.corpora)))


if __name__ == "__main__":
    main()
