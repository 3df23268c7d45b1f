"""TRL's GRPO trainer on prompts that are token ids already, and the rewards that it asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from peft import PeftModel
from transformers import Trainer
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from datatrial.encoding import Example, rows_of
from datatrial.errors import DataError
from datatrial.policies import load_policy
from datatrial.records import Message, ModelRef, Runtime
from datatrial.training._base import MEASURED_AT_ONCE, Budget
from datatrial.training._examples import Examples
from datatrial.training._order import in_order
from datatrial.training._reward_function import Reward
from datatrial.training._run import fitting_at_once
from datatrial.training._tokenized_dpo import drop_reference

if TYPE_CHECKING:
    from datatrial.tables import Table
    from datatrial.training.grpo import Grpo


class TokenizedGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's, which reads the prompts of a batch as we tokenized and cut them."""

    halved = 0  # TRL's batches cannot be begun again in smaller parts
    tokens_at_once: int

    def __init__(self, *, data: Examples, table: "Table", **settings: Any):
        tokenizer = settings["processing_class"]
        said = list(rows_of(table, 1))
        train = _rows(data.train, said, tokenizer).select(data.order.places)
        held_out = _rows(data.held_out, said, tokenizer) if data.held_out else None
        super().__init__(train_dataset=train, eval_dataset=held_out, **settings)
        self.notes: list[str] = []
        self._prompt_ids: list[list[int]] = []  # of the answers that are being written
        if not self.beta:
            drop_reference(self.model)

    def measure_against(self, policy: Path, beta: float, device: str) -> None:
        """Keep a model as the reference; TRL would take the base model of the one that is trained."""
        model, _ = load_policy(policy, device)
        add_fused_lm_head(
            model.get_base_model() if isinstance(model, PeftModel) else model, temperature=self.temperature
        )
        self.ref_model, self.beta = self.accelerator.prepare_model(model, evaluation_mode=True), beta

    def _generate_and_score_completions(self, inputs: Sequence[Mapping[str, Any]]) -> Any:
        self._prompt_ids = [row["prompt_ids"] for row in inputs]
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: Sequence[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self._prompt_ids, None, {}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        Trainer._save_checkpoint(self, model, trial)  # TRL's also writes a model card

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        # A group's advantages add up to nothing, and so does the loss before its gradient is taken.
        super().log({name: value for name, value in logs.items() if name != "eval_loss"}, *rest)


def _rows(examples: Sequence[Example], said: Sequence[tuple[list[Message], list[str]]], tokenizer: Any) -> Dataset:
    """Prompts, and what rewards are given by."""
    columns = {
        "prompt": tokenizer.batch_decode([e.prompt for e in examples], skip_special_tokens=True),
        "prompt_ids": [e.prompt for e in examples],
        "turns": [said[e.row][0] for e in examples],  # TRL takes a column `messages` for a sign of its own
        "answer": [said[e.row][1][0] for e in examples],
    }
    return Dataset.from_dict(columns)


def in_whole_steps(data: Examples, stage: "Grpo") -> Examples:
    """The examples in an order that fills the last step: TRL leaves out prompts that would not."""
    steps = -(-len(data.order.places) // stage.batch_size)
    whole = stage.model_copy(update={"budget": Budget(steps=steps)})
    return replace(data, truncated=0, order=in_order(data.train, whole))  # no answer of the data is learned


def settings(stage: "Grpo", ref: ModelRef, data: Examples, runtime: Runtime) -> dict[str, Any]:
    """TRL's settings of a step: its answers are written at once, and learned from in parts that fit into memory."""
    fitting = max(1, fitting_at_once(stage, ref, runtime).tokens // data.max_length)
    part = max(n for n in range(1, stage.answers + 1) if stage.answers % n == 0 and n <= fitting)
    return {
        "per_device_train_batch_size": part,
        "gradient_accumulation_steps": stage.answers // part,
        "per_device_eval_batch_size": MEASURED_AT_ONCE,
        "num_generations": stage.num_generations,
        "num_generations_eval": 1,
        "max_completion_length": stage.max_completion_length,
        "temperature": stage.temperature,
        "beta": stage.beta if stage.lora else 0.0,
        "shuffle_dataset": False,
        "remove_unused_columns": False,
    }


def reward_of(stage: "Grpo", inputs: Mapping[str, Path], table: "Table", runtime: Runtime) -> Reward:
    """What TRL calls for rewards.

    Raises: DataError when the reward model has no room for an answer after one of the prompts.
    """
    if stage.reward_function:
        given = stage.reward_function.load(inputs["reward_function"])

        def rewards(
            prompts: Sequence[str], completions: Sequence[str], turns: Any, answer: Sequence[str], **_: Any
        ) -> Sequence[float]:
            return given(completions=completions, prompts=prompts, messages=turns, answers=answer)

        return rewards
    return _of_model(inputs["reward_model"], table, runtime)


def _of_model(result: Path, table: "Table", runtime: Runtime) -> Reward:
    from datatrial.rewards import RewardModel

    judge = RewardModel.load(result, runtime.device)
    asked = [[*turns, Message(role="assistant", content="a")] for turns, _ in rows_of(table, 1)]
    if lacking := sum(not ids for ids in judge.read(asked)):
        raise DataError(
            f"{lacking} of {len(asked)} prompts leave no room for an answer in the reward model's max_length "
            f"({judge.reading.max_length}): raise it there, or leave these rows out"
        )
    judge.valuer  # noqa: B018  # tries the model out, which must not fall between two draws of an answer

    def rewards(completions: Sequence[str], turns: Sequence[list[Message]], **_: Any) -> list[float]:
        conversations = [
            [*before, Message(role="assistant", content=text.strip())]
            for before, text in zip(turns, completions, strict=True)
        ]
        return judge.rewards(conversations, lambda *_: None)

    rewards.__name__ = "reward_model"
    return rewards
