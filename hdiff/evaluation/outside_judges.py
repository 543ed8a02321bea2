"""Judges from other packages: an n-gram model (NLTK) and link-grammar's parses.

Neither shares code or training with the models that are judged.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from hdiff.errors import DataError
from hdiff.plugins import install_command

if TYPE_CHECKING:
    from nltk.lm.api import LanguageModel

UNIFORM_SHARE = 1e-3
LONGEST_SENTENCE = 40
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n+")
_FOUND = re.compile(r"^Found \d+ linkages? \([^)]*\)(.*)$", re.MULTILINE)
_TIMEOUT_PER_SENTENCE = 5


@final
@dataclass(frozen=True)
class NgramJudge:
    """Interpolated Kneser-Ney over token ids, mixed with a share of 0.001 of the uniform distribution.

    The share keeps tokens that the training rows lack from costing infinitely much. Source: nltk.lm,
    `KneserNeyInterpolated`, discount 0.75.

    Attributes:
        model: The fitted model.
        order: Tokens of the longest n-gram.
        vocab_size: Vocabulary V.
    """

    model: LanguageModel
    order: int
    vocab_size: int

    @classmethod
    def fit(cls, rows: Sequence[Sequence[int]], *, vocab_size: int, order: int = 3) -> NgramJudge:
        """Counts the n-grams of training rows, of up to `order` >= 2 tokens."""
        if order < 2 or not rows:
            raise DataError(
                f"an n-gram judge of order {order} from {len(rows)} rows; give order >= 2 and text"
            )
        try:
            from nltk.lm import KneserNeyInterpolated
            from nltk.util import everygrams
        except ImportError as error:
            raise DataError("an n-gram judge needs NLTK; run:", install_command("nltk")) from error
        model = KneserNeyInterpolated(order, discount=0.75)
        texts = [[str(token) for token in row] for row in rows]
        words = [str(token) for token in range(vocab_size)]
        model.fit((everygrams(text, max_len=order) for text in texts), words)
        return cls(model, order, vocab_size)

    def nats_per_token(self, rows: Sequence[Sequence[int]]) -> float:
        """-log p of each token given the `order - 1` before it in its row, averaged."""
        nats, count = 0.0, 0
        for row in rows:
            text = [str(token) for token in row]
            for place, token in enumerate(text):
                context = text[max(0, place - self.order + 1) : place]
                # A context that never occurred says nothing; NLTK scores it 0.
                while context and not self.model.counts[context].N():
                    context = context[1:]
                p = self.model.score(token, context)
                nats -= math.log((1 - UNIFORM_SHARE) * p + UNIFORM_SHARE / self.vocab_size)
                count += 1
        return nats / count if count else float("nan")


def has_link_grammar() -> bool:
    """Whether the program `link-parser` is installed (Debian and Homebrew package link-grammar)."""
    return shutil.which("link-parser") is not None


def link_grammar_rate(texts: Sequence[str]) -> float | None:
    """Share of sentences of 3 to 40 words that link-grammar parses with no word left over, or None."""
    sentences = [sentence for text in texts for sentence in whole_sentences(text)]
    program = shutil.which("link-parser")
    if program is None or not sentences:
        return None
    options = ["-verbosity=1", "-graphics=0", "-limit=10", f"-timeout={_TIMEOUT_PER_SENTENCE}"]
    done = subprocess.run(
        [program, "en", *options],
        input="\n".join(sentences) + "\n",
        capture_output=True,
        text=True,
        timeout=60 + 2 * _TIMEOUT_PER_SENTENCE * len(sentences),
        check=False,
    )
    parsed = sum("null count" not in rest for rest in _FOUND.findall(done.stdout))
    return parsed / len(sentences)


def whole_sentences(text: str) -> list[str]:
    """Sentences of 3 to 40 words between the first and the last sentence end of a text."""
    parts = [" ".join(part.split()) for part in _SENTENCE_END.split(text)]
    # A line that begins with ! is a command of link-parser.
    return [p for p in parts[1:-1] if 3 <= len(p.split()) <= LONGEST_SENTENCE and not p.startswith("!")]
