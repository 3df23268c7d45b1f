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


def test_code_that_comes_with_a_model_is_not_run(copied: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    (copied / "weights" / "evil.py").write_text(f"open({str(witness)!r}, 'w')\nclass Evil: ...\n")
    config = json.loads((copied / "weights" / "config.json").read_text())
    auto = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    (copied / "weights" / "config.json").write_text(json.dumps({**config, "model_type": "evil", "auto_map": auto}))
    with pytest.raises(ModelError, match="cannot load the model in"):
        policies.load_policy(copied, "cpu")
    assert not witness.exists()


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
