"""Remedies of errors are typed: after each, the command gets past its error.

A remedy is data (`UserError.remedies`). All places that raise are read from the source: none can be added
without a case in `support/remedies`, or without a line in `fixtures/remedies.txt` that says why nothing can
be typed.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remedies.of_commands import CASES as OF_COMMANDS
from remedies.of_data import CASES as OF_DATA
from remedies.of_training import CASES as OF_TRAINING
from remedies.only_read import ONLY_READ
from remedies.sites import CHECKOUT, FORWARDED, SITES, TYPABLE, clause, prose
from remedies.situations import BLOCKS, CASCADE, Case
from remedies.words import TINY, bert, check_installs, fill, perform, type_words, with_remedy, with_tiny
from shared_models import save_untrained
from typer.main import get_command

from hdiff.cli import app
from hdiff.config import Recipe
from hdiff.errors import UserError

CASES = [*OF_COMMANDS, *OF_DATA, *OF_TRAINING]


def test_what_can_be_typed_is_data() -> None:
    known = prose()
    hidden = [
        clause(site)
        for site in SITES
        if not site.remedies and TYPABLE.search(clause(site)) and clause(site) not in known
    ]
    assert hidden == []


def test_what_cannot_be_typed_is_listed_with_the_reason() -> None:
    known = prose()
    assert all(known.values())
    found = {clause(site) for site in SITES if not site.remedies}
    assert sorted(found - known.keys()) == []
    assert sorted(known.keys() - found) == []


def test_every_remedy_is_typed_here() -> None:
    given = {(site.file, remedy) for site in SITES for remedy in site.remedies if remedy not in FORWARDED}
    typed = {(case.file, case.remedy) for case in CASES} | set(ONLY_READ)
    assert sorted(given - typed) == []
    assert sorted(typed - given) == []


@pytest.fixture(scope="module")
def made(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets and trained models that situations start from."""
    folder = tmp_path_factory.mktemp("made")
    text = folder / "text.txt"
    lines = (
        f"The old list of {number} words is returned by the function. It is long." for number in range(90)
    )
    text.write_text("\n\n".join(lines))
    plain = ["--parser", "plain", "--levels", "sentence", "--tokenizer", "train:300", "-q"]
    type_words(["prepare", str(text), "--out", str(folder / "plain"), *plain])
    recipe = CHECKOUT / "recipes" / "baselines" / "token_masking.yaml"
    own = folder / "recipe.yaml"
    own.write_text("base: x\n".replace("base: x\n", recipe.read_text(encoding="utf-8")))
    places = {"PYDOC": prepared_folder, "PLAIN": folder / "plain", "TEXT": text, "RECIPE": own}
    for name, changes in {
        "tokens": [],
        "cascade": [CASCADE],
        "blocks": [BLOCKS],
        "judge": ["model.kind=autoregressive"],
    }.items():
        words = [
            "train",
            str(own),
            *TINY,
            *changes,
            f"data.path={prepared_folder}",
            f"output={folder / name}",
        ]
        type_words([*words, "-q"])
        places[name.upper()] = folder / name
    type_words(
        ["train", str(own), *TINY, f"data.path={folder / 'plain'}", f"output={folder / 'other'}", "-q"]
    )
    return {**places, "OTHER": folder / "other", "SHARED": save_untrained(folder / "shared")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file.split('/')[-1]}-{case.remedy[:24]}")
def test_a_remedy_that_is_typed_gets_past_its_error(
    case: Case, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: dict[str, Any] = {**made, "HERE": tmp_path, "held": []}
    if "BERT" in case.words:
        pytest.importorskip("transformers", reason="models of others need transformers")
        bert(places)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    case.before(places, monkeypatch)
    words = fill(case.words, places)
    with pytest.raises(UserError) as caught:
        perform(words, places)
    error = caught.value
    typed = [remedy for site in SITES if site.file == case.file for remedy in site.remedies]
    assert case.remedy in typed
    assert len(error.remedies) > case.number, str(error)
    remedy = error.remedies[case.number]
    assert str(error).count(remedy) == 1
    assert remedy.startswith(case.remedy.partition("{")[0])
    if remedy.startswith("pip install"):
        check_installs(remedy)
        return
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", list(sys.path))
    given = fill(remedy, places, **case.fill)
    if given[0] == "export":
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "aside")])  # what a new interpreter does
    elif given[0] == "hdiff" and case.after is None and given[1] == "train":
        perform(with_tiny(given[1:], places), places)
        perform(words[:1] + ["--steps", "1"] * (words[0] == "eval") + words[1:], places)
        return
    elif given[0] == "hdiff":
        command = [*with_tiny(given[1:], places), "-q"] if given[1] != "doctor" else ["doctor", "-q"]
        perform(command, places)
    elif case.after is None:
        words = with_remedy(words, given)
    last = (
        [fill(line.replace("REMEDY", shlex.join(given)), places) for line in case.after.split(" && ")]
        if case.after
        else [words]
    )
    for line in last:
        perform(line, places)


@pytest.mark.parametrize("remedy", sorted({remedy for site in SITES for remedy in site.remedies}))
def test_commands_options_keys_and_recipes_of_remedies_exist(remedy: str) -> None:
    if remedy.startswith("{"):
        return  # made by a function: typed above
    words = shlex.split(remedy)
    if words[0] == "hdiff":
        command = get_command(app).commands[words[1]]
        rest = words[2:]
        if words[1] == "parser":
            command, rest = command.commands[words[2]], words[3:]
        options = {name for option in command.params for name in option.opts}
        assert {word for word in rest if word.startswith("--")} <= options
        for word in rest:
            assert not word.startswith("recipes/") or (CHECKOUT / word).is_file()
        return
    options = {name for command in all_commands() for option in command.params for name in option.opts}
    for word in words:
        if word.startswith("--"):
            assert word in options | {"--fsdp_version", "--model_args", "--local-dir", "--include"}
        elif re.match(r"[a-z_.]+=", word):
            key = word.partition("=")[0].split(".")
            assert key[0] in Recipe.model_fields or key[0] == "run"


def all_commands() -> Iterator[Any]:
    for command in get_command(app).commands.values():
        yield from getattr(command, "commands", {"": command}).values()
