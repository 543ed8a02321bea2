"""Encoding of streamed documents: the parse and align steps of `hdiff prepare`, in memory.

Dimensions: N tokens of a group of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from hdiff.data.prepare.align_step import Rows
from hdiff.data.prepare.job import Job
from hdiff.data.prepare.parse_step import SURROGATE, loaded_parser, parse_texts
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.arrow import ArrowRows
from hdiff.data.sources.rejected import EMPTY, Rejected
from hdiff.data.token_stream import TokenStream, label_numbers
from hdiff.data.token_targets import TargetSpec, TokenTargets
from hdiff.errors import DataError, ParserError
from hdiff.strict_yaml import is_unicode
from hdiff.structure import LEVELS, SpanTree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hdiff.parsers import Parser

_CONTROLS = ("random", "shuffled", "balanced", "right_branching")


@dataclass(frozen=True)
class Encoding:
    """How documents become tokens; small, so that worker processes can be told.

    Attributes:
        data: Folder of the prepared data set that gives tokenizer, labels and salience.
        parser: Parser of `data.stream.parser`; None takes the one recorded there.
        is_parsed: Whether units, targets or the salience of words are needed; else documents are only
            tokenized.
        levels: Levels whose units are needed, `token` not among them.
        separator: Whether an end-of-text token follows each document.
        max_unit_tokens: Longest unit in tokens.
        units: Which spans become units.
        units_seed: Seed of random choices.
        lexical_salience: Whether a token has the salience of its id.
        targets: What supervision predicts of each token; None for nothing.
    """

    data: str
    parser: str | None
    is_parsed: bool
    levels: tuple[str, ...]
    separator: bool
    max_unit_tokens: int | None
    lexical_salience: bool
    targets: TargetSpec | None = None
    units: str | tuple[str, ...] = "outermost"
    units_seed: int = 0


@dataclass(frozen=True)
class Encoded:
    """A group of documents as tokens.

    Attributes:
        stream: Its documents end to end.
        num_documents: Documents in it.
        rejected: Documents that were left out: no text, empty, not Unicode, without words or tokens, or
            refused by the parser.
    """

    stream: TokenStream
    num_documents: int
    rejected: tuple[Rejected, ...]


@final
class DocumentEncoder:
    """Turns documents into tokens, units and salience, with the same result as `hdiff prepare`."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.prepared = PreparedData.load(encoding.data)
        self._labels: list[str] = self.prepared.manifest["labels"]
        # One more id stands for all labels that the data set lacks.
        self._label_numbers = label_numbers([*self._labels, ""], self.prepared)
        self._targets = None if encoding.targets is None else TokenTargets(self.prepared, encoding.targets)
        self._token_salience: NDArray[np.float32] | None = None
        if encoding.lexical_salience:
            self._token_salience = self.prepared.token_salience
        elif not encoding.is_parsed:
            self._token_salience = np.zeros(self.prepared.tokenizer.vocab_size, dtype=np.float32)
        self._salience = self.prepared.salience if encoding.is_parsed else _Unscored()

    def started(self) -> DocumentEncoder:
        """Itself, once its parser, if it needs one, is loaded."""
        if self.encoding.is_parsed:
            assert self.parser.levels
        return self

    @cached_property
    def parser(self) -> Parser:
        """The parser, loaded and checked."""
        targets = () if self.encoding.targets is None else self.encoding.targets.levels
        return checked_parser(self.prepared, self.encoding.parser, (*self.encoding.levels, *targets))

    def encode(self, texts: Sequence[str | Rejected]) -> Encoded:
        """Encodes a group of documents."""
        rows = Rows(
            self.prepared.tokenizer,
            self._salience,
            levels={level: LEVELS.index(level) for level in self.prepared.manifest["levels"]},
            label_ids=_LabelIds(self._labels),
        )
        for item in self._trees(texts):
            rows.add(item)
        encoding = self.encoding
        stream = TokenStream.of_rows(
            ArrowRows.of_columns(rows.columns),
            self.prepared.tokenizer,
            separator=encoding.separator,
            levels=encoding.levels,
            max_unit_tokens=encoding.max_unit_tokens,
            units=encoding.units,
            units_seed=encoding.units_seed,
            label_numbers=self._label_numbers,
            token_salience=self._token_salience,
            targets=self._targets,
            labels=self._labels,
        )
        return Encoded(stream, rows.counts["documents"], tuple(rows.rejected.values()))

    def _trees(self, texts: Sequence[str | Rejected]) -> Iterable[SpanTree | Rejected]:
        if self.encoding.is_parsed:
            return parse_texts(self.parser, texts, Job("parse", Path(), Path(), Path()), _ignore)
        return [_unparsed(text) for text in texts]


def _unparsed(text: str | Rejected) -> SpanTree | Rejected:
    """A document that is only tokenized."""
    if isinstance(text, Rejected):
        return text
    if not text or text.isspace():
        return Rejected(text, EMPTY)
    return SpanTree(text, (), ()) if is_unicode(text) else Rejected(text, SURROGATE)


def checked_parser(prepared: PreparedData, spec: str | None, levels: Sequence[str]) -> Parser:
    """The parser of a stream, else that of the manifest, if it does what the data set asks for."""
    from hdiff.parsers import salience_class

    recorded = prepared.manifest["inputs"]["parser"]
    annotations = tuple(salience_class(prepared.manifest["salience"]).needs)
    parser = loaded_parser(recorded_spec(recorded) if spec is None else spec, annotations)
    missing = [level for level in levels if level not in parser.levels]
    if missing:
        raise DataError(
            f"training needs level '{missing[0]}', parser '{spec}' of data.stream gives "
            f"{list(parser.levels)}; {''.join(f'{lack}; or ' for lack in parser.lacks)}"
            "take another data.stream.parser"
        )
    fingerprint = parser.fingerprint()
    different = sorted(key for key in {*recorded, *fingerprint} if recorded.get(key) != fingerprint.get(key))
    if spec is None and different:
        raise DataError(
            f"{prepared.path} was parsed by another version of '{recorded['name']}' than is installed here "
            f"(different: {', '.join(different)}); install that version, prepare it again, or name the "
            f"parser in data.stream.parser to take it as it is"
        )
    return parser


def recorded_spec(facts: dict[str, str], prefix: str = "") -> str:
    """What `load_parser` needs to find a parser again, from the fingerprint in a manifest."""
    from hdiff.parsers import PARSERS

    name = facts.get(f"{prefix}name", "")
    if name not in PARSERS:
        raise ParserError(
            f"the data set was parsed by '{name}', a parser of your own; name it in data.stream.parser"
        )
    if name in _CONTROLS:
        return f"{name}:{recorded_spec(facts, f'{prefix}inner_')}"
    name = "+".join([name, *filter(None, facts.get(f"{prefix}options", "").split(","))])
    model = facts.get(f"{prefix}model")
    return name if model is None else f"{name}:{model}"


class _LabelIds(dict[str, int]):
    """Ids of labels; the last one for a label that the data set lacks."""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__({label: number for number, label in enumerate(labels)})
        self._other = len(labels)

    def __missing__(self, label: str) -> int:
        return self._other


class _Unscored:
    """Stands for a salience where nothing reads it."""

    def apply(self, tree: SpanTree) -> SpanTree:
        """The tree as it is."""
        return tree


def _ignore(position: int) -> None:
    """Tells nobody."""
