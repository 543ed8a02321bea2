"""What the page asks and the server answers, for a run of masked spans that was trained for real."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from serve.conftest import SENTENCE, ask, hidden_at, refusal

from hdiff.control.request import Request
from hdiff.control.samples import controlled_samples
from hdiff.data.packing import PackedBlocks
from hdiff.runs.folder import RunFolder
from hdiff.serve.requests import MOST_BYTES, MOST_CHARACTERS, MOST_SAMPLES, MOST_STEPS
from hdiff.serve.sentence import Sentence
from hdiff.serve.served_run import ServedRun


def test_tokens_join_to_the_sentence_and_stand_in_spans(client):
    found = ask(client, "corrupt", text=SENTENCE)
    assert "".join(token["text"] for token in found["tokens"]) == SENTENCE
    phrases = [span for span in found["spans"] if span["level"] == "phrase"]
    texts = ["".join(t["text"] for t in found["tokens"][s["start"] : s["end"]]) for s in phrases]
    assert " the warm kitchen" in texts
    assert found["groups"]["sentence"] == [0] * len(found["tokens"])


def test_states_are_nested_and_end_fully_masked(client):
    for seed in range(4):
        found = ask(client, "corrupt", text=SENTENCE, seed=seed)
        states = [hidden_at(found, number) for number in range(found["num_times"] + 1)]
        assert states[0] == set()
        assert states[-1] == set(range(len(found["tokens"])))
        assert all(before <= after for before, after in pairwise(states))


@pytest.mark.parametrize("units", ["outermost", "innermost", "cut", ("NP", "PP")], ids=str)
def test_the_batch_of_a_sentence_is_the_row_it_would_be_in_training(served, units):
    run = ServedRun.load(served)
    assert run.prepared is not None
    data = run.recipe.data.model_copy(update={"sequence_length": 4096, "units": units, "units_seed": 5})
    recipe = run.recipe.model_copy(update={"data": data})
    run = replace(run, folder=replace(run.folder, recipe=recipe))
    levels = ("clause", "phrase", "word")
    packed = PackedBlocks.build(
        run.prepared,
        "train",
        sequence_length=4096,
        levels=levels,
        max_unit_tokens=data.max_unit_tokens,
        units=units,
        units_seed=5,
    )
    row = run.prepared.split("train")[0]
    place = slice(0, len(row["input_ids"]))
    sentence = Sentence.of(row["text"], run)
    assert list(sentence.ids) == row["input_ids"]
    batch = sentence.batch(run)
    assert torch.allclose(batch.salience[0], torch.from_numpy(packed.salience[place]))
    for level in levels:
        begins = batch.unit_ids[level][0].diff().tolist()
        assert begins == packed.unit_starts[level][place][1:].astype(int).tolist()
    # A run knows the numbers of the labels that it was trained with.
    known = run.folder.record["data"]["labels"]
    assert "phrase" in known
    for level in known:
        assert batch.labels[level][0].tolist() == packed.labels[level][place].tolist()


def test_units_are_masked_whole(client):
    found = ask(client, "corrupt", text=SENTENCE, seed=3)
    for number in range(1, 101):
        hidden = hidden_at(found, number)
        units = {found["tokens"][place]["unit"] for place in hidden}
        assert hidden == {i for i, token in enumerate(found["tokens"]) if token["unit"] in units}


def test_a_seed_gives_one_order_of_hiding(client):
    first, same, other = (ask(client, "corrupt", text=SENTENCE, seed=seed)["tokens"] for seed in (5, 5, 6))
    assert first == same
    assert first != other


@pytest.mark.parametrize("seed", range(12))
def test_a_restored_sentence_keeps_what_the_state_shows(client, seed):
    shown = ask(client, "corrupt", text=SENTENCE, seed=seed)
    found = ask(client, "restore", text=SENTENCE, t=0.5, seed=seed, samples=2)
    given = {place for place, piece in enumerate(found["samples"][0]["pieces"]) if piece["given"]}
    assert given == set(range(len(shown["tokens"]))) - hidden_at(shown, 50)
    assert given
    for sample in found["samples"]:
        for place in given:
            assert sample["pieces"][place]["states"] == [[0, shown["tokens"][place]["text"]]]
        assert sample["score"] > 0


@pytest.mark.parametrize("seed", range(12))
def test_a_sentence_is_hidden_and_restored_in_several_units(client, seed):
    found = ask(client, "corrupt", text=SENTENCE, seed=seed)
    assert len({token["unit"] for token in found["tokens"]}) >= 4
    restored = ask(client, "restore", text=SENTENCE, t=1, seed=seed)
    assert restored["num_steps"] >= 4


def test_a_fresh_text_is_that_of_hdiff_sample(client, served):
    found = ask(client, "restore", length=12, steps=4, samples=2, seed=7)
    record = controlled_samples(
        RunFolder.load(served), Request(length=12), num_samples=2, num_steps=4, seed=7
    )
    assert [sample["text"] for sample in found["samples"]] == [sample["text"] for sample in record["samples"]]
    assert found["nfe"] == record["nfe"]
    assert found["seconds"] > 0


def test_every_step_fills_something_and_the_last_completes_the_text(client):
    found = ask(client, "restore", length=16, steps=4)
    states = [piece["states"] for piece in found["samples"][0]["pieces"]]
    assert {state[0][1] for state in states} == {None}
    assert {state[1][0] for state in states} == set(range(1, found["num_steps"] + 1))
    assert "".join(state[-1][1] for state in states) == found["samples"][0]["text"]


def test_infilling_keeps_the_given_words(client):
    found = ask(client, "control", kind="infill", text="The list [3] is returned", samples=2)
    for sample in found["samples"]:
        assert sample["text"].startswith("The list")
        assert sample["text"].endswith(" is returned")
        assert sum(not piece["given"] for piece in sample["pieces"]) == 3


def test_a_sentence_that_leaves_no_room_for_its_two_ends_is_refused(client):
    """Masked units are filled between two ends of text, which are tokens of the row too."""
    texts = {}
    for number in (60, 61, 62):
        text = " ".join(["the"] * number)
        texts[len(ask(client, "corrupt", text=text)["tokens"])] = text
    assert ask(client, "restore", text=texts[62], t=0.5)["samples"]
    sentence = refusal(client, "restore", text=texts[63], t=0.5)
    assert "up to 63 tokens and two ends, the model's rows 64; make it shorter" in sentence


def test_keywords_stand_in_their_order(client):
    text = ask(client, "control", kind="keywords", text="file, name", length=12, tries=2)["samples"][0][
        "text"
    ]
    assert 0 <= text.index("file") < text.index("name")


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        ("corrupt", {"text": "  "}, "no word"),
        ("corrupt", {"text": "word " * 100}, "the rows of this model 64"),
        ("corrupt", {"text": "a" * (MOST_CHARACTERS + 1)}, f"at most {MOST_CHARACTERS} characters"),
        ("corrupt", {}, "text: field required"),
        ("corrupt", {"text": "a", "seed": -1}, "seed: "),
        ("corrupt", {"text": "a", "sead": 1}, "sead: extra"),
        ("restore", {"text": SENTENCE, "t": 0.0}, "t: "),
        ("restore", {"text": SENTENCE, "t": 1.5}, "t: "),
        ("restore", {"length": 65}, "have 64"),
        ("restore", {"length": 8, "steps": MOST_STEPS + 1}, f"or equal to {MOST_STEPS}"),
        ("restore", {"length": 8, "steps": 9}, "at most 8 steps"),
        ("restore", {"length": 8, "samples": MOST_SAMPLES + 1}, f"or equal to {MOST_SAMPLES}"),
        ("restore", {"length": 8, "temperature": 0}, "temperature: "),
        ("control", {"kind": "infill", "text": "no gap"}, "has no gap"),
        ("control", {"kind": "infill", "text": "[1-64] [1-64]"}, "the model's rows 64"),
        ("control", {"kind": "keywords", "text": "file"}, "--length"),
        ("control", {"kind": "skeleton", "text": "NP:2"}, "generates labels before words"),
        ("control", {"kind": "poem", "text": "a"}, "kind: "),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_sentence(client, path, body, part):
    sentence = refusal(client, path, **body)
    assert part in sentence, sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 5000, b"\xff\xfe", b"null", b'{"text": NaN}'])
def test_what_is_no_request_is_refused(client, content):
    answer = client.post("/api/corrupt", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_large_body_is_refused_before_it_is_read_whole(client):
    sent = []

    def body():
        for _ in range(1000):
            sent.append(1)
            yield b" " * 1024

    answer = client.post("/api/corrupt", content=body(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert f"{MOST_BYTES:,}" in answer.json()["error"]


def test_odd_text_is_shown_as_it_is(client):
    text = "a<b>&\"' </script> naïve 🙂 日本"
    answer = client.post("/api/corrupt", json={"text": text})
    assert answer.headers["content-type"] == "application/json"
    assert "".join(token["text"] for token in answer.json()["tokens"]) == text


def test_an_exported_folder_answers_like_its_run(client, client_of, exported):
    other = client_of(exported)
    asked = {"text": SENTENCE, "t": 0.5, "seed": 1}
    texts = [ask(one, "restore", **asked)["samples"][0]["text"] for one in (client, other)]
    assert texts[0] == texts[1]
    page = other.get("/").text
    assert "not at hand" in page
    assert "Upper bound on -log p(x_0)" in page
    assert "builtin:pydoc" in page


def test_without_a_parser_there_are_tokens_alone_and_the_remedy(served, monkeypatch):
    import hdiff.parsers
    from hdiff.errors import ParserError
    from hdiff.serve.requests import CorruptRequest
    from hdiff.serve.states import corrupt_sentence

    def missing(spec, **options):
        raise ParserError(f"parser '{spec}' is not installed; pip install '.[spacy]'")

    monkeypatch.setattr(hdiff.parsers, "load_parser", missing)
    run = ServedRun.load(served)
    assert any("pip install '.[spacy]'" in note for note in run.notes)
    found = corrupt_sentence(CorruptRequest(text=SENTENCE), run)
    assert found["spans"] == []
    assert hidden_at(found, 100) == set(range(len(found["tokens"])))
    json.dumps(found)
