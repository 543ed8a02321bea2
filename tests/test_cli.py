"""The command line on real text: the whole way, and JSON that others rely on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from said import said
from shared_models import CHECKOUT

from hdiff.cli import run as hdiff

TINY = [
    "model={width: 16, depth: 1, num_heads: 2}",
    "train={steps: 6, batch_size: 4, warmup_steps: 2}",
    "data.sequence_length=32",
    "evaluation={steps: [1, 4], blocks: 6, draws: 1, samples: 4}",
]
SPANS = ["head={kind: autoregressive, num_heads: 2}"]


@pytest.fixture(scope="module")
def runs(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart and its judge, cut down to seconds, by the commands a person types."""
    folder = tmp_path_factory.mktemp("runs")
    tiny = [*TINY, f"data.path={prepared_folder}"]
    recipes = CHECKOUT / "recipes"
    judge = ["model={kind: autoregressive, width: 16, depth: 1, num_heads: 2}"]
    quick = ["train", str(recipes / "quickstart.yaml"), *tiny, *SPANS, f"output={folder / 'quick'}", "-q"]
    assert hdiff(quick) == 0
    assert (
        hdiff(["train", str(recipes / "judge.yaml"), *tiny, *judge, f"output={folder / 'judge'}", "-q"]) == 0
    )
    return folder


def test_eval_prints_the_promised_object_and_nothing_else(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(runs / "quick"), "--steps", "1,2,4", "--judge", str(runs / "judge"), "--json"]
    code, out, _ = said(capsys, arguments)
    assert code == 0
    result = json.loads(out)
    assert set(result["bound"]) >= {"kind", "nats_per_token", "stderr", "tokens", "conditional_on_structure"}
    assert result["bound"]["conditional_on_structure"] is False
    assert list(result["t_step"]) == ["1", "2", "4"]
    for figures in result["quality"].values():
        statistics = {"unigram_entropy", "distinct_2", "repetition_4"}
        judged = {"samples", "judge_nll", "judge_nll_stderr"}
        assert set(figures) == {*judged, "seconds_per_sample", "nfe", "head_passes", *statistics}
        assert figures["judge_nll"] > 0
    assert [figures["nfe"] for figures in result["quality"].values()] == [1, 2, 4]
    # After 6 steps: initial weights are about half a nat above a uniform guess.
    assert result["bound"]["nats_per_token"] < result["bound"]["uniform_nats_per_token"] + 0.6
    assert json.loads((runs / "quick" / "eval.json").read_text()) == result


def test_eval_takes_any_sampler_and_writes_where_it_is_told(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (runs / "quick" / "eval.json").read_text()
    target = tmp_path / "confidence.json"
    sampler = "{kind: confidence, threshold: null}"
    arguments = ["eval", str(runs / "quick"), "--steps", "1,2", "--sampler", sampler, "--output", str(target)]
    code, out, _ = said(capsys, [*arguments, "-q"])
    assert code == 0
    assert "bound of exactly this sampler" in out
    result = json.loads(target.read_text())
    assert result["sampler"] == {"kind": "confidence", "threshold": None}
    assert set(result["t_step"]) == {"1", "2"}
    assert "total_correlation_nats_per_token" not in result  # these are not the units of the bound
    assert (runs / "quick" / "eval.json").read_text() == before
    code, out, _ = said(capsys, [*arguments[:4], "--sampler", "remasking", "--output", str(target), "-q"])
    assert code == 2  # two rounds need two steps
    code, out, _ = said(
        capsys,
        [*arguments[:3], "2", "--sampler", "remasking", "--output", str(target), "--outside-judges", "-q"],
    )
    assert code == 0
    assert "no likelihood bound" in out
    result = json.loads(target.read_text())
    assert result["t_step"] == {}
    assert result["quality"]["2"]["ngram_nll"] > 0
    assert "link_grammar_rate" in result["reference"]


def test_eval_scores_minimal_pairs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixture = Path(__file__).parent / "fixtures" / "blimp"
    for name in ("quick", "judge"):
        arguments = ["eval", str(runs / name), "--steps", "1", "--blimp", str(fixture), "--agreement"]
        arguments += ["--max-pairs", "2", "--output", str(tmp_path / "pairs.json"), "-q"]
        code, out, _ = said(capsys, arguments)
        assert code == 0
        assert "of minimal pairs right" in out
        found = json.loads((tmp_path / "pairs.json").read_text())["minimal_pairs"]
        assert set(found) == {"blimp", "agreement"}
        assert 0 <= found["blimp"]["accuracy"] <= 1
        assert ("exact" in found["blimp"]["likelihood"]) == (name == "judge")
    code, _, err = said(capsys, ["eval", str(runs / "quick"), "--blimp", str(tmp_path / "none"), "-q"])
    assert code == 2
    assert "none" in err


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("plannned", "did you mean 'planned'"),
        ("{kind: planned, oder: random}", "did you mean 'order'"),
        ("{kind: planned}", "no planner"),
        ("[planned]", "give a name or"),
    ],
)
def test_impossible_samplers_are_refused(
    sampler: str, message: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, ["eval", str(runs / "quick"), "--steps", "2", "--sampler", sampler, "-q"])
    assert code == 2
    assert message in err


def test_eval_without_a_judge_says_null(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, ["eval", str(runs / "quick"), "--steps", "2", "--json", "-q"])
    assert code == 0
    assert json.loads(out)["quality"]["2"]["judge_nll"] is None


def test_eval_given_structure_is_labelled_and_kept_apart(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(runs / "quick"), "--steps", "1", "--given-structure", "-q"]
    code, out, _ = said(capsys, arguments)
    assert code == 0
    assert "NOT comparable" in out
    assert json.loads((runs / "quick" / "eval_given_structure.json").read_text())["bound"][
        "conditional_on_structure"
    ]


def test_eval_of_a_judge_is_exact(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, ["eval", str(runs / "judge"), "--json", "-q"])
    assert code == 0
    assert json.loads(out)["bound"]["kind"] == "exact"


def test_same_seed_gives_the_same_figures(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", str(runs / "quick"), "--steps", "2", "--json", "-q"]
    first, second = (json.loads(said(capsys, arguments)[1]) for _ in range(2))
    assert first["bound"] == second["bound"]
    assert first["t_step"] == second["t_step"]
    assert first["quality"]["2"]["unigram_entropy"] == second["quality"]["2"]["unigram_entropy"]


def test_sample_is_seeded_and_draws_its_trajectory(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "trajectory.html"
    arguments = ["sample", str(runs / "quick"), "--num", "2", "--steps", "4", "--seed", "3"]
    code, first, _ = said(capsys, [*arguments, "--trajectory", str(page)])
    assert code == 0
    assert first.count("--- sample") == 2
    assert said(capsys, arguments)[1] == first
    assert "<svg" in page.read_text() or "<script" in page.read_text()
    record = json.loads((runs / "quick" / "samples.json").read_text())
    steps = [piece["step"] for piece in record["samples"][0]["pieces"]]
    assert min(steps) == 1
    assert max(steps) == 4
    assert {piece["level"] for piece in record["samples"][0]["pieces"]} <= {
        "word", "phrase", "clause", "sentence", "crossing",
    }  # fmt: skip


def test_report_is_one_offline_page(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, ["report", str(runs / "quick")])[0] == 0
    page = (runs / "quick" / "report.html").read_text()
    assert "span_masking" in page
    assert json.loads((runs / "quick" / "exploration.json").read_text()), "validation sentences were explored"


def test_run_options_out_of_range_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = str(runs / "quick")
    for arguments, expected in (
        (["eval", quick, "--steps", "1,x"], "whole numbers"),
        (["eval", quick, "--steps", "0"], "step counts are from 1"),
        (["sample", quick, "--steps", "0"], "at least 1 step"),
        (["sample", quick, "--num", "0"], "at least 1"),
        (["sample", quick, "--temperature", "0"], "temperature is 0"),
        (["sample", str(runs / "judge")], "autoregressive"),
        (["eval", quick, "--judge", quick], "judge"),
    ):
        code, _, err = said(capsys, arguments)
        assert code == 2, arguments
        assert expected in err


def test_another_tokenizer_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = str(tmp_path / "other")
    plain = ["--parser", "plain", "--levels", "sentence", "--tokenizer", "words", "--limit", "50", "-q"]
    assert hdiff(["prepare", "builtin:phrase_bank", "--out", other, *plain]) == 0
    code, _, err = said(capsys, ["eval", str(runs / "quick"), "--data", other])
    assert code == 2
    assert "another tokenizer" in err


def test_damaged_checkpoint_is_named(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(runs / "quick", broken)
    for part in broken.glob("checkpoints/*/ema.safetensors"):
        part.write_bytes(part.read_bytes()[:-7])
    code, _, err = said(capsys, ["sample", str(broken)])
    assert code == 2
    assert "does not match its hash" in err
