"""TRL's KTO trainer for answers that are token ids already, and whose reference has spoken."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from trl import KTOTrainer

from datatrial.encoding import Example
from datatrial.policies import load_policy
from datatrial.records import Runtime
from datatrial.reference_log_probs import with_reference
from datatrial.training._base import MEASURED_AT_ONCE
from datatrial.training._examples import Examples
from datatrial.training._launch import log_probs_together
from datatrial.training._order import in_order
from datatrial.training._parts import MeanOverExamples, Row, in_parts
from datatrial.training._shared_prefixes import share_prefixes
from datatrial.training._tokenized_dpo import drop_reference

if TYPE_CHECKING:
    from datatrial.training._base import Stage


class TokenizedKTOTrainer(MeanOverExamples, KTOTrainer):  # type: ignore[misc]
    """Takes the columns that TRL's own preparation makes, and the log-probabilities of the reference.

    The divergence in the loss is that of the whole batch, in however many parts it goes through the model.
    """

    texts = 1

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.precompute_ref_logps = True
        self.divergence: torch.Tensor | None = None  # of the batch at hand; None while the held-out loss is measured
        drop_reference(self.model)
        self.notes = share_prefixes(self.model, balances_experts=self.aux_loss_enabled)

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def tokens_of(self, row: Row) -> int:
        return len(row["prompt_ids"]) + max(len(row["completion_ids"]), len(row["KL_completion_ids"]))

    def counted_in(self, metric: str, row: Row) -> int:
        labels = {"chosen": True, "rejected": False}
        counts = bool(row["label"] == labels.get(metric.rpartition("/")[2], row["label"]))
        over_tokens = metric == "entropy" or metric.startswith("logits/")
        return counts * (len(row["completion_ids"]) if over_tokens else 1)

    def _summed(self, model: Any, rows: Sequence[Row], *step: Any) -> torch.Tensor:
        metrics = self._metrics["train"]
        margins = [*metrics.get("rewards/margins", ())]
        self.divergence = self._divergence(model, rows) if self.calculate_KL else None
        try:
            loss = super()._summed(model, rows, *step)
        finally:
            self.divergence = None
        metrics.pop("rewards/margins", None)  # of the parts that have answers of both kinds
        if len({row["label"] for row in rows}) == 2:
            margins = [*margins, metrics["rewards/chosen"][-1] - metrics["rewards/rejected"][-1]]
        if margins:
            metrics["rewards/margins"] = margins
        return loss

    def _divergence(self, model: Any, rows: Sequence[Row]) -> torch.Tensor:
        """What TRL estimates of the whole batch, before it cuts it off at 0; no gradient goes through it."""
        model.train()
        found = []
        for part in in_parts(rows, self.tokens_of, self.tokens_at_once):
            batch = self._prepare_inputs(self.data_collator(part))
            with self.compute_loss_context_manager():
                found.append(KTOTrainer._compute_kl_logps(self, model, batch) - batch["ref_KL_logps"])
        return torch.cat(found).mean()

    def _compute_kl_logps(self, model: Any, batch: dict[str, Any]) -> torch.Tensor | None:
        if self.divergence is None:
            found: torch.Tensor | None = super()._compute_kl_logps(model, batch)
            return found
        batch["ref_KL_logps"] = torch.zeros_like(batch["ref_KL_logps"])  # TRL takes the difference, and its mean
        return batch["ref_KL_logps"] + self.divergence


def unpaired(data: Examples, stage: "Stage") -> Examples:
    """Each answer as an example of its own, the chosen ones at even places, and the order in which those are seen."""

    def alone(examples: Sequence[Example]) -> list[Example]:
        return [
            replace(e, answers=(answer,), reference=e.reference[number : number + 1])
            for e in examples
            for number, answer in enumerate(e.answers)
        ]

    train = alone(data.train)
    return replace(data, train=train, held_out=alone(data.held_out), order=in_order(train, stage))


def data_sets(data: Examples, stage: "Stage", policy: Path, runtime: Runtime) -> dict[str, Dataset | None]:
    """What the trainer takes: answers in the order of training, each with that before it in its batch."""
    places = data.order.places
    parts = [([data.train[place] for place in places], [place % 2 == 0 for place in places], stage.batch_size)]
    parts += [(data.held_out, [place % 2 == 0 for place in range(len(data.held_out))], MEASURED_AT_ONCE)]
    others = [mismatched(examples, batch, data.max_length) for examples, _, batch in parts]
    model, _ = load_policy(policy, runtime.device)
    asked = [example for part in others for example in part]
    known = iter(with_reference(asked, log_probs_together(model, asked, runtime, "mismatched_log_probs")))
    train, held_out = (
        rows(examples, desirable, [next(known) for _ in examples]) if examples else None
        for examples, desirable, _ in parts
    )
    return {"train_dataset": train, "eval_dataset": held_out}


def mismatched(examples: Sequence[Example], batch: int, max_length: int) -> list[Example]:
    """The prompt of each example with the answer before its own in its batch, the first with the last, as in TRL.

    One that is alone in the last batch has that before it: with its own, its reward would be taken for divergence.
    """
    found = []
    for start in range(0, len(examples), batch):
        ours = examples[start : start + batch]
        last = examples[start - 1] if len(ours) == 1 else ours[-1]
        for example, before in zip(ours, [last, *ours[:-1]], strict=True):
            answer = before.answers[0][: max_length - len(example.prompt)]
            found.append(replace(example, answers=(answer,), reference=()))
    return found


def rows(examples: Sequence[Example], desirable: Sequence[bool], others: Sequence[Example]) -> Dataset:
    """Answers, their mismatched ones and what the reference says of both, in TRL's columns."""
    columns = {
        "prompt_ids": [e.prompt for e in examples],
        "completion_ids": [e.answers[0] for e in examples],
        "label": list(desirable),
        "ref_logps": [e.reference[0] for e in examples],
        "KL_completion_ids": [e.answers[0] for e in others],
        "ref_KL_logps": [e.reference[0] for e in others],
    }
    return Dataset.from_dict(columns)
