"""Families of a user's own, in one file: trained, evaluated, drawn, audited, reported, shared and served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdiff.cli import run as hdiff

OWN = '''
import torch

from hdiff.corruption import Cascade, Stream, UnitMasking
from hdiff.corruption.type_code import TypeCode
from hdiff.corruption.visible_streams import single_stream


class Pairs(UnitMasking):
    """Two neighbouring tokens are one unit."""

    conditional_on_structure = False

    def unconditional(self):
        return self

    def units(self, batch, *, generator=None):
        place = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
        begins = (place % 2 == 0) | ~batch.token_mask
        return begins.long().cumsum(1) - 1


class Parity(Cascade):
    """A token, then whether its id is odd, then nothing."""

    def unconditional(self):
        return self

    @property
    def type_codes(self):
        return (("token", TypeCode(num_labels=1, is_lexical=True)),)

    def streams(self, batch):
        units = batch.units("token")
        speed = torch.ones(units.shape, dtype=torch.float64, device=units.device)
        return [Stream(units, speed, batch.input_ids % 2), Stream(units, speed)]

    def visible_streams(self, is_masked, types_t):
        hidden = types_t[..., 0] == 2
        return [single_stream(hidden, 1.0, 0), single_stream(is_masked & ~hidden, 1.0, None)]
'''

RECIPE = """
name: own
output: {folder}/run
data: {{path: {data}, sequence_length: 32}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: {head}, {layers}}}
corruption: {{kind: 'own_families:{family}'}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1}}
evaluation: {{steps: [1, 4], blocks: 2, draws: 1, samples: 2}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "head", "layers"), [("Pairs", "autoregressive", "num_layers: 1"), ("Parity", "product", "")]
)
def test_a_family_of_a_file_does_all_that_built_in_ones_do(
    family: str,
    head: str,
    layers: str,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_families.py").write_text(OWN)
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        RECIPE.format(folder=tmp_path, data=prepared_folder, family=family, head=head, layers=layers)
    )
    kind = f"own_families:{family}"
    assert hdiff(["train", str(recipe)]) == 0
    assert hdiff(["eval", "run"]) == 0
    figures = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert not figures["bound"]["conditional_on_structure"]
    assert "4" in figures["t_step"]
    assert hdiff(["sample", "run", "--num", "2", "--steps", "4"]) == 0
    assert hdiff(["report", "run"]) == 0
    assert hdiff(["export", "run", "shared"]) == 0
    capsys.readouterr()
    assert hdiff(["audit", "--corruption", kind]) == 0, capsys.readouterr().out
    _shared_and_served(kind, tmp_path)


def _shared_and_served(kind: str, folder: Path) -> None:
    from hdiff.serve.requests import CorruptRequest, RestoreRequest
    from hdiff.serve.restoration import restore
    from hdiff.serve.served_run import ServedRun
    from hdiff.serve.states import corrupt_sentence
    from hdiff.sharing import PretrainedModel
    from hdiff.sharing.pipeline import TextDiffusionPipeline

    again = PretrainedModel.from_pretrained(folder / "shared", components=[kind])
    steps: list[int] = []
    made = TextDiffusionPipeline.of(again)(1, length=8, callback=lambda step, tokens: steps.append(step))
    assert len(made.texts) == 1
    assert steps == list(range(made.nfe))
    served = ServedRun.load(folder / "run")
    assert restore(RestoreRequest(length=8, samples=1), served)["samples"]
    assert corrupt_sentence(CorruptRequest(text="The list is returned."), served)["tokens"]
