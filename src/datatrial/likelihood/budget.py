"""How much goes through a model at a time: by the model and the kind of device, so that a run can be repeated."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SMALLEST = 16  # tokens of a pass: what does not fit then does not fit at all


@dataclass(frozen=True)
class Budget:
    """Sizes of forward passes, in tokens. Results depend on them by float rounding only."""

    row: int  # of one row: each of its tokens is compared with each, whether it sees it or not
    tokens: int  # of one pass, padding included
    logits: int  # positions whose logits are computed at once
    keep: int  # that keeping a prefix must save: what a pass of its own costs otherwise

    def halved(self) -> "Budget | None":
        """What to try after memory ran out; None when there is nothing smaller to try."""
        if self.tokens <= _SMALLEST:
            return None
        return replace(self, row=-(-self.row // 2), tokens=self.tokens // 2, logits=-(-self.logits // 2))

    def recorded(self) -> dict[str, int]:
        return asdict(self)


def budget_for(model: "PreTrainedModel") -> Budget:
    """The budget of a model on its device.

    A CPU is at its best with what stays in its caches. A GPU wants as much at a time as fits: a sixteenth of its memory
    for what a layer computes, and a sixteenth for logits; all of its memory counts, not what is free at the moment.
    """
    config, width = model.config.get_text_config(), model.dtype.itemsize
    if model.device.type == "cpu":
        return Budget(row=128, tokens=512, logits=_within(2**25, config.vocab_size * width, 32), keep=64)
    memory = _memory(model.device.type)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    tokens = min(_within(memory // 16, (8 * config.hidden_size + 3 * inner) * width, 512), 16384)
    # Beside the logits themselves there is a float32 copy of some.
    return Budget(row=1024, tokens=tokens, logits=_within(memory // 16, config.vocab_size * (width + 4), 32), keep=512)


def _within(memory: int, each: int, at_least: int) -> int:
    return max(at_least, memory // each)


def _memory(device: str) -> int:
    """Bytes of memory of a GPU."""
    import torch

    if device == "cuda":
        return int(torch.cuda.get_device_properties().total_memory)
    return int(torch.mps.recommended_max_memory())
