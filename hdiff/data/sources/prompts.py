"""PromptFormat: how rows of a table become prompts and answers. No torch.

A document with a prompt is one text, the prompt and the answer apart by a character that neither holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hdiff.data.sources.chat_template import ANSWERING, ChatTemplate, check_messages
from hdiff.data.sources.rejected import Row
from hdiff.errors import DataError

BORDER = "\x1e"
"""Stands between a prompt and its answer."""

NEXT = "\x1d"
"""Stands between the documents that one row gives."""

KINDS: tuple[str, ...] = ("columns", "chat")
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DEFAULTS = {"prompt": "{prompt}", "answer": "{answer}"}


class _MissingError(Exception):
    """A column that a template names and a row lacks."""


@dataclass(frozen=True)
class PromptFormat:
    """Where the prompt and the answer of a row are.

    Attributes:
        kind: `columns`: templates of columns; `chat`: `messages`, written by a chat template.
        prompt: Template of the prompt: text with `{column}`, `{column.key}`, `{{` for a brace.
        answer: Template of the answer.
        chat: The chat template; for `chat` only.
    """

    kind: Literal["columns", "chat"] = "columns"
    prompt: str = _DEFAULTS["prompt"]
    answer: str = _DEFAULTS["answer"]
    chat: ChatTemplate | None = None

    @classmethod
    def of(
        cls,
        kind: str,
        *,
        prompt: str | None = None,
        answer: str | None = None,
        tokenizer: str = "",
        chat_template: str | Path | None = None,
    ) -> PromptFormat:
        """What a user asks for.

        Args:
            kind: `columns` or `chat`.
            prompt: Template of the prompt; None is `{prompt}`.
            answer: Template of the answer; None is `{answer}`.
            tokenizer: Tokenizer of the data set; its chat template is taken.
            chat_template: A file with another one.

        Returns:
            The format.

        Raises:
            DataError: If the kind or a template is wrong, or no chat template is at hand.
        """
        if kind not in KINDS:
            raise DataError(f"prompts are '{kind}'; give one of", "--prompts columns", "--prompts chat")
        if kind == "columns":
            if chat_template is not None:
                raise DataError(
                    "--chat-template writes messages, and --prompts columns has none; use", "--prompts chat"
                )
            form = cls("columns", prompt or _DEFAULTS["prompt"], answer or _DEFAULTS["answer"])
            for template in (form.prompt, form.answer):
                _check_template(template)
            return form
        if prompt is not None or answer is not None:
            raise DataError(
                "--prompt-template and --answer-template are of columns, --prompts chat reads messages; use",
                "--prompts columns",
            )
        return cls("chat", chat=_chat(tokenizer, chat_template))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy; `from_dict` restores it."""
        if self.chat is None:
            return {"kind": self.kind, "prompt": self.prompt, "answer": self.answer}
        return {"kind": self.kind, "template": self.chat.text, "tokens": dict(self.chat.tokens)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PromptFormat:
        """Restores what `to_dict` gave."""
        try:
            if data["kind"] == "columns":
                return cls("columns", str(data["prompt"]), str(data["answer"]))
            return cls("chat", chat=ChatTemplate(str(data["template"]), dict(data["tokens"])))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the format of prompts is damaged ({error}); prepare the data again") from None

    @property
    def is_marked(self) -> bool:
        """Whether special tokens that are spelled in a prompt are meant as such."""
        return self.kind == "chat"

    def row(self, values: Any, place: str) -> Row:
        """The documents of a row, `NEXT` between them: of a chat one for each answer."""
        if not isinstance(values, Mapping):
            return Row("", place, "no object with columns; write objects")
        pairs: list[tuple[str, str]] = []
        try:
            pairs = list(self._pairs(values))
        except _MissingError as error:
            present = ", ".join(str(column) for column in values) or "none"
            return Row(
                "", place, f"no column '{error}', its columns are {present}; choose with --prompt-template"
            )
        except DataError as error:
            return Row("", place, str(error))
        for prompt, answer in pairs:
            if not prompt.strip():
                return Row("", place, "an empty prompt; write one, or drop the row")
            if not answer:
                return Row("", place, "an empty answer; write one, or drop the row")
            if any(mark in prompt + answer for mark in (BORDER, NEXT)):
                return Row("", place, "control characters U+001D or U+001E; remove them")
        return Row(NEXT.join(f"{prompt}{BORDER}{answer}" for prompt, answer in pairs), place)

    def prompt_of(self, values: Any) -> str:
        """The prompt of what is asked: a text, the message of a user, or a row with or without answer."""
        if isinstance(values, str):
            if not values.strip():
                raise DataError("the prompt is empty; write one")
            return self._chat_prompt([{"role": "user", "content": values}]) if self.chat else values.strip()
        try:
            if self.chat is None:
                return _filled(self.prompt, values).strip()
            if "messages" not in values and isinstance(values.get("prompt"), str):
                return self.prompt_of(values["prompt"])
            messages = _messages(values)
        except _MissingError as error:
            raise DataError(
                f"a prompt without column '{error}'; its columns are {', '.join(values)}"
            ) from None
        while messages and messages[-1]["role"] == ANSWERING:
            messages.pop()
        return self._chat_prompt(messages)

    def _pairs(self, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if self.chat is None:
            yield _filled(self.prompt, values).strip(), _filled(self.answer, values).strip()
            return
        messages = _messages(values)
        places = [place for place, message in enumerate(messages) if message["role"] == ANSWERING]
        if not places or places[-1] != len(messages) - 1:
            raise DataError(f"messages that do not end with the role {ANSWERING}; add the answer")
        for place in places:
            if place > 0:  # an answer to nothing has no prompt
                yield self._chat_prompt(messages[:place]), messages[place]["content"].strip()

    def _chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        assert self.chat is not None, "only chats have messages"
        if not messages:
            raise DataError("messages without one to answer; begin with the role user")
        return self.chat.prompt(messages)


def _chat(tokenizer: str, file: str | Path | None) -> ChatTemplate:
    """The template of a file, or that of the tokenizer, with the tokens that the tokenizer names."""
    own = ChatTemplate.of_tokenizer(tokenizer) if Path(tokenizer).exists() else None
    if file is not None:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the chat template {file}: {error}; check the path") from None
        return ChatTemplate(text, {} if own is None else own.tokens)
    if own is None:
        raise DataError(
            f"tokenizer '{tokenizer}' has no chat template; give the folder of one that has, or a template, "
            f"or columns:",
            "--tokenizer FOLDER",
            "--chat-template FILE",
            "--prompts columns",
        )
    return own


def halves(document: str) -> tuple[str, str]:
    """Prompt and answer of a document; the prompt of a text without one is empty."""
    prompt, _, answer = document.rpartition(BORDER)
    return prompt, answer


def _messages(values: Mapping[str, Any]) -> list[dict[str, str]]:
    if "messages" not in values:
        raise _MissingError("messages")
    messages = check_messages(values["messages"])
    if isinstance(messages, str):
        raise DataError(messages)
    return messages


def _check_template(template: str) -> None:
    names = [match[1] for match in _FIELD.finditer(template) if match[0] not in ("{{", "}}")]
    if not names or any(not name for name in names):
        raise DataError(
            f"'{template}' is no template; name a column in braces, as in 'Question: {{question}}', and "
            f"write {{{{ for a brace"
        )


def _filled(template: str, values: Any) -> str:
    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        part: Any = values
        for key in match[1].split("."):
            if not isinstance(part, Mapping) or part.get(key) is None:
                raise _MissingError(match[1])
            part = part[key]
        return _text(part)

    return _FIELD.sub(value, template)


def _text(value: Any) -> str:
    """A value as text: an object as `key: value; key: value`, a list with commas."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_text(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)
