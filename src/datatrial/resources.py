"""What the steps of a study take of a cluster, as its YAML says it."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from datatrial.component import Settings
from datatrial.errors import first_line
from datatrial.records import CheckpointEvery, Launch, Resources

OWN_KEYS = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}  # Ray's names for what has a key here


def _allotted(quantity: float) -> float:
    if quantity > 1 and quantity != int(quantity):
        raise PydanticCustomError("quantity", "should be a whole number, or less than 1 to share one")
    return quantity


def _custom(name: str) -> str:
    if name in OWN_KEYS:
        raise PydanticCustomError("own_key", "{what}", {"what": f"has a key of its own: write {OWN_KEYS[name]}"})
    return name


Quantity = Annotated[float, Field(gt=0), AfterValidator(_allotted)]


class Needed(Settings):
    """What one step takes: `{gpus: 1, memory: 24GB, custom: {a100: 1}}`."""

    # A step uses one GPU: what a trainer does with several is another training, and resources may change no result.
    gpus: float | None = Field(None, ge=0, le=1)  # by default one for what runs a model, where the cluster has any
    cpus: Quantity = 1.0
    memory: ByteSize = Field(ByteSize(0), ge=0)  # to reserve; 0: none in particular
    custom: Mapping[Annotated[str, AfterValidator(_custom)], Quantity] = Field(default_factory=dict)

    def of_step(self, *, runs_model: bool) -> Resources:
        """The same for a step that runs a model or does not, which decides whether it takes a GPU by itself."""
        gpus = self.gpus if self.gpus is not None or runs_model else 0.0
        return Resources(gpus, self.cpus, int(self.memory), dict(self.custom))


class Fsdp(Settings):
    """How FSDP shards a model's weights over the processes, named as in transformers' `fsdp_config`."""

    reshard_after_forward: bool = True  # a block's weights are let go of after it, and gathered again on the way back
    cpu_offload: bool = False  # what is not in use lies in main memory
    auto_wrap_policy: Literal["TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"] = "TRANSFORMER_BASED_WRAP"
    transformer_layer_cls_to_wrap: tuple[str, ...] | None = None  # by default the blocks that transformers knows
    min_num_params: int = Field(0, ge=0)  # of what is a unit by its size


def _config_or_file(value: Any, info: ValidationInfo) -> Any:
    """A file is read here: nodes of a cluster need not see it."""
    if not isinstance(value, str):
        return value
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    file = folder / Path(value).expanduser()
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"{file} is no JSON file: {first_line(error)}"
        raise PydanticCustomError("deepspeed", "{what}", {"what": what}) from error


# Keys of DeepSpeed's config that leave the training what it is; a stage has settings for the others.
_OF_DEEPSPEED = frozenset({"zero_optimization", "communication_data_type", "comms_logger", "flops_profiler"})
_OF_DEEPSPEED |= {"memory_breakdown", "wall_clock_breakdown", "steps_per_print", "dump_state"}


class Launching(Settings):
    """In how many processes each training stage runs, named as by accelerate: every one has a GPU, or a core.

    Each has the whole model, or a share of it by FSDP or DeepSpeed.
    """

    num_processes: int = Field(1, gt=0)
    num_machines: int = Field(1, gt=0)  # on which there are as many processes each; more than one is for Ray
    fsdp: Fsdp | None = None
    deepspeed: Annotated[Mapping[str, Any] | None, BeforeValidator(_config_or_file)] = None  # its config, or a file

    @field_validator("deepspeed")
    @classmethod
    def _installed(cls, config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if config is not None and find_spec("deepspeed") is None:
            raise PydanticCustomError("deepspeed", "DeepSpeed is not installed: `pip install deepspeed`")
        return config

    @model_validator(mode="after")
    def _one_way_to_shard(self) -> Self:
        if self.fsdp is not None and self.deepspeed is not None:
            raise PydanticCustomError("launch", "should have fsdp or deepspeed, not both: each shards the model")
        if self.num_processes == 1 and (self.fsdp or self.deepspeed) is not None:
            raise PydanticCustomError("launch", "one process has nobody to share a model with: set num_processes")
        if self.num_processes % self.num_machines:
            what = f"num_processes should be a multiple of num_machines, which is {self.num_machines}"
            raise PydanticCustomError("launch", "{what}", {"what": what})
        return self

    @field_validator("deepspeed")
    @classmethod
    def _leaves_weights_whole(cls, config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if config is None:
            return None
        if others := sorted(config.keys() - _OF_DEEPSPEED):
            what = f"{others[0]} would change the training, which the stage's settings say: leave it out"
            raise PydanticCustomError("deepspeed", "{what}", {"what": what})
        if Launch(1, deepspeed=config).zero_stage not in (1, 2):
            what = "ZeRO shares optimizer and gradients here, in stage 1 or 2; what shares the weights too is `fsdp`"
            raise PydanticCustomError("deepspeed", "{what}", {"what": what})
        return config

    @property
    def of_stage(self) -> Launch | None:
        fsdp = self.fsdp.model_dump(exclude_none=True) if self.fsdp else None
        whole = Launch(self.num_processes, fsdp, self.deepspeed, self.num_machines)
        return whole if self.num_processes > 1 else None


class Checkpoints(Settings):
    """How often what trains saves where it stands: `{steps: 100}` or `{seconds: 600}`."""

    steps: int | None = Field(None, gt=0)  # optimizer steps
    seconds: float = Field(CheckpointEvery().seconds, ge=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if {"steps", "seconds"} <= self.model_fields_set:
            raise PydanticCustomError("checkpoints", "should have steps or seconds, not both")
        return self

    @property
    def of_stage(self) -> CheckpointEvery:
        return CheckpointEvery(self.seconds, self.steps)


class ResourcesOfSteps(Settings):
    """What each step of a kind of work takes."""

    training: Needed = Needed()  # stages of arms and reward models, and a base model that is trained here
    scoring: Needed = Needed()  # benchmarks, drift, and data sets that a reward model ranks
    other: Needed = Needed()  # data, audits, contrasts, the report
