"""Recipes and ablations by name: shipped ones are found from every folder, others are told what is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdiff.ablation.specification import load_ablation
from hdiff.errors import RecipeError
from hdiff.recipe import load_recipe

CHECKOUT = Path(__file__).resolve().parents[1]
RECIPES = CHECKOUT / "recipes"
QUICKSTART = (RECIPES / "quickstart.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", [str(file.relative_to(CHECKOUT)) for file in sorted((RECIPES / "ablations").glob("*.yaml"))]
)
def test_a_shipped_ablation_is_found_from_every_folder(name: str) -> None:
    assert load_ablation(name).runs
    with pytest.raises(RecipeError, match=r"is an ablation, not a recipe; run: hdiff ablate "):
        load_recipe(name)


MEANT = {
    "quickstart": "recipes/quickstart.yaml",
    "quickstart.yaml": "recipes/quickstart.yaml",
    "./quickstart.yml": "recipes/quickstart.yaml",
    "recipes/quickstart": "recipes/quickstart.yaml",
    "recipes/quickstart.yml": "recipes/quickstart.yaml",
    "heads": "recipes/ablations/heads.yaml",
    "ablations/heads.yaml": "recipes/ablations/heads.yaml",
    "recipes/heads.yaml": "recipes/ablations/heads.yaml",
    "baselines/token_masking.yaml": "recipes/baselines/token_masking.yaml",
    "token_masking": "recipes/baselines/token_masking.yaml",
}


@pytest.mark.parametrize("load", [load_recipe, load_ablation])
@pytest.mark.parametrize("name", MEANT)
def test_a_name_that_is_nearly_right_is_told(name: str, load: object) -> None:
    with pytest.raises(RecipeError) as caught:
        load(name)  # type: ignore[operator]
    assert str(caught.value).endswith(f"{name.removeprefix('./')}; did you mean '{MEANT[name]}'?")


@pytest.mark.parametrize("name", ["quickstart.yaml", "baselines/token_masking.yaml", "judge.yaml"])
def test_a_recipe_is_no_ablation(name: str) -> None:
    with pytest.raises(RecipeError, match=r"is a recipe, not an ablation; run: hdiff train "):
        load_ablation(RECIPES / name)


def test_a_file_here_goes_before_one_of_that_name_elsewhere(elsewhere: Path) -> None:
    (elsewhere / "recipes").mkdir()
    (elsewhere / "recipes" / "quickstart.yaml").write_text(QUICKSTART.replace("steps: 400", "steps: 7"))
    assert load_recipe("recipes/quickstart.yaml").train.steps == 7


READ = {
    "Windows line ends": QUICKSTART.replace("\n", "\r\n").encode(),
    "old Mac line ends": QUICKSTART.replace("\n", "\r").encode(),
    "a byte order mark": b"\xef\xbb\xbf" + QUICKSTART.encode(),
    "blanks at line ends": QUICKSTART.replace("\n", "   \n").encode(),
    "a document start": b"---\n" + QUICKSTART.encode(),
    "a document end": QUICKSTART.encode() + b"\n...\n",
    "another version of YAML": b"%YAML 1.1\n---\n" + QUICKSTART.encode(),
    "a folded name": QUICKSTART.replace("name: quickstart", "name: >-\n  quick\n  start").encode(),
}


@pytest.mark.parametrize("data", READ.values(), ids=READ)
def test_files_of_every_editor_are_read(data: bytes, elsewhere: Path) -> None:
    (elsewhere / "r.yaml").write_bytes(data)
    assert load_recipe("r.yaml").train == load_recipe("recipes/quickstart.yaml").train


REFUSED = {
    "UTF-16": (QUICKSTART.encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
    "Latin-1": (QUICKSTART.replace("name: ", "name: é").encode("latin-1"), "is not UTF-8 text"),
    "nothing": (b"", "holds no keys"),
    "a comment": (b"# later\n", "holds no keys"),
    "a list": (b"- a\n", "holds no keys"),
    "two documents": ((QUICKSTART + "---\n" + QUICKSTART).encode(), "expected a single document"),
    "a section twice": ((QUICKSTART + "\ntrain: {steps: 5}\n").encode(), "key 'train' is given twice"),
    "a merge": (QUICKSTART.replace("train:", "train:\n  <<: {steps: 5}").encode(), "write the keys out"),
    "an anchor of its own": (b"x: &a {steps: 5}\n" + QUICKSTART.encode(), "no key 'x' in the recipe"),
    "a tab": (QUICKSTART.replace("\n  ", "\n\t").encode(), "cannot start any token at line"),
    "a tag": (QUICKSTART.replace("name: ", "name: !!str ").encode(), "write plain values"),
    "a number as name": (QUICKSTART.replace("name: quickstart", "name: 007").encode(), "expected a text"),
    "two lines": (QUICKSTART.replace("name: quickstart", "name: |\n  a\n  b").encode(), "on one line"),
    "upper case": (QUICKSTART.replace("train:", "TRAIN:").encode(), "did you mean 'train'?"),
    "TOML": (b"[train]\nsteps = 5\n", "is not valid YAML"),
    "a NUL": (QUICKSTART.replace("name: ", "name: a\0").encode(), "is not valid YAML"),
}


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED)
def test_files_that_are_no_recipe_are_one_sentence(data: bytes, said: str, elsewhere: Path) -> None:
    (elsewhere / "r.yaml").write_bytes(data)
    with pytest.raises(RecipeError) as caught:
        load_recipe("r.yaml")
    assert "r.yaml" in str(caught.value)
    assert said in str(caught.value)
    assert "unicode string" not in str(caught.value)
