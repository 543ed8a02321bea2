"""Rows of prompts."""

from __future__ import annotations

from typing import Any

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def user(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


def answered(*contents: str) -> list[dict[str, Any]]:
    return [user(text, ("user", "assistant")[place % 2]) for place, text in enumerate(contents)]
