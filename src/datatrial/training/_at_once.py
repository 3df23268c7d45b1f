"""How much goes through a model at a time when it is trained: as much as its shape and the device's memory allow."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datatrial.memory import (
    BYTES,
    TRAINED_BYTES,
    fused_head,
    inputs_of_matrices,
    kept_by_a_block,
    training_activations,
    weights,
)
from datatrial.records import Launch
from datatrial.shapes import Shape

if TYPE_CHECKING:
    from datatrial.training._base import Stage

ENOUGH = 8192  # tokens: with so many at a time a GPU is busy
MOST = 16384  # tokens: more make nothing faster
MOST_ON_CPU = 512  # tokens: a CPU is at its best with what stays in its caches
UNKNOWN = 2048  # tokens, where the shape of the model is not known
_LIBRARIES = 1.5 * 2**30  # bytes that they take on a GPU
_SHARE = {True: 0.85, False: 0.25}  # of the memory of a GPU, which is ours, and of a CPU's, which several workers share


@dataclass(frozen=True)
class AtOnce:
    """What part of a batch is in memory at a time. Results depend on it by rounding only."""

    tokens: int
    checkpointing: bool  # whether what is kept for the way back is computed again, for want of memory


def at_once(
    stage: "Stage",
    shape: Shape | None,
    dtype: str,
    quantized: bool,
    memory: float,
    on_gpu: bool,
    launch: Launch | None = None,
) -> AtOnce:
    """For a stage on a model, and a device with so many bytes of memory; of processes that share the model, each.

    Blocks are computed again only where a GPU could else not keep enough tokens; that costs it a third more work.
    """
    if shape is None:
        return AtOnce(UNKNOWN, on_gpu)
    width, most = BYTES[dtype], MOST if on_gpu else MOST_ON_CPU
    free = _SHARE[on_gpu] * memory - taken(stage, shape, width, quantized, on_gpu, launch)

    def fitting(checkpointing: bool) -> int:
        each = bytes_per_token(stage, shape, width, checkpointing)
        head, most_of_it = (fused_head(shape, n, width, on_gpu) if stage.learns_tokens else 0.0 for n in (1, ENOUGH))
        # The head takes more with each token up to a tile of them, and no more beyond.
        return int(max(free / (each + head), (free - most_of_it) / each))

    kept = fitting(checkpointing=False)
    whole = stage.batch_size * stage.max_length * stage.texts
    if not on_gpu or kept >= min(ENOUGH, whole):
        return AtOnce(max(1, min(kept, most)), checkpointing=False)
    return AtOnce(max(1, min(fitting(checkpointing=True), most)), checkpointing=True)


def taken(
    stage: "Stage", shape: Shape, width: int, quantized: bool, on_gpu: bool, launch: Launch | None = None
) -> float:
    """Bytes that are in memory however few tokens go through the model."""
    trained = float(TRAINED_BYTES * parameters_trained(stage, shape))
    beside = weights_beside(stage, shape, width, quantized)
    if launch and launch.fsdp is not None:
        at_a_time = 2 / shape.layers * shape.in_blocks(shape.experts) + shape.outside  # this block and the next
        gathered = at_a_time * (width if stage.lora else BYTES["float32"])
        trained, beside = trained / launch.num_processes, beside / launch.num_processes + gathered
    elif launch:
        # A quarter each: weights, gradients (shared in stage 2) and AdamW's two moments (in 1 and 2).
        shared = {0: 0.0, 1: 0.5, 2: 0.75}[launch.zero_stage]
        trained *= 1 - shared + shared / launch.num_processes
    return beside + trained + (_LIBRARIES if on_gpu else 0.0)


def weights_beside(stage: "Stage", shape: Shape, width: int, quantized: bool) -> float:
    """Bytes of the weights that are not trained; where all are, of their copies in 16 bits, which autocast keeps."""
    if stage.lora:
        return weights(shape, width, quantized)
    return weights(shape, width, quantized) if width < BYTES["float32"] else 0.0


def bytes_per_token(stage: "Stage", shape: Shape, width: int, checkpointing: bool) -> float:
    """Bytes that a token takes on the way through the blocks and back."""
    if stage.lora:
        inputs = shape.adapter_inputs(stage.lora.target_modules)
        kept = kept_by_a_block(shape, width, inputs, stage.lora.dropout > 0)
    else:
        kept = kept_by_a_block(shape, width, 0, dropout=False) + inputs_of_matrices(shape, width)
    return training_activations(shape, 1, kept, width, checkpointing)


def parameters_trained(stage: "Stage", shape: Shape) -> int:
    if not stage.lora:
        return shape.parameters
    return shape.adapter(stage.lora.r, stage.lora.target_modules, stage.lora.dora)
