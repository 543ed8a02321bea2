"""`model.attention: any_order`: what it is refused with, and that it trains, resumes, and is shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from hdiff.errors import RecipeError
from hdiff.factory import build_corruption, build_model
from hdiff.models.denoiser import Denoiser
from hdiff.recipe import resolve

V = 11


def recipe_of(**sections: Any) -> Any:
    base = {"name": "n", "output": "out", "data": {"path": "data"}}
    model = {"width": 16, "depth": 1, "num_heads": 2, "attention": "any_order", **sections.pop("model", {})}
    return resolve({**base, "model": model, **sections}, where="test")


def built(recipe: Any) -> Any:
    corruption = build_corruption(recipe.corruption, mask_id=V, unit_lengths=lambda level: [1.0])
    return build_model(recipe, V, corruption)


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({"corruption": {"kind": "uniform_state"}}, "corruption 'uniform_state'"),
    ({"corruption": {"kind": "gaussian"}}, "corruption 'gaussian'"),
    ({"corruption": {"kind": "block_masking", "block_size": 4}}, "corruption 'block_masking'"),
    ({"corruption": {"kind": "tree_cascade"}}, "corruption 'tree_cascade'"),
    (
        {"corruption": {"kind": "soft_masking", "classes": "random", "num_classes": 2}},
        "corruption 'soft_masking'",
    ),
    ({"corruption": {"kind": "rate_matched", "order": "keyword_first"}}, "corruption 'rate_matched'"),
    ({"corruption": {"kind": "learned_rates"}}, "corruption 'learned_rates'"),
    ({"model": {"kind": "autoregressive"}}, "model 'autoregressive'"),
    ({"model": {"pretrained": "folder"}}, "model.pretrained 'folder'"),
]


@pytest.mark.parametrize(("sections", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_what_has_no_order_of_reveal_is_refused(sections: Mapping[str, Any], named: str) -> None:
    recipe = recipe_of(**sections)
    corruption = None
    if "corruption" in sections:
        try:
            corruption = build_corruption(recipe.corruption, mask_id=V, unit_lengths=lambda level: [1.0])
        except RecipeError:
            pytest.fail("the corruption itself must be fine")
    with pytest.raises(RecipeError, match=named) as refused:
        build_model(recipe, V, corruption)
    assert refused.value.remedies == ("model.attention=bidirectional",)


FITS: list[Mapping[str, Any]] = [
    {"corruption": {"kind": "token_masking"}},
    {"corruption": {"kind": "token_masking"}, "planner": {}},
    {"corruption": {"kind": "token_masking"}, "length_head": {}},
    {"corruption": {"kind": "token_masking", "count": "bernoulli"}},
    {
        "corruption": {"kind": "span_masking", "segmentation": "random", "lengths": [1, 1]},
        "head": {"kind": "autoregressive", "num_heads": 2, "sees_row": True},
    },
    {
        "corruption": {"kind": "span_masking", "segmentation": "random", "lengths": [1, 1]},
        "head": {"kind": "mixture"},
    },
    {
        "corruption": {"kind": "span_masking", "segmentation": "random", "lengths": [1, 1]},
        "head": {"kind": "crf"},
        "data": {"path": "data", "cross_documents": False},
    },
]


@pytest.mark.parametrize("sections", FITS, ids=str)
def test_masked_units_of_every_kind_fit(sections: Mapping[str, Any]) -> None:
    model = built(recipe_of(**sections))
    assert isinstance(model, Denoiser)
    assert model.reads_in_order


def test_both_kinds_of_attention_have_the_same_weights() -> None:
    one, other = (built(recipe_of(model={"attention": kind})) for kind in ("any_order", "bidirectional"))
    assert not other.reads_in_order
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
