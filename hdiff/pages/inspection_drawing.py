"""Drawing of an inspection in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hdiff.pages.inspection import cuts

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

TIMES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STYLES = {"sentence": "bold white", "clause": "magenta", "phrase": "cyan", "word": "green", "token": "green"}
UNIT_STYLES = ("black on bright_cyan", "black on bright_yellow")
BAR_WIDTH = 16
MIN_COLUMN_WIDTH = 60
"""Least characters a parser needs beside another one."""


def draw(*explorations: Mapping[str, Any], console: Console) -> None:
    """Draws span tree, salience and the text at t = 0.1 ... 0.9 in a terminal."""
    from rich.table import Table

    columns = max(1, min(len(explorations), console.width // MIN_COLUMN_WIDTH))
    for first in range(0, len(explorations), columns):
        if first:
            console.print()
        row = Table.grid(padding=(0, 3), expand=True)
        for _ in range(columns):
            row.add_column(ratio=1)
        row.add_row(*(_drawing(each, console) for each in explorations[first : first + columns]))
        console.print(row)


def _drawing(exploration: Mapping[str, Any], console: Console) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    bar, blank = ("#", "_") if console.options.ascii_only else ("█", "░")
    parts: tuple[tuple[str, RenderableType], ...] = (
        ("Spans", _draw_spans(exploration)),
        ("Salience", _draw_salience(exploration, bar)),
        ("Hierarchy, coarse to fine", _draw_cuts(exploration)),
        (f"Corruption (units: {exploration['level']})", _draw_corruption(exploration, blank)),
    )
    lines: list[RenderableType] = [Text(str(exploration["title"]), style="bold")]
    for heading, drawing in parts:
        lines += [Text(""), Text(heading, style="bold underline"), drawing]
    return Group(*lines)


def _words_of(exploration: Mapping[str, Any], start: int, end: int) -> str:
    words = exploration["words"][start:end]
    return "".join((" " if word["space_before"] else "") + word["text"] for word in words).strip()


def _draw_spans(exploration: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text("text", style="dim"))
    stack: list[tuple[int, Tree]] = []
    for span in exploration["spans"]:
        while stack and stack[-1][0] <= span["start"]:
            stack.pop()
        parent = stack[-1][1] if stack else root
        label = Text.assemble(
            (f"{span['level']} {span['label']}", STYLES[span["level"]]),
            "  ",
            _words_of(exploration, span["start"], span["end"]),
        )
        stack.append((span["end"], parent.add(label)))
    return root


def _draw_cuts(exploration: Mapping[str, Any]) -> RenderableType:
    """The text cut at each depth of its tree, until only words are left."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column("depth", no_wrap=True)
    table.add_column("text")
    for depth, units in enumerate(cuts(exploration["spans"], len(exploration["words"]))):
        words = [{**word, "unit": unit} for word, unit in zip(exploration["words"], units, strict=True)]
        table.add_row(str(depth), _units_text({**exploration, "words": words}))
    return table


def _draw_salience(exploration: Mapping[str, Any], bar: str) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), show_header=False)
    for column in ("word", "pos", "bar", "score"):
        table.add_column(column, overflow="fold")
    for word in exploration["words"]:
        length = round(BAR_WIDTH * word["salience"])
        table.add_row(
            Text(word["text"]),
            Text(word["pos"], style="dim"),
            Text(bar * length, style="green"),
            f"{word['salience']:.2f}",
        )
    return table


def _draw_corruption(exploration: Mapping[str, Any], blank: str) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column("t", no_wrap=True)
    table.add_column("text")
    table.add_row(Text("units", style="dim"), _units_text(exploration))
    for t in TIMES:
        table.add_row(Text(f"{t:.1f}", style="dim"), _text_at(exploration, t, blank))
    return table


def _units_text(exploration: Mapping[str, Any]) -> Text:
    """The text with its units as coloured blocks, in brackets where there are no colours."""
    from rich.text import Text

    text = Text()
    for members in _unit_members(exploration):
        text.append(" " if members[0]["space_before"] and len(text) else "")
        block = "".join(
            (" " if n and word["space_before"] else "") + word["text"] for n, word in enumerate(members)
        )
        text.append(f"[{block}]", style=UNIT_STYLES[members[0]["unit"] % 2])
    return text


def _text_at(exploration: Mapping[str, Any], t: float, blank: str) -> Text:
    """The text at time t; a hidden word is a blank bar of its width."""
    from rich.text import Text

    text = Text()
    for word in exploration["words"]:
        text.append(" " if word["space_before"] and len(text) else "")
        if word["time"] < t:
            text.append(blank * len(word["text"]), style="dim")
        else:
            text.append(word["text"])
    return text


def _unit_members(exploration: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
    members: list[Mapping[str, Any]] = []
    for word in exploration["words"]:
        if members and word["unit"] != members[-1]["unit"]:
            yield members
            members = []
        members.append(word)
    if members:
        yield members
