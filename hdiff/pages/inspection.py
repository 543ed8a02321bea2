"""Inspection: how one text is parsed, weighted and corrupted, as JSON for pages or drawn in a terminal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hdiff.errors import DataError
from hdiff.structure import SpanTree, segment

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from hdiff.parsers import Parser, Salience

TIMES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STYLES = {"sentence": "bold white", "clause": "magenta", "phrase": "cyan", "word": "green", "token": "green"}
UNIT_STYLES = ("black on bright_cyan", "black on bright_yellow")
BAR_WIDTH = 16
MIN_COLUMN_WIDTH = 60
"""Least characters a parser needs beside another one."""


def explore(tree: SpanTree, masking_times: Sequence[float], *, level: str, title: str) -> dict[str, Any]:
    """Everything there is to see of one corrupted text, JSON-able.

    Args:
        tree: The parsed text.
        masking_times: Time in [0, 1] at which each word is masked; a word is hidden when its time < t.
        level: The coarsest level of a unit.
        title: Heading.

    Returns:
        `title`, `text`, `level`; `words`, each with `text`, `space_before`, `pos`, `salience`, `time`
        and `unit` (its id); `spans` above the words, each with `start` and `end` (word positions,
        half-open), `label` and `level`, in nesting order.

    Raises:
        DataError: If the number of times is not the number of words, or the level is unknown.
    """
    words = tree.words
    if len(masking_times) != len(words):
        raise DataError(f"{len(masking_times)} masking times for {len(words)} words; give one per word")
    spans = _word_spans(tree)
    ends = [0, *(word.end for word in words)]
    units = _units(spans, len(words), level)
    return {
        "title": title,
        "text": tree.text,
        "level": level,
        "words": [
            {
                "text": tree.text[word.start : word.end],
                "space_before": word.start > end_before,
                "pos": word.label,
                "salience": salience,
                "time": float(time),
                "unit": unit,
            }
            for word, end_before, salience, time, unit in zip(
                words, ends[:-1], tree.salience, masking_times, units, strict=True
            )
        ],
        "spans": spans,
    }


def inspect_sentence(
    text: str,
    *,
    parser: Parser,
    level: str,
    seed: int,
    salience: Salience | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """Parses a text and corrupts it as in training, with one token per word.

    Args:
        text: A sentence or more.
        parser: The parser.
        level: The coarsest level of a unit that is masked as a whole.
        seed: Seed of the masking times.
        salience: Scores for the words; None keeps the parser's.
        title: Heading; None says what is masked together.

    Returns:
        See `explore`.

    Raises:
        ParserError: If the text cannot be parsed.
        DataError: If the parser does not produce the level.
    """
    if level != "token" and level not in parser.levels:
        raise DataError(
            f"level '{level}' is not produced by parser '{parser.name}', "
            f"which gives {', '.join(parser.levels)}; choose one of these:",
            *(f"--level {given}" for given in parser.levels),
        )
    tree = next(iter(parser.parse([text])))
    if salience is not None:
        tree = salience.apply(tree)
    units = _units(_word_spans(tree), len(tree.words), level)
    title = f"Masked by {level}" if title is None else title
    return explore(tree, _draw_times(units, level, seed), level=level, title=title)


def draw(*explorations: Mapping[str, Any], console: Console) -> None:
    """Draws span tree, salience and the text at t = 0.1 ... 0.9 in a terminal.

    Args:
        *explorations: What `explore` returns, for one parser or several; side by side where there is room.
        console: Where to draw; without colour codes if it is no terminal.
    """
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
        (f"Corruption (units: {exploration['level']})", _draw_corruption(exploration, blank)),
    )
    lines: list[RenderableType] = [Text(str(exploration["title"]), style="bold")]
    for heading, drawing in parts:
        lines += [Text(""), Text(heading, style="bold underline"), drawing]
    return Group(*lines)


def _word_spans(tree: SpanTree) -> list[dict[str, Any]]:
    """Spans above the words, their extents in word positions; those without a word are left out."""
    words = tree.words
    starts, ends = [word.start for word in words], [word.end for word in words]
    spans = []
    for span in tree.spans:
        start, end = bisect_left(starts, span.start), bisect_left(ends, span.end + 1)
        if span.level != "word" and start < end:
            spans.append({"start": start, "end": end, "label": span.label, "level": span.level})
    return spans


def _units(spans: Sequence[Mapping[str, Any]], num_words: int, level: str) -> list[int]:
    """Unit id of every word; a word that no span covers is a unit of its own."""
    starts, ends = [span["start"] for span in spans], [span["end"] for span in spans]
    return segment(starts, ends, [span["level"] for span in spans], num_words, level=level)


def _draw_times(units: Sequence[int], level: str, seed: int) -> list[float]:
    """Masking times of the words under the corruption that training uses."""
    if not units:
        return []
    import torch

    from hdiff.corruption import SpanMasking
    from hdiff.data.batch import Batch

    ids = torch.tensor([units])  # (1, words)
    batch = Batch(
        input_ids=torch.zeros_like(ids),
        token_mask=torch.ones_like(ids, dtype=torch.bool),
        unit_ids={level: ids},
    )
    times = SpanMasking(level=level).masking_times(batch, generator=torch.Generator().manual_seed(seed))
    return [float(time) for time in times[0]]


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
