"""Models of which each process has a share of the weights: FSDP and DeepSpeed, through accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import _find_final_norm
from peft import PeftModel
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import Trainer

from datatrial.errors import ModelError
from datatrial.records import Launch, ModelRef

Weights = dict[str, torch.Tensor]
# What transformers fills in, of what DeepSpeed would have again.
_AS_THE_STAGE_SAYS = dict.fromkeys(("train_micro_batch_size_per_gpu", "gradient_clipping"), "auto")


def sharding(launch: Launch | None, ref: ModelRef) -> dict[str, Any]:
    """What TrainingArguments are told of how a model is shared; nothing where every process has all of it.

    Raises: ModelError for a model in 4 bits, whose weights accelerate would leave whole in every process, and for
    DeepSpeed on one in 16 bits, since it would round to those what is trained.
    """
    if launch is None or (launch.fsdp is None and launch.deepspeed is None):
        return {}
    if ref.quantization:
        raise ModelError(f"a model in {ref.quantization} cannot be sharded: leave fsdp and deepspeed out of `launch`")
    if launch.fsdp is not None:
        # Sharded checkpoints: each process writes its own share, and reads it.
        return {"fsdp": True, "fsdp_config": {**launch.fsdp, "state_dict_type": "SHARDED_STATE_DICT"}}
    if ref.dtype != "float32":
        raise ModelError(f"DeepSpeed would round what is trained to {ref.dtype}: shard with `launch: {{fsdp: {{}}}}`")
    return {"deepspeed": {**_AS_THE_STAGE_SAYS, **(launch.deepspeed or {})}}


def share_weights(trainer: Trainer) -> None:
    """Have accelerate shard on a CPU too, where it passes over FSDP and DeepSpeed, and compute as in one process."""
    state, args = trainer.accelerator.state, trainer.args
    if state.distributed_type == DistributedType.MULTI_CPU:
        if args.fsdp:
            _is_now(state, DistributedType.FSDP)
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**args.fsdp_plugin_args)
            trainer.is_fsdp_enabled = True
        elif args.deepspeed:
            _is_now(state, DistributedType.DEEPSPEED)
            args.deepspeed_plugin.set_mixed_precision(state.mixed_precision)
            state.deepspeed_plugins = {"default": args.deepspeed_plugin}
            args.deepspeed_plugin.select(_from_accelerator_state=True)
            trainer.is_deepspeed_enabled = True
    if args.fsdp:
        # Autocast rounds what it rounds in one process. accelerate's policy would round losses and log-probabilities.
        state.fsdp_plugin.mixed_precision_policy = None


def _is_now(state: AcceleratorState, kind: DistributedType) -> None:
    state.distributed_type = PartialState().distributed_type = kind


def refuse_lone_head(trainer: Trainer) -> None:
    """Raises: ModelError where FSDP would not add up the gradients of a head whose weight TRL reads past its `forward`.

    It does in one unit with what is read before: the last norm, or the embedding that the head is tied to.
    """
    model = trainer.model
    if not trainer.is_fsdp_enabled or isinstance(model, PeftModel):
        return
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is not embedding.weight and _find_final_norm(model) is None:
        raise ModelError("FSDP cannot train every weight of this model, whose last norm it does not find: train a LoRA")


@contextmanager
def one_of_several(accelerator: Accelerator, model: Any, *, last: bool) -> Iterator[None]:
    """Around a part of a batch: the processes add up their gradients with the last one."""
    accelerator.gradient_state._set_sync_gradients(last)  # else DeepSpeed would take a step with each part
    with nullcontext() if last else accelerator.no_sync(model):
        yield


def sharded_as(trainer: Trainer) -> str:
    """What only such processes can go on from as made its checkpoints; empty where any can."""
    if trainer.is_deepspeed_enabled:
        return f"deepspeed in {trainer.args.world_size}"
    return "fsdp" if trainer.is_fsdp_enabled else ""


def whole_weights(trainer: Trainer) -> Weights | None:
    """The weights that were trained, gathered from all processes, which all ask; None where each has them whole."""
    if not trainer.is_fsdp_enabled:
        return None
    adapter_alone = isinstance(trainer.model, PeftModel)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=adapter_alone)
    found: Weights = get_model_state_dict(trainer.model, options=options)
    tied = () if adapter_alone else trainer.model.all_tied_weights_keys
    return {name: weight for name, weight in found.items() if name not in tied}  # as `save_pretrained` does
