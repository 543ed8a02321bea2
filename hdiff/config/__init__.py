"""Config: the typed sections of a recipe.

Every default lives here, in the signature, and nowhere else. So do ranges.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hdiff.config.section import Arguments, Component, Section
from hdiff.config.train import TrainConfig
from hdiff.value_types import (
    AnswerEnd,
    Count,
    Flag,
    Folder,
    Fraction,
    Number,
    Positive,
    Seconds,
    Seed,
    Text,
    Whole,
)


class StreamConfig(Section):
    """Text that is read, tokenized and parsed while training.

    Attributes:
        source: A file, folder, glob or `builtin:NAME` as `hdiff prepare` takes them; or what `load_dataset`
            of Hugging Face takes: a name on the hub, or `text`, `json`, `csv`, `parquet` with `data_files`.
        config: Configuration of a data set on the hub.
        data_files: Files, globs or addresses, for `load_dataset`.
        split: Split, for `load_dataset`.
        text_column: Column that holds the text.
        shuffle_buffer: Rows of the source that are read and shuffled together; 0 keeps their order.
        parser: As `hdiff prepare --parser`; None takes the parser that `data.path` was prepared with.
        workers: Processes of each training process that tokenize and parse ahead; 0 does it in the training.
        timeout: Seconds that a worker may take for a group of documents (20,000 characters, or one document).
    """

    source: Folder
    config: Text | None = None
    data_files: Folder | tuple[Folder, ...] | None = None
    split: Text = "train"
    text_column: Text = "text"
    shuffle_buffer: Whole = 10_000
    parser: Text | None = None
    workers: Annotated[Whole, Field(le=1024)] = 0
    timeout: Seconds = 600.0


class CorpusConfig(Section):
    """One corpus of a mixture: a prepared folder or a stream.

    Attributes:
        path: Folder made by `hdiff prepare`, with the tokenizer of `data.path`.
        stream: Or text that is read while training.
        weight: Its part of the rows, relative to the other weights.
    """

    path: Folder | None = None
    stream: StreamConfig | None = None
    weight: Positive = 1.0

    @model_validator(mode="after")
    def _one_of_both(self) -> CorpusConfig:
        if (self.path is None) == (self.stream is None):
            raise ValueError("a corpus of a mixture has either a path or a stream; give one of them")
        return self


class DataConfig(Section):
    """Which prepared data set, and how it is packed.

    Attributes:
        path: Folder made by `hdiff prepare`. It gives tokenizer, validation split, unit lengths, labels and
            salience, and the training rows where neither `mixture` nor `stream` does.
        mixture: Corpora that give the training rows in proportion to their weights.
        stream: Text that gives the training rows.
        sequence_length: Tokens per row.
        separator: Whether an end-of-text token follows each document.
        max_unit_tokens: Longest unit of any level in tokens; longer spans give way to their parts.
        units: Which spans become units: `outermost` up to `max_unit_tokens`, `innermost`, `cut` (below a
            random cut through the tree of each document), or a list of labels such as `[NP, PP]`.
        units_seed: Seed that draws the cuts.
        lexical_salience: Whether a token has the mean salience of its id, which is free in the likelihood,
            instead of that of its word.
        salience_buckets: How many buckets salience falls into, about equally full, or their inner borders.
        cross_documents: Whether a token sees all tokens of its row; false: only those of its own document
            in the row. Bounds are then given where documents end (docs/train.md).
        train_tokens: Number of tokens of the training split to train on; None takes all.
        drop_long: Whether documents with prompts that are longer than a row are left out, not refused.
        subset_seed: Seed that draws the documents of `train_tokens`; None takes the first ones. Larger
            subsets hold the smaller ones, and runs with other seeds see the same text.
    """

    path: Folder
    mixture: tuple[CorpusConfig, ...] = ()
    stream: StreamConfig | None = None
    sequence_length: Annotated[Count, Field(ge=2)] = 128
    separator: Flag = True
    max_unit_tokens: Count | None = 8
    units: Literal["outermost", "innermost", "cut"] | tuple[str, ...] = "outermost"
    units_seed: Seed = 0
    lexical_salience: Flag = False
    salience_buckets: Annotated[Count, Field(le=1000)] | tuple[Number, ...] | None = None
    cross_documents: Flag = True
    train_tokens: Count | None = None
    subset_seed: Seed | None = None
    drop_long: Flag = False

    def packing(self, split: str = "validation") -> dict[str, Any]:
        """The options of `PackedBlocks.build` for a split; only that of training is limited."""
        limits = {"train_tokens", "subset_seed"} if split != "train" else set()
        return self.model_dump(exclude={"path", "mixture", "stream", *limits})

    def folders(self) -> list[str]:
        """The prepared data sets that training reads."""
        members = [corpus.path for corpus in self.mixture if corpus.path is not None]
        return list(dict.fromkeys([self.path, *members]))

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if self.mixture and self.stream is not None:
            raise ValueError(
                "the training rows come from mixture or from stream; to mix, make the stream a member of the "
                "mixture: {stream: {...}, weight: 1}"
            )
        names = [corpus.path or f"stream {corpus.stream}" for corpus in self.mixture]
        if len(set(names)) < len(names):
            raise ValueError(
                f"the mixture names a corpus twice ({names}); give it once, with a larger weight"
            )
        if self.train_tokens is not None and (self.mixture or self.stream is not None):
            raise ValueError(
                "train_tokens limits the text of data.path, but the rows come from a mixture or a stream; "
                "leave train_tokens out, or train on data.path alone"
            )
        return self


class ModelConfig(Section):
    """The trunk.

    Attributes:
        kind: `denoiser`, or `autoregressive` for the left-to-right baseline and judge.
        width: Width D of the trunk's vectors; a multiple of twice `num_heads`.
        depth: Layers of the trunk.
        num_heads: Attention heads of a layer.
        dropout: Share of the values on the residual branches that training drops.
        attention: `bidirectional`, or `any_order`: visible tokens see only what was revealed no later, and
            hidden ones no other hidden one, so that samplers read each token once (docs/concepts.md).
        pretrained: Folder of a checkpoint of transformers that is the trunk, made bidirectional; width, depth
            and heads are then the checkpoint's, and the data set must have its tokenizer.
        shifted: Whether the pretrained network's output at a position is about the next one, as in decoders
            before conversion and in Dream; None: as the checkpoint's layout says.
        weights: Type in which the frozen weights of a pretrained trunk are kept; `bfloat16` takes half the
            memory, and is fast only where `hdiff doctor` finds bf16 fast.
    """

    kind: Literal["denoiser", "autoregressive"] = "denoiser"
    width: Annotated[Count, Field(ge=4, le=2**20)] = 256
    depth: Annotated[Count, Field(le=2**14)] = 4
    num_heads: Annotated[Count, Field(le=2**20)] = 4
    dropout: Fraction = 0.0
    attention: Literal["bidirectional", "any_order"] = "bidirectional"
    pretrained: Folder | None = None
    shifted: Flag | None = None
    weights: Literal["float32", "bfloat16"] = "float32"


class EvaluationConfig(Section):
    """What `hdiff eval` measures by default.

    Attributes:
        steps: Step counts T of the samplers and of L_T.
        blocks: Validation rows scored, evenly spread over the split; 0 means all.
        draws: Random states per row and figure.
        samples: Samples drawn per T for the quality figures; 0 turns them off.
        judge: Run folder of an autoregressive model that scores samples.
        sampler: `{kind: name, ...}` of `hdiff.samplers.SAMPLERS`; None takes the plain one of the corruption.
        batch_size: Rows scored at a time; another value draws other random states.
    """

    steps: tuple[Count, ...] = (1, 2, 4, 8, 16, 32)
    blocks: Whole = 128
    draws: Count = 8
    samples: Whole = 64
    judge: Folder | None = None
    sampler: Component | None = None
    batch_size: Count = 32


class Recipe(Section):
    """A whole run.

    Attributes:
        name: Name of the run.
        output: Folder of the run.
        seed: Seed of everything random.
        resume: `auto` resumes from the newest checkpoint; `never` refuses a folder that has one.
        data: Data set and packing; section `data`.
        model: The trunk; section `model`.
        head: The joint distribution over a unit's tokens, `{kind: name, ...}` of `hdiff.heads.HEADS`.
        type_head: The same for the types that a corruption generates.
        planner: Arguments of `hdiff.models.planner.Planner` (`{}` for its defaults), which predicts spans
            for samplers; None for no planner.
        length_head: Arguments of `hdiff.models.length_head.LengthHead` (`{}` for its defaults), which says
            how many tokens an answer, or a gap of free length, has; None for no such head.
        init: A run, a folder of `hdiff export` or `builtin:NAME` whose weights training starts from; its
            tokenizer, model and heads must be the same.
        supervision: `{kind: name, ...}` of `hdiff.supervision.SUPERVISIONS`, `labels` where no kind is given:
            what the trunk also predicts while it is trained; None for nothing.
        corruption: How text is noised, `{kind: name, ...}` of `hdiff.corruption.CORRUPTIONS`.
        train: Optimisation; section `train`.
        evaluation: What `hdiff eval` measures; section `evaluation`.
    """

    name: Text
    output: Folder
    seed: Seed = 0
    resume: Literal["auto", "never"] = "never"
    data: DataConfig
    model: ModelConfig = ModelConfig()
    head: Component = Field(default_factory=lambda: {"kind": "product"})
    type_head: Component = Field(default_factory=lambda: {"kind": "product"})
    planner: Arguments | None = None
    length_head: Arguments | None = None
    init: Folder | None = None
    supervision: Arguments | None = None
    corruption: Component = Field(default_factory=lambda: {"kind": "token_masking"})
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def answer_end(self) -> AnswerEnd:
        """How answers end, where the data has prompts: as the model can tell."""
        if self.model.kind == "autoregressive":
            return "token"
        return "padding" if self.length_head is None else "length"

    def packing(self, split: str = "validation", *, block_size: int | None = None) -> dict[str, Any]:
        """The options of `PackedBlocks.build` for a split, with how answers begin and end."""
        return {**self.data.packing(split), "answer_end": self.answer_end, "block_size": block_size}
