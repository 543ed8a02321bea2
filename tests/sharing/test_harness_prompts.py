"""Chats in lm-evaluation-harness: messages are written as the model was trained to read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hdiff.cli import run as hdiff
from hdiff.data.prepare.run import prepare
from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.tokenizer import Tokenizer

pytest.importorskip("lm_eval", reason="the harness is not installed; pip install '.[harness]'")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RECIPE = """
name: chat
output: {out}
data: {{path: {data}, sequence_length: 64}}
model: {{width: 16, depth: 1, num_heads: 2}}
length_head: {{}}
train: {{steps: 2, batch_size: 4, warmup_steps: 1, ema_decay: 0, trackers: []}}
"""


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of chats, exported."""
    folder = tmp_path_factory.mktemp("chat")
    tokenizer = Tokenizer.train(["user assistant who sleeps the dog"], "train:300")
    tokenizer.backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer = Tokenizer.of(tokenizer.backend)
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")
    named = {"chat_template": CHATML, "eos_token": "<|im_end|>"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(named))
    rows = [
        {"messages": [{"role": "user", "content": f"who {n}?"}, {"role": "assistant", "content": "the dog"}]}
        for n in range(24)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    form = PromptFormat.of("chat", tokenizer=str(folder / "tokenizer"))
    prepare(
        str(folder / "rows.jsonl"),
        folder / "data",
        text_column=form,
        parser="plain",
        levels=[],
        tokenizer=str(folder / "tokenizer"),
        validation_fraction=0.3,
    )
    (folder / "recipe.yaml").write_text(RECIPE.format(out=folder / "run", data=folder / "data"))
    assert hdiff(["train", str(folder / "recipe.yaml"), "-q"]) == 0
    assert hdiff(["export", str(folder / "run"), str(folder / "shared"), "--license", "apache-2.0"]) == 0
    return folder / "shared"


def tasks(folder: Path) -> Path:
    (folder / "asked.jsonl").write_text('{"q": "who 1?"}\n{"q": "who 2?"}\n')
    task = {
        "task": "local_chat",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": str(folder / "asked.jsonl")},
        "test_split": "train",
        "output_type": "generate_until",
        "doc_to_text": "{{q}}",
        "doc_to_target": "",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "bypass"}],
    }
    (folder / "local_chat.yaml").write_text(json.dumps(task))
    return folder


def test_a_chat_template_writes_requests_and_answers_have_their_own_length(
    chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    import hdiff.harness  # noqa: F401  (registers the model)

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    found: dict[str, Any] = simple_evaluate(
        model="hdiff",
        model_args={"run": str(chat), "draws": 1},
        tasks=["local_chat"],
        task_manager=TaskManager(include_path=str(tasks(tmp_path)), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
        apply_chat_template=True,
    )
    for sample in found["samples"]["local_chat"]:
        context = sample["arguments"][0][0]
        assert context.startswith("<|im_start|>user\nwho ")
        assert context.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_the_model_writes_messages_as_its_template_says(chat: Path) -> None:
    from hdiff.harness import HdiffLM

    model = HdiffLM(run=str(chat))
    asked = [{"role": "user", "content": "who 1?"}]
    text = model.apply_chat_template(asked)
    assert text == "<|im_start|>user\nwho 1?<|im_end|>\n<|im_start|>assistant\n"
    answering = {"role": "assistant", "content": "the"}
    begun = model.apply_chat_template([*asked, answering], add_generation_prompt=False)
    assert begun == f"{text}the"
    assert model.chat_template(True) == CHATML
    assert model.chat_template(False) is None
    assert model.tokenizer_name
    start = model.pretrained.tokenizer.backend.token_to_id("<|im_start|>")
    assert model._writer().answering.encode(text).count(start) == 2  # type: ignore[union-attr]
