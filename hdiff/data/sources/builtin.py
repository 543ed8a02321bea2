"""Built-in corpora: prose and library of CPython, stories, and two languages whose entropy is known."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from hdiff.data.sources.python_files import LIBRARY, LIBRARY_VALIDATION
from hdiff.errors import DataError
from hdiff.languages.list_operations import draw_tasks
from hdiff.shipped import read_stories

PHRASES: tuple[tuple[str, ...], ...] = (
    ("tine", "sodo", "vopo", "delo"),
    ("mefa", "ganu", "supa", "galo"),
    ("duzo", "libu", "sudi", "niso"),
    ("divu", "duga", "vopo", "sodo"),
    ("libu", "sodo", "delo", "disa"),
    ("niso", "zaso", "fire", "nozi"),
    ("divu", "duzo", "fire", "gozu"),
    ("reno", "tine", "meko", "pegu"),
    ("pegu", "meko", "dile", "tuto"),
    ("vozo", "sade", "tuto", "kofo"),
    ("dagi", "duga", "kuri", "kofo"),
    ("supa", "dagi", "gozu", "mafe"),
    ("sudi", "mafe", "vozo", "fido"),
    ("mefa", "supa", "nozi", "fire"),
    ("feta", "sodo", "gozu", "kofo"),
    ("duzo", "tine", "sade", "vopo"),
)
"""16 phrases of 4 words over 32 pseudo-words. Words are shared between phrases and positions, so that
four words drawn from their exact marginals form a phrase with probability 0.001 only, while the
entropy is ln(16) / 4 = 0.6931 nats per word."""

PHRASES_PER_DOCUMENT = 8
TRAIN_DOCUMENTS = 20_000
VALIDATION_DOCUMENTS = 2_000
LIST_DOCUMENTS = 100_000
"""Five for each of the 20,160 prompts: with one each, a small network learns by heart which of the right
answers a prompt had."""

_NAMES = (
    "pydoc",
    LIBRARY,
    LIBRARY_VALIDATION,
    "phrase_bank",
    "phrase_bank:validation",
    "list_operations",
    "list_operations:validation",
    "stories-text",
    "stories-text:validation",
)
_VALIDATION = {
    LIBRARY: f"builtin:{LIBRARY_VALIDATION}",
    "phrase_bank": "builtin:phrase_bank:validation",
    "list_operations": "builtin:list_operations:validation",
    "stories-text": "builtin:stories-text:validation",
}
_NOT_PROSE = re.compile(r">>>|::=|\.\.\. |^[-+|=*#~^ ]+$|={3,}|\+--|\s{4,}|^Changed in|^New in")
_BULLET = re.compile(r"^(?:\*|\d+\.|\[\d+\])\s+")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,2})(\S(?:[^*]*\S)?)\1(?!\w)")
_MIN_PROSE_WORDS = 6
_MIN_LETTER_SHARE = 0.82


def read_builtin(name: str) -> Iterator[str]:
    """Documents of a built-in corpus, always the same ones.

    Args:
        name: `pydoc`, `phrase_bank`, `list_operations` or `stories-text`; all but the first also with
            `:validation`.

    Yields:
        One text per document.

    Raises:
        DataError: If there is no such corpus.
    """
    if name == "pydoc":
        yield from _pydoc_documents()
    elif name == "phrase_bank":
        yield from _phrase_bank_documents(TRAIN_DOCUMENTS, seed=1)
    elif name == "phrase_bank:validation":
        yield from _phrase_bank_documents(VALIDATION_DOCUMENTS, seed=2)
    elif name == "list_operations":
        yield from (task.text for task in draw_tasks(LIST_DOCUMENTS, seed=1))
    elif name == "list_operations:validation":
        yield from (task.text for task in draw_tasks(VALIDATION_DOCUMENTS, seed=2))
    elif name == "stories-text":
        yield from read_stories("train")
    elif name == "stories-text:validation":
        yield from read_stories("validation")
    else:
        known = ", ".join(f"builtin:{known_name}" for known_name in _NAMES)
        raise DataError(f"there is no corpus 'builtin:{name}'; use one of {known}, or a path")


def own_validation(source: str) -> str | None:
    """The validation source that belongs to a built-in corpus, None where it has none of its own."""
    prefix, _, name = source.partition(":")
    return _VALIDATION.get(name) if prefix == "builtin" else None


def _phrase_bank_documents(num_documents: int, *, seed: int) -> Iterator[str]:
    """Phrases drawn independently and uniformly, one per line, so that PlainParser's sentences are phrases.

    random.Random.random is the same in all versions of Python.
    """
    generator = random.Random(seed)
    lines = [" ".join(phrase) for phrase in PHRASES]
    for _ in range(num_documents):
        yield "\n".join(lines[int(generator.random() * len(lines))] for _ in range(PHRASES_PER_DOCUMENT))


def _pydoc_documents() -> Iterator[str]:
    """One document per topic of Python's own help; its prose paragraphs, one per line."""
    from pydoc_data.topics import topics  # type: ignore[import-untyped,unused-ignore]

    for topic in sorted(topics):
        paragraphs = [_plain(block) for block in _blocks(topics[topic])]
        prose = [paragraph for paragraph in paragraphs if _is_prose(paragraph)]
        if prose:
            yield "\n".join(prose)


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs with their hard-wrapped lines joined; blocks that are indented like code are left out."""
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        lines = block.split("\n")
        if any(_NOT_PROSE.search(line.strip()) for line in lines):
            continue
        # A description is indented as a whole; code has lines of several depths.
        hang = len(lines[0]) - len(lines[0].lstrip())
        if any(len(line) - len(line.lstrip()) not in (hang, hang + 2, hang + 3) for line in lines[1:]):
            continue
        yield " ".join(block.split())


def _plain(paragraph: str) -> str:
    """A paragraph without bullets and emphasis marks."""
    return _EMPHASIS.sub(r"\2", _BULLET.sub("", paragraph))


def _is_prose(paragraph: str) -> bool:
    """Whether a paragraph reads as sentences: begins and ends like one and is mostly letters."""
    if not re.match(r"[\"“(]?[A-Z]", paragraph) or not re.search(r"[.!?:)][\"”)]?$", paragraph):
        return False
    if len(paragraph.split()) < _MIN_PROSE_WORDS:
        return False
    letters = sum(character.isalpha() or character.isspace() for character in paragraph)
    return letters / len(paragraph) >= _MIN_LETTER_SHARE
