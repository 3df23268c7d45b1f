"""Floating point operations of training and scoring, and how long a device takes for them.

A forward pass is 2 FLOPs for each parameter of the blocks' matrices and each token (Kaplan et al. 2020, table 1), plus
4 · layers · attention width · length for each token (both products with the keys and values of the whole row: padded
batches compute what the causal mask hides), plus 2 · hidden · vocabulary for each token that the head scores.

Going back through a frozen matrix costs as much as the forward pass, since only the gradient of its input is taken;
through a trained one twice as much (Hoffmann et al. 2022, appendix F); through attention always twice. Gradient
checkpointing adds a forward pass through the blocks.
"""

from dataclasses import dataclass

from datatrial.estimates.devices import Device, Use
from datatrial.shapes import Shape

# Widths of `hidden` that a token's way through a block reads and writes in a forward pass, beside the matrices: what a
# block keeps for the way back is 17 of them (Korthikanti et al. 2022: 34·s·b·h bytes at 2 each), each written and read.
_WIDTHS_MOVED = 34


@dataclass(frozen=True)
class Work:
    """FLOPs, bytes moved through the device's memory, and how often a block is entered."""

    flops: float = 0.0
    moved: float = 0.0
    entered: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.moved + other.moved, self.entered + other.entered)

    def __mul__(self, times: float) -> "Work":
        return Work(self.flops * times, self.moved * times, self.entered * times)

    def seconds(self, device: Device, dtype: str, use: Use) -> float:
        """FLOPs / (peak × utilization) + bytes / bandwidth + the time to enter blocks."""
        matrices = self.flops / (device.peak[dtype] * device.utilization[use])
        return matrices + self.moved / device.bandwidth + self.entered * device.layer_seconds


@dataclass(frozen=True)
class Rows:
    """Rows that go through a model together, padded to `length` tokens; the head scores `scored` tokens of all."""

    rows: float
    length: float
    scored: float

    @property
    def tokens(self) -> float:
        return self.rows * self.length


def forward(
    shape: Shape, rows: Rows, width: int, blocks: int = 1, attention: int = 1, head: int = 1, moved: int = 1
) -> Work:
    """A forward pass over one batch; `width` is the bytes of a number.

    A way back costs the same parts again: matrices of blocks, attention, head and memory each count so many times.
    """
    products = 2 * shape.used * rows.tokens * blocks
    scores = 4 * shape.layers * shape.attention_width * rows.length * rows.tokens * attention
    heads = 2 * shape.hidden * shape.vocabulary * rows.scored * head
    activations = _WIDTHS_MOVED * shape.hidden * shape.layers * rows.tokens * width
    logits = 4 * shape.vocabulary * rows.scored * 4  # float32, written and read for the softmax
    weights = shape.used * width
    return Work(products + scores + heads, (activations + logits + weights) * moved, shape.layers * blocks)


def training(shape: Shape, rows: Rows, width: int, adapter: int, checkpointing: bool) -> Work:
    """Forward and back over one batch, with a LoRA of `adapter` parameters on a frozen model."""
    again = 1 if checkpointing else 0
    work = forward(shape, rows, width, blocks=2 + again, attention=3 + again, head=3, moved=3 + again)
    return work + Work(flops=2 * adapter * rows.tokens * (3 + again), entered=(2 + again) * shape.layers)


def training_all(shape: Shape, rows: Rows, width: int, checkpointing: bool) -> Work:
    """Forward and back over one batch, with every parameter trained: 6 FLOPs a parameter and token."""
    times = 4 if checkpointing else 3
    return forward(shape, rows, width, blocks=times, attention=times, head=3, moved=times)


def pretraining(shape: Shape, rows: Rows, width: int) -> Work:
    """Every parameter trained on one batch, with the optimizer's step."""
    optimizer = Work(moved=shape.parameters * 4 * 7)  # AdamW reads four numbers a parameter and writes three
    return training_all(shape, rows, width, checkpointing=False) + optimizer
