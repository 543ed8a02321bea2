"""Request: what to prepare, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.data.manifest import FORMAT_VERSION
from hdiff.data.prepare.documents import Documents
from hdiff.data.prepare.parse_step import loaded_parser
from hdiff.data.prepare.selection import Selection
from hdiff.data.tokenizer import Tokenizer
from hdiff.data.tokenizer_training import is_trainable, vocabulary_limit
from hdiff.errors import DataError
from hdiff.parsers import salience_class
from hdiff.structure import LEVELS, level_rank

if TYPE_CHECKING:
    from hdiff.parsers import Parser


DEFAULT_LEVELS = ("clause", "phrase")


@dataclass(frozen=True)
class Request:
    """What to prepare.

    Attributes:
        selection: Which documents.
        parser_spec: As `load_parser` takes it.
        parser: The parser, loaded.
        levels: Levels to keep, coarse to fine, `word` among them.
        are_levels_named: Whether the user asked for each of them.
        tokenizer_spec: What the user named.
        given_tokenizer: The tokenizer if one was given, None if it is to be trained.
        salience: Method that scores the words.
        cache: Folder of parsed shards that other data sets may use too, None for none.
    """

    selection: Selection
    parser_spec: str
    parser: Parser
    levels: tuple[str, ...]
    are_levels_named: bool
    tokenizer_spec: str
    given_tokenizer: Tokenizer | None
    salience: str
    cache: Path | None = None

    @classmethod
    def of(
        cls,
        selection: Selection,
        parser_spec: str,
        levels: Sequence[str] | None,
        tokenizer: str,
        salience: str,
        cache: Path | None = None,
    ) -> Request:
        """Loads what is named.

        Args:
            selection: Which documents.
            parser_spec: As `load_parser` takes it.
            levels: Levels to keep besides `word`; None takes `DEFAULT_LEVELS`.
            tokenizer: `train:N`, `words`, `words:N`, or the path of a tokenizer.
            salience: Method that scores the words, as `salience_class` takes it.
            cache: Folder of parsed shards.

        Returns:
            The request.

        Raises:
            DataError: If the tokenizer or a level does not exist, or the parser does not give a level.
            ParserError: If the parser is unknown or not installed.
        """
        given = None
        if is_trainable(tokenizer):
            vocabulary_limit(tokenizer)
        else:
            given = Tokenizer.load(tokenizer)
        are_levels_named = levels is not None
        levels = DEFAULT_LEVELS if levels is None else levels
        for level in levels:
            level_rank(level)
        parser = loaded_parser(parser_spec, tuple(salience_class(salience).needs))
        for level in (*levels, "word"):
            if level not in parser.levels:
                raise DataError(
                    f"parser '{parser_spec}' does not give level '{level}', "
                    f"it gives {', '.join(parser.levels)}; {''.join(f'{lack}; or ' for lack in parser.lacks)}"
                    "choose among these, or another parser:",
                    f"--levels {','.join(given for given in parser.levels if given != 'word') or 'word'}",
                    "--parser spacy",
                )
        kept = tuple(level for level in LEVELS if level in (*levels, "word"))
        return cls(selection, parser_spec, parser, kept, are_levels_named, tokenizer, given, salience, cache)

    def inputs(self, documents: Documents) -> dict[str, Any]:
        """Everything that decides what the data set holds."""
        given, prompts = self.given_tokenizer, self.selection.prompts
        return {
            **({} if prompts is None else {"prompts": prompts.to_dict()}),
            "format_version": FORMAT_VERSION,
            "documents": documents.digests,
            "parser": self.parser.fingerprint(),
            "levels": list(self.levels),
            "salience": self.salience,
            "tokenizer": self.tokenizer_spec if given is None else given.sha256,
        }

    def check_same(self, manifest: dict[str, Any], documents: Documents, path: Path) -> None:
        """Refuses a finished data set that was made from something else."""
        inputs, earlier = self.inputs(documents), manifest.get("inputs", {})
        different = [key for key, value in inputs.items() if earlier.get(key) != value]
        if different:
            raise DataError(
                f"{path} holds a data set made from other inputs (different: {', '.join(different)}); "
                "delete the folder, or give another:",
                "--out FOLDER",
            )
