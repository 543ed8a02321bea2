"""HdiffLM: what the harness asks of a model. Importing this file registers it as `hdiff`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import simple_parse_args_string

from hdiff.control.answers import Answering
from hdiff.data.sources.chat_template import ChatTemplate
from hdiff.data.sources.prompts import PromptFormat
from hdiff.errors import DataError
from hdiff.evaluation.continuations import ContinuationScorer
from hdiff.harness.arguments import GenerationArguments, ModelArguments, checked
from hdiff.harness.device import device_of
from hdiff.harness.generation import AnswerWriter, Writer
from hdiff.harness.rows import rows_of
from hdiff.sharing import PretrainedModel

NUM_ENDS = 2
"""A row is an end-of-text token, the text, and another one."""

_AUTO_BATCH = 64
_NO_CHAT = (
    "this model was not trained on messages and has no chat template; leave --apply_chat_template out, or "
    "train on data prepared with --prompts chat"
)

logger = logging.getLogger(__name__)


@register_model("hdiff")
class HdiffLM(TemplateLM):  # type: ignore[misc]
    """A run or shared model.

    Args:
        **arguments: Of `ModelArguments`.

    Raises:
        CheckpointError: If the model cannot be loaded.
        DataError: If an argument is unknown or wrong, or the model has no likelihood of unparsed text.
    """

    def __init__(self, /, **arguments: Any) -> None:
        super().__init__()
        given = checked(ModelArguments, arguments)
        if given.run is None:
            raise DataError("--model hdiff needs a model; add", "--model_args run=FOLDER")
        self._device = device_of(given.device)
        self.pretrained = PretrainedModel.from_pretrained(given.run, revision=given.revision)
        self.steps, self.seed = given.steps, given.seed
        prompts = self.pretrained.description.prompts
        self.prompts = None if prompts is None else PromptFormat.from_dict(prompts)
        self.pretrained.model.to(self._device)
        is_chain = self.pretrained.autoregressive is not None
        self.score = ContinuationScorer(
            self.pretrained.model,
            None if is_chain else self.pretrained.corruption,
            draws=given.draws,
            num_steps=given.steps,
            rows_per_call=given.batch_size if isinstance(given.batch_size, int) else _AUTO_BATCH,
            seed=given.seed,
        )

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> HdiffLM:
        """As `create_from_arg_obj`, of `run=FOLDER,draws=4`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> HdiffLM:
        """Builds the model as the harness does, except that an option may also stand among the arguments."""
        options = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**{**options, **arg_dict})

    @property
    def eot_token_id(self) -> int:
        """Id of the token that ends a document; also the one before every text."""
        return self.pretrained.tokenizer.eos_id

    @property
    def max_tokens(self) -> int:
        """Tokens of a text between its ends."""
        return self.pretrained.description.sequence_length - NUM_ENDS

    def get_model_info(self) -> dict[str, Any]:
        """What the results file says of the model."""
        return {
            "hdiff_model": self.pretrained.description.name,
            "model_sha": self.pretrained.description.sha256.get("model.safetensors"),
            "likelihood": self.score.likelihood,
            "model_num_parameters": sum(value.numel() for value in self.pretrained.model.parameters()),
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; hdiff's tokenizers add none of their own, so other arguments are ignored."""
        return self.pretrained.tokenizer.encode(string)[0]

    @property
    def tokenizer_name(self) -> str:
        """Name under which the harness keeps requests in a chat template; asked for nowhere else."""
        self._chat()
        return str(
            self.pretrained.description.sha256.get("tokenizer.json") or self.pretrained.description.name
        )

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The chat template, which the harness records; None where it is not applied."""
        return self._chat().text if chat_template else None

    def _chat(self) -> ChatTemplate:
        if self.prompts is None or self.prompts.chat is None:
            raise DataError(_NO_CHAT)
        return self.prompts.chat

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Writes messages as the model was trained to read them; an answer follows, or has begun."""
        chat = self._chat()
        if add_generation_prompt or not chat_history:
            return chat.prompt(chat_history)
        return chat.prompt(chat_history[:-1]) + chat_history[-1]["content"]

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Nats of continuations, and whether each is the greedy one; one without text is certain."""
        scores = iter(super().loglikelihood([one for one in requests if any(one.args)], disable_tqdm))
        return [next(scores) if any(one.args) else (0.0, True) for one in requests]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        return self._scores([(context, continuation) for _, context, continuation in requests])

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts in nats; those longer than a row in parts, given what is before."""
        texts: list[tuple[list[int], list[int]]] = [
            ([], self.tok_encode(request.args[0])) for request in requests
        ]
        return [nats for nats, _ in self._scores(texts)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continues contexts up to their stop texts; with `infill: true` fills their gaps."""
        generate = self._writer()
        asked = [
            (context, checked(GenerationArguments, values))
            for context, values in (one.args for one in requests)
        ]
        num_cut = sum(generate.is_cut(*one) for one in asked)
        if num_cut:
            logger.warning(
                "%d of %d contexts and max_gen_toks do not fit into the model's rows of %d tokens: at "
                "least the last %d tokens of a context are kept; give a smaller max_gen_toks to keep more",
                num_cut, len(asked), self.max_tokens, self.max_tokens // 2,
            )  # fmt: skip
        return [generate(context, arguments) for context, arguments in asked]

    def _writer(self) -> Writer | AnswerWriter:
        """What writes: answers, or continuations of one length by masked units that know no prompts."""
        is_chain, corruption = self.pretrained.autoregressive is not None, self.pretrained.corruption
        if self.prompts is None and not is_chain and corruption.masked_units() is not None:
            return Writer(
                self.pretrained.denoiser,
                corruption,
                self.pretrained.tokenizer,
                self.max_tokens,
                steps=self.steps,
                seed=self.seed,
            )
        answering = Answering(
            self.pretrained.model,
            None if is_chain else corruption,
            self.pretrained.tokenizer,
            self.pretrained.description.sequence_length,
            self.prompts,
            num_steps=self.steps,
        )
        return AnswerWriter(answering, seed=self.seed)

    def _scores(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation given its context, and whether it is the greedy one."""
        eos = self.eot_token_id
        contexts = [context[1:] if context[:1] == [eos] else context for context, _ in pairs]
        pieces = [
            rows_of(
                context,
                continuation,
                eos_id=eos,
                max_tokens=self.max_tokens,
                is_end_given=self.pretrained.autoregressive is None,
            )
            for context, (_, continuation) in zip(contexts, pairs, strict=True)
        ]
        num_cut = sum(
            len(rows) > 1 or bool(rows and rows[0].num_given < len(context))
            for context, rows in zip(contexts, pieces, strict=True)
        )
        if num_cut:
            logger.warning(
                "%d of %d texts are longer than the model's rows of %d tokens: contexts lose their "
                "beginning, continuations are scored in parts",
                num_cut, len(pairs), self.max_tokens,
            )  # fmt: skip
        scores = iter(self.score([row for rows in pieces for row in rows]))
        results = []
        for rows in pieces:
            parts = [next(scores) for _ in rows]
            results.append((-sum(part.nats for part in parts), all(part.is_greedy for part in parts)))
        return results
