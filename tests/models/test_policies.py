"""A model that was loaded before, patched, trained or thrown away leaves no trace in the next one."""

import json
import shutil
from pathlib import Path

import pytest

from datatrial import policies
from datatrial.errors import ModelError
from datatrial.records import ModelRef
from tests import tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    """A base of one's own, to break."""
    out = tmp_path / "from_scratch" / "copied"
    shutil.copytree(base, out)
    return out


def logits(model: object, tokenizer: object) -> object:
    import torch

    with torch.no_grad():
        return model(**tokenizer("A vesp is", return_tensors="pt")).logits  # type: ignore[operator]


def test_modules_are_new_and_weights_are_shared(base: Path) -> None:
    first, _ = policies.load_policy(base, "cpu")
    second, _ = policies.load_policy(base, "cpu")
    a, b = first.model.layers[0].mlp.up_proj, second.model.layers[0].mlp.up_proj
    assert a is not b
    assert a.weight is not b.weight
    assert a.weight.data_ptr() == b.weight.data_ptr()
    assert second.lm_head.weight is second.model.embed_tokens.weight  # tied, as it was saved
    assert not second.training


def test_patching_one_leaves_the_next_as_it_was(base: Path) -> None:
    first, tokenizer = policies.load_policy(base, "cpu")
    before = logits(first, tokenizer)
    first.forward = lambda **_: None
    first.requires_grad_(True).train()
    first.config.use_cache = False
    second, _ = policies.load_policy(base, "cpu")
    assert (logits(second, tokenizer) == before).all()  # type: ignore[attr-defined]
    assert second.config.use_cache
    assert not any(p.requires_grad for p in second.parameters())


def test_one_base_is_kept_at_a_time(base: Path, copied: Path) -> None:
    import gc
    import weakref

    policies.load_policy(base, "cpu")
    kept = weakref.ref(policies._kept[0].model)
    policies.load_policy(copied, "cpu")
    gc.collect()
    assert kept() is None


def test_the_dtype_is_the_models(base: Path, tmp_path: Path) -> None:
    import torch

    ModelRef(ModelRef.read(base).weights, dtype="bfloat16").write(tmp_path)
    model, _ = policies.load_policy(tmp_path, "cpu")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.fixture
def base4(wide_base: Path, tmp_path: Path) -> Path:
    return tiny.loaded_as(wide_base, tmp_path, quantization="nf4")


def test_in_4_bits_every_linear_layer_but_the_head_is_nf4_with_double_quantization(base4: Path) -> None:
    import torch

    model, _ = policies.load_policy(base4, "cpu")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert (type(module).__name__ == "Linear4bit") == (name != "lm_head")
    layer = model.model.layers[1].mlp.down_proj
    assert (layer.weight.quant_type, layer.weight.quant_state.nested) == ("nf4", True)
    assert layer.weight.numel() * 2 == layer.in_features * layer.out_features  # two to a byte


def test_in_4_bits_weights_are_the_nearest_of_16_levels_of_their_block(wide_base: Path, base4: Path) -> None:
    """QLoRA's appendix E: 16 quantiles of a normal distribution, scaled to the largest of 64 weights."""
    import bitsandbytes.functional as bnb
    import torch
    from scipy.stats import norm

    low = norm.ppf(torch.linspace(1 - 0.9677083, 0.5, 8).numpy())[:-1]
    high = norm.ppf(torch.linspace(0.5, 0.9677083, 9).numpy())
    levels = torch.tensor([*low / -low[0], *high / high[-1]], dtype=torch.float32)
    whole = policies.load_policy(wide_base, "cpu")[0].model.layers[0].mlp.up_proj.weight
    weight = policies.load_policy(base4, "cpu")[0].model.layers[0].mlp.up_proj.weight
    blocks = whole.reshape(-1, 64)
    scales = blocks.abs().amax(1, keepdim=True)
    nearest = levels[(blocks / scales)[..., None].sub(levels).abs().argmin(-1)]
    found = bnb.dequantize_4bit(weight.data, weight.quant_state).reshape(-1, 64)
    found_scales = found.abs().amax(1, keepdim=True)
    torch.testing.assert_close(found / found_scales, nearest)
    torch.testing.assert_close(found_scales, scales, rtol=0.02, atol=0)  # they have 8 bits themselves


def test_modules_in_4_bits_are_new_and_what_happens_to_them_leaves_the_next_as_they_were(base4: Path) -> None:
    from bitsandbytes.functional import _convert_weight_packed_for_cpu

    first, tokenizer = policies.load_policy(base4, "cpu")
    before = logits(first, tokenizer)
    a = first.model.layers[0].mlp.down_proj
    # What bitsandbytes does to a layer on some CPUs when it scores: other bytes, and the state changed in place.
    a.weight.data, _ = _convert_weight_packed_for_cpu(a.weight.data, a.weight.quant_state)
    second, _ = policies.load_policy(base4, "cpu")
    b = second.model.layers[0].mlp.down_proj
    assert (logits(second, tokenizer) == before).all()  # type: ignore[attr-defined]
    assert b.weight is not a.weight
    assert (b.weight.module, b.quant_state) == (b, b.weight.quant_state)
    kept = policies._kept[0].model.model.layers[0].mlp.down_proj
    assert b.weight.data_ptr() == kept.weight.data_ptr()
    assert b.weight.quant_state.absmax.data_ptr() == kept.weight.quant_state.absmax.data_ptr()


def test_on_no_cpu_do_layers_in_4_bits_change_by_being_used(base4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes.nn.modules

    policies._kept.clear()
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    model, tokenizer = policies.load_policy(base4, "cpu")
    layer = model.model.layers[0].mlp.up_proj
    before = layer.weight.clone()
    logits(model, tokenizer)
    assert (layer.weight == before).all()
    policies._kept.clear()


def test_layers_that_a_cpu_would_compute_wrongly_are_refused(base: Path, tmp_path: Path) -> None:
    """The kernel of bitsandbytes 0.50: when this fails to fail, the limit can go."""
    import bitsandbytes.functional as bnb
    import torch

    weights = torch.randn(64, 96, generator=torch.Generator().manual_seed(0)).cumsum(0)
    four_bits, state = bnb.quantize_4bit(weights, blocksize=64, quant_type="nf4")
    error = (bnb.dequantize_4bit(four_bits, state) - weights).abs().mean()
    rows_of_blocks = bnb.quantize_4bit(weights.reshape(-1, 64), blocksize=64, quant_type="nf4")
    assert error > 1.5 * (bnb.dequantize_4bit(*rows_of_blocks) - weights.reshape(-1, 64)).abs().mean()
    with pytest.raises(ModelError, match=r"q_proj has 32 inputs: on a CPU, nf4 needs a multiple of 64"):
        policies.load_policy(tiny.loaded_as(base, tmp_path, quantization="nf4"), "cpu")


def test_a_base_is_kept_for_one_quantization(wide_base: Path, base4: Path) -> None:
    whole, tokenizer = policies.load_policy(wide_base, "cpu")
    quantized, _ = policies.load_policy(base4, "cpu")
    again, _ = policies.load_policy(wide_base, "cpu")
    assert (logits(whole, tokenizer) == logits(again, tokenizer)).all()  # type: ignore[attr-defined]
    assert (logits(whole, tokenizer) != logits(quantized, tokenizer)).any()  # type: ignore[attr-defined]


def test_weights_that_do_not_fill_the_model_are_refused_not_drawn_at_random(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copied / "weights" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"do not fill the model.*layers\.1\.mlp\.up_proj"):
        policies.load_policy(copied, "cpu")


def test_a_truncated_file_of_weights_is_one_clear_error(copied: Path) -> None:
    file = copied / "weights" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot load the model in"):
        policies.load_policy(copied, "cpu")


def test_a_tokenizer_without_padding_pads_with_its_end(copied: Path) -> None:
    file = copied / "weights" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings.pop("pad_token")
    file.write_text(json.dumps(settings))
    model, tokenizer = policies.load_policy(copied, "cpu")
    assert tokenizer.pad_token == tokenizer.eos_token
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)


def test_an_adapter_that_does_not_fit_is_refused(base: Path, copied: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    other = AutoModelForCausalLM.from_config(
        LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20)
    )
    get_peft_model(other, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(copied / "adapter")
    ModelRef(ModelRef.read(base).weights, str(copied / "adapter")).write(copied)
    with pytest.raises(ModelError, match="does not fit its base model"):
        policies.load_policy(copied, "cpu")


def test_a_policy_scores_with_its_adapter(base: Path, copied: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    weights = ModelRef.read(base).weights
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(weights), config).eval()
    adapted.save_pretrained(copied / "adapter")
    ModelRef(weights, str(copied / "adapter")).write(copied)
    policy, tokenizer = policies.load_policy(copied, "cpu")
    assert torch.equal(logits(policy, tokenizer), logits(adapted, tokenizer))  # type: ignore[arg-type]
    plain, _ = policies.load_policy(base, "cpu")
    assert not torch.equal(logits(policy, tokenizer), logits(plain, tokenizer))  # type: ignore[arg-type]
    assert tiny.BASE.kind == "from_scratch"


def test_the_longest_input_is_found_whatever_a_config_calls_it_and_wherever_it_says_it(tmp_path: Path) -> None:
    configs = {
        "named": {"model_type": "llama", "max_position_embeddings": 48},
        "otherwise": {"model_type": "gpt2", "n_positions": 64},
        "inside": {"model_type": "gemma3", "text_config": {"max_position_embeddings": 32}},
        "default": {"model_type": "falcon"},
        "unbounded": {"model_type": "bloom"},
    }
    found = {}
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        found[name] = policies.longest_input(policies.read_config(tmp_path / name))
    assert found == {"named": 48, "otherwise": 64, "inside": 32, "default": 2048, "unbounded": None}


def test_a_config_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot read the config of the model in"):
        policies.read_config(tmp_path)


def test_an_encoder_decoder_is_one_clear_error(tmp_path: Path) -> None:
    from transformers import T5Config

    result, weights = tmp_path / "result", tmp_path / "weights"
    result.mkdir()
    T5Config().save_pretrained(weights)
    ModelRef(str(weights)).write(result)
    with pytest.raises(ModelError, match="is an encoder-decoder"):
        policies.load_policy(result, "cpu")
