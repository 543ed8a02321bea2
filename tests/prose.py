"""Measures the prose of README and docs: lengths of sentences and lines, and calques.

`python tests/prose.py` prints a table, `python tests/prose.py FILE ...` every finding in these files. With
`--wrap` before the files it breaks their long lines.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
LONGEST, LONG, LONG_SHARE, LINE = 35, 25, 0.1, 120
"""Words no sentence exceeds; words of a long one; share of long ones; characters of a line."""
ITEM = re.compile(r"\s*(?:[-*]|\d+\.) ")
"""The mark of a list item."""
CALQUES = {
    r"\bg(o|oes|one|oing) on\b": "resume, continue",
    r"\bso does it\b": "and ... the same way",
    r"\bwhat cannot be\b": "name the subject: a run that cannot be ...",
    r"\b(those|that|the ones) of before\b|\bof before\b": "older, earlier",
    r"\bas (it|they) (was|were) before\b": "unchanged",
    r"\b(is|are|as) no (number|bound|model|likelihood|text|files?|error|subclass|trunks?)\b": "is not a",
    r"\bwho only reads?\b": "readers",
    r"\bis said\b|\bare said\b|\bsays of which\b": "say what prints it: the command names ...",
    r"\bnot a number\b": "not finite",
    r"\bless (that|the)\b": "minus",
    r"\b(that|which|what) stands?\b|\bstands? (there|here)\b": "is",
    r"\banew\b": "again",
    r"\bat hand\b": "available",
    r"\bdearer\b": "more expensive",
    r"\bstands? (beside|for)\b": "is beside, means",
    r"\bthat is not all\b|\bis not all it\b": "knows more than",
    r"\bwhat is left is\b|\bwhat one\b": "name the subject",
    r"\bbe had\b": "is available",
    r"\bwhatsoever\b|\bwhosoever\b": "any",
    r"\b(that|it) lacks what\b": "name what is missing",
    r"\bin (so|as) far as\b": "if, where",
    r"\bof somebody else\b|\bof others\b": "foreign, another's",
    r"\bget in each other's way\b": "compete",
    r"\bmade to harm\b": "malicious",
    r"\bfor want of\b": "because ... is missing",
    r"\bin turns\b": "alternately",
}
"""Phrase -> what to write instead."""


@dataclass(frozen=True)
class Prose:
    """What one page holds.

    Attributes:
        sentences: Every sentence outside of tables, code and headings.
        long_lines: Numbers of lines that are too long, outside of tables and code.
        calques: Found phrase and its remedy.
    """

    sentences: tuple[str, ...]
    long_lines: tuple[int, ...]
    calques: tuple[tuple[str, str], ...]

    @property
    def num_words(self) -> int:
        return sum(len(sentence.split()) for sentence in self.sentences)

    def above(self, words: int) -> list[str]:
        """Sentences of more words."""
        return [sentence for sentence in self.sentences if len(sentence.split()) > words]

    @property
    def allowed_long(self) -> int:
        """How many sentences may be long; one on a short page."""
        return max(1, int(LONG_SHARE * len(self.sentences)))

    def findings(self) -> list[str]:
        """What is wrong with the page, a sentence for each fault."""
        found = [f"{len(s.split())} words, at most {LONGEST}: {s}" for s in self.above(LONGEST)]
        found += [f"line {number} has more than {LINE} characters" for number in self.long_lines]
        found += [f"'{phrase}': write {remedy}" for phrase, remedy in self.calques]
        if len(longer := self.above(LONG)) > self.allowed_long:
            found += [
                f"{len(longer)} sentences above {LONG} words, at most {self.allowed_long}: shorten some of"
            ]
            found += [f"  {len(s.split())} words: {s}" for s in longer]
        return found


def lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is prose: no code, table, HTML or picture."""
    is_code = False
    for line in text.split("\n"):
        is_fence = line.lstrip().startswith("```")
        yield line, not (is_code or is_fence or line.startswith(("    ", "|", "<", "![")))
        is_code ^= is_fence


def read(text: str) -> Prose:
    """The prose of a Markdown text."""
    lines = [line if is_prose else "" for line, is_prose in lines_of(text)]
    kept = "\n".join("" if line.startswith("#") else line for line in lines)
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", kept)
    sentences = [
        sentence
        for paragraph in paragraphs
        for sentence in re.split(r"(?<=[.!?:;])\s+(?=[A-Z*`\[-])", " ".join(paragraph.split()))
        if sentence
    ]
    tables = (line for line in text.split("\n") if line.startswith("|"))
    running = " ".join((*kept.split(), *tables))
    calques = [
        (found[0], remedy)
        for pattern, remedy in CALQUES.items()
        for found in re.finditer(pattern, running, re.IGNORECASE)
    ]
    too_long = tuple(number for number, line in enumerate(lines, 1) if len(line) > LINE)
    return Prose(tuple(sentences), too_long, tuple(calques))


def wrapped(text: str) -> str:
    """The same Markdown; paragraphs and list items with a line that is too long are broken again."""
    blocks: list[tuple[bool, list[str]]] = []
    for line, is_prose in lines_of(text):
        is_text = is_prose and bool(line.strip()) and not line.startswith(("#", "$$"))
        if is_text and blocks and blocks[-1][0] and not ITEM.match(line):
            blocks[-1][1].append(line)
        else:
            blocks.append((is_text, [line]))
    return "\n".join(line for is_text, block in blocks for line in (broken(block) if is_text else block))


def broken(block: list[str]) -> list[str]:
    """One paragraph or item in lines of at most `LINE` characters, if it has a longer one."""
    if all(len(line) <= LINE for line in block):
        return block
    mark = found[0] if (found := ITEM.match(block[0])) else ""
    return textwrap.wrap(
        " ".join(" ".join(block).split()).removeprefix(mark.strip()).strip(),
        LINE,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def pages() -> list[Path]:
    """README, the guide for contributors and every page of docs."""
    return [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]


def main(files: list[str]) -> None:
    """Prints findings of the files, or a table of all pages; after `--wrap` breaks long lines first."""
    if files[:1] == ["--wrap"]:
        files = files[1:]
        for path in map(Path, files):
            path.write_text(wrapped(path.read_text(encoding="utf-8")), encoding="utf-8")
    for file in files:
        for finding in read(Path(file).read_text(encoding="utf-8")).findings():
            print(f"{file}: {finding}")
    if files:
        return
    row = "{:44} {:>7} {:>9} {:>6} {:>6} {:>6} {:>8}"
    print(row.format("page", "words", "sentences", ">25", ">35", "lines", "calques"))
    totals = [0] * 6
    for page in pages():
        prose = read(page.read_text(encoding="utf-8"))
        counts = [prose.num_words, len(prose.sentences), len(prose.above(LONG)), len(prose.above(LONGEST))]
        counts += [len(prose.long_lines), len(prose.calques)]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        print(row.format(page.relative_to(CHECKOUT).as_posix(), *counts))
    print(row.format("all", *totals))


if __name__ == "__main__":
    main(sys.argv[1:])
