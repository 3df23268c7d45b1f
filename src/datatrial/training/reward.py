"""Reward modelling."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from datatrial.records import Runtime
from datatrial.training._base import ComparisonStage, LoraOrAll


class Reward(ComparisonStage):
    """Fits a reward to answers so that the better of two gets more of it (Bradley-Terry; TRL's reward trainer).

    It trains a new score head and a LoRA; after SFT or DPO, the LoRA goes on from the adapter of that stage. Its result
    scores answers and gives none, so no stage and no arm can go on from it. `training.json` also has
    `held_out_accuracy` (the share of held-out comparisons whose chosen answer gets the higher reward; ties count half)
    and `reward_mean` and `reward_std` over the held-out answers; all are null where nothing is held out.
    """

    version: ClassVar[int] = 4
    learns_tokens: ClassVar[bool] = False

    learning_rate: float = Field(1e-4, gt=0)

    @field_validator("lora")
    @classmethod
    def _with_adapter(cls, lora: LoraOrAll) -> LoraOrAll:
        if not lora:
            what = "a reward model is a LoRA and a score head on the base model: give it a LoRA, in `training.reward`"
            raise PydanticCustomError("lora", "{what}", {"what": what})
        return lora

    def train(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from trl import RewardConfig

        from datatrial.rewards import Reading
        from datatrial.training._examples import opened
        from datatrial.training._reward import TokenizedRewardTrainer, add_held_out, model_to_train, rows
        from datatrial.training._run import configure, data_sets, run, write_result

        ref, tokenizer, data = opened(inputs, self, 2)
        # Without a max_length TRL leaves out nothing: what is too long has been cut.
        args = configure(RewardConfig, self, ref, data, out, runtime, max_length=None)
        trainer = TokenizedRewardTrainer(
            model=model_to_train(ref, self, tokenizer, runtime.device),
            args=args,
            **data_sets(data, rows),
            processing_class=tokenizer,
        )
        run(trainer, self, ref, runtime)
        write_result(trainer, ref, data, out)
        if trainer.is_world_process_zero():
            Reading(self.prompt, data.max_length, self.max_prompt_length).write(out)
            add_held_out(out, data.held_out, runtime)
