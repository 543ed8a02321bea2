"""Updates: one optimiser update, the same numbers for any number of processes.

Everything random is drawn from (seed, purpose, step, process), never from history, so a resumed run
repeats exactly what the uninterrupted one would have done (bit for bit on a CPU).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from hdiff.corruption.row_noise import RowNoise
from hdiff.data.batch import Batch
from hdiff.seeds import derive_seed
from hdiff.training.build import Training
from hdiff.training.optimisation import rate_factor
from hdiff.training.skipped_steps import LIMIT_OF_SCALING

TOKENS = "tokens"
"""What is summed beside the parts of a loss, so that their means are over all tokens of all processes."""


class Updates:
    """The updates of a training, and the signal that ends them.

    Args:
        training: The training.

    Attributes:
        stop_signal: Signal that this process got; None for none.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.stop_signal: int | None = None
        self._agreed_signal: int | None = None
        unclipped = {id(parameter) for parameter in training.model.unclipped_parameters()}
        self._clipped = [p for p in training.loss.parameters() if id(p) not in unclipped]

    def stop(self, number: int) -> None:
        """Takes note of a signal; the first one counts."""
        self.stop_signal = self.stop_signal or number

    @property
    def agreed_signal(self) -> int | None:
        """The signal that any process got: all stop after the same update, or they wait for each other."""
        is_alone = self.training.accelerator.num_processes == 1
        return self.stop_signal if is_alone else self._agreed_signal

    def __call__(self, step: int) -> dict[str, float]:
        """Does one update and returns what is logged: parts of the loss, learning rate, gradient norm."""
        training, accelerator = self.training, self.training.accelerator
        state, config = training.state, training.config
        torch.manual_seed(derive_seed(training.recipe.seed, "dropout", step, accelerator.process_index))
        rate = config.learning_rate * rate_factor(step, config)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        training.loss.train()
        totals: dict[str, Tensor] = {}
        means: dict[str, float] = {}
        norm = math.nan
        batches: list[Batch] = []
        is_sound = True
        scaler = accelerator.scaler  # of fp16, whose gradients may overflow until its scale is found
        for places, batch in self.batches(step):
            batches.append(batch)
            with accelerator.accumulate(training.loss):
                loss, parts = self._forward(step, places, batch)
                accelerator.backward(loss * (batch.num_tokens / self._full_batch()))
                for name, value in {**parts, TOKENS: torch.ones_like(loss)}.items():
                    totals[name] = totals.get(name, 0.0) + value.detach().double() * batch.num_tokens
                if accelerator.sync_gradients:
                    everyone = self._gather(totals)
                    self._rescale_gradients(batches, everyone[:, list(totals).index(TOKENS)])
                    clipped = accelerator.clip_grad_norm_(self._clipped, config.clip_norm)
                    means, norm = self._read(list(totals), everyone, clipped)
                    is_sound = state.skipped.is_sound(means["loss"]) and (
                        scaler is not None or math.isfinite(norm)
                    )
                if is_sound:
                    training.optimizer.step()
                elif scaler is not None:
                    scaler.update()
                training.optimizer.zero_grad()
        if not is_sound:
            state.skipped.skip(step, batches, means["loss"], norm)
        elif not math.isfinite(norm):  # the scaler has left it out and halved its scale
            state.skipped.skip(step, batches, means["loss"], norm, limit=LIMIT_OF_SCALING)
        else:
            state.skipped.step_was_done(means["loss"])
            state.average.update(state.model, step)
        return {**means, "learning_rate": rate, "grad_norm": norm}

    def batches(self, step: int) -> Iterator[tuple[range, Batch]]:
        """This process's batches of one update; their order is a function of the seed and the step."""
        training = self.training
        processes, rank = training.accelerator.num_processes, training.accelerator.process_index
        together = training.config.batch_size * processes
        first = (step - 1) * training.rows_per_update
        for begin in range(0, training.rows_per_update, together):
            places = range(begin + rank, begin + together, processes)
            batch = training.state.rows.batch([first + place for place in places])
            vocab_size = training.prepared.tokenizer.vocab_size
            batch = batch.checked(vocab_size, training.corruption.problems)
            yield places, batch.to(training.accelerator.device)

    def _forward(self, step: int, places: range, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        training, seed = self.training, self.training.recipe.seed
        assert batch.sample_ids is not None
        # Times are alike on every process and batch of an update; the noise is each row's own.
        times = torch.Generator(training.accelerator.device).manual_seed(derive_seed(seed, "times", step))
        noise = RowNoise(derive_seed(seed, "noise", step), batch.sample_ids)
        progress = (step - 1) / training.config.steps
        with training.accelerator.autocast():  # sharded models have none of their own
            loss: tuple[Tensor, dict[str, Tensor]] = training.loss(
                batch, times, noise, places, training.rows_per_update, progress
            )
        return loss

    def _gather(self, totals: dict[str, Tensor]) -> Tensor:
        """What processes must agree on, at once: sums over tokens, and the signal to stop.

        Args:
            totals: This process's sums over tokens, with `TOKENS` their number.

        Returns:
            The sums and the signal of every process, float64 (processes, parts + 1).
        """
        signal_number = torch.full_like(totals[TOKENS], float(self.stop_signal or 0))
        ours = torch.stack([*totals.values(), signal_number])
        return self.training.accelerator.gather(ours[None])  # type: ignore[no-any-return]

    def _read(self, names: list[str], everyone: Tensor, norm: Tensor) -> tuple[dict[str, float], float]:
        """Means over all tokens of an update, the same on every process, and the norm: one wait for all.

        Args:
            names: Names of the sums.
            everyone: As `_gather` gives it.
            norm: Gradient norm.

        Returns:
            The means by name, and the norm.
        """
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        *table, last = torch.cat([everyone.flatten(), whole.to(everyone).view(1)]).tolist()
        rows = torch.tensor(table, dtype=torch.float64).view(everyone.shape)
        self._agreed_signal = int(rows[:, -1].max()) or None
        sums = dict(zip(names, rows[:, :-1].sum(0).tolist(), strict=True))
        return {name: sums[name] / sums[TOKENS] for name in names if name != TOKENS}, last

    def _rescale_gradients(self, batches: list[Batch], num_tokens: Tensor) -> None:
        """Divides by the tokens of a mean batch what was divided by those of a full one; padding is rare.

        Args:
            batches: This process's batches of the update.
            num_tokens: Tokens of every process, float64 (processes,).
        """
        processes, full = self.training.accelerator.num_processes, self._full_batch()
        known = [batch.known.num_tokens for batch in batches if batch.known is not None]
        if processes == 1 and known == [full] * len(batches):
            return
        gradients = [p.grad for p in self.training.loss.parameters() if p.grad is not None]
        parts = [grad.to_local() if isinstance(grad, DTensor) else grad for grad in gradients]
        mean = num_tokens.sum() / (len(batches) * processes)
        torch._foreach_mul_(parts, (full / mean).to(parts[0]))

    def _full_batch(self) -> int:
        """Tokens of a batch without padding."""
        return self.training.config.batch_size * self.training.recipe.data.sequence_length
