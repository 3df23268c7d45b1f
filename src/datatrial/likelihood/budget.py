"""How much goes through a model at a time: by the model and the kind of device, so that a run can be repeated."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

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


class Widths(NamedTuple):
    """What of a model its budget follows from."""

    hidden: int
    inner: int  # of the feed-forward part
    vocabulary: int
    number: int  # bytes


def budget_for(model: "PreTrainedModel") -> Budget:
    """The budget of a model on its device."""
    config = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    widths = Widths(config.hidden_size, inner, config.vocab_size, model.dtype.itemsize)
    return cpu_budget(widths) if model.device.type == "cpu" else gpu_budget(widths, gpu_memory(model.device.type))


def cpu_budget(widths: Widths) -> Budget:
    """A CPU is at its best with what stays in its caches."""
    return Budget(row=128, tokens=512, logits=_within(2**25, widths.vocabulary * widths.number, 32), keep=64)


def gpu_budget(widths: Widths, memory: int) -> Budget:
    """A GPU wants as much at a time as fits: a sixteenth of its memory for what a layer computes, and a sixteenth for
    logits. All of its memory counts, not what is free at the moment.
    """
    tokens = _within(memory // 16, (8 * widths.hidden + 3 * widths.inner) * widths.number, 512)
    # Beside the logits themselves there is a float32 copy of some.
    logits = _within(memory // 16, widths.vocabulary * (widths.number + 4), 32)
    return Budget(row=1024, tokens=min(tokens, 16384), logits=logits, keep=512)


def _within(memory: int, each: int, at_least: int) -> int:
    return max(at_least, memory // each)


def gpu_memory(device: str) -> int:
    """Bytes of a GPU's memory that this process may have, free or not: sizes must not depend on what else runs."""
    import torch

    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    share = torch.cuda.get_per_process_memory_fraction()
    return int(share * torch.cuda.get_device_properties().total_memory)
