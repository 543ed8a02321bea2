"""The `hdiff export` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import Quiet, Run, say, say_if_unfinished


def export(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="Folder to write: empty, new, or an earlier export.")],
    license: Annotated[
        str | None, typer.Option(help="Licence of the weights for the card: apache-2.0, cc-by-4.0 ...")
    ] = None,
    data_license: Annotated[
        str | None, typer.Option(help="Licence of the training text for the card.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Round the weights to float16 or bfloat16: half the size.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="Also upload it to a hub, as user/model; log in with: hf auth login.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A new repository is private.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the frozen trunk too, with adapters added to its weights.")
    ] = False,
    original: Annotated[
        bool, typer.Option("--original", help="Write it in the layout of the checkpoint it started from.")
    ] = False,
    base: Annotated[
        Path | None, typer.Option(help="Folder of the trunk, where RUN is a shared adapter.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a run's model as a folder to share: safetensors, configuration, tokenizer and model card.

    It loads with torch, safetensors and tokenizers alone: TextDiffusionPipeline.from_pretrained(FOLDER). A
    model that started from a checkpoint of others (model.pretrained) also needs transformers. What was
    trained on a frozen trunk (train.trainable) is written without that trunk, unless --merge asks for it.
    """
    from hdiff.sharing.card import CardOptions
    from hdiff.sharing.export import export_original, export_run

    if original:
        left_out = export_original(run, folder, base=base)
        say_if_unfinished(run)
        if left_out:
            say(f"left out, as that layout has no place for it: {', '.join(left_out)}", err=True)
        say(str(folder), err=False)
        return
    options = CardOptions(license=license, data_license=data_license)
    written = export_run(
        run,
        folder,
        options=options,
        precision=precision,
        push=push,
        private=private,
        merge=merge,
        base=base,
    )
    say_if_unfinished(run)
    say(written, err=False)
