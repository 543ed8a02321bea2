"""The doctor: it tries things for real and never fails over something optional."""

import json
import sys
from dataclasses import asdict
from io import StringIO

import pytest
from rich.console import Console

from hdiff.doctor import Probe, diagnose, is_healthy, render


@pytest.fixture(scope="module")
def checks():
    return diagnose()


def test_everything_installed_here_works(checks):
    assert is_healthy(checks), [check for check in checks if check.status == "broken"]


def test_torch_and_its_attention_are_tried(checks):
    by_name = {check.name: check for check in checks}
    assert by_name["torch"].status == "ok"
    assert by_name["attention: torch"].detail == "agrees with the reference"
    assert "cuda" in by_name or "cuda:0" in by_name


def test_it_says_which_attention_is_chosen_and_why(checks):
    import torch

    from hdiff.layers.attention import select_backend

    detail = {check.name: check for check in checks}["attention"].detail
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert detail.startswith(f"{select_backend(torch.device(device))} is used: ")
    assert torch.cuda.is_available() or "the device is cpu" in detail


def test_every_parser_model_parses_a_sentence(checks):
    models = [check for check in checks if check.name.startswith("spacy model ")]
    if not models:
        pytest.skip("no spaCy model is installed")
    assert any("parsed a sentence" in check.detail for check in models)


def test_checks_have_unique_names_and_a_remedy_when_not_ok(checks):
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.remedy for check in checks if check.status in ("missing", "broken"))


def test_checks_are_json(checks):
    assert json.loads(json.dumps([asdict(check) for check in checks]))[0]["name"] == "python"


def test_a_missing_optional_package_is_no_error(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "nltk" else find(name, *rest)
    )
    from hdiff.doctor import _packages

    checks = {check.name: check for check in _packages()}
    assert checks["nltk"].status == "missing"
    assert "pip install 'nltk" in checks["nltk"].remedy
    assert is_healthy(list(checks.values()))


def test_a_package_that_fails_to_import_is_broken_and_says_why(tmp_path, monkeypatch):
    (tmp_path / "brokenpackage.py").write_text("raise OSError('libfoo.so: not found\\nmore')\n")
    monkeypatch.syspath_prepend(tmp_path)
    from hdiff.doctor import _try_import

    check = _try_import("brokenpackage", "reinstall it")
    sys.modules.pop("brokenpackage", None)
    assert check == Probe("brokenpackage", "broken", "OSError: libfoo.so: not found", "reinstall it")


def test_rendering_shows_brackets_and_remedies_as_they_are():
    out = StringIO()
    checks = [Probe("x [bold]", "missing", "not installed", "pip install '.[spacy]'")]
    render(checks, Console(file=out, width=100, no_color=True))
    assert "x [bold]" in out.getvalue()
    assert "pip install '.[spacy]'" in out.getvalue()
