"""Tiny models of every architecture, with weights drawn at random: nothing is downloaded."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from datatrial.likelihood.budget import Budget
from datatrial.likelihood.method import Method, states_of
from datatrial.likelihood.trie import Request, Trie

VOCABULARY = 97
WINDOW = 8  # tokens: fewer than the contexts of the tests
LONGEST = 64

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": LONGEST,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = _SIZES | {"num_key_value_heads": 2, "head_dim": 16}  # several heads that ask for each that answers
_EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_LATENT = {"q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16}
_GPT = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": LONGEST}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
    "original_max_position_embeddings": 20,
}

# What others are much like.
_RARE = {
    "llama eager",
    "qwen2-moe",
    "qwen3",
    "gpt-bigcode",
    "codegen",
    "gemma",
    "gemma3 eager",
    "phi",
    "phimoe",
    "stablelm",
    "cohere",
    "olmo2",
    "olmoe",
    "smollm3",
    "exaone4",
    "modernbert-decoder",
}

# Those that take block masks and position ids.
TRIE: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: hf.LlamaConfig(**_GROUPED),
    "llama tied": lambda: hf.LlamaConfig(**_GROUPED, tie_word_embeddings=True),
    "llama eager": lambda: hf.LlamaConfig(**_GROUPED, attn_implementation="eager"),
    "llama that has no use for its window": lambda: hf.LlamaConfig(**_GROUPED, sliding_window=WINDOW),
    "mistral": lambda: hf.MistralConfig(**_GROUPED, sliding_window=WINDOW),
    "qwen2": lambda: hf.Qwen2Config(**_SIZES, num_key_value_heads=2, sliding_window=WINDOW),
    "qwen2 with a window": lambda: hf.Qwen2Config(
        **_SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen2-moe": lambda: hf.Qwen2MoeConfig(
        **_SIZES, **_EXPERTS, num_key_value_heads=2, shared_expert_intermediate_size=32
    ),
    "qwen3": lambda: hf.Qwen3Config(**_GROUPED),
    "qwen3-moe": lambda: hf.Qwen3MoeConfig(**_GROUPED, **_EXPERTS),
    "mixtral": lambda: hf.MixtralConfig(**_GROUPED, **_EXPERTS, sliding_window=WINDOW),
    "gpt2": lambda: hf.GPT2Config(**_GPT),
    "gpt2 eager": lambda: hf.GPT2Config(**_GPT, attn_implementation="eager"),
    "gpt-neox": lambda: hf.GPTNeoXConfig(**_SIZES),
    "gpt-j": lambda: hf.GPTJConfig(**_GPT, rotary_dim=8),
    "gpt-bigcode": lambda: hf.GPTBigCodeConfig(**_GPT),
    "codegen": lambda: hf.CodeGenConfig(**_GPT, rotary_dim=8),
    "opt": lambda: hf.OPTConfig(**_SIZES, ffn_dim=64, word_embed_proj_dim=64),
    "gemma": lambda: hf.GemmaConfig(**_GROUPED),
    "gemma2": lambda: hf.Gemma2Config(**_GROUPED, **_MIXED, final_logit_softcapping=5.0, attn_logit_softcapping=3.0),
    "gemma3": lambda: hf.Gemma3TextConfig(**_GROUPED, **_MIXED),
    "gemma3 eager": lambda: hf.Gemma3TextConfig(**_GROUPED, **_MIXED, attn_implementation="eager"),
    "phi": lambda: hf.PhiConfig(**_SIZES),
    "phi3": lambda: hf.Phi3Config(**_SIZES, num_key_value_heads=2, sliding_window=WINDOW),
    "phi3 of long texts": lambda: hf.Phi3Config(
        **_SIZES, num_key_value_heads=2, rope_parameters=dict(_LONGROPE), original_max_position_embeddings=20
    ),
    "phimoe": lambda: hf.PhimoeConfig(**_SIZES, **_EXPERTS, num_key_value_heads=2, sliding_window=WINDOW),
    "stablelm": lambda: hf.StableLmConfig(**_SIZES, num_key_value_heads=2),
    "granite": lambda: hf.GraniteConfig(**_GROUPED, logits_scaling=3.0, attention_multiplier=0.3),
    "cohere": lambda: hf.CohereConfig(**_SIZES, num_key_value_heads=2, logit_scale=0.3),
    "cohere2": lambda: hf.Cohere2Config(**_GROUPED, **_MIXED, logit_scale=0.3),
    "olmo2": lambda: hf.Olmo2Config(**_SIZES, num_key_value_heads=2),
    "olmo3": lambda: hf.Olmo3Config(**_SIZES, **_MIXED, num_key_value_heads=2),
    "olmoe": lambda: hf.OlmoeConfig(**_SIZES, **_EXPERTS, num_key_value_heads=2),
    "smollm3": lambda: hf.SmolLM3Config(**_SIZES, num_key_value_heads=2, no_rope_layers=[1, 0]),
    "starcoder2": lambda: hf.Starcoder2Config(**_SIZES, num_key_value_heads=2, sliding_window=WINDOW),
    "falcon": lambda: hf.FalconConfig(**_SIZES, alibi=False, multi_query=True, new_decoder_architecture=False),
    "gpt-oss": lambda: hf.GptOssConfig(**_GROUPED, **_EXPERTS, **_MIXED),
    "exaone4": lambda: hf.Exaone4Config(**_GROUPED, **_MIXED),
    "modernbert-decoder": lambda: hf.ModernBertDecoderConfig(
        **_SIZES, local_attention=2 * WINDOW, global_attn_every_n_layers=2
    ),
    "deepseek-v3": lambda: hf.DeepseekV3Config(
        **_SIZES,
        **_LATENT,
        num_key_value_heads=4,
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
    ),
}

# Those that make their own masks, or see tokens otherwise, but can be handed what they kept of a context.
CONTEXTS: dict[str, Callable[[], PreTrainedConfig]] = {
    "gpt-neo": lambda: hf.GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=WINDOW,
        max_position_embeddings=LONGEST,
    ),
    "mpt": lambda: hf.MptConfig(vocab_size=VOCABULARY, d_model=64, n_layers=2, n_heads=4, max_seq_len=LONGEST),
    "bloom": lambda: hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=64, n_layer=2, n_head=4),
    "falcon with alibi": lambda: hf.FalconConfig(**_SIZES, alibi=True, multi_query=False),
    "llama4": lambda: hf.Llama4TextConfig(
        **_GROUPED, num_local_experts=2, intermediate_size_mlp=64, attention_chunk_size=WINDOW, no_rope_layers=[1, 0]
    ),
    "qwen3-next": lambda: hf.Qwen3NextConfig(**_GROUPED, **_EXPERTS, **_LINEAR, shared_expert_intermediate_size=32),
}

# Those whose past is nothing that could be copied, or (Jamba) that lose it when they go on by several tokens.
ROWS: dict[str, Callable[[], PreTrainedConfig]] = {
    "jamba": lambda: hf.JambaConfig(
        **_SIZES,
        **_EXPERTS,
        num_key_value_heads=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        mamba_d_state=8,
        mamba_dt_rank=8,
        use_mamba_kernels=False,
    ),
    "mamba": lambda: hf.MambaConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, state_size=8),
    "rwkv": lambda: hf.RwkvConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, context_length=LONGEST),
}


def model(name: str, std: float | None = 0.25, dtype: torch.dtype = torch.float32, **settings: Any) -> PreTrainedModel:
    """A model whose matrices have entries of this standard deviation; None leaves them as its class draws them."""
    config = (TRIE | CONTEXTS | ROWS)[name]()
    config.update(settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = hf.AutoModelForCausalLM.from_config(config, attn_implementation=config._attn_implementation)
        if std is not None:
            for parameter in made.parameters():
                if parameter.dim() > 1:
                    parameter.data.normal_(std=std)
    return made.to(dtype).eval()


def each(*names: str) -> list[Any]:
    """Parameters of a test, rare models marked as slow."""
    return [pytest.param(name, marks=pytest.mark.slow if name in _RARE else ()) for name in names]


def asked(seed: int = 0) -> list[Request]:
    """Contexts within others, of one token, asked once and often; continuations long, short and within others."""
    random = np.random.default_rng(seed)

    def tokens(n: int) -> list[int]:
        return [int(token) for token in random.integers(3, VOCABULARY, n)]

    start = tokens(12)
    requests = [Request(start[:1], tokens(3)), Request(start[:1], tokens(2)), Request(tokens(5), tokens(1))]
    further = start + tokens(7)
    for context in (start + tokens(2), start + tokens(4), further + tokens(1), further + tokens(5)):
        longest = tokens(6)
        requests += [Request(context, one) for one in (longest, longest[:4], longest[:3] + tokens(3), tokens(1))]
    for _ in range(2):
        context = tokens(4)
        requests += [Request(context, tokens(n)) for n in (1, 2, 4)]
    return requests


@torch.no_grad()
def one_by_one(model: Any, requests: Sequence[Request]) -> NDArray[np.float64]:
    """[requests] log-likelihoods in nats, by a forward pass over each."""
    found = []
    for context, continuation in requests:
        logits = model(input_ids=torch.tensor([[*context, *continuation[:-1]]])).logits
        said = logits[0, -len(continuation) :].double().log_softmax(-1)
        found.append(float(said[range(len(continuation)), continuation].sum()))
    return np.array(found)


@torch.no_grad()
def by(method: Method, requests: Sequence[Request], budget: Budget) -> NDArray[np.float64]:
    """The same by a method."""
    found = np.full(len(requests), np.nan)
    kept: list[Any] = []
    for one in method.lay_out(Trie.of(requests, LONGEST), budget).passes:
        said = method.head(states_of(one, kept, method)[0]).double().log_softmax(-1)
        values = said[torch.from_numpy(one.pick), torch.from_numpy(one.targets)].numpy()
        found[one.requests] = np.add.reduceat(values, one.starts)
    return found
