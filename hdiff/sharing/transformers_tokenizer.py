"""HdiffTokenizer: tokenizer.json of a shared model under AutoTokenizer (`hdiff.sharing.transformers_bridge`).

Dimensions: L tokens, V vocabulary.
"""

# Its base class is typed in part, and names its arguments differently from call to call.
# mypy: disable-error-code="no-untyped-call,override"

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import LARGE_INTEGER

from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError
from hdiff.sharing.description import MODEL_TYPE, TOKENIZER_FILE, ModelDescription, read_description
from hdiff.sharing.folder import CONFIG_FILE, check_hashes, checked_file

MASK_TOKEN = "<|mask|>"
"""How a hidden token is written in a text; its id is V, which no text of the training had."""


@final
class HdiffTokenizer(PreTrainedTokenizerFast):
    """tokenizer.json of a shared model: the ids of `hdiff.data.tokenizer.Tokenizer`, and V for the mask.

    Nothing is put around a text, and no special token but the mask is read out of it. Padding has the id of
    the end of text; `attention_mask` tells them apart.

    Beside config.json of a shared model the file must be the one that it describes, and `model_max_length`,
    to which `truncation=True` cuts, is the length L of the model's rows unless another one is given.

    Args:
        tokenizer_file: tokenizer.json.
        **options: See `PreTrainedTokenizerFast`.

    Raises:
        CheckpointError: If there is no file, it is not that of the model beside it, or it has a mask already.
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, tokenizer_file: str | None = None, **options: Any) -> None:
        if tokenizer_file is None:
            raise CheckpointError("there is no tokenizer.json; give a folder that hdiff export wrote")
        description = _checked_description(Path(tokenizer_file))
        if description is not None:
            options.setdefault("model_max_length", description.sequence_length)
        self.plain = Tokenizer.load(tokenizer_file)
        if self.plain.backend.token_to_id(MASK_TOKEN) is not None:
            raise CheckpointError(
                f"{tokenizer_file} has a token '{MASK_TOKEN}' of its own, which is no mask of hdiff; train "
                f"with a tokenizer without it"
            )
        backend = _with_mask(self.plain)
        backend.post_processor = None
        end = backend.id_to_token(self.plain.eos_id)
        named = {"mask_token": MASK_TOKEN, "eos_token": end, "pad_token": end, "padding_side": "right"}
        super().__init__(tokenizer_object=backend, **{**options, **named, "split_special_tokens": True})

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **options: Any) -> dict[str, Any]:
        """Arguments of `__init__` as they are: the file is read whole there."""
        return options

    def save_pretrained(self, save_directory: str | Path, **_options: Any) -> tuple[str, ...]:
        """Writes tokenizer.json without the mask, as `PretrainedModel` does, and the name of this class."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / "tokenizer_config.json"
        values: dict[str, Any] = {"tokenizer_class": type(self).__name__}
        if self.model_max_length <= LARGE_INTEGER:  # beyond it stands for any
            values["model_max_length"] = self.model_max_length
        own.write_text(json.dumps(values) + "\n", encoding="utf-8")
        return str(self.plain.save(folder)), str(own)


def _with_mask(plain: Tokenizer) -> Backend:
    """A copy of the tokenizer with a mask, whose id is `vocab_size`."""
    parts = json.loads(plain.backend.to_str())
    for has_room in (False, True):
        if has_room and isinstance(parts["model"]["vocab"], dict):
            # The library numbers added tokens by their count, which is no free id where ids are missing.
            parts["model"]["vocab"][MASK_TOKEN] = plain.vocab_size
        backend = Backend.from_str(json.dumps(parts))
        backend.encode_special_tokens = True
        # Not special: special tokens are split here when a text spells them.
        backend.add_tokens([AddedToken(MASK_TOKEN, lstrip=True, normalized=False, special=False)])
        if backend.token_to_id(MASK_TOKEN) == plain.vocab_size:
            return backend
    raise CheckpointError(
        f"the tokenizer has no room for a mask with id {plain.vocab_size}; number its tokens without holes"
    )


def _checked_description(file: Path) -> ModelDescription | None:
    """config.json beside the file, if it is that of a shared model; the file must then have its hash."""
    folder = file.parent
    if file.name != TOKENIZER_FILE or not (folder / CONFIG_FILE).is_file():
        return None
    text = checked_file(folder, CONFIG_FILE).read_text(encoding="utf-8", errors="replace")
    values = json.loads(text)
    if not isinstance(values, dict) or values.get("format") != MODEL_TYPE:
        return None
    description = read_description(text, where=str(folder))
    check_hashes(folder, description.sha256, names=[TOKENIZER_FILE])
    return description
