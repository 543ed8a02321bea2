"""WordReader: the words of a parsed spaCy document, sentence by sentence, as dependency trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .dependency import ROOT, DependencyTree
from .part_of_speech import PartOfSpeech, can_replace

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

_COLUMNS: list[int | str] = [
    *("ORTH", "TAG", "DEP", "POS"),
    *("HEAD", "SENT_START", "IDX", "LENGTH", "IS_SPACE"),
]
_RULER = "attribute_ruler"
_INDEPENDENT_OF_RULER = frozenset(("ner", "senter"))


@dataclass(frozen=True)
class WordReader:
    """Reads documents through their arrays; a token object per word would cost a tenth of the parse.

    Attributes:
        string: Text of a hash of the pipeline.
        parts: Tells parts of speech in place of the attribute ruler; None takes what the documents say.
    """

    string: Callable[[int], str]
    parts: PartOfSpeech | None

    @classmethod
    def taking_over(cls, pipeline: Language) -> WordReader:
        """The reader of a pipeline; takes the attribute ruler out of it if its work can be done here."""
        names = pipeline.pipe_names
        parts = None
        if _RULER in names and set(names[names.index(_RULER) + 1 :]) <= _INDEPENDENT_OF_RULER:
            ruler: Any = pipeline.get_pipe(_RULER)
            if can_replace(ruler):
                pipeline.remove_pipe(_RULER)
                parts = PartOfSpeech(pipeline, ruler)
        return cls(pipeline.vocab.strings.__getitem__, parts)

    def sentences(self, doc: Doc, text: str, offset: int) -> Iterator[DependencyTree]:
        """Sentences without their whitespace tokens; dependents of these go to the next head up."""
        array = doc.to_array(_COLUMNS)  # (tokens, columns), hashes
        if not len(array):
            return
        texts, tags, relations, pos = array[:, :4].T.tolist()
        heads, starts, begins, lengths, spaces = array[:, 4:].astype("int64").T.tolist()  # heads are relative
        if self.parts is None:
            parts = [self.string(value) if value else "" for value in pos]
        else:
            parts = self.parts.of(doc, list(zip(texts, tags, relations, strict=True)))
        names = {value: self.string(value) if value else "" for value in {*relations, *tags}}
        borders = [token for token, is_start in enumerate(starts) if is_start == 1 or token == 0]
        for first, end in zip(borders, [*borders[1:], len(starts)], strict=True):
            words = [token for token in range(first, end) if not spaces[token]]
            if not words:
                continue
            yield DependencyTree(
                text,
                tuple([(offset + begins[word], offset + begins[word] + lengths[word]) for word in words]),
                _heads(words, heads, spaces, end - first),
                tuple([names[relations[word]] for word in words]),
                tuple([parts[word] for word in words]),
                tuple([names[tags[word]] for word in words]),
            )


def _heads(
    words: Sequence[int], heads: Sequence[int], spaces: Sequence[int], num_tokens: int
) -> tuple[int, ...]:
    """Indexes of the heads among the words of a sentence; `heads` are relative to each token."""
    if len(words) == num_tokens:
        first = words[0]
        return tuple([word + heads[word] - first if heads[word] else ROOT for word in words])
    index = {token: position for position, token in enumerate(words)}
    new_heads = []
    for word in words:
        head = word + heads[word]
        while spaces[head] and heads[head]:
            head += heads[head]
        new_heads.append(ROOT if head == word else index.get(head, ROOT))
    return tuple(new_heads)
