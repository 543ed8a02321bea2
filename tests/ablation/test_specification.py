"""An ablation file: resolved, checked and planned before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ablation_files import ABLATION, write

from hdiff.ablation import load_ablation
from hdiff.ablation.checks import check_ablation
from hdiff.ablation.runs import run_ablation
from hdiff.cli import run as hdiff
from hdiff.errors import DataError, RecipeError
from hdiff.recipe import load_recipe


def test_every_variant_is_resolved_with_every_seed(tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path))
    assert [run.name for run in ablation.runs] == ["tokens-0", "spans-0", "tokens-1", "spans-1"]
    for run in ablation.runs:
        assert run.path == tmp_path / "out" / run.name
        assert (run.recipe.seed, run.recipe.resume, run.recipe.train.steps) == (run.seed, "auto", 8)
    assert ablation.changes("spans")["corruption.kind"] == "span_masking"
    assert ablation.changes("tokens") == {}


def test_the_judge_takes_from_set_what_judges_have(tmp_path: Path) -> None:
    text = ABLATION.replace("train.steps: 8", "train.steps: 8, model.width: 32, head: {{kind: crf}}")
    judge = load_ablation(write(tmp_path, text)).judge
    assert judge is not None
    assert judge.recipe.train.steps == 8
    assert (judge.recipe.model.width, judge.recipe.model.depth) == (16, 2)
    assert judge.recipe.head == {"kind": "product"}
    assert judge.name == "judge-0"


def test_overrides_reach_every_run_and_the_file_itself(tmp_path: Path) -> None:
    overrides = ["data.path=elsewhere", "train.steps=5", "seeds=[3]", f"output={tmp_path / 'other'}"]
    ablation = load_ablation(write(tmp_path), overrides)
    assert ablation.seeds == (3,)
    assert ablation.judge is not None
    for run in ablation.all_runs:
        assert run.path == tmp_path / "other" / run.name
        assert (run.recipe.data.path, run.recipe.train.steps) == ("elsewhere", 5)


SHARED = [
    ("evaluation: {steps: [1], samples: 4}", "evaluation.sampler: {kind: ancestral, order: spaced}"),
    ("evaluation: {steps: [1], samples: 4}", "evaluation.samples: 2"),
    ("train: {steps: 8, batch_size: 4}", "train.batch_size: 2"),
    ("data: {path: data, sequence_length: 24}", "data.sequence_length: 32"),
    ("model: {width: 16, depth: 1, num_heads: 2}", "model.depth: 2"),
    ("head: &h {kind: crf, rank: 4}, type_head: *h", "head.rank: 2"),
    ("head: &h {kind: crf, rank: 4}, type_head: *h", "type_head.rank: 2"),
    ("head: {kind: mixture, num_components: 4}", "head.num_components: 2"),
    ("planner: {level: phrase}", "planner.level: word"),
    ("corruption: {kind: rate_matched, order: keyword_last}", "corruption.ratio: 2.0"),
]


@pytest.mark.parametrize(("everywhere", "own"), SHARED)
def test_a_patch_of_one_variant_reaches_no_other_and_no_other_section(
    tmp_path: Path, everywhere: str, own: str
) -> None:
    file = tmp_path / "shared.yaml"
    (tmp_path / "base.yaml").write_text("name: base\noutput: out\ndata: {path: data}\n")
    file.write_text(
        f"name: shared\nbase: base.yaml\noutput: out\nseeds: [0]\nset: {{{everywhere}}}\nbaseline: plain\n"
        f"variants: {{plain: {{train.log_every: 3}}, own: {{{own}}}, last: {{train.log_every: 4}}}}\n"
    )
    ablation = load_ablation(file)
    assert list(ablation.changes("last")) == ["train.log_every"]
    key = own.partition(":")[0]
    changed = set(ablation.changes("own")) - {"train.log_every"}
    assert changed
    assert all(each == key or each.startswith(f"{key}.") for each in changed)


def test_an_override_reaches_no_other_section_with_the_same_anchor(tmp_path: Path) -> None:
    file = tmp_path / "anchors.yaml"
    file.write_text(
        "name: a\noutput: out\ndata: {path: data}\nhead: &h {kind: crf, rank: 4}\ntype_head: *h\n"
    )
    recipe = load_recipe(file, ["type_head.rank=2"])
    assert (recipe.head["rank"], recipe.type_head["rank"]) == (4, 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", r"'train.steps' is not an override; write key=value"),
        ("train.stpes=3", r"no key 'stpes' in train; did you mean 'steps'"),
        ("seeds=[]", r"seeds is empty"),
    ],
)
def test_wrong_overrides_are_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_ablation(write(tmp_path), [override])


def test_patches_keep_numbers_with_exponents_and_nested_values(tmp_path: Path) -> None:
    text = ABLATION.replace(
        "spans: {{}}", "spans: {{train.learning_rate: 3e-4, corruption.lengths: {{4: 1.0}}}}"
    )
    recipe = load_ablation(write(tmp_path, text)).variants["spans"]
    assert recipe.train.learning_rate == 3e-4
    assert recipe.corruption["lengths"] == {"4": 1.0}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "baseline:",
            "baselin: x\nbaseline:",
            r"no key 'baselin' in the ablation; did you mean 'baseline'\?",
        ),
        (
            "judge: {{recipe",
            "judge: {{recipes: a, recipe",
            r"no key 'recipes' in judge; did you mean 'recipe'",
        ),
        ("train.steps: 8", "train.stpes: 6", r"no key 'stpes' in train; did you mean 'steps'\?"),
        ("spans: {{}}", "spans: {{model.widht: 8}}", r"variant 'spans' .*did you mean 'width'"),
        ("spans: {{}}", "spans: {{model.width: wide}}", "model.width is 'wide'"),
        ("spans: {{}}", "spans: {{seed: 3}}", "variant 'spans' .* patches 'seed'; the ablation sets it"),
        ("spans: {{}}", "spans: {{a=b: 3}}", "write a dotted key"),
        ("spans: {{}}", "spans:", "variants.spans is null"),
        ("spans: {{}}", "spans: {{}}\n  more: {{}}", "'spans' and 'more' resolve to the same recipe"),
        ("spans: {{}}", "../spans: {{}}", r"variant '../spans' names a folder"),
        ("spans: {{}}", "Tokens: {{}}", "differ in more than case"),
        ("spans: {{}}", "judge: {{}}", "'judge' is taken"),
        (
            "baseline: tokens",
            "baseline: token",
            r"baseline is 'token', which is no variant; did you mean 'tok",
        ),
        ("baseline: tokens", "baseline: tokens\ncontrol_of: {{spans: word}}", r"control_of.spans is 'word'"),
        ("baseline: tokens", "baseline: tokens\ncontrol_of: {{spans: spans}}", "its own control"),
        ("seeds: [0, 1]", "seeds: []", "seeds is empty; give at least one"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "give each once"),
        ("seeds: [0, 1]", "seeds: [-1]", "greater than or equal to 0"),
        ("base: base.yaml", "base: none.yaml", r"base of .*no recipe .*none.yaml; give a .yaml file"),
        ("recipe: judge.yaml", "recipe: base.yaml", "a judge is autoregressive"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert ABLATION.count(old) == 1
    with pytest.raises(RecipeError, match=message):
        load_ablation(write(tmp_path, ABLATION.replace(old, new)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("patch", "error", "message"),
    [
        ("corruption.segmentatoin: random", RecipeError, "'spans' .*did you mean 'segmentation'"),
        ("head: {{kind: produkt}}", RecipeError, "did you mean 'product'"),
        ("evaluation.sampler: {{kind: planed}}", RecipeError, "did you mean 'planned'"),
        ("corruption.level: sentence", DataError, "--levels sentence"),
        (
            "data.path: data/none",
            DataError,
            "data/none does not exist .*hdiff prepare SOURCE --out data/none",
        ),
    ],
)
def test_components_and_data_are_tried_before_anything_is_trained(
    tmp_path: Path, prepared_folder: Path, patch: str, error: type[Exception], message: str
) -> None:
    file = write(tmp_path, ABLATION.replace("spans: {{}}", f"spans: {{{{{patch}}}}}"), data=prepared_folder)
    with pytest.raises(error, match=message):
        check_ablation(load_ablation(file))


def test_variants_that_differ_in_a_spelled_out_default_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = ABLATION.replace("spans: {{}}", "spans: {{}}\n  more: {{corruption.parsed_fraction: 0.5}}")
    with pytest.raises(
        RecipeError, match=r"'spans' and 'more' are the same, as corruption.parsed_fraction only says"
    ):
        check_ablation(load_ablation(write(tmp_path, same)), data="unread")
    assert hdiff(["ablate", str(write(tmp_path, same)), "--plan"]) == 2
    assert "change a key in one of them or remove it" in capsys.readouterr().err
    other = same.replace("parsed_fraction: 0.5", "parsed_fraction: 0.25")
    check_ablation(load_ablation(write(tmp_path, other)), data="unread")


def test_plan_prints_what_differs_and_trains_nothing(
    tmp_path: Path, prepared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, ABLATION.replace("spans: {{}}", "deep: {{model.depth: 2}}"), data=prepared_folder)
    assert hdiff(["ablate", str(file), "--plan", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in planned["runs"]] == ["judge-0", "tokens-0", "deep-0", "tokens-1", "deep-1"]
    assert planned["variants"]["deep"]["changes"]["model.depth"] == 2
    assert planned["variants"]["deep"]["not_matched"][0].startswith("non-embedding parameters +")
    assert planned["variants"]["tokens"]["not_matched"] == []
    assert not (tmp_path / "out").exists()
    assert hdiff(["ablate", str(write(tmp_path)), "--plan"]) == 0
    said = capsys.readouterr()
    assert "5 of 5 runs to do" in said.out
    assert "hdiff prepare SOURCE --out data/none" in said.err


def test_a_missing_file_number_of_jobs_or_launcher_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hdiff(["ablate", str(tmp_path / "none.yaml")]) == 2
    assert "recipes/ablations/ are a start" in capsys.readouterr().err
    assert hdiff(["ablate", str(write(tmp_path)), "--table"]) == 2
    assert "train them: hdiff ablate" in capsys.readouterr().err
    ablation = load_ablation(write(tmp_path))
    with pytest.raises(RecipeError, match="at least 1"):
        run_ablation(ablation, jobs=0)
    with pytest.raises(
        RecipeError, match=r"'no-such-command --fast' is not installed; leave it out, or run: pip"
    ):
        run_ablation(ablation, launcher="no-such-command --fast")
