"""Loading policies for training and scoring, with the base model's weights kept between the steps of a worker."""

import copy
import gc
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrial.errors import ModelError, first_line
from datatrial.foreign.model_files import (
    ADAPTER_WEIGHTS,
    SAFE_WEIGHTS,
    SAFELY,
    refuse_kernels,
    refuse_pickles,
    why_code,
)
from datatrial.records import ModelRef, read_json

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

NF4_BLOCK = 64  # weights with one scale
TOKENIZER = (  # files that a tokenizer is read from
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "spiece.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


@dataclass(frozen=True)
class _Base:
    """A base model nobody trains or patches, and what it was loaded as."""

    key: tuple[str, str, str | None, str]
    model: "PreTrainedModel"


_kept: list[_Base] = []  # one at most


def load_policy(result: Path, device: str) -> "tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]":
    """The model of a result (with its LoRA adapter, if it has one) and its tokenizer, ready to score text.

    Every call builds new modules over the same base weights: TRL binds a new `forward` to the model it trains, and
    PEFT puts its layers into the model it adapts, so a model that was used before would not be the one on disk.

    Raises: ModelError when the folder holds no such model, or only part of its weights.
    """
    ref = ModelRef.read(result)
    model = load_base(ref, device)
    if ref.adapter:
        model = load_adapter(model, Path(ref.adapter))
    return model.eval(), load_tokenizer(Path(ref.weights))


def load_base(ref: ModelRef, device: str) -> "PreTrainedModel":
    """New modules over the base weights of a model, without its adapter, on a device ("cpu", "cuda" or "mps").

    The weights are shared with every other model this returned: do not change them in place.
    """
    key = (ref.weights, ref.dtype, ref.quantization, device)
    if not _kept or _kept[0].key != key:
        _kept.clear()  # before loading: two large models may not fit at once
        _kept.append(_Base(key, _read_weights(ref, device)))
    return _rebuilt(_kept[0].model)


def load_own(ref: ModelRef, device: str) -> "PreTrainedModel":
    """The base weights of a model, read anew into memory of its own: they can be changed in place.

    The base model that is kept goes first, so that there are never two.
    """
    forget()
    return _read_weights(ref, device)


def forget() -> None:
    """Let go of the base model that is kept, and of the memory of a GPU that nothing is in."""
    import torch

    _kept.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    import torch

    # On a CPU and on a Mac torch raises a plain RuntimeError.
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in said or "out of memory" in said
    )


def load_adapter(model: "PreTrainedModel", folder: Path, **options: Any) -> "PeftModel":
    """The model with the LoRA adapter of a folder on it, under the name "default"; options as PEFT's.

    Raises: ModelError when the adapter does not fit the model, or its weights are pickled.
    """
    from peft import PeftModel

    refuse_pickles(folder, ADAPTER_WEIGHTS)  # to which PEFT would turn without a word
    if gives_scores(folder) and not hasattr(model, "score"):  # PEFT would take its layers and leave the head away
        raise ModelError(f"the adapter in {folder} is a reward model's: it scores answers and gives none")
    try:
        return PeftModel.from_pretrained(model, str(folder), **options)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"the adapter in {folder} does not fit its base model: {first_line(error)}") from error


def gives_scores(adapter: Path) -> bool:
    """Whether an adapter is that of a reward model."""
    config = adapter / "adapter_config.json"
    return config.exists() and read_json(config).get("task_type") == "SEQ_CLS"


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a folder of weights, with a padding token.

    A tokenizer without one pads with its end-of-text (or unknown) token: masks keep padding out of every loss and
    score, and a new token would need a new row of embeddings.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **SAFELY)
    except Exception as error:  # each tokenizer class raises what its own file format's reader does
        said = why_code(folder / "tokenizer_config.json") or first_line(error)
        raise ModelError(f"cannot load the tokenizer in {folder}: {said}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer in {folder} has no padding, end-of-text or unknown token to pad with")
    return tokenizer


def copy_tokenizer(folder: Path, out: Path) -> None:
    """Copy the files that the tokenizer of a folder of weights is read from, byte for byte."""
    for name in TOKENIZER:
        if (file := folder / name).exists():
            shutil.copyfile(file, out / name)


def read_config(folder: Path) -> "PreTrainedConfig":
    """The config of a folder of weights.

    Raises: ModelError when transformers cannot make one of its config.json.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, **SAFELY)
    except Exception as error:  # each model class checks its own config
        said = why_code(folder / "config.json") or first_line(error)
        raise ModelError(f"cannot read the config of the model in {folder}: {said}") from error


def longest_input(config: "PreTrainedConfig") -> int | None:
    """The most tokens that a model takes at once, where its config says so."""
    found: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found


def _read_weights(ref: ModelRef, device: str) -> "PreTrainedModel":
    """The base model of a reference, on a device; code that comes with a model is never run."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder, dtype = Path(ref.weights), getattr(torch, ref.dtype)
    if read_config(folder).is_encoder_decoder:
        raise ModelError(f"the model in {folder} is an encoder-decoder; datatrial trains and scores decoders")
    refuse_pickles(folder)
    refuse_kernels(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            output_loading_info=True,
            **SAFE_WEIGHTS,
            **(_in_4_bits(dtype, device) if ref.quantization else {}),
        )
    except Exception as error:  # transformers and safetensors each raise their own
        raise ModelError(f"cannot load the model in {folder}: {first_line(error)}") from error
    # transformers only warns, and draws at random what is missing.
    if lacking := [*sorted(report["missing_keys"]), *sorted(key[0] for key in report["mismatched_keys"])]:
        some = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise ModelError(f"the weights in {folder} do not fill the model of its config.json: {some}")
    if ref.quantization:
        _make_sound(model, device)
    return model.to(device).requires_grad_(False).eval()


def _in_4_bits(dtype: "torch.dtype", device: str) -> dict[str, Any]:
    """Options of `from_pretrained` that quantize to NF4 while loading (QLoRA, Dettmers et al. 2023)."""
    import torch
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    # Of a GPU, accelerate wants to know which: the one that this process was told to use.
    number = {"cuda": torch.cuda.current_device, "mps": lambda: 0}.get(device, lambda: None)()
    return {"quantization_config": quantization, "device_map": {"": torch.device(device, number)}}


def _make_sound(model: "PreTrainedModel", device: str) -> None:
    """Keep layers in 4 bits from what bitsandbytes (0.50) does to them on a CPU.

    Raises: ModelError when it would compute with other weights than it was given.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for name, layer in model.named_modules():
        if not isinstance(layer, Linear4bit):
            continue
        # On some CPUs it repacks a layer the first time it scores: the layer then computes in bfloat16, and passes no
        # gradient on when training continues. A model must not depend on what it was used for, and where.
        layer.support_avx512bf16_for_cpu = False
        if device == "cpu" and layer.in_features % NF4_BLOCK:
            # It takes each row to begin a new block of weights with a scale of its own, which is not how they are kept.
            raise ModelError(
                f"{name} has {layer.in_features} inputs: on a CPU, nf4 needs a multiple of {NF4_BLOCK}; "
                "leave `quantization` out, or use a GPU"
            )


def _rebuilt(base: "PreTrainedModel") -> "PreTrainedModel":
    """A copy of the modules, config and buffers whose parameters are new objects over the same memory."""
    from torch.nn import Parameter

    shared: dict[int, Any] = {}
    for parameter in base.parameters():
        if state := getattr(parameter, "quant_state", None):
            # In 4 bits: scales and shape come along. bitsandbytes changes a state in place when it moves or repacks a
            # layer, but never the tensors in it.
            shared[id(state)] = copy.copy(state)
            shared[id(parameter)] = new = copy.copy(parameter)
            new.quant_state = shared[id(state)]
        else:
            shared[id(parameter)] = Parameter(parameter.detach(), requires_grad=False)
    model = copy.deepcopy(base, dict(shared))
    for module in model.modules():
        if getattr(getattr(module, "weight", None), "quant_state", None):
            module.weight.module = module  # a parameter in 4 bits knows the layer that it is in
    return model
