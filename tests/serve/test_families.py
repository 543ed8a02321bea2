"""Every family of corruption is served as far as it goes, and says where it does not go."""

from __future__ import annotations

import pytest
from serve.conftest import SENTENCE, ask, hidden_at, refusal

HIDING = ("cascade", "speeds", "learned", "classes")


@pytest.mark.parametrize("name", HIDING)
def test_families_of_masks_hide_more_and_more_and_write_texts(client_of, family, name):
    client = client_of(family(name))
    found = ask(client, "corrupt", text=SENTENCE)
    states = [hidden_at(found, number) for number in (0, 20, 50, 80, 100)]
    assert states[0] == set()
    assert states[-1] == set(range(len(found["tokens"])))
    assert sorted(states, key=len) == states
    drawn = ask(client, "restore", length=12, steps=8, samples=2)
    assert len(drawn["samples"]) == 2
    assert all(piece["states"][-1][1] is not None for piece in drawn["samples"][0]["pieces"])


def test_blocks_have_times_of_their_own_and_are_written_left_to_right(client_of, family):
    client = client_of(family("blocks"))
    found = ask(client, "corrupt", text=SENTENCE)
    states = [hidden_at(found, number) for number in (0, 20, 50, 80, 100)]
    assert sorted(states, key=len) == states
    assert any("blocks of 8 tokens" in note for note in found["notes"])
    pieces = ask(client, "restore", length=16, steps=8)["samples"][0]["pieces"]
    steps = [piece["states"][-1][0] for piece in pieces]
    assert max(steps[:8]) < min(steps[8:])


def test_a_cascade_shows_types_in_place_of_hidden_tokens_and_goes_on_from_them(client_of, family):
    client = client_of(family("cascade"))
    found = ask(client, "corrupt", text=SENTENCE)
    shown = {text for token in found["tokens"] for _, kind, text in token["states"] if kind == "typed"}
    labels = {span["label"] for span in found["spans"] if span["level"] == "word"}
    assert shown
    assert {text.strip("[·") for text in shown} & labels
    restored = ask(client, "restore", text=SENTENCE, t=0.5)
    given = {i for i, piece in enumerate(restored["samples"][0]["pieces"]) if piece["given"]}
    assert given == set(range(len(found["tokens"]))) - hidden_at(found, 50)


def test_a_cascade_follows_a_skeleton_and_refuses_gaps(client_of, family):
    client = client_of(family("cascade"))
    page = client.get("/").text
    assert "NOUN" in page
    assert ask(client, "control", kind="skeleton", text="DET NOUN VERB")["samples"][0]["pieces"]
    assert "masked units" in refusal(client, "control", kind="infill", text="a [2]")


def test_replaced_tokens_are_shown_and_every_step_is_kept(client_of, family):
    client = client_of(family("replaced"))
    found = ask(client, "corrupt", text=SENTENCE)
    kinds = {kind for token in found["tokens"] for _, kind, _ in token["states"]}
    assert kinds == {"replaced"}
    drawn = ask(client, "restore", length=10, steps=5)
    assert drawn["is_refined"]
    pieces = drawn["samples"][0]["pieces"]
    assert {piece["states"][0][0] for piece in pieces} == {0}
    assert drawn["num_steps"] <= drawn["nfe"] == 5
    assert "fresh text" in refusal(client, "restore", text=SENTENCE)


def test_gaussian_noise_has_no_units_and_says_so(client_of, family):
    client = client_of(family("gaussian"))
    found = ask(client, "corrupt", text=SENTENCE)
    assert not any(token["states"] for token in found["tokens"])
    assert found["signal"] == sorted(found["signal"], reverse=True)
    assert any("there are no units" in note for note in found["notes"])
    drawn = ask(client, "restore", length=10, steps=4)
    assert drawn["nfe"] == 4
    assert "masked units" in refusal(client, "control", kind="keywords", text="file", length=9)


def test_an_autoregressive_judge_shows_tree_and_salience_and_refuses_the_rest(client_of, family):
    client = client_of(family("judge"))
    found = ask(client, "corrupt", text=SENTENCE)
    assert found["corruption"] is None
    assert found["spans"]
    assert any("autoregressive" in note for note in found["notes"])
    assert "autoregressive" in refusal(client, "restore", length=8)
    assert "autoregressive" in refusal(client, "control", kind="infill", text="a [2]")
    assert "autoregressive" in client.get("/").text
