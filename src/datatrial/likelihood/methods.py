"""How a model is scored: found out by trying, once for all models of a kind in this process."""

from typing import TYPE_CHECKING

from datatrial.likelihood.decoder import Decoder
from datatrial.likelihood.method import Method
from datatrial.likelihood.self_check import choose

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_RIGHT: set[tuple[object, ...]] = set()  # kinds of models that tries are right for


def method_for(model: "PreTrainedModel | PeftModel") -> tuple[Method, list[str]]:
    """As `choose`, but tries no second model out that differs from the first in its weights only.

    Where tries are wrong the next model is tried again: unsound weights may have been the reason.
    """
    kind = _kind(model)
    if kind in _RIGHT:
        return Decoder(model), []
    method, notes = choose(model)
    if isinstance(method, Decoder):
        _RIGHT.add(kind)
    return method, notes


def _kind(model: "PreTrainedModel | PeftModel") -> tuple[object, ...]:
    """Code, config, numbers and device of a model: all that its forward pass consists of, but for its weights."""
    code = frozenset(type(module) for module in model.modules())  # adapters and quantized layers among them
    dtypes = frozenset(parameter.dtype for parameter in model.parameters())
    attention = getattr(model.config, "_attn_implementation", None)
    return code, model.config.to_json_string(), attention, dtypes, model.device.type
