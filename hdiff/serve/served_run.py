"""ServedRun: a run folder or an exported folder, with the parser and the salience that belong to it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.config import Recipe
from hdiff.corruption import Corruption
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError, UserError
from hdiff.runs.folder import RECORD_FILE, RunFolder

if TYPE_CHECKING:
    from hdiff.data.prepared import PreparedData
    from hdiff.parsers import Buckets, Salience
    from hdiff.parsers.base import Parser

PARSER = "spacy"
"""Parser for models that do not say which one their data was made with."""
_MOST_OF_A_CARD = 1 << 18


@dataclass(frozen=True)
class ServedRun:
    """A model and what it takes to show it.

    Attributes:
        folder: The model; of an exported folder without the run's record of its training.
        record: What is known of its training, with the keys of run.json.
        bound: `(value, what it is)`, or None if it was not evaluated.
        parser: The parser of its data; None if it is not at hand.
        salience: Scores for words.
        prepared: Its data set; None if it is not at hand.
        notes: What is missing, in sentences, with the remedy.
    """

    folder: RunFolder
    record: Mapping[str, Any]
    bound: tuple[str, str] | None
    parser: Parser | None
    salience: Salience
    prepared: PreparedData | None
    notes: tuple[str, ...]

    @classmethod
    def load(cls, path: Path, *, components: Sequence[str] = ()) -> ServedRun:
        """Loads a run folder or an export, with parser and data set as far as they are at hand."""
        if (path / "config.json").is_file() and not (path / RECORD_FILE).is_file():
            folder, record, bound = _exported(path, components)
        elif path.is_dir():
            folder, record, bound = _trained(path)
        else:
            raise CheckpointError(
                f"no folder at '{path}'; give a run or a folder of hdiff export; a run is made by",
                f"hdiff train RECIPE output={shlex.quote(str(path))}",
            )
        notes: list[str] = []
        prepared = _prepared(folder, notes)
        salience = _without_corpus() if prepared is None else prepared.salience
        parser = _parser(record, salience, notes)
        if parser is None and salience.needs:
            salience = _without_corpus()
        return cls(folder, record, bound, parser, salience, prepared, tuple(notes))

    @property
    def recipe(self) -> Recipe:
        """The recipe, of an exported model as far as it is known."""
        return self.folder.recipe

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self.folder.tokenizer

    @property
    def is_autoregressive(self) -> bool:
        """Whether it judges text left to right and corrupts nothing."""
        return self.folder.autoregressive is not None

    @cached_property
    def corruption(self) -> Corruption:
        """The corruption it was trained with."""
        return self.folder.corruption

    @cached_property
    def buckets(self) -> Buckets | None:
        """Classes of salience of its data set; None if it uses none."""
        return _buckets(self)

    @cached_property
    def num_parameters(self) -> int:
        """Parameters of the network."""
        return sum(parameter.numel() for parameter in self.folder.model.parameters())


def _trained(path: Path) -> tuple[RunFolder, dict[str, Any], tuple[str, str] | None]:
    from hdiff.pages.report_text import headlines
    from hdiff.runs.record import RunRecord

    folder = RunFolder.load(path)
    record = RunRecord.read(path)
    figures = headlines(record, record.evaluation or {}) if (record.evaluation or {}).get("bound") else []
    bound = (f"{figures[0].value} {figures[0].unit}", figures[0].label) if figures else None
    return folder, record.run, bound


def _exported(
    path: Path, components: Sequence[str]
) -> tuple[RunFolder, dict[str, Any], tuple[str, str] | None]:
    from hdiff.sharing import PretrainedModel

    pretrained = PretrainedModel.from_pretrained(path, components=components)
    description = pretrained.description
    data: dict[str, Any] = {"labels": description.labels}
    if description.parser is not None:
        data["parser"] = description.parser.model_dump()
    record: dict[str, Any] = {
        "unit_lengths": description.unit_lengths,
        "token_classes": description.token_classes,
        "data": data,
        "steps": description.step,
    }
    folder = RunFolder(
        path, description.recipe, record, pretrained.tokenizer, description.step, pretrained.model
    )
    card = _card(path)
    facts = dict(re.findall(r"^- (Text|Commit of hdiff|Training tokens): (.+)$", card, re.MULTILINE))
    data["source"] = facts.get("Text")
    figures = re.search(
        r"^((?:Exact|Upper bound on) -log p\(.{1,40}?)(?:, not .*)?: \*\*([\d.]+)\*\*( ± [\d.]+)?",
        card,
        re.MULTILINE,
    )
    bound = (f"{figures[2]}{figures[3] or ''} nats per token", figures[1]) if figures else None
    return folder, {**record, "commit": facts.get("Commit of hdiff")}, bound


def _card(path: Path) -> str:
    """The card beside an exported model; its author may have left it out."""
    from hdiff.sharing.folder import CARD_FILE, checked_file

    if not (path / CARD_FILE).exists():
        return ""
    with checked_file(path, CARD_FILE).open(encoding="utf-8", errors="replace") as file:
        return file.read(_MOST_OF_A_CARD)


def _prepared(folder: RunFolder, notes: list[str]) -> PreparedData | None:
    from hdiff.data.prepared import PreparedData

    path = folder.recipe.data.path
    if path:
        try:
            return PreparedData.load(path)
        except UserError:
            pass
    notes.append(
        "The data set of this model is not at hand, so salience comes from the part of speech alone."
    )
    return None


def _without_corpus() -> Salience:
    from hdiff.parsers import WordStatistics, salience_class

    return salience_class("idf").of(WordStatistics())


def _parser(record: Mapping[str, Any], salience: Salience, notes: list[str]) -> Parser | None:
    from hdiff.data.prepared import parser_spec
    from hdiff.errors import ParserError
    from hdiff.parsers import load_parser

    known = (record.get("data") or {}).get("parser") or {"name": PARSER}
    try:
        return load_parser(parser_spec(known), annotations=salience.needs)
    except ParserError as error:
        notes.append(f"There is no tree, because the parser is missing: {error}.")
        return None


def _buckets(run: ServedRun) -> Buckets | None:
    from hdiff.parsers import Buckets

    wanted = run.recipe.data.salience_buckets
    if isinstance(wanted, tuple):
        return Buckets(wanted)
    if run.prepared is not None:
        if wanted is None:
            return None
        from hdiff.data.packing import PackedBlocks

        data = run.recipe.data
        packed = PackedBlocks.build(
            run.prepared,
            "validation",
            sequence_length=data.sequence_length,
            lexical_salience=data.lexical_salience,
            salience_buckets=wanted,
        )
        return packed.buckets
    # Older folders kept no borders, but the corruption tells how many classes there are.
    count = wanted or _num_buckets(run.corruption)
    return Buckets(tuple(number / count for number in range(1, count))) if count else None


def _num_buckets(corruption: Corruption) -> int:
    speeds = getattr(getattr(corruption, "speeds", None), "k", ())
    return int(getattr(corruption, "num_buckets", 0) or len(speeds))
