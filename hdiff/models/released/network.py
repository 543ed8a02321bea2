"""load_network: the network of transformers that a checkpoint folder holds; only this file loads weights.

transformers is imported by the functions that load; remote code stays off and pickles unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from hdiff.errors import CheckpointError
from hdiff.models.released.folder import CheckpointFolder
from hdiff.models.released.layout import Layout, layout_of
from hdiff.plugins import install_command

OUTPUT = "lm_head.weight"
"""Output table of the decoders that layouts are mapped onto."""

_NUMBERED = re.compile(r"\.\d+\.")
_LISTED = 3


def transformers_library() -> Any:
    """The library transformers."""
    try:
        import transformers
    except ImportError as error:
        raise CheckpointError(
            "a pretrained trunk needs transformers; run:", install_command("transformers")
        ) from error
    return transformers


def first_words(error: Exception) -> str:
    """A message of transformers in one line."""
    return " ".join(str(error).split())[:200]


def bidirectional(config: Any, dropout: float) -> Any:
    """The configuration of a network that sees both ways, with one dropout and no cache."""
    for name, value in config.to_dict().items():
        if "dropout" in name and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, dropout)
    config.is_causal = False  # read by the masks of transformers
    config.use_cache = False
    return config


def network_class(config: Any) -> Any:
    """The class of a checkpoint: masked models and decoders come with their output layer, others without."""
    transformers = transformers_library()
    names = config.architectures or [""]
    if any(name.endswith("ForMaskedLM") for name in names):
        return transformers.AutoModelForMaskedLM
    is_decoder = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    has_both = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    if is_decoder and not has_both and type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModel


def layout_config(layout: Layout, *, dropout: float = 0.0) -> Any:
    """The configuration of transformers that a layout stands for."""
    transformers = transformers_library()
    config = bidirectional(transformers.AutoConfig.for_model(**layout.config), dropout)
    config.architectures = [transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__]
    return config


def load_network(folder: CheckpointFolder, *, dropout: float = 0.0) -> Any:
    """Reads the weights of a checkpoint into its network of transformers."""
    layout = layout_of(folder.config)
    stored = folder.tensors  # refuses what is not readable, before transformers says so in its words
    try:
        with quiet_transformers():
            if layout is None:
                whole, loading = _load_own(folder, dropout)
            else:
                config = layout_config(layout, dropout=dropout)
                check_tensors(layout, config, {name: tensor.shape for name, tensor in stored.items()}, folder)
                whole, loading = _load_released(folder, layout, config)
    except CheckpointError:
        raise
    except Exception as error:  # of a file or a class that is not as transformers expects
        raise CheckpointError(
            f"transformers cannot read {folder.path} without pickles and remote code ({first_words(error)}); "
            "give a folder of a model of transformers' own with model.safetensors, or of LLaDA, Dream or A2D"
        ) from error
    _check_loading(loading, folder)
    return whole


def check_tensors(
    layout: Layout, config: Any, shapes: Mapping[str, tuple[int, ...]], folder: CheckpointFolder
) -> None:
    """Refuses released files whose tensors are not exactly those of their network."""
    transformers = transformers_library()
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    expected = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    stored = {layout.inner_name(name): (name, shape) for name, shape in shapes.items()}
    released = {ours: theirs for theirs, ours in layout.names.items()}
    optional = {OUTPUT} if config.tie_word_embeddings else set()
    missing = sorted(released.get(name, name) for name in set(expected) - set(stored) - optional)
    extra = sorted(stored[name][0] for name in set(stored) - set(expected) - optional)
    for what, names in (("lacks", missing), ("has besides those of its network", extra)):
        if names:
            listed = ", ".join(names[:_LISTED])
            raise CheckpointError(
                f"{folder.path} ({layout.name}) {what} {len(names)} tensors ({listed}), although its "
                f"config.json has {config.num_hidden_layers} layers; download the checkpoint again"
            )
    for name, (theirs, shape) in stored.items():
        if shape != expected.get(name, shape):
            raise CheckpointError(
                f"{folder.path} ({layout.name}) has {theirs} of shape {shape}, config.json asks for "
                f"{expected[name]}; download the checkpoint again"
            )


def _load_own(folder: CheckpointFolder, dropout: float) -> tuple[Any, dict[str, Any]]:
    local: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    transformers = transformers_library()
    config = bidirectional(transformers.AutoConfig.from_pretrained(folder.path, **local), dropout)
    whole, loading = network_class(config).from_pretrained(
        folder.path,
        config=config,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, in one sentence
        **local,
    )
    return whole, loading


def _load_released(folder: CheckpointFolder, layout: Layout, config: Any) -> tuple[Any, dict[str, Any]]:
    transformers = transformers_library()
    cls = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    tensors = {layout.inner_name(name): value for name, value in folder.read(folder.tensors).items()}
    if config.tie_word_embeddings:
        tensors.pop(OUTPUT, None)
    whole, loading = cls.from_pretrained(
        None, config=config, state_dict=tensors, dtype=torch.float32, output_loading_info=True
    )
    return whole, loading


def _check_loading(loading: Mapping[str, Any], folder: CheckpointFolder) -> None:
    missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
    if missing:
        raise CheckpointError(
            f"{folder.path} lacks {len(missing)} tensors of its network, {missing[0]} first; download it "
            "again"
        )
    for name, shape, expected in sorted(loading["mismatched_keys"], key=str):
        raise CheckpointError(
            f"{folder.path} has {name} of shape {tuple(shape)}, config.json asks for {tuple(expected)}; "
            "download the checkpoint again"
        )
    layers = sorted(name for name in loading["unexpected_keys"] if _NUMBERED.search(name))
    if layers:
        raise CheckpointError(
            f"{folder.path} has {len(layers)} tensors in layers that its config.json does not have "
            f"({layers[0]}); download the checkpoint again"
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps the progress bars and loading reports of transformers off stderr: what they say is said here."""
    logging: Any = transformers_library().utils.logging
    level, shows = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows:
            logging.enable_progress_bar()
