"""PythonParser: spans of source at exact characters, and what it refuses."""

from __future__ import annotations

import ast
import inspect
import sys
from bisect import bisect_left
from itertools import accumulate

import pytest

from hdiff.errors import ParserError
from hdiff.parsers import InverseDocumentFrequency, PythonParser, load_parser

SNIPPETS = [
    "x = 1",
    "x = [é.b(y) for (y) in (z) if y]  # end\n",
    "async def f():\n    async with a() as b, (c) as d:\n        return [x async for x in (y)]\n",
    '@deco(1)\n@(other)\ndef f(a, *b: int, c=(1), **k) -> int:\n    """D."""\n    return a\n',
    "match x:\n    case [1, (2)] if y:\n        pass\n    case {'a': b, **rest}:\n        a; b\n",
    "f(x for x in y)\n(f)(a)(b, c=1, *d, **e)\n",
    "class A(B, c=C):\n    x: int = 1\n\n    # one\n    # two\n    def g(self): return lambda: (self)\n",
    "s = 'ä' \"ö\" f'{x!r:>{w}} {\"q\"}' rf'''\n{y}\n'''\n",
    "if a:\n\tb\nelif (c):\n\td\n\te\nelse:\n\tf\nfor i in j: pass\nelse: k\n",
    "try:\n    a\n    b\nexcept* (E, F) as e:\n    c\nfinally:\n    d\n",
    "with (open('a') as f, (g) as h):\n    ...\n",
    "x = {'a': 1, **b, 'c': (2)}\ny = {*a, b}\nz = a[1:(2), ...]\n",
    "total = \\\n    a + \\\n    (b)\n\x0c\nπ = not a and (yield)\nx = y if z else (w)\n",
    "# only a comment\n",
    '"""Only a docstring."""',
    "def f(): 'D'\nglobal_x: 'str'; del a, b; import a.b as c; from . import (d, e as f)\n",
    "x = 0xFF_FF + 1e-5j - .5 @ a <= b is not c not in d\nlambda *a, b=1, /, c: (d := 2)\n".replace(
        ", /", ""
    ),
    "𝒳 = '🐟🐠'; y = 𝒳 + z\n",
]
MODULES = ["dataclasses", "statistics", "asyncio.tasks", "shlex"]


def sources() -> list[str]:
    found = list(SNIPPETS)
    for name in MODULES:
        __import__(name)
        found.append(inspect.getsource(sys.modules[name]))
    return found


def _segment(lines: list[bytes], node: ast.AST) -> str:
    """`ast.get_source_segment` without reading the whole text anew for every node."""
    inside = lines[node.lineno - 1 : node.end_lineno]
    inside[-1] = inside[-1][: node.end_col_offset]
    inside[0] = inside[0][node.col_offset :]
    return b"\n".join(inside).decode()


def parsed(text: str):
    (tree,) = PythonParser().parse([text])
    return tree


@pytest.mark.parametrize("text", sources(), ids=lambda text: repr(text[:24]))
def test_every_node_is_found_at_the_characters_that_python_gives_it(text):
    tree = parsed(text)
    found = {text[span.start : span.end] for span in tree.spans}
    lines = text.encode().split(b"\n")
    stack: list[ast.AST] = [ast.parse(text)]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.stmt, ast.expr)):
            segment = _segment(lines, node)
            if getattr(node, "decorator_list", None):
                assert any(string.endswith(segment) and string[0] == "@" for string in found)
            else:
                assert segment in found
        if not isinstance(node, ast.JoinedStr):
            stack.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("text", sources(), ids=lambda text: repr(text[:24]))
def test_words_leave_out_nothing_but_white_space(text):
    words = parsed(text).words
    borders = [0, *(place for word in words for place in (word.start, word.end)), len(text)]
    between = [text[first:end] for first, end in zip(borders[::2], borders[1::2], strict=True)]
    assert not "".join(between).replace("\\", "").strip()


@pytest.mark.parametrize("text", sources(), ids=lambda text: repr(text[:24]))
def test_no_span_cuts_a_pair_of_brackets(text):
    tree = parsed(text)
    brackets = [word for word in tree.words if word.label == "BRACKET"]
    starts = [word.start for word in brackets]
    for span in tree.spans:
        if span.level == "word":
            continue
        inside = brackets[bisect_left(starts, span.start) : bisect_left(starts, span.end)]
        depths = list(accumulate(1 if text[word.start] in "([{" else -1 for word in inside))
        assert min(depths, default=0) >= 0, text[span.start : span.end]
        assert not depths or depths[-1] == 0, text[span.start : span.end]


@pytest.mark.parametrize("text", SNIPPETS)
@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_line_ends_change_no_span(text, line_end):
    """Python sees the three ends of lines alike, inside strings too."""
    expected = [(s.level, s.label, text[s.start : s.end]) for s in parsed(text).spans]
    other = text.replace("\n", line_end)
    found = [(s.level, s.label, other[s.start : s.end].replace(line_end, "\n")) for s in parsed(other).spans]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("f(a, b)", ("phrase", "arguments", "a, b")),
        ("f(a, b)", ("phrase", "Call", "f(a, b)")),
        ("def f(a, *b): c", ("phrase", "arguments", "a, *b")),
        ("class A(B, C): d", ("phrase", "bases", "B, C")),
        ("lambda x, y: z", ("phrase", "arguments", "x, y")),
        ("if a:\n  b\n  c", ("clause", "body", "b\n  c")),
        ("if a:\n  b\nelse:\n  c; d", ("clause", "orelse", "c; d")),
        ("{a: b}", ("phrase", "item", "a: b")),
        ("[x for x in (y)]", ("phrase", "comprehension", "for x in (y)")),
        ("with a as b: c", ("phrase", "withitem", "a as b")),
        ("match a:\n  case b: c", ("clause", "match_case", "case b: c")),
        ("@a\ndef f(): b", ("sentence", "FunctionDef", "@a\ndef f(): b")),
        ("def f():\n  # a\n  # b\n  c", ("clause", "Comment", "# a\n  # b")),
        ("# a\n\n# b\nc # d", ("sentence", "Comment", "# a\n\n# b")),
        ("x = f'{a}' 'b'", ("phrase", "JoinedStr", "f'{a}' 'b'")),
    ],
)
def test_parts_without_a_node_of_their_own_are_spans(text, span):
    assert span in [(s.level, s.label, text[s.start : s.end]) for s in parsed(text).spans]


@pytest.mark.parametrize(
    ("text", "word", "label"),
    [
        ("x = None", "None", "CONSTANT"),
        ("x.y", "y", "ATTRIBUTE"),
        ("def f(a): b", "f", "DEFINITION"),
        ("def f(a): b", "a", "PARAMETER"),
        ("f(a=b)", "a", "ARGUMENT"),
        ("f(a=b)", "b", "NAME"),
        ("match = match", "match", "NAME"),
        ("match x:\n case y: z", "match", "KEYWORD"),
        ("match x:\n case y: z", "case", "KEYWORD"),
        ("'a'\nx = 'b'", "'a'", "DOCSTRING"),
        ("'a'\nx = 'b'", "'b'", "STRING"),
        ("f'{x}'", "f'{x}'", "STRING"),
        ("x # why", "# why", "COMMENT"),
        ("x = 1", "=", "OPERATOR"),
        ("x = 1", "1", "NUMBER"),
        ("(a, b)", ",", "PUNCT"),
        ("(a, b)", "(", "BRACKET"),
    ],
)
def test_words_are_labelled_by_their_role(text, word, label):
    assert (word, label) in [(text[s.start : s.end], s.label) for s in parsed(text).words]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x = (", "line 1, column 5"),
        ("x = 1\ny = = 2", "line 2, column 5"),
        ("def f():\nreturn 1", "line 2"),
        ("if a:\n    b\n  c", "line 3"),
        ("print 'a'", "line 1"),
        ("x = 'a", "line 1, column 5"),
        ('"""a', "line 1, column 1"),
        ("a\n\tb", "line 2"),
        ("x = 1\0", "line 1"),
        ("\ufeffx = 1\n\ufeff", "line "),
        ("x = “a”", "line 1, column 5"),
        ("Some prose, not code.", "line 1"),
        ("x = )", "line 1, column 5"),
        ("(" * 500 + ")" * 500, "line 1"),
        ("return = 3", "line 1"),
        ("-" * 200_000 + "1", "line 1"),
    ],
)
def test_source_that_does_not_parse_is_refused_with_its_place(text, place):
    with pytest.raises(ParserError, match="not Python 3") as error:
        parsed(text)
    assert error.value.place.startswith(place)
    assert place in str(error.value)


@pytest.mark.parametrize("text", ["", "\n\n", "  # indented comment"])
def test_source_without_a_statement_has_no_sentence_but_comments(text):
    assert {span.label for span in parsed(text).spans} <= {"Comment", "COMMENT"}


@pytest.mark.parametrize("control", ["random", "shuffled", "balanced", "right_branching"])
def test_controls_keep_the_words_of_source(control):
    text = inspect.getsource(sys.modules["shlex"])
    (tree,) = load_parser(f"{control}:python").parse([text])
    assert tree.words == parsed(text).words


def test_names_are_more_salient_than_syntax():
    tree = InverseDocumentFrequency().apply(parsed("def area(side): return side * side"))
    scores = dict(zip([tree.text[word.start : word.end] for word in tree.words], tree.salience, strict=True))
    assert scores["area"] == max(scores.values())
    assert min(scores["side"], scores["area"]) > max(scores["def"], scores["return"], scores["("])


def test_the_version_of_python_is_part_of_the_fingerprint():
    assert PythonParser().fingerprint()["python"] == sys.version.split()[0].rstrip("+")
