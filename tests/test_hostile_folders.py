"""Patterns, manifests, checkpoints and folders made to harm get a sentence, and soon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hostile_files import DEEP, MINIMAL, soon_and_small, written

from hdiff.ablation.folder import find_ablation
from hdiff.components import build, component_class
from hdiff.control.pattern import Pattern
from hdiff.control.skeleton import Skeleton
from hdiff.corruption import CORRUPTIONS
from hdiff.data.manifest import read_manifest
from hdiff.data.prepare.documents import Documents, read_shard
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError, DataError, RecipeError, UserError
from hdiff.parsers.bracket_words import unescape
from hdiff.parsers.brackets import parse_brackets
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.metrics_file import read_metrics
from hdiff.schedules import SCHEDULES
from hdiff.strict_yaml import parse_yaml


def test_combinations_of_many_gaps_are_counted_not_listed() -> None:
    pattern = Pattern.parse("[1-1000000] " * 300, Tokenizer.train(["the dog"], "words"))
    with soon_and_small(), pytest.raises(DataError, match="at most 64 are tried"):
        pattern.lengths()


def test_skeletons_with_absurd_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"'NP:9+' has more than 1,000,000 tokens"):
        Skeleton.parse("NP:" + "9" * 5000)
    assert len(Skeleton.parse("NP:0002 VP")) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer": None},
        {"levels": "phrase"},
        {"sha256": {"a": 1}},
        {"counts": []},
        {"sha256": {"../../a": "0"}},
    ],
)
def test_a_manifest_without_its_facts_is_damaged(changes: dict[str, object], tmp_path: Path) -> None:
    whole = {"format_version": 2, "tokenizer": {"sha256": "0"}, "levels": [], "sha256": {}, "counts": {}}
    written(tmp_path / "manifest.json", json.dumps(whole))
    assert read_manifest(tmp_path) == whole
    written(tmp_path / "manifest.json", json.dumps({**whole, **changes}))
    with pytest.raises(DataError, match=r"manifest.json is damaged: .*; delete the folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.write_text("[" * DEEP)])
def test_a_manifest_that_is_a_pipe_or_deep_is_damaged(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "manifest.json")
    with soon_and_small(), pytest.raises(DataError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["n" * 5_000, "a\0b", "../outside", "/etc/hostname", "loop"])
def test_a_manifest_that_names_no_file_of_the_data_set_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    data = PreparedData(tmp_path, {"sha256": {name: "0"}}, Tokenizer.train(["a b"], "words"))
    with soon_and_small(), pytest.raises(DataError, match=r"is missing; prepare .* again"):
        data.verify()


@pytest.mark.parametrize("name", ["n" * 5_000, "a\0b", "../outside", "/etc/hostname", "loop"])
def test_a_checkpoint_that_names_no_file_of_its_own_is_damaged(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    folder.mkdir()
    (folder / "loop").symlink_to("loop")
    written(folder / "manifest.json", json.dumps({"step": 1, "sha256": {name: "0"}}, indent=1))
    with soon_and_small(), pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_pipes_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    folder.mkdir()
    written(folder / "manifest.json", json.dumps({"step": 1, "sha256": {"state.json": "0"}}, indent=1))
    os.mkfifo(folder / "state.json")
    with soon_and_small(), pytest.raises(CheckpointError, match=r"state\.json is missing or no file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("line", ["[1]", "1", '{"loss": 1}', '{"step": "1"}', "{" * DEEP, "\0"])
def test_a_damaged_line_of_the_log_is_named(line: str, tmp_path: Path) -> None:
    whole = '{"step": 1}'
    file = written(tmp_path / "metrics.jsonl", f"{whole}\n{line}\n{whole}\n")
    with pytest.raises(CheckpointError, match=r"metrics.jsonl line 2 is damaged .*; remove that line"):
        read_metrics(file)
    assert read_metrics(written(file, f"{whole}\n{line}")) == [{"step": 1}], "a kill cuts off the last line"


@pytest.mark.parametrize(
    "shards",
    [
        [{}],
        [None],
        [{"path": "../x", "split": "train", "sha256": "", "num_documents": 1, "num_characters": 1}],
    ],
)
def test_a_damaged_list_of_shards_is_refused(shards: list[object], tmp_path: Path) -> None:
    data = {"digests": {}, "num_documents": {}, "num_characters": 0, "shards": shards}
    with pytest.raises(DataError, match="prepare again"):
        Documents.from_dict(data, tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train.jsonl is damaged"):
        list(read_shard(written(tmp_path / "train.jsonl", '"a"\n"b')))


@pytest.mark.parametrize(
    "changes",
    [{"seeds": 3}, {"seeds": []}, {"differences": [{}]}, {"name": None, "baseline": None, "variants": 7},
     {"variants": {"../../x": {}}}],
)  # fmt: skip
def test_a_damaged_folder_of_an_ablation_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    written(tmp_path / "recipes" / "a-0.yaml", MINIMAL)
    whole = {"name": "c", "seeds": [0], "baseline": "a", "variants": {"a": {}}, "differences": []}
    written(tmp_path / "ablation.json", json.dumps(whole))
    assert find_ablation(tmp_path).seeds == (0,)
    written(tmp_path / "ablation.json", json.dumps({**whole, **changes}))
    with pytest.raises(UserError):
        find_ablation(tmp_path)


@pytest.mark.parametrize(
    "kind", [["a"], 7, None, ":", ":x", ".a:b", "os:system", "os:path", "json:JSONDecoder", "x:y"]
)
def test_kinds_that_are_no_component_are_refused(kind: object) -> None:
    with pytest.raises(RecipeError, match=r"kind|no schedule"):
        component_class(kind, SCHEDULES, section="schedule")  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["linear", {"kind": "polynomial"}, {"kind": "polynomial", "power": "x"}])
def test_components_that_cannot_be_built_say_why(spec: object) -> None:
    with pytest.raises(RecipeError, match="schedule"):
        build(spec, {**SCHEDULES, "polynomial": _NeedsPower}, section="schedule")  # type: ignore[arg-type,dict-item]


class _NeedsPower:
    def __init__(self, power: int) -> None:
        self.power = power


def test_every_corruption_refuses_a_number_that_is_none() -> None:
    for kind in CORRUPTIONS:
        with pytest.raises(RecipeError):
            build({"kind": kind, "schedule": "\ud800"}, CORRUPTIONS, section="corruption", mask_id="\0")


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (lambda line: list(parse_brackets([line], where="here")), "\\" * DEEP),
        (lambda line: unescape(line), "-U" * DEEP),
        (lambda line: unescape(line), "-L" * DEEP + "\\"),
        (lambda line: Pattern.parse(line, Tokenizer.train(["a"], "words")), "[1" * DEEP),
        (lambda line: Pattern.parse(line, Tokenizer.train(["a"], "words")), "[" + "1" * DEEP + "-"),
        (lambda line: parse_yaml(line, where="here"), "1_" * DEEP + "x"),
        (lambda line: parse_yaml(line, where="here"), "1" * DEEP + ":"),
        (lambda line: parse_yaml(line, where="here"), "a " * DEEP + ":"),
        (lambda line: parse_yaml(line, where="here"), "0." + "0" * DEEP + "e"),
        (lambda line: parse_yaml(line, where="here"), "{a: '" + "''" * DEEP),
    ],
)
def test_no_line_makes_a_pattern_of_a_reader_go_back_and_forth(
    read: Callable[[str], object], line: str
) -> None:
    """Regular expressions that match in more than one way take time that doubles with every character."""
    with soon_and_small(), suppress(UserError):
        read(line)
