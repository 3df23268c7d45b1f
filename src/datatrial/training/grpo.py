"""Group relative policy optimization."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from datatrial.errors import ModelError
from datatrial.records import Form, Needs, PartOfStudy, Runtime
from datatrial.training._base import Stage
from datatrial.training._reward_function import RewardFunction


class Grpo(Stage):
    """Learns from rewards of its own answers, relative to others to the same prompt (Shao et al. 2024; TRL's GRPO).

    Only the prompts of the data are learned on, `batch_size` of them a step with `num_generations` answers each; steps
    are whole, so the last pass may go on into another one. Rewards are a reward model's of the study, or a function's:
    it is called with `completions` and, for each of them, `prompts` (as the model reads them), `messages` (the turns
    up to the answer) and `answers` (the data set's own; of a comparison the chosen one), and gives a number for each.

    TRL makes the batches, as it writes the answers on the way: what is in memory at a time is set beforehand, and
    memory that runs out ends the run. Prompts are not shared between answers. Where `trl: {num_iterations: …}` learns
    from answers several times, a run that was interrupted ends as a good one, but not as the very same.
    """

    version: ClassVar[int] = 2

    forms: ClassVar[tuple[Form, ...]] = ("demonstrations", "comparisons")
    goes_in_parts: ClassVar[bool] = False
    tells_by_loss: ClassVar[bool] = False

    learning_rate: float = Field(5e-6, gt=0)
    batch_size: int = Field(8, gt=0)  # prompts
    reward_function: RewardFunction | None = None
    reward_model: str | None = Field(None, exclude=True)  # a name; the model itself comes as an input
    num_generations: int = Field(8, gt=1)  # answers to a prompt
    max_completion_length: int = Field(256, gt=0)  # tokens of an answer
    temperature: float = Field(1.0, gt=0)
    beta: float = Field(0.0, ge=0)  # how dear it is to move away from the policy that training starts from
    # What is measured on held-out prompts is the reward of one answer to each; it costs as much as writing them.
    held_out: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_reward(self) -> Self:
        if (self.reward_function is None) == (self.reward_model is None):
            raise PydanticCustomError("reward", "should have exactly one of `reward_function` and `reward_model`")
        if self.budget is not None and self.budget.tokens is not None:
            what = "should have a budget of steps or examples: how many tokens it will write is not known beforehand"
            raise PydanticCustomError("budget", "{what}", {"what": what})
        if self.max_completion_length >= self.max_length:
            raise PydanticCustomError(
                "length", "max_completion_length should be below max_length, which has the prompt"
            )
        return self

    @property
    def answers(self) -> int:
        """How many are written for a step."""
        return self.batch_size * self.num_generations

    def needs(self) -> Mapping[str, Needs]:
        return {"reward_function": self.reward_function.needs()} if self.reward_function else {}

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {"reward_model": PartOfStudy("reward_model", self.reward_model)} if self.reward_model else {}

    def problems(self) -> list[str]:
        return self.reward_function.problems() if self.reward_function else []

    def longest_prompt(self, max_length: int) -> int:
        """Raises: ModelError when the model takes no more than an answer."""
        if max_length <= self.max_completion_length:
            raise ModelError(f"the model takes {max_length} tokens: lower max_completion_length")
        return max_length - self.max_completion_length

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from trl import GRPOConfig

        from datatrial.tables import Table
        from datatrial.training._examples import opened
        from datatrial.training._grpo import TokenizedGRPOTrainer, in_whole_steps, reward_of, settings
        from datatrial.training._policy import adapted_policy
        from datatrial.training._run import configure, run, write_result

        table = Table.read(inputs["data"])
        ref, tokenizer, data = opened(inputs, self, 1)
        data = in_whole_steps(data, self)
        args = configure(GRPOConfig, self, ref, data, out, runtime, **settings(self, ref, data, runtime))
        model = adapted_policy(ref, self, runtime.device)
        trainer = TokenizedGRPOTrainer(
            model=model,
            args=args,
            reward_funcs=reward_of(self, inputs, table, runtime),
            data=data,
            table=table,
            processing_class=tokenizer,
        )
        if self.beta and not self.lora:
            trainer.measure_against(inputs["policy"], self.beta, runtime.device)
        run(trainer, self, ref, runtime)
        write_result(trainer, ref, data, out)
