"""What scoring takes: requests, tokens, FLOPs and memory."""

from dataclasses import dataclass

from datatrial.estimates.benchmarks import BenchmarkSize, TaskSize
from datatrial.estimates.compute import Rows, Work, forward
from datatrial.estimates.devices import Device
from datatrial.estimates.memory import Memory, keys_and_values, scoring_activations, weights
from datatrial.estimates.policies import BYTES, Policy
from datatrial.estimates.shapes import Shape
from datatrial.evaluation._base import Workload
from datatrial.evaluation._batches import batch_size

_PADDED = 1.05  # tokens with padding over tokens: requests are sorted by length
_LOGIT_BYTES = {"cpu": 2**27, "cuda": 2**31}  # of a forward pass over sentences


@dataclass(frozen=True)
class Scored:
    """Scoring of one model before it is done; None where the benchmark or the model is unknown."""

    items: float | None = None
    requests: float | None = None  # passes of a text through the model
    tokens: float | None = None
    work: Work | None = None
    memory: Memory | None = None


def scoring_estimate(size: BenchmarkSize, policy: Policy, device: Device | None, sentences: bool) -> Scored:
    """A benchmark on a policy. lm-eval computes the question anew for each choice; it scores every position."""
    parts = [_task(task, policy) for task in size.tasks]
    if any(part is None for part in parts):
        return Scored(size.items)
    known = [part for part in parts if part is not None]
    requests, tokens = sum(rows for rows, _ in known), sum(rows * length for rows, length in known)
    if policy.shape is None:
        return Scored(size.items, requests, tokens)
    shape, width, runs_on = policy.shape, BYTES[policy.dtype], _runs_on(device)
    longest = max(_tokens(task.longest or task.characters or 0, task, policy) for task in size.tasks)
    positions = max(512, _LOGIT_BYTES[runs_on] // (shape.vocabulary * width))
    together = positions / longest if sentences else batch_size(runs_on)
    batch = max(1.0, together)
    memory = _memory(policy, shape, batch, longest, sentences, device)
    while device and not sentences and batch > 1 and memory.total > device.memory:
        batch /= 2  # as the scorer does when memory runs out
        memory = _memory(policy, shape, batch, longest, sentences, device)
    work = Work()
    for rows, length in known:
        padded = Rows(batch, length * _PADDED, batch * length * _PADDED)
        work = work + forward(shape, padded, width) * (rows / batch)
    return Scored(size.items, requests, tokens, work, memory)


def answering_estimate(
    size: BenchmarkSize, policy: Policy, device: Device | None, work: Workload, prompt: float | None
) -> Scored:
    """Answers written to prompts of so many tokens, and what of them is judged, by a model of the policy's size.

    Every new token is a pass of its own through the whole model, for all answers of a batch.
    """
    if size.items is None or prompt is None or policy.shape is None:
        return Scored(size.items)
    shape, width, batch = policy.shape, BYTES[policy.dtype], batch_size(_runs_on(device))
    whole = prompt + work.new_tokens
    read = forward(shape, Rows(batch, prompt, batch), width)
    written = forward(shape, Rows(batch, 1, batch), width) * work.new_tokens
    judged = forward(shape, Rows(batch, whole, 0), width) * work.judged
    tokens = size.items * (1 + work.judged) * whole
    memory = _memory(policy, shape, batch, whole, True, device)
    return Scored(size.items, size.items, tokens, (read + written + judged) * (size.items / batch), memory)


def _task(task: TaskSize, policy: Policy) -> tuple[float, float] | None:
    """Texts that go through the model and their mean length in tokens."""
    if task.items is None or task.forwards is None or task.characters is None:
        return None
    return task.items * task.forwards, _tokens(task.characters, task, policy)


def _tokens(characters: float, task: TaskSize, policy: Policy) -> float:
    shown = task.shots * ((task.context or 0) + task.continuation + 2) if characters == task.longest else 0.0
    tokens = (characters + shown) / policy.characters_per_token + 1
    longest = policy.shape.longest if policy.shape else None
    return min(tokens, longest or tokens)


def _runs_on(device: Device | None) -> str:
    return "cpu" if device is not None and device.is_cpu else "cuda"


def _memory(
    policy: Policy, shape: Shape, batch: float, longest: float, sentences: bool, device: Device | None
) -> Memory:
    """At the batch of the longest requests, which comes first."""
    width, tokens = BYTES[policy.dtype], batch * longest
    logits = tokens * shape.vocabulary * (width if sentences else width + 4)  # and lm-eval's softmax in float32
    return Memory(
        weights(policy, shape),
        activations=scoring_activations(shape, tokens, width),
        logits=logits,
        cache=0.0 if sentences else keys_and_values(shape, tokens, width),
        libraries=device.base_memory if device else 0.0,
    )
