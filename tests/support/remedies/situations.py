"""Situations: a command that fails, and how it came to that."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from hdiff.runs.lock import run_lock
from hdiff.serve.server import bind
from remedies.words import TINY, bert, fill, type_words

CASCADE = "corruption={kind: tree_cascade, levels: [word], types: [label], num_labels: 32}"

BLOCKS = "corruption={kind: block_masking, block_size: 8}"

SPANS = "corruption={kind: span_masking, segmentation: parsed, level: phrase, lengths: corpus}"

ABLATION = """
name: two
base: {{RECIPE}}
output: {output}
seeds: [0]
set:
  model: {{{{width: 16, depth: 1, num_heads: 2}}}}
  train: {{{{steps: 2, batch_size: 4, warmup_steps: 1}}}}
  evaluation: {{{{steps: [1], blocks: 1, draws: 1, samples: 2}}}}
  data.sequence_length: 32
  data.path: {{{data}}}
  {corruption}
baseline: one
variants: {{{{one: {{{{}}}}}}}}
"""

OWN = """
from hdiff.corruption import TokenMasking
class Pair(TokenMasking):
    pass
"""

T = " ".join(shlex.quote(word) for word in TINY)

OF_BERT = "model.pretrained=BERT model.width=16 model.depth=1 model.num_heads=2"

TRAIN = f"train RECIPE {T} data.path=PYDOC output=NEW -q"

PREPARE = "prepare TEXT --out NEW --parser plain --levels sentence --tokenizer train:300 -q"

OUTPUT = "output=DIR"

LEVEL = "{prepared.command_with(level)}"

INSTALL = {
    name: f"{{install_command('{name}')}}"
    for name in ("train", "serve", "hub", "nltk", "spacy", "benepar", "transformers", "lora")
}

RUN_OF = "hdiff train RECIPE output={}"


@dataclass(frozen=True)
class Case:
    """A situation: a command that fails, and what is typed then.

    Attributes:
        file: File of the site.
        remedy: Template of its remedy.
        words: The command line that fails; names in capitals are places.
        before: Prepares the situation.
        fill: What stands for the capitals of the remedy, besides places of its own.
        after: The command line after a remedy that is a command of its own; None takes the same.
        number: Which remedy of the error is meant.
        environment: Variables that are set before and after.
    """

    file: str
    remedy: str
    words: str
    before: Callable[[dict[str, Any], pytest.MonkeyPatch], None] = lambda places, patch: None
    fill: dict[str, str] = field(default_factory=dict)
    after: str | None = None
    number: int = 0
    environment: dict[str, str] = field(default_factory=dict)


def lacks(*modules: str) -> Callable[[dict[str, Any], pytest.MonkeyPatch], None]:
    def hide(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        packages = {module.split(".")[0] for module in modules}
        for name in [name for name in sys.modules if name.split(".")[0] in packages]:
            patch.delitem(sys.modules, name)
        for module in modules:
            patch.setitem(sys.modules, module, None)

    return hide


def both(*steps: Callable[[dict[str, Any], pytest.MonkeyPatch], None]) -> Callable[..., None]:
    def take(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        for step in steps:
            step(places, patch)

    return take


def written(name: str, text: str) -> Callable[[dict[str, Any], pytest.MonkeyPatch], None]:
    def write(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        path = places["HERE"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**{key: str(value) for key, value in places.items()}))

    return write


def ablation(
    output: str, *, data: str = "PYDOC", corruption: str = "corruption: {{kind: token_masking}}"
) -> Any:
    return written("two.yaml", ABLATION.format(output=output, data=data, corruption=corruption))


def copied(name: str, place: str, *removed: str) -> Callable[[dict[str, Any], pytest.MonkeyPatch], None]:
    def copy(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        shutil.copytree(places[place], places["HERE"] / name)
        for each in removed:
            path = places["HERE"] / name / each
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return copy


def damaged(name: str, place: str, file: str, change: Callable[[Any], Any]) -> Any:
    def damage(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        copied(name, place)(places, patch)
        path = places["HERE"] / name / file
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def trained_elsewhere(places: dict[str, Any]) -> None:
    """The recipe of a run names a data set of another tokenizer."""
    recipe = places["HERE"] / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(places["PYDOC"]), str(places["PLAIN"])))


def taken(places: dict[str, Any]) -> None:
    """Somebody trains in the folder: the lock is held as long as the test runs."""
    lock = run_lock(places["HERE"] / "new")
    lock.__enter__()
    places["held"].append(lock)


def listening(places: dict[str, Any]) -> None:
    listener = bind("127.0.0.1", 0)
    places["held"].append(listener)
    places["PORT"] = listener.getsockname()[1]  # in use now


def foreign(places: dict[str, Any]) -> None:
    """A shared model that uses a class of the current folder."""
    copied("foreign", "SHARED")(places, None)  # type: ignore[arg-type]
    written("mine.py", OWN.replace("TokenMasking", "SpanMasking"))(places, None)  # type: ignore[arg-type]
    file = places["HERE"] / "foreign" / "config.json"
    file.write_text(file.read_text().replace('"span_masking"', '"mine:Pair"'))


def soft(places: dict[str, Any]) -> None:
    """A run of soft masks whose table of classes is damaged."""
    train = fill(TRAIN.replace("NEW", "RUN") + " 'corruption={kind: soft_masking, num_classes: 8}'", places)
    type_words(train)
    file = places["HERE"] / "run" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "token_classes": "7"}))


def ranked(places: dict[str, Any]) -> None:
    """Data of the same tokenizer with another salience."""
    places["RANKED"] = places["HERE"] / "ranked"
    type_words(fill("prepare TEXT --out RANKED --tokenizer PYDOC --salience textrank -q", places))


def ablated(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any], pytest.MonkeyPatch], None]:
    """An ablation that was run, after which something is changed."""

    def run(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        ablation("two")(places, patch)
        type_words(fill("ablate TWO -q", places))
        change(places)

    return run


def other_data(places: dict[str, Any]) -> None:
    (record,) = (places["HERE"] / "two").glob("*/run.json")
    run = json.loads(record.read_text())
    record.write_text(json.dumps({**run, "data": {**run["data"], "sha256": "0" * 64}}))


def other_steps(places: dict[str, Any]) -> None:
    file = places["HERE"] / "two.yaml"
    file.write_text(file.read_text().replace("steps: 2", "steps: 3"))


def of_bert(places: dict[str, Any]) -> None:
    """A run on the trunk of a tiny BERT."""
    bert(places)
    train = f"train RECIPE {T} data.path=BERT_DATA output=RUN {OF_BERT} -q"
    type_words(fill(train, places))
