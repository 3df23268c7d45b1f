"""Peak memory of training and scoring, in bytes: weights, what is trained, what is kept for the way back, logits."""

from dataclasses import dataclass

from datatrial.shapes import Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# NF4 with double quantization: 4 bits and 0.127 bits of constants a parameter (Dettmers et al. 2023, section 3).
NF4_BYTES = (4 + 0.127) / 8
# What is trained and its optimizer, in float32: the parameter, its gradient, and AdamW's two moments.
TRAINED_BYTES = 16
# TRL's fused head makes logits in tiles of so many tokens and entries (trl.trainer.utils, trl.kernels.chunked_logprob).
_TILE_TOKENS, _TILE_ENTRIES = 4096, 32768
# Without Triton, on the way back nine numbers and a truth value for each logit of a tile are there at once.
_TILE_BYTES_ON_CPU = 37


@dataclass(frozen=True)
class Memory:
    """The parts of a peak, in bytes; they are in memory at once."""

    weights: float
    trained: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    cache: float = 0.0  # keys and values
    libraries: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.trained + self.activations + self.logits + self.cache + self.libraries


def weights(shape: Shape, width: int, quantized: bool) -> float:
    """Bytes of a loaded base model whose numbers take `width` bytes, those of its blocks half of one if quantized."""
    if quantized:
        return shape.in_blocks(shape.experts) * NF4_BYTES + shape.outside * width
    return shape.parameters * width


def kept_by_a_block(shape: Shape, width: int, adapted: int, dropout: bool) -> float:
    """Bytes that a Llama-like block keeps for the way back, for each token; counted as Korthikanti et al. (2022) do.

    Two norms in float32 (4 bytes each and number), their results, queries, keys, values and attention's result, and
    four numbers of each unit of the feed-forward part. Attention keeps no scores (PyTorch's fused kernels). LoRA keeps
    its input in float32 where that is not the model's dtype, and once more under dropout; `adapted` is its width.
    """
    kept = 8 * shape.hidden + width * (4 * shape.hidden + 2 * shape.kv_width)
    feed_forward = width * (4 if shape.gated else 2) * shape.intermediate * shape.active_experts
    return kept + feed_forward + adapted * ((4 if width < 4 else 0) + (5 if dropout else 0))


def inputs_of_matrices(shape: Shape, width: int) -> float:
    """Bytes that a block keeps of each token on top, where its matrices are trained: the inputs of those."""
    return width * (5 * shape.hidden + shape.intermediate)


def training_activations(shape: Shape, tokens: float, kept: float, width: int, checkpointing: bool) -> float:
    """Bytes kept for the way back through all blocks; with checkpointing, their inputs and all of one block.

    On the way back through a block the gradients of what its feed-forward part kept come on top.
    """
    on_the_way = tokens * 3 * shape.intermediate * width
    if checkpointing:
        return tokens * (shape.layers * shape.hidden * width + kept) + on_the_way
    return tokens * shape.layers * kept + on_the_way


def fused_head(shape: Shape, scored: float, width: int, on_gpu: bool) -> float:
    """Bytes of TRL's head: a tile of logits (on a GPU of its full size, on a CPU with the steps of its softmax), and
    the states that it reads with their gradients in float32.
    """
    tokens = min(scored, _TILE_TOKENS)
    per_token = _TILE_ENTRIES * width if on_gpu else min(shape.vocabulary, _TILE_ENTRIES) * _TILE_BYTES_ON_CPU
    return tokens * per_token + scored * shape.hidden * (width + 4)


def scoring_activations(shape: Shape, tokens: float, width: int) -> float:
    """Bytes of one block at work, the most that is there at once: the feed-forward part and two states."""
    return tokens * width * (3 * shape.intermediate + 4 * shape.hidden)


def keys_and_values(shape: Shape, tokens: float, width: int) -> float:
    """Bytes of the cache, which lm-eval's backend fills though nothing is generated."""
    return 2 * shape.layers * shape.kv_width * tokens * width
