"""BeneparParser: constituency trees of a benepar model, over the words and sentences of another parser."""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hdiff.errors import ParserError
from hdiff.structure import Span, SpanTree, nesting_order

from .base import ANNOTATIONS, Parser, Words
from .benepar_repairs import clear_errors, import_benepar, lenient_loading
from .loading import load_parser

if TYPE_CHECKING:
    from spacy.tokens import Doc

MAX_WORDS = 4000
"""Words that go to the model together; it sorts their sentences by length."""

_REPLACED = ("sentence", "clause", "phrase")
_logger = logging.getLogger(__name__)


@final
class BeneparParser(Parser):
    """Parses with benepar's own spaCy component.

    Words, sentence borders, parts of speech, heads and entities come from another parser. A sentence that
    the model cannot take, most often because it is longer than its encoder, keeps the spans of that parser
    and is counted.

    Args:
        model: A .pt file or a folder in benepar's format, or a name its downloader knows. After an @ the
            parser of the words may follow: `model.pt@spacy:de_core_news_sm`; it is `spacy` otherwise.
        annotations: What the trees also tell of each word, out of `heads` and `entities`.
        subbatch_tokens: Tokens that go through the network together; bounds memory.

    Raises:
        ParserError: If benepar is not installed, or the model is missing or not one.

    Attributes:
        num_fallbacks: Sentences so far that the model could not take.
    """

    name = "benepar"
    levels = ("sentence", "clause", "phrase", "word")
    takes_model = True
    annotations = ANNOTATIONS

    def __init__(
        self, model: str | None = None, *, annotations: Collection[str] = (), subbatch_tokens: int = 1000
    ) -> None:
        if model is None:
            raise ParserError(
                "parser 'benepar' needs a model; write its path after a colon; a model is made by",
                "hdiff parser train TREES --dev TREES --out FOLDER",
            )
        self.spec = model
        self.model, _, words = model.partition("@")
        import_benepar()
        self.inner = load_parser(words or "spacy", annotations=annotations)
        self.language = self.inner.language
        self.num_fallbacks = 0
        self._vocab, self._component = _load(self.model, subbatch_tokens)

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        return self._replaced(self.inner.parse(texts))

    def parse_words(self, sentences: Iterable[Words]) -> Iterator[SpanTree]:
        return self._replaced(self.inner.parse_words(sentences))

    def fingerprint(self) -> dict[str, str]:
        inner = {f"words_{key}": value for key, value in self.inner.fingerprint().items()}
        return {
            "name": self.name,
            "model": self.spec,
            "model_sha256": _digest(Path(self.model)),
            "benepar": version("benepar"),
            "rules": "1",
            **inner,
        }

    def _replaced(self, trees: Iterable[SpanTree]) -> Iterator[SpanTree]:
        """The trees with the constituents of the model, parsed some texts at a time."""
        batch: list[SpanTree] = []
        num_words = 0
        for tree in trees:
            batch.append(tree)
            num_words += len(tree.words)
            if num_words >= MAX_WORDS:
                yield from self._batch(batch)
                batch, num_words = [], 0
        yield from self._batch(batch)

    def _batch(self, trees: Sequence[SpanTree]) -> Iterator[SpanTree]:
        sentences = [sentence for tree in trees for sentence in _sentences(tree)]
        constituents = iter(self._constituents([(text, words) for text, words, _ in sentences]))
        for tree in trees:
            spans: list[Span] = list(tree.words)
            for _, _, given in _sentences(tree):
                parsed = next(constituents)
                spans += given if parsed is None else parsed
            yield replace(tree, spans=tuple(sorted(spans, key=nesting_order)))

    def _constituents(self, sentences: Sequence[tuple[str, Sequence[Span]]]) -> list[list[Span] | None]:
        """Sentence, clauses and phrases of each sentence; None where the model cannot take it."""
        if not sentences:
            return []
        doc = self._doc(sentences)
        try:
            data = self._component(doc)._._constituent_data
        except Exception as error:  # benepar names no type for what it cannot take
            if len(sentences) > 1:
                middle = len(sentences) // 2
                return self._constituents(sentences[:middle]) + self._constituents(sentences[middle:])
            self.num_fallbacks += 1
            _logger.info(
                "a sentence of %d words keeps the spans of parser %s: %s",
                len(sentences[0][1]),
                self.inner.name,
                str(error).splitlines()[0] if str(error) else type(error).__name__,
            )
            return [None]
        return _split(sentences, data)

    def _doc(self, sentences: Sequence[tuple[str, Sequence[Span]]]) -> Doc:
        from spacy.tokens import Doc

        forms: list[str] = []
        spaces: list[bool] = []
        starts: list[bool | int | None] = []
        for text, words in sentences:
            forms += [text[word.start : word.end] for word in words]
            spaces += [left.end < right.start for left, right in pairwise(words)] + [True]
            starts += [True] + [False] * (len(words) - 1)
        return Doc(self._vocab, words=forms, spaces=spaces, sent_starts=starts)


def _sentences(tree: SpanTree) -> Iterator[tuple[str, Sequence[Span], list[Span]]]:
    """Text, words, and what will be replaced, of each sentence that has words."""
    words = tree.words
    starts = [word.start for word in words]
    spans = [span for span in tree.spans if span.level in _REPLACED]
    span_starts = [span.start for span in spans]
    for sentence in tree.at("sentence"):
        inside = words[bisect_left(starts, sentence.start) : bisect_left(starts, sentence.end)]
        if inside:
            first, end = bisect_left(span_starts, sentence.start), bisect_left(span_starts, sentence.end)
            yield tree.text, inside, spans[first:end]


def _split(sentences: Sequence[tuple[str, Sequence[Span]]], data: Any) -> list[list[Span] | None]:
    """Constituents of a document, sentence by sentence."""
    from .benepar_examples import found_spans

    starts, ends, labels = data.starts.tolist(), data.ends.tolist(), data.labels.tolist()
    chains = [data.label_vocab[label] for label in labels]
    result: list[list[Span] | None] = []
    constituent = word = 0
    for _, words in sentences:
        first = constituent
        word_end = word + len(words)
        while constituent < len(starts) and starts[constituent] < word_end:
            constituent += 1
        part = slice(first, constituent)
        result.append(
            found_spans(
                words,
                [start - word for start in starts[part]],
                [end - word for end in ends[part]],
                chains[part],
            )
        )
        word = word_end
    return result


def _load(model: str, subbatch_tokens: int) -> tuple[Any, Any]:
    """Vocabulary and benepar's component."""
    import spacy

    if not model:
        raise ParserError("parser 'benepar' needs a model before the @; write", "benepar:PATH@spacy")
    pipeline = spacy.blank("xx")
    config = {"model": model, "subbatch_max_tokens": subbatch_tokens, "disable_tagger": True}
    with clear_errors(model), lenient_loading():
        component: Any = pipeline.add_pipe("benepar", config=config)
    component._parser.eval()
    return pipeline.vocab, component


def _digest(path: Path) -> str:
    """SHA-256 of a model file, or over names and contents of a folder; "" for a name of the downloader."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    if not path.is_dir():
        return ""
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(file.relative_to(path).as_posix().encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
