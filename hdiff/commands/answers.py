"""Answers of `hdiff sample`: what its prompts are, what answers them, and how answers are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hdiff.commands.options import print_json
from hdiff.errors import DataError

if TYPE_CHECKING:
    from hdiff.control.request import Request
    from hdiff.runs.folder import RunFolder


def prompts_asked(
    prompt: str | None,
    file: Path | None,
    max_tokens: int | None,
    request: Request,
    trajectory: Path | None,
) -> list[Any] | None:
    """What is to be answered, texts or rows of a table; None if samples are no answers."""
    if prompt is None and file is None:
        if max_tokens is not None:
            raise DataError(
                "--max-tokens is of answers; give a prompt, or set the tokens of a sample with --length"
            )
        return None
    if prompt is not None and file is not None:
        raise DataError("--prompt and --prompts at once; give one of them")
    others = [name for name, value in vars(request).items() if value is not None]
    others += ["trajectory"] if trajectory is not None else []
    if others:
        name = others[0].replace("_", "-")
        raise DataError(f"--{name} does not go with a prompt; the tokens of an answer are --max-tokens")
    return [prompt] if file is None else _read(file)


def answers_of(
    run: RunFolder, asked: Sequence[Any], num: int, max_tokens: int | None, seed: int, **options: Any
) -> dict[str, Any]:
    """Answers by a model, as `hdiff sample --json` prints them; `options` are those of `Answering`."""
    import torch

    from hdiff.control.answers import Answering
    from hdiff.data.sources.prompts import PromptFormat

    if num < 1:
        raise DataError(f"{num} answers to a prompt; draw at least 1")
    answering = Answering.of_run(run, **options)
    form = answering.prompts or PromptFormat()
    prompts = [form.prompt_of(one) for one in asked for _ in range(num)]
    answers = answering(prompts, max_tokens=max_tokens, generator=torch.Generator().manual_seed(seed))
    return {
        "title": run.recipe.name,
        "step": run.step,
        "seed": seed,
        "ends_by": answering.end,
        "answers": [
            {
                "prompt": one.prompt,
                "answer": one.text,
                "tokens": len(one.tokens),
                "nfe": one.nfe,
                "ended": one.has_ended,
            }
            for one in answers
        ],
    }


def print_answers(result: dict[str, Any], *, as_json: bool) -> None:
    """Prints answers, for people or as JSON."""
    from hdiff.pages.terminal_text import visible_controls

    if as_json:
        print_json(result)
        return
    for number, one in enumerate(result["answers"], 1):
        cut = "" if one["ended"] else ", cut"
        calls = f"{one['nfe']} evaluations" if one["nfe"] != 1 else "1 evaluation"
        typer.echo(f"--- answer {number} of {len(result['answers'])}, {one['tokens']} tokens{cut}, {calls}")
        typer.echo(visible_controls(one["answer"]) if sys.stdout.isatty() else one["answer"])


def _read(file: Path) -> list[Any]:
    """Prompts of a file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {error}; give a .jsonl or .txt file in UTF-8") from None
    rows: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if file.suffix != ".jsonl":
            rows.append(line.strip())
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file} line {number} is not JSON ({error}); write an object per line") from None
        if not isinstance(row, dict | str):
            raise DataError(f"{file} line {number} is no object with columns; write an object per line")
        rows.append(row)
    if not rows:
        raise DataError(f"{file} holds no prompt; write one a line")
    return rows
