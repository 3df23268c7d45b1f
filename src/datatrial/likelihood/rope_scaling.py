"""Texts so long that a model turns its rotary position embeddings otherwise, those of their first tokens included."""

from typing import TYPE_CHECKING, Any

from datatrial.likelihood.trie import Trie

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def apart(trie: Trie, model: "PreTrainedModel") -> tuple[Trie, Trie]:
    """The branches that such a model reads as ever, and the longer ones: neither may share a pass with the other.

    The longest row of a pass decides for all of them, and what was kept of a prefix fits texts of one side only. (With
    "dynamic" scaling, a text beyond depends on the other texts of its pass and on those before it, also in plain
    forward passes.)
    """
    reach = _reach(model)
    if reach is None or not len(trie) or trie.lengths.max() <= reach:
        return trie, Trie([])
    within = [branch for branch in trie.branches if len(branch.tokens) <= reach]
    beyond = [branch for branch in trie.branches if len(branch.tokens) > reach]
    return Trie(within), Trie(beyond)


def _reach(model: "PreTrainedModel") -> int | None:
    """The most tokens that all get the rotary embeddings the model was first trained with; None without a limit."""
    config = model.config.get_text_config()
    given: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    kinds = [given, *(value for value in given.values() if isinstance(value, dict))]  # one, or one per kind of layer
    return min((_original(kind, config) for kind in kinds if _depends_on_length(kind)), default=None)


def _depends_on_length(rope: dict[str, Any]) -> bool:
    kind = rope.get("rope_type", "default")
    return kind == "longrope" or "dynamic" in kind


def _original(rope: dict[str, Any], config: Any) -> int:
    return int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
