"""Analysis of a run: known answers of a uniform model, every family of corruptions, what belongs together."""

import json
import math
from dataclasses import replace

import pytest
import torch

from hdiff.analysis.run import analyse_run, is_current
from hdiff.analysis.states import TIMES
from hdiff.errors import DataError

MASKED = ("token", "planned", "cascade", "soft", "rates", "blocks")


def make_uniform(run):
    """The model of a run with an output layer of zeros: every token has probability 1 / V."""
    with torch.no_grad():
        run.model.head.embedding.weight.zero_()
        run.model.head.output_bias.zero_()
    return run


def entries(analysis):
    found = [entry for group in analysis["loss"]["groups"] for entry in group["rows"]]
    return [*found, *analysis["loss"]["by_time"], analysis["loss"]["all"]]


@pytest.mark.parametrize("kind", ["token", "planned", "rates", "blocks", "judge", "replaced"])
def test_a_uniform_model_has_log_v_for_every_label_length_salience_and_time(trained, kind):
    run = make_uniform(trained(kind))
    found = entries(analyse_run(run))
    assert len(found) > 30
    for entry in found:
        assert entry["mean"] == pytest.approx(math.log(run.tokenizer.vocab_size), rel=1e-5)
        assert entry["stderr"] is None or entry["stderr"] < 1e-4


@pytest.mark.parametrize("kind", MASKED)
def test_models_of_masked_text_have_losses_and_calibrated_tokens(trained, kind):
    analysis = analyse_run(trained(kind))
    json.dumps(analysis, allow_nan=False)
    loss, tokens = analysis["loss"], analysis["calibration"]["tokens"]
    assert sum(entry["tokens"] for entry in loss["by_time"]) == loss["all"]["tokens"] == tokens["count"]
    assert [entry["t"] for entry in loss["by_time"]] == [*TIMES]
    assert sum(each["count"] for each in tokens["bins"]) == tokens["count"]
    names = [group["name"] for group in loss["groups"]]
    assert {"phrase: label", "word: label", "phrase: length in tokens", "salience"} <= set(names)
    phrases = loss["groups"][names.index("phrase: label")]["rows"]
    assert {"NP", "VP"} <= {row["label"] for row in phrases}


def test_only_a_planner_predicts_borders_and_only_joint_heads_predict_spans(trained):
    planned, token = (analyse_run(trained(kind))["calibration"] for kind in ("planned", "token"))
    assert planned["planner_level"] == "phrase"
    assert planned["boundary"]["count"] > 100
    assert planned["label"]["count"] > planned["boundary"]["count"]  # first positions have labels, too
    assert planned["spans"]["count"] > 10
    assert [token[key] for key in ("spans", "boundary", "label", "planner_level")] == [None] * 4


def test_a_uniform_model_states_one_in_v_and_a_blind_planner_one_half(trained):
    run = make_uniform(trained("planned"))
    with torch.no_grad():
        run.model.planner.predict.weight.zero_()
        run.model.planner.predict.bias.zero_()
    found = analyse_run(run)["calibration"]
    vocabulary = run.tokenizer.vocab_size
    assert [each["predicted"] for each in found["tokens"]["bins"]] == [pytest.approx(1 / vocabulary)]
    assert [each["predicted"] for each in found["boundary"]["bins"]] == [pytest.approx(0.5)]
    assert found["boundary"]["brier"] == pytest.approx(0.25)
    labels = run.model.planner.num_labels
    assert [each["predicted"] for each in found["label"]["bins"]] == [pytest.approx(1 / labels)]


def test_noise_without_hidden_tokens_has_losses_and_no_calibration(trained):
    for kind, words in (("replaced", "replaced"), ("gaussian", "noisy")):
        analysis = analyse_run(trained(kind))
        assert words in analysis["predicted"]
        assert analysis["calibration"]["tokens"] is None
        assert analysis["loss"]["all"]["tokens"] == analysis["tokens"] * len(TIMES)


def test_an_autoregressive_model_is_analysed_without_times(trained):
    analysis = analyse_run(trained("judge"))
    assert analysis["times"] is None
    assert analysis["loss"]["all"]["tokens"] == analysis["tokens"]


def test_spans_of_a_joint_head_are_grouped_by_how_many_tokens_they_predict_together(trained):
    loss = analyse_run(trained("planned"))["loss"]
    together = next(group["rows"] for group in loss["groups"] if group["name"] == "tokens predicted together")
    assert sum(row["tokens"] for row in together) == loss["all"]["tokens"]
    assert {row["label"] for row in together} >= {"1", "2"}
    tokens = {group["name"] for group in analyse_run(trained("token"))["loss"]["groups"]}
    assert "tokens predicted together" not in tokens


def test_a_trained_model_finds_labels_differently_hard(trained):
    groups = {group["name"]: group["rows"] for group in analyse_run(trained("token"))["loss"]["groups"]}
    means = [row["mean"] for row in groups["word: label"]]
    assert max(means) - min(means) > 0.005


def test_the_same_seed_gives_the_same_figures(trained):
    run = trained("planned")
    assert analyse_run(run, seed=3) == analyse_run(run, seed=3)
    assert analyse_run(run, seed=4)["loss"]["all"] != analyse_run(run, seed=3)["loss"]["all"]


def test_an_analysis_belongs_to_its_weights_and_format(trained):
    analysis = analyse_run(trained("token"), weights="abc")
    assert is_current(analysis, "abc")
    assert not is_current(analysis, "abd")
    assert not is_current({**analysis, "format": 0}, "abc")
    assert not is_current(None, "abc")


def test_data_of_another_tokenizer_is_refused(trained, tmp_path):
    from hdiff.data.prepare.run import prepare

    prepare("builtin:phrase_bank", tmp_path / "other", limit=40, tokenizer="words", validation_fraction=0.3)
    run = trained("token")
    data = run.recipe.data.model_copy(update={"path": str(tmp_path / "other")})
    other = replace(run, recipe=run.recipe.model_copy(update={"data": data}))
    with pytest.raises(DataError, match="another tokenizer"):
        analyse_run(other)
