"""Spans of Python source: statements, blocks and expressions of its syntax tree.

Top-level statements are sentences, statements and blocks inside them clauses, expressions and their parts
phrases. A phrase has two words or more; statements and runs of comments may have one.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from hdiff.structure import Span, nesting_order

from .python_words import PythonWords

BLOCKS = ("body", "orelse", "finalbody")
"""Fields of a statement that hold statements."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_STRINGS = tuple(getattr(ast, name) for name in ("JoinedStr", "TemplateStr") if hasattr(ast, name))
_PRESCRIBED = frozenset(("KEYWORD", "OPERATOR", "BRACKET", "PUNCT", "CONSTANT"))
_PLACED = (ast.stmt, ast.expr, ast.arg, ast.keyword, ast.alias, ast.excepthandler, ast.pattern)


class PythonSpans:
    """Finds the spans of one source in its syntax tree and words."""

    def __init__(self, tree: ast.Module, source: PythonWords) -> None:
        self._source = source
        self._found: dict[tuple[int, int, str], str] = {}
        self._roles: dict[int, str] = {}
        """Label of words whose text does not tell it."""
        self.relations = [""] * len(source.words)
        """What the innermost node around each word is to the node around it: a field of `ast`."""
        top = {id(statement) for statement in tree.body}
        self._mark_docstring(tree)
        for field, node in _walk(tree):
            if isinstance(node, _PLACED):
                first, last = self._add_node(node, is_top=id(node) in top)
                self.relations[first : last + 1] = [field] * (last + 1 - first)
            self._add_parts(node)
        self._add_comments([self._extent(statement) for statement in tree.body])

    def spans(self) -> list[Span]:
        """All spans, words included, in nesting order."""
        words = self._source.words
        spans = [
            Span(words[first].start, words[last].end, label, level)
            for (first, last, level), label in self._found.items()
        ]
        spans += [
            Span(word.start, word.end, self._roles.get(number, word.label), "word")
            for number, word in enumerate(words)
        ]
        return sorted(spans, key=nesting_order)

    def tags(self) -> list[str]:
        """The text of each word that syntax prescribes, such as `if` and `(`; the label of the others."""
        return [
            word.text if word.label in _PRESCRIBED else self._roles.get(number, word.label)
            for number, word in enumerate(self._source.words)
        ]

    def _add(self, first: int, last: int, label: str, level: str) -> None:
        """Adds words, both inclusive; of equal spans of a level the outer one stays."""
        if first < last or (first == last and level != "phrase"):
            self._found.setdefault((first, last, level), label)

    def _add_node(self, node: ast.AST, *, is_top: bool) -> tuple[int, int]:
        is_statement = isinstance(node, (ast.stmt, ast.excepthandler))
        level = "sentence" if is_top else "clause" if is_statement else "phrase"
        first, last = self._extent(node)
        self._add(first, last, type(node).__name__, level)
        return first, last

    def _extent(self, node: Any) -> tuple[int, int]:
        """First and last word of a node, both inclusive; decorators belong to what they decorate."""
        source, decorators = self._source, getattr(node, "decorator_list", ())
        begin = min((node, *decorators[:1]), key=lambda part: (part.lineno, part.col_offset))
        first = source.first(source.at_byte(begin.lineno, begin.col_offset))
        if begin is not node:
            first = source.back_to(first, ("@",))
        last = source.last(source.at_byte(node.end_lineno, node.end_col_offset))
        return first, last

    def _add_hull(self, nodes: Sequence[ast.AST], label: str, level: str) -> None:
        """From the first of some nodes to the last, without cutting brackets."""
        first, last = self._extent(nodes[0])[0], self._extent(nodes[-1])[1]
        self._add(*self._source.balanced(first, last), label, level)

    def _add_parts(self, node: ast.AST) -> None:
        """Spans that are no nodes, or have no place in the tree; and the roles of words."""
        for field in BLOCKS if isinstance(node, (ast.stmt, ast.excepthandler)) else ():
            statements = getattr(node, field, [])
            if len(statements) > 1:
                self._add_hull(statements, field, "clause")
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            self._add_definition(node)
        elif isinstance(node, ast.Lambda):
            first, body = self._extent(node)[0], self._extent(node.body)[0]
            self._add(first + 1, self._source.back_to(body, (":",)) - 1, "arguments", "phrase")
        elif isinstance(node, ast.Call):
            last = self._extent(node)[1]
            self._add(self._source.partner[last] + 1, last - 1, "arguments", "phrase")
        elif isinstance(node, ast.Attribute):
            self._roles[self._extent(node)[1]] = "ATTRIBUTE"
        elif isinstance(node, (ast.arg, ast.keyword)):
            if node.arg is not None:
                self._roles[self._extent(node)[0]] = "PARAMETER" if isinstance(node, ast.arg) else "ARGUMENT"
        elif isinstance(node, ast.comprehension):
            first, last = self._extent(node.target)[0], self._extent((node.iter, *node.ifs)[-1])[1]
            first = self._source.back_to(first, ("for",))
            self._add(*self._source.balanced(first - node.is_async, last), "comprehension", "phrase")
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._add_hull([node.context_expr, node.optional_vars], "withitem", "phrase")
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None:
                    self._add_hull([key, value], "item", "phrase")
        elif isinstance(node, ast.Match):
            self._add_cases(node)

    def _add_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        source = self._source
        name = source.first(source.at_byte(node.lineno, node.col_offset)) + 1
        name += isinstance(node, ast.AsyncFunctionDef)
        self._roles[name] = "DEFINITION"
        self._mark_docstring(node)
        bracket = name + 1
        if source.words[bracket].text == "[":  # type parameters
            bracket = source.partner[bracket] + 1
        if source.words[bracket].text == "(":
            label = "bases" if isinstance(node, ast.ClassDef) else "arguments"
            self._add(bracket + 1, source.partner[bracket] - 1, label, "phrase")

    def _add_cases(self, node: ast.Match) -> None:
        self._roles[self._extent(node)[0]] = "KEYWORD"
        for case in node.cases:
            first = self._source.back_to(self._extent(case.pattern)[0], ("case",))
            self._roles[first] = "KEYWORD"
            self._add(first, self._extent(case.body[-1])[1], "match_case", "clause")
            if len(case.body) > 1:
                self._add_hull(list(case.body), "body", "clause")

    def _mark_docstring(
        self, node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) -> None:
        if ast.get_docstring(node, clean=False) is not None:
            first, last = self._extent(node.body[0])
            self._roles.update(dict.fromkeys(range(first, last + 1), "DOCSTRING"))

    def _add_comments(self, top: list[tuple[int, int]]) -> None:
        """Comments on lines of their own, one below the other, are a statement."""
        words, text = self._source.words, self._source.text
        starts = [first for first, _ in top]
        alone = [
            number
            for number, word in enumerate(words)
            if word.label == "COMMENT" and not _before_on_line(text, word.start).strip()
        ]
        borders = [place for place, (one, two) in enumerate(pairwise(alone), start=1) if two > one + 1]
        for first, end in pairwise([0, *borders, len(alone)] if alone else []):
            around = bisect_right(starts, alone[first]) - 1
            is_inside = around >= 0 and alone[first] <= top[around][1]
            self._add(alone[first], alone[end - 1], "Comment", "clause" if is_inside else "sentence")


def _walk(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """All nodes with the field of their parent, parents first; of f-strings only the whole."""
    stack = [("", tree)]
    while stack:
        field, node = stack.pop()
        yield field, node
        if isinstance(node, _STRINGS):
            continue
        for name, value in ast.iter_fields(node):
            below = value if isinstance(value, list) else [value]
            stack.extend((name, child) for child in below if isinstance(child, ast.AST))


def _before_on_line(text: str, place: int) -> str:
    return text[max(text.rfind("\n", 0, place), text.rfind("\r", 0, place)) + 1 : place]
