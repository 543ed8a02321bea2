"""Draws a sentence for each phenomenon as trees of parsers and gold, and says what differs; prints Markdown.

Usage: python recipes/benchmarks/tree_gallery.py gum_open/train.ptb [--parser spacy --parser benepar:MODEL]

Sentences are those of GUM (CC BY 4.0), named by their number in its training file, and one of our own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from hdiff.parsers import load_parser
from hdiff.parsers.base import Words
from hdiff.parsers.brackets import clean, parse_brackets, to_span_tree
from hdiff.parsers.evaluation import extents
from hdiff.parsers.span_errors import span_errors
from hdiff.parsers.treebank import gold_sentences
from hdiff.structure import SpanTree

GAPPING = (
    "(S (S (NP (PRP She)) (VP (VBD ordered) (NP (JJ green) (NN tea)))) (CC and) "
    "(S (NP (PRP he)) (NP (JJ black) (NN coffee))) (. .))"
)
SENTENCES: dict[str, int | str] = {
    "relative clause": 1023,
    "coordination": 1783,
    "gapping": GAPPING,
    "apposition": 2086,
    "quotation": 988,
    "parenthesis": 345,
    "list item": 63,
    "question": 7,
    "imperative": 1325,
    "fragment": 1134,
}


def drawn(tree: SpanTree) -> Iterator[str]:
    """Lines of a tree, a span each."""
    ends: list[int] = []
    for span in tree.spans:
        while ends and ends[-1] <= span.start:
            ends.pop()
        if span.level != "word":
            yield f"{'  ' * len(ends)}{span.label}  {tree.text[span.start : span.end]}"
            ends.append(span.end)


def remarks(gold: SpanTree, parsed: SpanTree) -> str:
    """What differs, in a sentence."""
    errors = list(span_errors(gold, extents(gold), extents(parsed)))
    if not errors:
        return "The spans are those of the gold tree."
    parts = []
    for error in errors:
        if not error.parser:
            parts.append(f"misses {error.gold} *{error.span}*")
        elif not error.gold:
            parts.append(f"adds {error.parser} *{error.span}*")
        else:
            parts.append(f"calls *{error.span}* {error.parser}, not {error.gold}")
    return f"It {'; '.join(parts)}."


def main() -> None:
    """Prints the page."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("gold", type=Path)
    arguments.add_argument("--parser", action="append")
    chosen = arguments.parse_args()
    specs = chosen.parser or ["spacy"]
    parsers = {spec: load_parser(spec) for spec in specs}
    trees = list(gold_sentences(chosen.gold))
    for name, place in SENTENCES.items():
        if isinstance(place, int):
            gold = trees[place]
        else:
            node = clean(next(parse_brackets([place], where=name)))
            assert node is not None
            gold = to_span_tree(node)
        print(f"## {name.capitalize()}\n\n{gold.text}\n")
        words = Words(gold.text, tuple((word.start, word.end) for word in gold.words))
        print("```\ngold\n" + "\n".join(drawn(gold)) + "\n```\n")
        for spec, parser in parsers.items():
            (parsed,) = parser.parse_words([words])
            print(f"```\n{spec}\n" + "\n".join(drawn(parsed)) + f"\n```\n\n{remarks(gold, parsed)}\n")


if __name__ == "__main__":
    main()
