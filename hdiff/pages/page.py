"""HTML pages: one self-contained file each, with its data inside and no address of anything outside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff import __version__
from hdiff.errors import DataError
from hdiff.files import finite
from hdiff.pages.trajectory import steps_text

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"

EXPLORATION_KEYS = ("title", "text", "level", "words", "spans")
WORD_KEYS = ("text", "space_before", "time", "unit")
SPAN_KEYS = ("start", "end", "label", "level")
TRAJECTORY_KEYS = ("title", "num_steps", "samples")
PIECE_KEYS = ("text", "step", "unit", "level")


def embed_json(value: object) -> Markup:
    r"""JSON that is safe inside a `<script type="application/json">` element.

    `<`, `>` and `&` are written as escapes, so neither `</script>` nor `<!--` can occur; everything
    outside ASCII is escaped as well (U+2028, lone surrogates). NaN and infinities become null.

    Args:
        value: Anything `json` can write.

    Returns:
        The text, marked as safe for a template.
    """
    from markupsafe import Markup

    text = json.dumps(finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def render_page(
    template: str, *, title: str, data: object, scripts: Sequence[str], context: Mapping[str, object]
) -> str:
    """Renders a template of this package; `data` is embedded as JSON, `scripts` run after `page.js`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    files = [TEMPLATES / name for name in ("page.js", *scripts)]
    return environment.get_template(template).render(
        **context,
        title=title,
        version=__version__,
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup("\n".join(file.read_text(encoding="utf-8") for file in files)),
        data=embed_json(data),
    )


def inspection_page(*explorations: Mapping[str, Any]) -> str:
    """Page that shows how one text is parsed, and corrupted as t goes from 0 to 1, by one parser or several.

    Args:
        *explorations: One per parser: `title`, `text`, `level`; `words`, each with `text`, `space_before`,
            `pos`, `salience` in [0, 1], `time` in [0, 1] (masked when time < t) and `unit`; `spans`, each
            with `start` and `end` (word positions, half-open), `label` and `level`.

    Returns:
        The page as HTML.

    Raises:
        DataError: If a key is missing or a span does not fit the words.
    """
    for exploration in explorations:
        check_exploration(exploration)
    count = len(explorations)
    return render_page(
        "inspection.html",
        title=explorations[0]["title"] if count == 1 else f"One text, seen in {count} ways",
        data=list(explorations),
        scripts=("inspection.js", "start_inspection.js"),
        context={"explorations": explorations, "rows": [_rows(exploration) for exploration in explorations]},
    )


def trajectory_page(trajectory: Mapping[str, Any]) -> str:
    """Page that shows texts as a sampler fills them in, step by step.

    Args:
        trajectory: `title`, `num_steps`, and `samples`, each with `pieces`: `text`, the `step` in
            1..num_steps at which it was filled in, its `unit` and that unit's `level` (`crossing`: a
            unit that lies in no span); also `process`, if there is more to say of how it writes.

    Returns:
        The page as HTML.

    Raises:
        DataError: If a key is missing or a step is out of range.
    """
    check_trajectory(trajectory)
    return render_page(
        "trajectory.html",
        title=f"{trajectory['title']}, step by step",
        data=trajectory,
        scripts=("trajectory.js", "start_trajectory.js"),
        context={
            "trajectory": trajectory,
            "process": trajectory.get("process", ""),
            "steps": steps_text(trajectory),
            "given": any(p["step"] == 0 for s in trajectory["samples"] for p in s["pieces"]),
        },
    )


def check_exploration(exploration: Mapping[str, Any]) -> None:
    """Raises DataError unless `exploration` is what `inspection_page` describes."""
    _require([exploration], EXPLORATION_KEYS, "exploration")
    words, spans = exploration["words"], exploration["spans"]
    if not words:
        raise DataError("exploration has no words; give a text with at least one word")
    _require(words, WORD_KEYS, "word")
    _require(spans, SPAN_KEYS, "span")
    for span in spans:
        if not 0 <= span["start"] < span["end"] <= len(words):
            raise DataError(
                f"span [{span['start']}, {span['end']}) does not fit {len(words)} words; "
                "give word positions, half-open"
            )


def check_trajectory(trajectory: Mapping[str, Any]) -> None:
    """Raises DataError unless `trajectory` is what `trajectory_page` describes."""
    _require([trajectory], TRAJECTORY_KEYS, "trajectory")
    if trajectory["num_steps"] < 1:
        raise DataError(f"trajectory has {trajectory['num_steps']} steps; it needs at least 1")
    _require(trajectory["samples"], ("pieces",), "sample")
    for sample in trajectory["samples"]:
        _require(sample["pieces"], PIECE_KEYS, "piece")
        for piece in sample["pieces"]:
            if not 0 <= piece["step"] <= trajectory["num_steps"]:
                raise DataError(
                    f"piece at step {piece['step']}; steps are 1 to {trajectory['num_steps']}, and 0 for "
                    f"given text"
                )


def _require(records: Iterable[Mapping[str, Any]], keys: Sequence[str], noun: str) -> None:
    for record in records:
        missing = [key for key in keys if key not in record]
        if missing:
            raise DataError(f"{noun} lacks {', '.join(missing)}; it needs {', '.join(keys)}")


def _rows(exploration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The spans of an exploration with their text."""
    words = exploration["words"]
    return [
        {**span, "text": _joined(words[span["start"] : span["end"]])}
        for span in sorted(exploration["spans"], key=lambda span: (span["start"], -span["end"]))
    ]


def _joined(words: Sequence[Mapping[str, Any]]) -> str:
    return "".join((" " if word["space_before"] else "") + word["text"] for word in words).strip()
