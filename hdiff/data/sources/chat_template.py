"""ChatTemplate: the template by which a tokenizer writes messages as text. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hdiff.errors import DataError

ROLES: tuple[str, ...] = ("system", "developer", "user", "assistant", "tool")
ANSWERING = "assistant"
TEMPLATE_FILE = "chat_template.jinja"
_CONFIGURATION = "tokenizer_config.json"
_MAX_SHOWN = 200

Message = Mapping[str, str]


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template, as tokenizers of transformers have one.

    Attributes:
        text: The template, in Jinja.
        tokens: Special tokens that it may name, such as `bos_token`.
    """

    text: str
    tokens: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_tokenizer(cls, path: str | Path) -> ChatTemplate | None:
        """The template of a tokenizer's folder; None if it has none."""
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        values: dict[str, Any] = {}
        if (file := folder / _CONFIGURATION).is_file():
            try:
                values = json.loads(file.read_text(encoding="utf-8-sig"))
            except (OSError, ValueError) as error:
                raise DataError(f"cannot read {file}: {error}; put it right or remove it") from error
        text = values.get("chat_template")
        if isinstance(text, list):  # several templates by name
            text = {one.get("name"): one.get("template") for one in text}.get("default")
        if (file := folder / TEMPLATE_FILE).is_file():
            text = file.read_text(encoding="utf-8")
        if not isinstance(text, str):
            return None
        named = {key: _content(value) for key, value in values.items() if key.endswith("_token")}
        return cls(text, {key: value for key, value in named.items() if value is not None})

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text before an answer; the last of the messages asks for it."""
        from jinja2 import TemplateError

        try:
            return str(
                self._compiled.render(
                    messages=[dict(message) for message in messages],
                    add_generation_prompt=True,
                    **self.tokens,
                )
            )
        except (TemplateError, TypeError, ValueError, AttributeError, KeyError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(
                f"the chat template refuses messages of the roles {roles} ({str(error)[:_MAX_SHOWN]}); write "
                f"them in the order it expects, or give another --chat-template"
            ) from error

    @cached_property
    def _compiled(self) -> Any:
        from jinja2 import TemplateSyntaxError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # The environment of transformers; a template may come from a stranger's folder.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = _to_json
        try:
            return environment.from_string(self.text)
        except TemplateSyntaxError as error:
            raise DataError(
                f"the chat template is no Jinja template ({error.message}, line {error.lineno}); mend it"
            ) from error


def check_messages(messages: Any) -> list[dict[str, str]] | str:
    """Messages of a row, or what is wrong with them and what to do."""
    if not isinstance(messages, list) or not messages:
        return "no list of messages; write [{role: user, content: ...}, {role: assistant, content: ...}]"
    checked = []
    for message in messages:
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            return "a message without role and content; write {role: user, content: ...}"
        role, content = message["role"], message["content"]
        if role not in ROLES:
            return f"the role {role!r:.40}; roles are {', '.join(ROLES)}"
        if isinstance(content, list) and all(
            isinstance(part, Mapping) and "text" in part for part in content
        ):
            content = "".join(str(part["text"]) for part in content)
        if not isinstance(content, str):
            return "a content that is no text; write text, or drop the row"
        checked.append({"role": role, "content": content})
    return checked


def _content(value: Any) -> str | None:
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None


def _refuse(message: str) -> str:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **{k: v for k, v in options.items() if k == "indent"})
