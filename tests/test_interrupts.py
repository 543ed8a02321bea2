"""An interrupt is told as one, whatever a library makes of it while files are closed."""

import io
from collections.abc import Callable

import pytest
import torch

from hdiff import cli
from hdiff.errors import CheckpointError


class Interrupted(io.BytesIO):
    """A file into which only so much is written before the user presses Ctrl-C."""

    def write(self, part: bytes) -> int:  # type: ignore[override]
        if self.tell() > 0:
            raise KeyboardInterrupt
        return super().write(part)


def save(is_zip: bool) -> None:
    torch.save({"weights": torch.zeros(10_000)}, Interrupted(), _use_new_zipfile_serialization=is_zip)


def translated() -> None:
    try:
        save(True)
    except RuntimeError as error:
        raise CheckpointError("the weights cannot be saved") from error


def translated_without_its_cause() -> None:
    try:
        save(True)
    except RuntimeError:
        raise CheckpointError("the weights cannot be saved") from None


def cleared_up_in_vain() -> None:
    try:
        raise KeyboardInterrupt
    finally:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    "stopped",
    [lambda: save(True), lambda: save(False), translated, translated_without_its_cause, cleared_up_in_vain],
    ids=["zip", "pickle", "translated", "translated without its cause", "cleared up in vain"],
)
def test_an_interrupt_that_a_library_hides_is_still_one(
    stopped: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", lambda **_: stopped())
    assert cli.run([]) == 130
    assert capsys.readouterr().err == "hdiff: interrupted\n"


def test_an_error_after_a_mended_one_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        try:
            {}["none"]
        except KeyError:
            raise CheckpointError("the weights are gone") from None

    monkeypatch.setattr(cli, "app", lambda **_: failing())
    assert cli.run([]) == 2
    assert capsys.readouterr().err == "hdiff: the weights are gone\n"
