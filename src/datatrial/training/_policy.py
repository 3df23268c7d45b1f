"""The policy that a stage goes on training: a LoRA on a base, new or of an earlier stage, or every weight."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import set_seed
from transformers.pytorch_utils import Conv1D

from datatrial.component import did_you_mean
from datatrial.errors import ModelError
from datatrial.policies import load_adapter, load_base, load_own
from datatrial.records import ModelRef

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from datatrial.training._base import Lora, LoraOrAll, Stage

ALL_LINEAR = "all-linear"


def policy_to_train(
    ref: ModelRef, lora: "LoraOrAll", device: str
) -> "tuple[PreTrainedModel | PeftModel, LoraConfig | None]":
    """The model to hand to a TRL trainer, and what else to hand it.

    Of a base model that is the config of a LoRA, which the trainer initializes after setting its seed. An adapter is
    loaded to be trained further; nothing is merged, nothing is added to it. Without a LoRA every weight is trained.

    Raises: ModelError when the adapter is of another shape than the study's LoRA, when the LoRA is for layers that the
    model does not have, or when the weights of a model in 4 bits should all be trained.
    """
    if not lora:
        return whole_model(ref, device), None
    base = load_base(ref, device)
    if ref.adapter is None:
        return base, lora_config(lora, base)
    config = PeftConfig.from_pretrained(ref.adapter)
    refuse_other_shape(config, lora, base, ref.adapter)
    config.lora_dropout = lora.dropout
    policy = load_adapter(base, Path(ref.adapter), is_trainable=True, config=config)
    # TRL rounds the adapter of what it takes for quantized to bfloat16: it would not go on from where it was, nor begin
    # a DPO as its reference. PEFT looks at the model inside.
    policy.is_loaded_in_4bit = False
    return policy, None


def adapted_policy(ref: ModelRef, stage: "Stage", device: str) -> "PreTrainedModel | PeftModel":
    """The same with a new LoRA put in already, for trainers that would prepare a quantized base in place."""
    model, config = policy_to_train(ref, stage.lora, device)
    if config is None:
        return model
    set_seed(stage.initialization)
    model = get_peft_model(model, config)
    model.is_loaded_in_4bit = False
    return model


def whole_model(ref: ModelRef, device: str) -> "PreTrainedModel":
    """A model whose every weight is to be trained, in float32 and in memory that no other model shares.

    An adapter is merged into it. What is computed in 16 bits is still the study's `dtype`: autocast rounds on the way.

    Raises: ModelError for a model in 4 bits, whose weights are no numbers that could be trained.
    """
    if ref.quantization:
        raise ModelError(
            f"a model in {ref.quantization} cannot have every weight trained: "
            "leave `quantization` out, or train a LoRA (`lora: {…}`) on it"
        )
    model = load_own(replace(ref, dtype="float32"), device)
    if ref.adapter:
        model = load_adapter(model, Path(ref.adapter)).merge_and_unload()
    return model.requires_grad_(True)


def lora_config(lora: "Lora", base: "PreTrainedModel") -> LoraConfig:
    """PEFT's config of a LoRA on a model.

    Raises: ModelError when one of its targets is no layer of the model.
    """
    targets = lora.target_modules
    if not isinstance(targets, str):
        refuse_unknown(targets, base)
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        bias="none",
        task_type="CAUSAL_LM",
    )


def refuse_unknown(targets: tuple[str, ...], base: "PreTrainedModel") -> None:
    """Raises: ModelError for a target that is no name, or end of a name, of a layer that LoRA can be put on."""
    layers = _layers(base)
    known = sorted({name.rpartition(".")[2] for name in layers})
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            guess = did_you_mean(target, known)
            hint = f"; {guess}" if guess.startswith("did") else ""
            raise ModelError(
                f"lora.target_modules: LoRA can be put on no layer called {target!r} in this model{hint}; "
                f"on these it can: {', '.join(known)}"
            )
    if not targets:
        raise ModelError(f"lora.target_modules: names no layer; LoRA can be put on: {', '.join(known)}")


def refuse_other_shape(config: PeftConfig, lora: "Lora", base: "PreTrainedModel", folder: str) -> None:
    if not isinstance(config, LoraConfig):
        raise ModelError(f"the adapter in {folder} is of type {config.peft_type}; only LoRA can be trained further")
    theirs = {
        "r": config.r,
        "alpha": config.lora_alpha,
        "rslora": config.use_rslora,
        "dora": config.use_dora,
        "target_modules": _adapted(base, config.target_modules),
    }
    ours = {**lora.model_dump(), "rslora": lora.rslora, "dora": lora.dora}
    ours["target_modules"] = _adapted(base, lora.target_modules)
    other = [name for name, value in theirs.items() if value != ours[name]]
    if other:
        found, asked = (", ".join(f"{name} {of[name]}" for name in other) for of in (theirs, ours))
        raise ModelError(
            f"the adapter in {folder} has {found}, this stage's lora {asked}: a stage goes on training the adapter it "
            f"is given, so set {', '.join(f'lora.{name}' for name in other)} to match"
        )


def _adapted(base: "PreTrainedModel", targets: "str | set[str] | list[str] | tuple[str, ...] | None") -> list[str]:
    """The last names of the layers that PEFT would adapt: of all linear ones but the head, or those named."""
    if targets == ALL_LINEAR:
        return sorted({name.rpartition(".")[2] for name in _layers(base)})
    names = [targets] if isinstance(targets, str) else targets or []
    return sorted({name.rpartition(".")[2] for name in names})


def _layers(base: "PreTrainedModel") -> list[str]:
    """The full names of the linear layers but the head, whose weight trainers read past any adapter."""
    head = base.get_output_embeddings()
    return [name for name, m in base.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
