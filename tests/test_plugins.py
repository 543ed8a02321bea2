"""Other packages offer components by name; what is broken says so when it is asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hdiff.cli import run as hdiff
from hdiff.components import build
from hdiff.corruption import CORRUPTIONS, TokenMasking
from hdiff.errors import CheckpointError, ParserError, RecipeError
from hdiff.heads import HEADS
from hdiff.parsers import load_parser, salience_class
from hdiff.parsers.plain import PlainParser
from hdiff.samplers import SAMPLERS
from hdiff.sharing.description import parse_description

SOURCE = '''
from hdiff.corruption import UnitMasking
from hdiff.heads import ProductHead
from hdiff.parsers.base import Parser
from hdiff.parsers.plain import PlainParser
from hdiff.parsers.salience_base import Salience
from hdiff.samplers import AncestralSampler

ProductHead, AncestralSampler = ProductHead, AncestralSampler


class PairMasking(UnitMasking):
    """Units are pairs of neighbouring tokens, or more."""

    def __init__(self, *, width: int = 2, mask_id: int | None = None) -> None:
        super().__init__(mask_id=mask_id)
        self.width = width

    def units(self, batch, *, generator=None):
        return batch.units("token") // self.width

    @property
    def conditional_on_structure(self):
        return False

    def unconditional(self):
        return self


class Lines(PlainParser):
    """A parser of a stranger."""


class Flat(Salience):
    """All words alike."""

    name = "flat"

    @classmethod
    def of(cls, statistics):
        return cls()

    def scores(self, tree):
        return (0.5,) * len(tree.words)

    def to_dict(self):
        return {}

    @classmethod
    def from_dict(cls, data):
        return cls()


class Misnamed(Flat):
    """Its name is not that of its entry point."""
'''


def install(folder: Path, distribution: str, module: str, points: str, source: str = SOURCE) -> None:
    """What pip leaves of a package: a module and its dist-info."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def stranger(site: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package with one component of each kind."""
    groups = {
        "corruptions": {"pairs": "PairMasking", "token_masking": "PairMasking", "wrong": "Lines"},
        "heads": {"alone": "ProductHead"},
        "samplers": {"theirs": "AncestralSampler"},
        "parsers": {"lines": "Lines"},
        "salience": {"flat": "Flat", "misnamed": "Misnamed"},
    }
    points = "".join(
        f"[hdiff.{group}]\n" + "".join(f"{name} = strangers_parts:{cls}\n" for name, cls in names.items())
        for group, names in groups.items()
    )
    install(site, "strangers-parts", "strangers_parts", points)
    monkeypatch.delitem(sys.modules, "strangers_parts", raising=False)
    return "strangers-parts"


@pytest.mark.usefixtures("stranger")
def test_each_family_finds_a_component_by_its_name() -> None:
    pairs = build({"kind": "pairs", "width": 3}, CORRUPTIONS, section="corruption", mask_id=9)
    assert type(pairs).__name__ == "PairMasking"
    assert pairs.width == 3
    assert build({"kind": "alone"}, HEADS, section="type_head", vocab_size=9, width=4).vocab_size == 9
    assert build({"kind": "theirs", "num_steps": 2}, SAMPLERS, section="sampler").num_steps == 2
    assert isinstance(load_parser("lines"), PlainParser)
    assert salience_class("flat").name == "flat"


@pytest.mark.usefixtures("stranger")
def test_a_recipe_names_it_and_the_run_is_trained_and_sampled(prepared_folder: Path, tmp_path: Path) -> None:
    from shared_models import CHECKOUT, TINY

    recipe = str(CHECKOUT / "recipes" / "e2e_control.yaml")
    own = [*TINY, f"data.path={prepared_folder}", f"output={tmp_path / 'run'}", "corruption={kind: pairs}"]
    assert hdiff(["train", recipe, *own, "head={kind: product}", "planner=null", "-q"]) == 0
    assert hdiff(["sample", str(tmp_path / "run"), "--num", "1", "--steps", "2"]) == 0


def test_a_shared_model_with_a_component_of_others_is_used_by_commands_that_name_it(
    stranger: str,
    site: Path,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from shared_models import CHECKOUT, TINY

    run, shared = tmp_path / "run", str(tmp_path / "shared")
    recipe = str(CHECKOUT / "recipes" / "e2e_control.yaml")
    own = [*TINY, f"data.path={prepared_folder}", f"output={run}", "corruption={kind: pairs}"]
    assert hdiff(["train", recipe, *own, "head={kind: product}", "planner=null", "-q"]) == 0
    assert hdiff(["export", str(run), shared]) == 0

    card = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    assert f"`pairs` (offered by {stranger}), which is not part of hdiff" in card
    assert "nothing more" not in card
    snippet = card.split("```python\n")[1].split("```")[0]
    assert 'from_pretrained("THIS FOLDER", components=["pairs"])' in snippet
    exec(snippet.replace("THIS FOLDER", shared), {})

    evaluation = ["--data", str(prepared_folder), "--steps", "1", "-q"]
    for words in (["sample", shared, "--num", "1", "--steps", "2"], ["eval", shared, *evaluation]):
        capsys.readouterr()
        assert hdiff(words) == 2
        assert "components=['pairs'], on the command line with --component pairs" in capsys.readouterr().err
        assert hdiff([*words, "--component", "other", "--component", "pairs"]) == 0

    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(site)])
    assert hdiff(["sample", shared, "--component", "pairs"]) == 2
    message = "uses the corruption 'pairs', which neither hdiff nor an installed package offers"
    assert f"{message}; install the package that offers it" in capsys.readouterr().err


def test_a_class_whose_package_is_missing_says_to_install_it() -> None:
    with pytest.raises(
        RecipeError, match=r"no module 'not_there' is installed, in the current folder or beside"
    ):
        build({"kind": "not_there.noise:Mine"}, CORRUPTIONS, section="corruption")


@pytest.mark.usefixtures("stranger")
def test_names_of_hdiff_cannot_be_taken_over() -> None:
    assert isinstance(build({"kind": "token_masking"}, CORRUPTIONS, section="corruption"), TokenMasking)


@pytest.mark.usefixtures("stranger")
def test_nothing_is_imported_before_it_is_asked_for() -> None:
    build({"kind": "token_masking"}, CORRUPTIONS, section="corruption")
    with pytest.raises(RecipeError, match=r"no corruption 'pair'; did you mean 'pairs'\?.*pairs"):
        build({"kind": "pair"}, CORRUPTIONS, section="corruption")
    assert "strangers_parts" not in sys.modules


@pytest.mark.usefixtures("stranger")
def test_two_packages_with_one_name_are_both_named(site: Path) -> None:
    install(site, "another-package", "another", "[hdiff.corruptions]\npairs = another:PairMasking\n")
    message = (
        r"corruption 'pairs' is offered by the package '[a-z-]+' \(\w+:PairMasking\) and the package "
        r"'[a-z-]+' \(\w+:PairMasking\); uninstall one"
    )
    with pytest.raises(RecipeError, match=message) as caught:
        build({"kind": "pairs"}, CORRUPTIONS, section="corruption")
    assert "'strangers-parts'" in str(caught.value)
    assert "'another-package'" in str(caught.value)
    assert build({"kind": "alone"}, HEADS, section="head", vocab_size=9, width=4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_package_that_is_not_there", "ModuleNotFoundError: No module named"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("", "AttributeError: module 'broken_parts' has no attribute 'Noise'"),
        ("Noise = 3", "is no subclass of hdiff"),
    ],
)
def test_a_broken_plugin_gives_a_sentence_only_when_it_is_asked_for(
    source: str, message: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = (
        "[hdiff.corruptions]\nbroken = broken_parts:Noise\n[hdiff.parsers]\nbroken = broken_parts:Noise\n"
    )
    install(site, "broken-parts", "broken_parts", points, source)
    monkeypatch.delitem(sys.modules, "broken_parts", raising=False)
    assert build({"kind": "token_masking"}, CORRUPTIONS, section="corruption")
    assert load_parser("plain")
    with pytest.raises(RecipeError, match=message) as caught:
        build({"kind": "broken"}, CORRUPTIONS, section="corruption")
    assert "the package 'broken-parts' (broken_parts:Noise)" in str(caught.value)
    monkeypatch.delitem(sys.modules, "broken_parts", raising=False)
    with pytest.raises(ParserError, match=message):
        load_parser("broken")


@pytest.mark.usefixtures("stranger")
def test_a_class_of_another_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"is no subclass of hdiff\.corruption\.base\.Corruption"):
        build({"kind": "wrong"}, CORRUPTIONS, section="corruption")
    with pytest.raises(ParserError, match="has the class attribute name = 'flat'"):
        salience_class("misnamed")


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("kind", ["pairs", "token_masking"])
def test_a_shared_folder_may_name_a_plugin_only_with_the_users_word(kind: str) -> None:
    text = json.dumps(
        {
            "format": "hdiff",
            "name": "mine",
            "vocab_size": 9,
            "sequence_length": 8,
            "model": {},
            "head": {"kind": "product"},
            "corruption": {"kind": kind},
            "sha256": {"model.safetensors": "", "tokenizer.json": ""},
            "format_version": 1,
        }
    )
    if kind == "pairs":
        with pytest.raises(CheckpointError, match=r"load with components=\['pairs'\]"):
            parse_description(text, where="folder")
    assert parse_description(text, where="folder", components=["pairs"]).corruption["kind"] == kind
    if kind == "token_masking":
        assert parse_description(text, where="folder").corruption["kind"] == kind
