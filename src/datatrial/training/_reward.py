"""A reward model to train, and how well a trained one tells better answers from worse."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from peft import PeftConfig, PeftModel, TaskType, get_peft_model
from peft.utils import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from transformers import set_seed
from trl import RewardTrainer

from datatrial.encoding import Example
from datatrial.errors import ModelError
from datatrial.likelihood.values import HeadAtTokens
from datatrial.policies import gives_scores, load_base
from datatrial.records import ModelRef, Runtime, read_json
from datatrial.rewards import RewardModel, with_score_head
from datatrial.training._parts import MeanOverExamples
from datatrial.training._policy import lora_config, refuse_other_shape
from datatrial.training._shared_prefixes import share_prefixes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from datatrial.training._base import Stage


class _EachCounts(RewardTrainer):  # type: ignore[misc]
    """TRL's takes the mean of the processes' means, though they may have different numbers of comparisons."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, *_: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        chosen, rejected = outputs.logits.detach().squeeze(-1).chunk(2)
        margins = self.accelerator.gather(chosen - rejected)
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["accuracy"][-1], metrics["margin"][-1] = (margins > 0).float().mean().item(), margins.mean().item()
        return (loss, outputs) if return_outputs else loss


class TokenizedRewardTrainer(MeanOverExamples, _EachCounts):
    """TRL's, which sees by their columns that examples are token ids already."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        asked = HeadAtTokens(self.model)
        with asked.for_words():
            self.notes = share_prefixes(asked)


def model_to_train(ref: ModelRef, stage: "Stage", tokenizer: "PreTrainedTokenizerBase", device: str) -> PeftModel:
    """The layers of a policy with a new score head, whose LoRA is new or starts as the adapter of an earlier stage.

    Raises: ModelError when that adapter is of another shape than the study's LoRA, or the model can have no such head.
    """
    if ref.adapter and gives_scores(Path(ref.adapter)):
        raise ModelError("a reward model cannot be trained further: train one on all the comparisons at once")
    base = load_base(ref, device)
    assert stage.lora  # its settings say so
    config = lora_config(stage.lora, base)
    config.task_type = TaskType.SEQ_CLS
    if ref.adapter:
        refuse_other_shape(PeftConfig.from_pretrained(ref.adapter), stage.lora, base, ref.adapter)
    set_seed(stage.initialization)
    model = get_peft_model(with_score_head(base, tokenizer), config)
    if ref.adapter:
        _start_from(model, Path(ref.adapter), device)
    model.is_loaded_in_4bit = False  # TRL would round the adapter of a quantized model to bfloat16; PEFT looks inside
    return model


def _start_from(model: PeftModel, adapter: Path, device: str) -> None:
    """Give a new LoRA the weights of an adapter; the head, of which an adapter of a policy has none, stays as it is."""
    theirs, ours = load_peft_weights(str(adapter), device=device), get_peft_model_state_dict(model)
    if left := sorted(theirs.keys() - ours.keys()):
        raise ModelError(f"the adapter in {adapter} does not fit a reward model: it also has {left[0]}")
    set_peft_model_state_dict(model, {**ours, **theirs})


def rows(examples: Sequence[Example]) -> Dataset:
    """Examples of two answers, in the columns that TRL takes for tokenized already."""
    columns = {
        "chosen_ids": [e.prompt + e.answers[0] for e in examples],
        "rejected_ids": [e.prompt + e.answers[1] for e in examples],
    }
    return Dataset.from_dict(columns)


def add_held_out(out: Path, held_out: list[Example], runtime: Runtime) -> None:
    """Add to `training.json` what the result, as it lies on disk, makes of the comparisons it did not train on."""
    accuracy = mean = spread = None
    if held_out:
        sequences = [e.prompt + answer for e in held_out for answer in e.answers]
        rewards = RewardModel.load(out, runtime.device).of_tokens(sequences, runtime.progress)
        pairs = zip(rewards[::2], rewards[1::2], strict=True)
        accuracy = fmean(0.5 if chosen == rejected else float(chosen > rejected) for chosen, rejected in pairs)
        mean, spread = fmean(rewards), pstdev(rewards)
    summary = {**read_json(out / "training.json"), "held_out_accuracy": accuracy}
    summary |= {"reward_mean": mean, "reward_std": spread}
    (out / "training.json").write_text(json.dumps(summary, indent=2))
