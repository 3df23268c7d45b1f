"""The shape of a decoder: what its parameters, its work and its memory follow from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The linear layers of a block, in and out widths by the names that Llama-like models give them.
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Shape:
    """A decoder-only transformer; mixtures of experts have `experts`, of which a token uses `active_experts`."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    longest: int | None = None  # tokens of an input, at most
    tied: bool = False  # whether the head is the embedding
    gated: bool = True  # three matrices in the feed-forward part, as in Llama, or two as in GPT-2
    qkv_bias: bool = False
    positions: bool = False  # whether positions are embedded by a table, as in GPT-2
    experts: int = 1
    active_experts: int = 1

    @property
    def attention_width(self) -> int:
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_width

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear layers in a block, those of a single expert."""
        width, h, i = self.attention_width, self.hidden, self.intermediate
        feed_forward = {"gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h)}
        if not self.gated:
            feed_forward.pop("gate_proj")
        return {
            "q_proj": (h, width),
            "k_proj": (h, self.kv_width),
            "v_proj": (h, self.kv_width),
            "o_proj": (width, h),
            **feed_forward,
        }

    def in_blocks(self, experts: int) -> int:
        """Parameters of all blocks' matrices, with so many experts of each counted."""
        sizes = {name: a * b * (1 if name in _ATTENTION else experts) for name, (a, b) in self.linear.items()}
        return self.layers * sum(sizes.values())

    @property
    def used(self) -> int:
        """Parameters of the blocks' matrices that a token passes through: N of Kaplan et al. (2020)."""
        return self.in_blocks(self.active_experts)

    @property
    def outside(self) -> int:
        """Parameters that stay as they are under quantization: embeddings, head, norms, biases, routers."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        norms = (2 * self.layers + 1) * self.hidden
        biases = self.layers * (self.attention_width + 2 * self.kv_width) * self.qkv_bias
        if not self.gated:  # GPT-2 has a bias on each matrix and each norm
            norms, biases = 2 * norms, self.layers * sum(out for _, out in self.linear.values())
        table = (self.longest or 0) * self.hidden * self.positions
        routers = self.layers * self.hidden * self.experts * (self.experts > 1)
        return embeddings + norms + biases + table + routers

    @property
    def parameters(self) -> int:
        return self.in_blocks(self.experts) + self.outside

    def adapter_inputs(self, targets: tuple[str, ...] | str) -> int:
        """Widths of the inputs of a block's layers that LoRA adapts, added up; unknown names count as q_proj."""
        return sum(a for a, _ in self._adapted(targets))

    def adapter(self, r: int, targets: tuple[str, ...] | str, dora: bool = False) -> int:
        """Parameters of a LoRA (Hu et al. 2021): r·(in + out) for each adapted matrix; with DoRA, `out` more."""
        return self.layers * sum(r * (a + b) + b * dora for a, b in self._adapted(targets))

    def _adapted(self, targets: tuple[str, ...] | str) -> list[tuple[int, int]]:
        if targets == "all-linear":
            return list(self.linear.values())
        names = (targets,) if isinstance(targets, str) else targets
        return [self.linear.get(name.rpartition(".")[2], self.linear["q_proj"]) for name in names]


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a model's config.json tells, under the names of Llama-like models or of GPT-2; else None."""
    text = config.get("text_config")
    config = {**config, **(text if isinstance(text, Mapping) else {})}

    def first(*names: str) -> int | None:  # anything but a number above 0 is as good as nothing
        return next((n for name in names if isinstance(n := config.get(name), int) and n > 0), None)

    hidden, layers = first("hidden_size", "n_embd", "d_model"), first("num_hidden_layers", "n_layer", "num_layers")
    heads, vocabulary = first("num_attention_heads", "n_head", "num_heads"), first("vocab_size")
    if not (hidden and layers and heads and vocabulary):
        return None
    kind = str(config.get("model_type", ""))
    gated = not (kind in _TWO_MATRICES or "n_embd" in config)
    return Shape(
        hidden=hidden,
        intermediate=first("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden,
        layers=layers,
        heads=heads,
        kv_heads=first("num_key_value_heads") or heads,
        head_width=first("head_dim") or hidden // heads,
        vocabulary=vocabulary,
        longest=first("max_position_embeddings", "n_positions"),
        tied=bool(config.get("tie_word_embeddings", kind in _TIED)),
        gated=gated,
        qkv_bias=bool(config.get("attention_bias", kind in _BIASED)),
        positions=kind in ("gpt2", "opt"),
        experts=first("num_local_experts", "num_experts") or 1,
        active_experts=first("num_experts_per_tok") or 1,
    )


# What configs leave out because it is the default of their architecture.
_TWO_MATRICES = frozenset({"gpt2", "gpt_neox", "opt", "falcon", "gptj", "bloom", "phi", "starcoder2"})
_TIED = frozenset({"gpt2", "gemma", "gemma2", "gemma3_text", "opt", "bloom"})
_BIASED = frozenset({"qwen2"})
