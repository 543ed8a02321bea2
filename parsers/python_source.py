"""PythonParser: Python source to spans, by the parser of the running Python itself: no error of a model."""

from __future__ import annotations

import ast
import hashlib
import inspect
import platform
import sys
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from typing import final

from hdiff.structure import SpanTree

from . import python_spans, python_words
from .base import Parser, TextError, check_text
from .python_spans import PythonSpans
from .python_words import PythonWords


@final
class PythonParser(Parser):
    """Statements, blocks, expressions and tokens, labelled as the classes of `ast` are.

    Sentences are top-level statements, clauses the statements and blocks inside them, phrases expressions,
    arguments and other parts of two tokens or more, words tokens. Comments and strings are words. What is
    inside of an f-string is not told. A word's relation is the field of `ast` that its innermost node is in.
    """

    name = "python"
    levels = ("sentence", "clause", "phrase", "word")

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        for text in texts:
            check_text(text)
            yield _parsed(text)

    def fingerprint(self) -> dict[str, str]:
        rules = "".join(inspect.getsource(module) for module in (python_words, python_spans))
        return {
            "name": self.name,
            "python": platform.python_version(),
            "rules_sha256": hashlib.sha256(rules.encode()).hexdigest(),
        }


def _parsed(text: str) -> SpanTree:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the source, such as invalid escapes
            tree = ast.parse(text)
        source = PythonWords.of(text)
    except SyntaxError as error:
        place = f"line {error.lineno or 1}, column {error.offset or 1}"
        raise _refused(error.msg, place) from None
    except tokenize.TokenError as error:
        raise _refused(str(error.args[0]), f"line {error.args[1][0]}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # NUL characters; too deep for Python itself
        raise _refused(str(error) or type(error).__name__, "line 1") from None
    spans = PythonSpans(tree, source)
    return SpanTree.build(text, spans.spans(), tags=spans.tags(), relations=spans.relations)


def _refused(message: str, place: str) -> TextError:
    version = ".".join(map(str, sys.version_info[:2]))
    return TextError(f"not Python {version}: {message} ({place}); mend it, or leave it out", place=place)
