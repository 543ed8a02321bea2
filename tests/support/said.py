"""What a command prints."""

from __future__ import annotations

import pytest

from hdiff.cli import run as hdiff


def said(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = hdiff(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
