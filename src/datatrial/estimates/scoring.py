"""What scoring takes: requests, tokens, FLOPs and memory."""

from dataclasses import dataclass

from datatrial.estimates.benchmarks import BenchmarkSize, TaskSize
from datatrial.estimates.compute import Rows, Work, forward
from datatrial.estimates.devices import Device
from datatrial.estimates.policies import Policy
from datatrial.evaluation._base import Workload
from datatrial.evaluation._batches import batch_size
from datatrial.likelihood.budget import Budget, Widths, cpu_budget, gpu_budget
from datatrial.memory import BYTES, Memory, keys_and_values, scoring_activations, weights
from datatrial.shapes import Shape

_PADDED = 1.05  # tokens that go through the model, padding and what is read again included, over distinct ones
_UNKNOWN_MEMORY = 24e9  # bytes of a GPU that is in no table


@dataclass(frozen=True)
class Scored:
    """Scoring of one model before it is done; None where the benchmark or the model is unknown."""

    items: float | None = None
    requests: float | None = None
    tokens: float | None = None  # distinct ones
    work: Work | None = None
    memory: Memory | None = None


@dataclass(frozen=True)
class _Asked:
    """Requests of a task, in tokens."""

    requests: float
    distinct: float
    scored: float  # positions whose logits are needed
    longest: float  # of a text


def scoring_estimate(size: BenchmarkSize, policy: Policy, device: Device | None) -> Scored:
    """A benchmark on a policy: what its texts share at their beginning goes through the model once."""
    parts = [_asked(task, policy) for task in size.tasks]
    if any(part is None for part in parts):
        return Scored(size.items)
    known = [part for part in parts if part is not None]
    requests, tokens = sum(part.requests for part in known), sum(part.distinct for part in known)
    if policy.shape is None:
        return Scored(size.items, requests, tokens)
    shape, width, longest = policy.shape, BYTES[policy.dtype], max(part.longest for part in known)
    budget = _budget(shape, width, device)
    memory = _memory(policy, shape, budget, longest, device)
    while device and memory.total > device.memory and (smaller := budget.halved()):
        budget = smaller  # as the scorer does when memory runs out
        memory = _memory(policy, shape, budget, longest, device)
    work = Work()
    for part in known:
        # Each token is compared with its whole row.
        length = max(part.longest, budget.row)
        rows = max(budget.tokens / length, 1.0)
        passes = part.distinct * _PADDED / (rows * length)
        work = work + forward(shape, Rows(rows, length, part.scored / passes), width) * passes
    return Scored(size.items, requests, tokens, work, memory)


def answering_estimate(
    size: BenchmarkSize, policy: Policy, device: Device | None, work: Workload, prompt: float | None
) -> Scored:
    """Answers written to prompts of so many tokens, and what of them is judged, by a model of the policy's size.

    Every new token is a pass of its own through the whole model, for all answers of a batch.
    """
    if size.items is None or prompt is None or policy.shape is None:
        return Scored(size.items)
    shape, width, batch = policy.shape, BYTES[policy.dtype], batch_size("cpu" if device and device.is_cpu else "cuda")
    whole = prompt + work.new_tokens
    read = forward(shape, Rows(batch, prompt, batch), width)
    written = forward(shape, Rows(batch, 1, batch), width) * work.new_tokens
    judged = forward(shape, Rows(batch, whole, 0), width) * work.judged
    tokens = size.items * (1 + work.judged) * whole
    memory = _parts(policy, shape, batch * whole, batch * whole, batch, device)
    return Scored(size.items, size.items, tokens, (read + written + judged) * (size.items / batch), memory)


def _asked(task: TaskSize, policy: Policy) -> _Asked | None:
    """None where the number or the length of the requests is unknown."""
    if task.items is None or task.requests is None or task.distinct is None:
        return None
    window = policy.shape.longest if policy.shape else None

    def tokens(characters: float) -> float:
        return characters / policy.characters_per_token

    text = tokens((task.context or 0.0) + task.continuation + task.shown) + 1
    longest = tokens((task.longest or 0.0) + task.shown) + 1
    if window and text > window:  # What is left of such texts begins anywhere: nothing is shared.
        item, longest = task.requests * window, window
    else:
        item, longest = tokens(task.distinct) + 1, min(longest, window or longest)
        item += tokens(0.0 if task.shared_shots else task.shown)
    distinct = task.items * item + (tokens(task.shown) if task.shared_shots else 0.0)
    scored = task.items * (1 + task.requests * max(0.0, tokens(task.continuation) - 1))
    return _Asked(task.items * task.requests, distinct, scored, longest)


def _budget(shape: Shape, width: int, device: Device | None) -> Budget:
    widths = Widths(shape.hidden, shape.intermediate, shape.vocabulary, width)
    if device is not None and device.is_cpu:
        return cpu_budget(widths)
    return gpu_budget(widths, int(device.memory if device else _UNKNOWN_MEMORY))


def _memory(policy: Policy, shape: Shape, budget: Budget, longest: float, device: Device | None) -> Memory:
    return _parts(policy, shape, max(budget.tokens, longest), longest, budget.logits, device)


def _parts(policy: Policy, shape: Shape, tokens: float, kept: float, logits: float, device: Device | None) -> Memory:
    """With so many tokens in a pass, with their keys and values kept, and with logits at a time."""
    width = BYTES[policy.dtype]
    return Memory(
        weights(shape, width, policy.quantized),
        activations=scoring_activations(shape, tokens, width),
        logits=logits * shape.vocabulary * (width + 4),
        cache=keys_and_values(shape, kept, width),
        libraries=device.base_memory if device else 0.0,
    )
