"""Prompts and answers from tables and chats to rows, and what is refused on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prompt_rows import CHATML, answered, user

from hdiff.data.sources.chat_template import ChatTemplate
from hdiff.data.sources.prompts import BORDER, NEXT, PromptFormat, halves
from hdiff.errors import DataError

STRICT = (
    "{% for m in messages %}{% if m['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('no role ' + m['role']) }}{% endif %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    "[assistant]"
)
PAIRS: list[tuple[str, str, dict[str, Any], tuple[str, str]]] = [
    ("{prompt}", "{answer}", {"prompt": "Who?", "answer": "Me."}, ("Who?", "Me.")),
    ("{prompt}", "{answer}", {"prompt": " Who? ", "answer": "\nMe.\n"}, ("Who?", "Me.")),
    ("Q: {q}\nA:", "{a}", {"q": "1 + 1", "a": 2}, ("Q: 1 + 1\nA:", "2")),
    ("{{{q}}}", "{a}", {"q": "set", "a": "yes"}, ("{set}", "yes")),
    (
        "{mr}",
        "{text}",
        {"mr": {"name": "The Mill", "food": "Thai"}, "text": "x"},
        ("name: The Mill; food: Thai", "x"),
    ),
    ("{mr.name}", "{text}", {"mr": {"name": "The Mill"}, "text": "x"}, ("The Mill", "x")),
    ("{words}", "{text}", {"words": ["a", "b"], "text": "x"}, ("a, b", "x")),
    ("{q}", "{a}", {"q": True, "a": 1.5}, ("True", "1.5")),
    ("{mr}", "{text}", {"mr": {"name": "The Mill", "near": None}, "text": "x"}, ("name: The Mill", "x")),
    ("say {q} {q}", "{a}", {"q": "ho", "a": "ha"}, ("say ho ho", "ha")),
    ("{q} }} {{", "{a}", {"q": "ho", "a": "ha"}, ("ho } {", "ha")),
    ("Übersetze: {de}", "{en}", {"de": "Haus", "en": "house"}, ("Übersetze: Haus", "house")),
]


@pytest.mark.parametrize(("prompt", "answer", "values", "expected"), PAIRS)
def test_templates_of_columns_make_a_prompt_and_an_answer(
    prompt: str, answer: str, values: dict[str, Any], expected: tuple[str, str]
) -> None:
    form = PromptFormat.of("columns", prompt=prompt, answer=answer)
    assert halves(form.row(values, "line 1").text) == expected
    assert form.prompt_of(values) == expected[0]
    assert PromptFormat.from_dict(json.loads(json.dumps(form.to_dict()))) == form


REJECTED: list[tuple[str, Any, str]] = [
    ("columns", {"prompt": "Who?", "answer": ""}, "an empty answer"),
    ("columns", {"prompt": "Who?", "answer": "  \n"}, "an empty answer"),
    ("columns", {"prompt": "", "answer": "Me."}, "an empty prompt"),
    ("columns", {"prompt": "Who?"}, "no column 'answer', its columns are prompt"),
    (
        "columns",
        {"question": "Who?", "answer": "Me."},
        "no column 'prompt', its columns are question, answer",
    ),
    ("columns", {"prompt": None, "answer": "Me."}, "no column 'prompt'"),
    ("columns", ["Who?", "Me."], "no object"),
    ("columns", {"prompt": f"Who{BORDER}?", "answer": "Me."}, "control characters"),
    ("columns", {"prompt": "Who?", "answer": f"Me{NEXT}."}, "control characters"),
    ("chat", {"prompt": "Who?"}, "no column 'messages'"),
    ("chat", {"messages": []}, "no list of messages"),
    ("chat", {"messages": "Who?"}, "no list of messages"),
    ("chat", {"messages": [user("Who?")]}, "do not end with the role assistant"),
    ("chat", {"messages": [user("Me.", "robot")]}, "the role 'robot'; roles are system"),
    ("chat", {"messages": [{"from": "human", "value": "Who?"}]}, "a message without role and content"),
    ("chat", {"messages": [user(None), user("Me.", "assistant")]}, "a content that is no text"),
    (
        "chat",
        {"messages": [user([{"type": "image"}]), user("Me.", "assistant")]},
        "a content that is no text",
    ),
    ("chat", {"messages": [user("Who?"), user(" ", "assistant")]}, "an empty answer"),
    ("chat", {"messages": [*answered("Who?", "Me."), user("Why?")]}, "do not end with the role assistant"),
    (
        "strict",
        {"messages": [user("Be kind.", "system"), *answered("Who?", "Me.")]},
        "refuses messages of the roles",
    ),
]


def form_of(kind: str) -> PromptFormat:
    if kind == "columns":
        return PromptFormat()
    return PromptFormat("chat", chat=ChatTemplate(CHATML if kind == "chat" else STRICT))


@pytest.mark.parametrize(("kind", "values", "reason"), REJECTED)
def test_rows_without_prompt_or_answer_are_rejected_with_the_reason(
    kind: str, values: Any, reason: str
) -> None:
    row = form_of(kind).row(values, "line 1")
    assert row.text == ""
    assert row.reason is not None
    assert reason in row.reason


def test_a_chat_gives_a_document_for_each_answer() -> None:
    messages = [user("Be kind.", "system"), *answered("Who?", "Me.", "Why?", "So.")]
    documents = form_of("chat").row({"messages": messages}, "line 1").text.split(NEXT)
    begin = (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert halves(documents[0]) == (begin, "Me.")
    later = f"{begin}Me.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert halves(documents[1]) == (later, "So.")


@pytest.mark.parametrize(
    "asked",
    [
        "Who?",
        {"messages": [user("Who?")]},
        {"messages": answered("Who?", "Me.")},
        {"prompt": "Who?"},
        {"messages": [user([{"type": "text", "text": "Who?"}])]},
    ],
)
def test_what_is_asked_of_a_chat_model_ends_where_the_answer_begins(asked: Any) -> None:
    assert form_of("chat").prompt_of(asked) == "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        ("columns", "", "the prompt is empty"),
        ("columns", "  ", "the prompt is empty"),
        ("columns", {"q": "Who?"}, "without column 'prompt'"),
        ("chat", {"q": "Who?"}, "without column 'messages'"),
        ("chat", {"messages": [user("x", "robot")]}, "the role 'robot'"),
        ("chat", {"messages": [user("x", "assistant")]}, "without one to answer"),
        ("strict", {"messages": [user("x", "system")]}, "the chat template refuses"),
    ],
)
def test_what_cannot_be_asked_is_refused(kind: str, asked: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        form_of(kind).prompt_of(asked)


def test_the_template_of_a_tokenizer_is_found(tmp_path: Path) -> None:
    assert ChatTemplate.of_tokenizer(tmp_path) is None
    named = {
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
        "chat_template": "{{ bos_token }}{{ messages[0]['content'] }}",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    found = ChatTemplate.of_tokenizer(tmp_path)
    assert found is not None
    assert found.prompt([user("Who?")]) == "<s>Who?"
    several = [{"name": "tools", "template": "x"}, {"name": "default", "template": "{{ eos_token }}"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**named, "chat_template": several}))
    found = ChatTemplate.of_tokenizer(tmp_path / "tokenizer_config.json")
    assert found is not None
    assert found.prompt([user("Who?")]) == "</s>"
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    found = ChatTemplate.of_tokenizer(tmp_path)
    assert found is not None
    assert found.text == CHATML


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'].__class__.__mro__[1].__subclasses__() }}", "refuses"),
        ("{% for %}", "no Jinja template"),
        ("{{ messages[7]['content'] }}", "refuses"),
        ("{{ raise_exception('no') }}", "refuses messages of the roles user"),
        ("{{ messages.append(1) }}", "refuses"),
    ],
)
def test_templates_that_fail_or_reach_out_are_refused(template: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ChatTemplate(template).prompt([user("Who?")])
