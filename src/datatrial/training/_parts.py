"""Batches that go through the model in parts of so many tokens, under any of TRL's trainers."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import Trainer

from datatrial.errors import ModelError
from datatrial.policies import is_out_of_memory
from datatrial.training._sharded import one_of_several, share_weights

Row = Mapping[str, Any]  # an example in TRL's columns


class InParts(Trainer):  # type: ignore[misc]
    """Comes before TRL's trainer: makes the gradients of a batch's parts add up to that of the batch.

    The batch is what the study says, on every device; `tokens_at_once` only says how much of it is in memory. Where
    memory runs out it is halved, and the batch begun again. Several processes share the parts of each batch.
    """

    tokens_at_once: int  # that go through the model in one part, as `tokens_of` counts them
    halved: int = 0  # how often memory ran out
    texts: int = 1  # of an example
    _total_train_tokens: int  # TRL's
    _idle: bool = False  # whether this process goes through a part that does not count
    notes: list[str]  # what people should know of how it trains
    loss_is_scaled_for_ga = True  # by us; transformers would divide by a number of parts that it knows

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        if self.args.world_size > 1:
            self.accelerator.gather = self.gathered
            share_weights(self)

    def tokens_of(self, row: Row) -> int:
        """Tokens of a row at most, each of its texts counted whole."""
        return sum(len(value) for name, value in row.items() if name.endswith("ids"))

    def weight_of(self, row: Row) -> int:
        """What the loss is a mean over: how many of that a row has."""
        return 1

    def counted_in(self, metric: str, row: Row) -> int:
        """How much a row counts in the mean that a metric is; a part of rows that do not count adds nothing to it."""
        return self.weight_of(row)

    def get_train_dataloader(self) -> DataLoader[list[Row]]:
        """Whole batches of rows, not padded yet; the rows are in the order of training already."""
        return DataLoader(self.train_dataset, batch_size=self.args.train_batch_size, collate_fn=list)

    def get_eval_dataloader(self, _: Any = None) -> DataLoader[dict[str, torch.Tensor]]:
        """Every process measures all held-out examples, in the same batches as one alone: there are few."""
        return DataLoader(self.eval_dataset, batch_size=self.args.eval_batch_size, collate_fn=self.data_collator)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *further: Any, **settings: Any) -> Any:
        """The held-out loss and its metrics are means over batches; a last one of fewer examples counts as they are."""
        batches = math.ceil(len(self.eval_dataset) / self.args.eval_batch_size)
        share = len(inputs["input_ids"]) / self.texts / len(self.eval_dataset)
        metrics = self._metrics["eval"]
        before = {name: len(values) for name, values in metrics.items()}
        loss, *rest = super().prediction_step(model, inputs, *further, **settings)
        for name, values in metrics.items():
            if len(values) > before.get(name, 0) and not name.startswith(("num_", "min_", "max_")):
                values[-1] *= share * batches
        return (loss * share * batches, *rest)

    def floating_point_ops(self, _: Any) -> int:
        return 0  # transformers counts those of padded inputs

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        Trainer._save_checkpoint(self, model, trial)  # TRL's also writes a model card

    def training_step(self, model: Any, inputs: Sequence[Row], _: Any = None) -> torch.Tensor:
        random, tokens = self._random_state(), self._total_train_tokens
        before = {name: len(values) for name, values in self._metrics["train"].items()}
        while True:
            try:
                return self._summed(model, inputs, super().training_step, before)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(inputs, error)
            # Outside of the handler, which would keep the failed attempt's tensors.
            model.zero_grad()
            self._go_back_to(random)
            self._total_train_tokens = tokens
            for name, values in self._metrics["train"].items():
                del values[before.get(name, 0) :]

    def _summed(
        self, model: Any, rows: Sequence[Row], step: Callable[..., torch.Tensor], before: Mapping[str, int]
    ) -> torch.Tensor:
        """Forward and back through all parts of a batch; the batch's loss comes back."""
        rank, world = self.args.process_index, self.args.world_size
        parts = for_all(world, list(in_parts(rows, self.tokens_of, self.tokens_at_once)))
        whole = sum(map(self.weight_of, rows))
        loss, seen = torch.zeros((), device=self.args.device), list[list[Row]]()
        rounds = math.ceil(len(parts) / world)
        for number in range(rounds):
            ours = number * world + rank
            # All processes do as many rounds; one that has nothing left to do counts for nothing.
            self._idle = ours >= len(parts)
            part, of = (parts[0], math.inf) if self._idle else (parts[ours], whole)
            with one_of_several(self.accelerator, model, last=number + 1 == rounds):
                loss += step(model, self.data_collator(part), of)
            seen.append([row for p in parts[number * world : (number + 1) * world] for row in p])
        self._idle = False
        average_metrics(self._metrics["train"], before, seen, self.counted_in)
        return loss

    def gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of each process, one after the other, for metrics: parts differ in their number of rows."""
        ours = tensor.detach().cpu().reshape(-1)
        return torch.cat(gather_object([ours[:0] if self._idle else ours])).to(tensor.device)

    def _halve(self, rows: Sequence[Row], error: Exception) -> None:
        longest = max(map(self.tokens_of, rows))
        if self.args.world_size > 1:
            raise ModelError(
                f"memory ran out with {self.tokens_at_once} tokens at a time in one of {self.args.world_size} "
                "processes, which cannot begin a batch again together: "
                "lower max_length, adapt fewer layers (lora.target_modules), or leave `launch` out"
            ) from error
        if self.tokens_at_once <= longest:
            raise ModelError(
                f"memory ran out with one example at a time, of {longest} tokens at most: lower max_length "
                f"(one of {longest // 2} takes about half), adapt fewer layers (lora.target_modules), or set "
                "`quantization: nf4`"
            ) from error
        # From what was tried: a budget may be far above what a batch has.
        self.tokens_at_once = min(self.tokens_at_once, len(rows) * longest) // 2
        self.halved += 1

    def _random_state(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        gpu = self.args.device.type == "cuda"
        return torch.get_rng_state(), torch.cuda.get_rng_state() if gpu else None

    def _go_back_to(self, state: tuple[torch.Tensor, torch.Tensor | None]) -> None:
        """Have dropout draw again what it drew in the attempt that failed, and let go of that one's memory."""
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1])
            torch.cuda.empty_cache()


class MeanOverExamples(InParts):
    """For trainers whose loss is the mean over the examples of a part."""

    texts = 2  # a collator puts the chosen answers first, then the rejected ones

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: float | None = None
    ) -> Any:
        found = super().compute_loss(model, inputs, return_outputs)
        if num_items_in_batch is None:  # an evaluation
            return found
        examples = len(inputs["input_ids"]) / self.texts
        return found * (self.args.world_size * examples / num_items_in_batch)


def in_parts(rows: Sequence[Row], tokens_of: Callable[[Row], int], at_once: int) -> Iterator[list[Row]]:
    """The rows in parts of at most so many tokens, padding included, and of one row at least; the longest first.

    Rows of a part are alike in length; memory runs out at the first part, if it does.
    """
    part: list[Row] = []
    for row in sorted(rows, key=tokens_of, reverse=True):
        if part and (len(part) + 1) * tokens_of(part[0]) > at_once:
            yield part
            part = []
        part.append(row)
    yield part


def for_all(processes: int, parts: list[list[Row]]) -> list[list[Row]]:
    """The parts, some halved, so that each process has as many; where there are too few rows, some will have none."""
    while len(parts) % processes and (largest := max(parts, key=len))[1:]:
        place, middle = parts.index(largest), len(largest) // 2
        parts[place : place + 1] = [largest[:middle], largest[middle:]]
    return parts


def average_metrics(
    metrics: defaultdict[str, list[float]],
    before: Mapping[str, int],
    parts: Sequence[Sequence[Row]],
    counted_in: Callable[[str, Row], int],
) -> None:
    """Put what the batch has in the place of what its parts added to each of TRL's metrics: mostly a weighted mean."""
    for name, values in metrics.items():
        start = before.get(name, 0)
        weights = [weight for part in parts if (weight := sum(counted_in(name, row) for row in part))]
        if len(weights) > 1 and len(values) - start == len(weights):
            mean = sum(v * w for v, w in zip(values[start:], weights, strict=True)) / sum(weights)
            ends = {"min": min, "max": max}.get(name.partition("_")[0])
            values[start:] = [ends(values[start:]) if ends else mean]
