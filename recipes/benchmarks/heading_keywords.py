"""Makes gold keywords of headings: words of an article that people put into its headings; prints JSON lines.

Usage: python recipes/benchmarks/heading_keywords.py WIKITEXT.txt [--words 200] > headings.jsonl
       hdiff parser eval headings.jsonl

A text is the beginning of an article. Its keywords are the words that stand in the title or a heading of the
article, but for those in the headings of one article in ten (of, the, history).
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

_HEADING = re.compile(r"^ ?(= )+(?P<text>.*?)( =)+ ?$")
MAX_SHARE = 0.1


def articles(lines: Iterable[str]) -> Iterator[tuple[list[str], list[str]]]:
    """(words of the headings, words of the text) of each article."""
    headings: list[str] = []
    words: list[str] = []
    for line in lines:
        match = _HEADING.match(line.rstrip("\n"))
        if match and line.count("=") == 2:
            if words:
                yield headings, words
            headings, words = [], []
        if match:
            headings += match["text"].split()
        else:
            words += line.split()
    if words:
        yield headings, words


def main() -> None:
    """Prints the texts."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("text", type=Path)
    arguments.add_argument("--words", type=int, default=200, help="words of each article")
    chosen = arguments.parse_args()
    with chosen.text.open(encoding="utf-8") as file:
        texts = list(articles(file))
    counts = Counter(word for headings, _ in texts for word in {heading.lower() for heading in headings})
    common = {word for word, count in counts.items() if count > MAX_SHARE * len(texts)}
    for headings, words in texts:
        keys = {heading.lower() for heading in headings if any(map(str.isalnum, heading))} - common
        taken = words[: chosen.words]
        spans = [[place, place + 1, 0] for place, word in enumerate(taken) if word.lower() in keys]
        print(json.dumps({"text": " ".join(taken), "spans": spans}))


if __name__ == "__main__":
    main()
