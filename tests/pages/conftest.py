"""Small, made-up inputs for the page tests: shapes as real runs write them, numbers that mean nothing."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM
from browser import browse as open_page

PARTS = ("metrics", "eval", "samples", "exploration", "analysis", "diagnosis")
HOSTILE = "</script><script>alert(1)</script><!-- & \u2028 \u2029 \"quoted\" 'it' {{ 7*7 }} {% raw %}"


@pytest.fixture
def hostile():
    """A text that tries to break out of HTML, JSON and templates."""
    return HOSTILE


@pytest.fixture
def browse(tmp_path):
    """Opens a page in a real browser."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    return partial(open_page, folder=tmp_path)


@pytest.fixture
def make_exploration():
    return exploration


@pytest.fixture
def make_trajectory():
    return trajectory


@pytest.fixture
def make_analysis():
    return analysis


@pytest.fixture
def make_diagnosis():
    return diagnosis


@pytest.fixture
def make_run(tmp_path):
    def make(name: str = "run", **options: Any) -> Path:
        return write_run(tmp_path / name, **options)

    return make


def exploration(*, text_of_a_word: str = "nets") -> dict[str, Any]:
    texts = ["The", "old", "man", "mended", "his", text_of_a_word, "."]
    units = [0, 0, 0, 1, 2, 2, 3]
    times = [0.31, 0.31, 0.31, 0.87, 0.12, 0.12, 0.64]
    words = [
        {
            "text": t,
            "space_before": 0 < i < 6,
            "pos": "X",
            "salience": i / 7,
            "time": times[i],
            "unit": units[i],
        }
        for i, t in enumerate(texts)
    ]
    spans = [
        {"start": 0, "end": 7, "label": "S", "level": "sentence"},
        {"start": 0, "end": 3, "label": "NP", "level": "phrase"},
        {"start": 4, "end": 6, "label": "NP", "level": "phrase"},
    ]
    text = " ".join(texts[:-1]) + "."
    return {"title": text, "text": text, "level": "phrase", "words": words, "spans": spans}


def trajectory(*, text_of_a_piece: str = " mended") -> dict[str, Any]:
    pieces = [
        {"text": "The", "step": 2, "unit": 0, "level": "phrase"},
        {"text": " man", "step": 2, "unit": 0, "level": "phrase"},
        {"text": text_of_a_piece, "step": 1, "unit": 1, "level": "word"},
        {"text": " nets.\n", "step": 4, "unit": 2, "level": "token"},
    ]
    return {"title": "One sample", "num_steps": 4, "samples": [{"pieces": pieces}]}


def write_run(
    run: Path,
    *,
    conditional: bool = False,
    parts: tuple[str, ...] = PARTS,
) -> Path:
    """Writes a run folder with made-up numbers; `parts` says which of the optional files it gets."""
    run.mkdir(parents=True)
    _write(run / "run.json", _RUN)
    (run / "recipe.yaml").write_text("seed: 0\nmodel: {width: 128}\n", encoding="utf-8")
    if "metrics" in parts:
        lines: list[dict[str, float]] = [
            {"step": s, "loss": 4 + 4 * math.exp(-s / 300)} for s in range(1, 1201)
        ]
        lines += [{"step": 600, "validation_bound": 4.9}, {"step": 1200, "validation_bound": 4.5}]
        (run / "metrics.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
        )
    if "eval" in parts:
        _write(run / "eval.json", _evaluation(conditional))
    if "samples" in parts:
        sample = {"text": "The man mended nets.\n", "pieces": trajectory()["samples"][0]["pieces"]}
        _write(run / "samples.json", {"num_steps": 4, "seed": 3, "samples": [sample]})
    if "exploration" in parts:
        _write(run / "exploration.json", explorations())
    if "analysis" in parts:
        _write(run / "analysis.json", analysis())
    if "diagnosis" in parts:
        _write(run / "diagnosis.json", diagnosis())
    return run


def explorations() -> list[dict[str, Any]]:
    """Two sentences; the first by two units, one of them with types that stand in for hidden words."""
    typed = exploration()
    for word in typed["words"]:
        word["stages"] = [{"text": "NP", "level": "phrase", "time": min(1.0, word["time"] + 0.3)}]
    first = {"sentence": 0, "choice": "as this run is trained: tree_cascade"}
    second = exploration(text_of_a_word="socks")
    return [
        {**typed, **first},
        {**exploration(), "sentence": 0, "choice": "each phrase"},
        {**second, "sentence": 1, "choice": "each phrase"},
    ]


def analysis(*, label: str = "NP") -> dict[str, Any]:
    entry = {"mean": 4.71, "stderr": 0.083, "tokens": 1234}
    bins = [
        {"low": 0.0, "high": 0.1, "count": 812, "predicted": 0.042, "observed": 0.037, "stderr": 0.006},
        {"low": 0.7, "high": 0.8, "count": 9, "predicted": 0.743, "observed": 0.667, "stderr": None},
    ]
    calibration = {"bins": bins, "count": 821, "observed": 0.0439, "expected_error": 0.0058, "brier": 0.0413}
    return {
        "format": 1,
        "weights": None,
        "step": 1200,
        "data": "data/made-up",
        "seed": 0,
        "rows": 64,
        "tokens": 4096,
        "times": [0.25, 0.75],
        "predicted": "hidden tokens, given the visible ones",
        "conditional_on_structure": False,
        "loss": {
            "all": {"mean": 4.62, "stderr": 0.061, "tokens": 5120},
            "by_time": [{"t": 0.25, **entry}, {"t": 0.75, "mean": 5.13, "stderr": None, "tokens": 3886}],
            "groups": [
                {"name": "phrase: label", "rows": [
                    {"label": label, **entry},
                    {"label": "VP", "mean": 5.29, "stderr": 0.072, "tokens": 2001},
                ]},
                {"name": "salience", "rows": [{"label": "0.00 to 0.50", **entry}]},
            ],
        },
        "calibration": {
            "tokens": calibration, "spans": None, "boundary": calibration, "label": calibration,
            "planner_level": "phrase",
        },
    }  # fmt: skip


def diagnosis(*, text: str = "the old [ ][ ]") -> dict[str, Any]:
    pairs = {
        "count": 96, "total_correlation": 0.512, "stderr": 0.044, "excess_surprise": 0.731,
        "head_joint_recovers": None,
    }  # fmt: skip
    return {
        "model": "made-up",
        "seed": 0,
        "frequency_collapse": {
            "distance": [1, 2, 4, 8],
            "kl_to_unigram": [2.411, 1.213, 0.622, 0.351],
            "kl_stderr": [0.211, 0.113, 0.052, 0.031],
            "entropy": [4.131, 5.242, 5.863, 6.014],
            "unigram_entropy": 6.321,
            "top10_share": [0.312, 0.523, 0.714, 0.817],
            "prefixes": 32,
            "half_distance": 3,
        },
        "marginal_trap": {
            "pairs": pairs,
            "agreement": {"count": 40, "paradigms": {"pronoun_verb": {"disagreement_product": 0.467}}},
            "examples": [{"context": text, "product": "men mends", "chain": "man mends"}],
        },
    }


_RUN = {
    "name": "made-up",
    "created": "2031-02-03 10:11",
    "commit": "0123abc",
    "seed": 0,
    "versions": {"torch": "2.13.0"},
    "machine": {"cores": 2},
    "parameters": {"total": 1_412_000, "trunk": 801_000, "head": 99_000, "embedding": 512_000},
    "data": {
        "source": "builtin:pydoc",
        "parser": "spacy",
        "levels": ["sentence", "phrase"],
        "train_tokens": 84512,
    },
    "vocab_size": 4096,
    "steps": 1200,
    "tokens_seen": 3_072_000,
    "train_seconds": 287.2,
}


def _evaluation(conditional: bool) -> dict[str, Any]:
    steps = [1, 2, 4, 16]
    return {
        "bound": {
            "kind": "span NELBO",
            "nats_per_token": 4.41,
            "stderr": 0.021,
            "tokens": 20480,
            "conditional_on_structure": conditional,
            "uniform_nats_per_token": 8.318,
        },
        "t_step": {str(t): 4.43 + 1 / t for t in steps},
        "t_step_stderr": {str(t): 0.02 for t in steps},
        "quality": {
            str(t): {
                "judge_nll": 5.6 + 1 / t,
                "judge_nll_stderr": 0.02,
                "samples": 64,
                "unigram_entropy": 5.9,
                "distinct_2": 0.6,
                "seconds_per_sample": 0.01 * t,
                "nfe": t,
            }
            for t in steps
        },
        "sampler": {"kind": "ancestral"},
        "reference": {"samples": 64, "judge_nll": 4.36, "unigram_entropy": 6.1, "distinct_2": 0.72},
    }


def _write(file: Path, value: object) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")
