"""PartOfSpeech: what a spaCy attribute ruler says of each word, remembered instead of matched again.

The ruler of an English pipeline matches some 180 patterns at every token to tell the universal part of
speech, and takes a third of the whole parse. Nearly all patterns look at a single token: its text, its
fine-grained tag and its relation to its head. So the answer for one such combination is computed once,
by the ruler's own patterns, and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.matcher import Matcher
    from spacy.pipeline import AttributeRuler
    from spacy.tokens import Doc

_OF_THE_TEXT = frozenset(("ORTH", "TEXT", "LOWER", "LENGTH", "SHAPE", "PREFIX", "SUFFIX"))
_OF_THE_PARSE = frozenset(("TAG", "DEP"))
_MAX_REMEMBERED = 300_000

Key = tuple[int, int, int]
"""Hashes of a token's text, tag and relation, as in its document's array."""


class _Answer(NamedTuple):
    """What is known of a key: the last rule that sets its part of speech, and whether a longer one may."""

    rule: int
    pos: str
    may_open: bool


@dataclass(frozen=True)
class _Rule:
    """A rule of the ruler that sets the part of speech of token `index` of its match."""

    number: int
    patterns: list[list[dict[str, Any]]]
    pos: str
    index: int

    @property
    def is_single(self) -> bool:
        """Whether it looks at one token only."""
        return all(len(pattern) == 1 for pattern in self.patterns)


class PartOfSpeech:
    """Universal parts of speech of a document, as a ruler sets them for which `can_replace` holds."""

    def __init__(self, pipeline: Language, ruler: AttributeRuler) -> None:
        self._vocab = pipeline.vocab
        rules = list(_pos_rules(ruler))
        self._rules = {rule.number: rule for rule in rules}
        longer = [rule for rule in rules if not rule.is_single]
        self._single = self._matcher((rule.number, rule.patterns) for rule in rules if rule.is_single)
        self._longer = self._matcher((rule.number, rule.patterns) for rule in longer)
        self._openers = self._matcher(
            (rule.number, [pattern[:1] for pattern in rule.patterns]) for rule in longer
        )
        self._known: dict[Key, _Answer] = {}

    def of(self, doc: Doc, keys: Sequence[Key]) -> list[str]:
        """The universal part of speech of each token of a document, "" where no rule applies."""
        known = self._known
        unknown = {key for key in keys if key not in known}
        if unknown:
            if len(known) > _MAX_REMEMBERED:
                known.clear()
                unknown = set(keys)
            self._learn(list(unknown))
        answers = [known[key] for key in keys]
        parts = [answer.pos for answer in answers]
        if any(answer.may_open for answer in answers):
            for match in sorted(self._longer(doc, allow_missing=True), key=self._number):
                rule = self._rules[self._number(match)]
                position = (match[1] if rule.index >= 0 else match[2]) + rule.index
                if rule.number > answers[position].rule:
                    parts[position] = rule.pos
        return parts

    def _learn(self, keys: list[Key]) -> None:
        """Answers keys with the rules' own patterns; each becomes a document of one token."""
        from spacy.tokens import Doc

        strings = self._vocab.strings
        for text, tag, dep in keys:
            doc = Doc(self._vocab, words=[strings[text]], tags=[strings[tag]], deps=[strings[dep]], heads=[0])
            numbers = [self._number(match) for match in self._single(doc, allow_missing=True)]
            rule = self._rules[max(numbers)] if numbers else None
            self._known[text, tag, dep] = _Answer(
                rule=-1 if rule is None else rule.number,
                pos="" if rule is None else rule.pos,
                may_open=bool(self._openers(doc, allow_missing=True)),
            )

    def _matcher(self, patterns: Iterable[tuple[int, list[list[dict[str, Any]]]]]) -> Matcher:
        from spacy.matcher import Matcher

        matcher = Matcher(self._vocab, validate=False)
        for number, alternatives in patterns:
            matcher.add(str(number), alternatives)
        return matcher

    def _number(self, match: Any) -> int:
        return int(self._vocab.strings[match[0]])


def can_replace(ruler: AttributeRuler) -> bool:
    """Whether `PartOfSpeech` gives exactly the parts of speech that this ruler sets.

    Args:
        ruler: An attribute ruler.

    Returns:
        True if its rules for them look only at text, tag and relation of adjacent tokens, and no
        rule changes the tree.
    """
    for rule, attributes in _rules(ruler):
        tokens = [token for pattern in rule.patterns for token in pattern]
        if not all(rule.is_single and token.get("IS_SPACE") is True for token in tokens) and (
            {"DEP", "HEAD", "SENT_START"} & set(attributes)
        ):
            return False
        if "POS" in attributes and not all(_is_seen(token) for token in tokens):
            return False
    return True


def _is_seen(token: Mapping[str, Any]) -> bool:
    """Whether a token pattern looks only at what a `Key` holds."""
    return all(
        name in _OF_THE_TEXT or name in _OF_THE_PARSE or name.startswith(("IS_", "LIKE_"))
        for name in (str(key).upper() for key in token)
    ) and not {"IS_SENT_START", "OP"} & {str(key).upper() for key in token}


def _pos_rules(ruler: AttributeRuler) -> Iterator[_Rule]:
    return (rule for rule, attributes in _rules(ruler) if "POS" in attributes)


def _rules(ruler: AttributeRuler) -> Iterator[tuple[_Rule, Mapping[str, Any]]]:
    """All rules in the order in which they are applied; later ones win."""
    for number, rule in enumerate(ruler.patterns):
        attributes = {str(name): value for name, value in rule["attrs"].items()}  # type: ignore[union-attr]
        patterns: Any = rule["patterns"]
        index: Any = rule["index"]
        yield _Rule(number, patterns, str(attributes.get("POS", "")), index), attributes
