"""What training stages take: examples, passes, tokens, FLOPs and memory."""

import math
from dataclasses import dataclass, replace

from datatrial.estimates.compute import Rows, Work, forward, pretraining, training, training_all
from datatrial.estimates.data import DataSize
from datatrial.estimates.devices import Device
from datatrial.estimates.lengths import Lengths
from datatrial.estimates.policies import Policy
from datatrial.memory import (
    BYTES,
    TRAINED_BYTES,
    Memory,
    fused_head,
    inputs_of_matrices,
    kept_by_a_block,
    scoring_activations,
    training_activations,
    weights,
)
from datatrial.models.from_scratch import FromScratch
from datatrial.reference_log_probs import ReferenceLogProbs
from datatrial.shapes import Shape
from datatrial.training._at_once import (
    ENOUGH,
    AtOnce,
    at_once,
    bytes_per_token,
    parameters_trained,
    weights_beside,
)
from datatrial.training._base import EVALUATIONS, MEASURED_AT_ONCE, ComparisonStage, Stage
from datatrial.training.dpo import Dpo
from datatrial.training.grpo import Grpo
from datatrial.training.kto import Kto

MARKS = 20  # characters that the prompt format puts around a turn and its answer: "Question: …\n\nAnswer: "
ENDS = 2  # tokens that begin and end a text
_ROW = 512  # tokens of a row, where no text is longer
_UNKNOWN_MEMORY = 80e9  # bytes
# Bytes that TRL's head moves for each logit, besides those of a loss, where it has no kernel: one operation after the
# other, for the log-probability, the entropy and whether it is the largest. Set by SFT in studies/paper_small.yaml.
_HEAD_ON_CPU = 200


@dataclass(frozen=True)
class Trained:
    """A training run before it is run; None where the data or the model is unknown."""

    examples: float | None = None  # as often as each is seen
    passes: float | None = None  # through the examples to train on
    steps: float | None = None  # of the optimizer
    tokens: float | None = None  # without padding
    work: Work | None = None
    memory: Memory | None = None
    parameters: int | None = None  # that are trained
    measuring: float | None = None  # share of the FLOPs that the loss on held-out examples takes


@dataclass(frozen=True)
class _Sequences:
    """One example as it goes through the model."""

    lengths: Lengths  # of a sequence, before it is cut
    number: int  # sequences of an example: 2 of a comparison
    tokens: float  # of all of them, cut
    scored: float  # of them, by the head
    distinct: float  # that go through the model: a prompt once


def stage_estimate(stage: Stage, policy: Policy, data: DataSize, device: Device | None) -> Trained:
    """A stage on a data set of this size, as it goes through such a device: in parts, without padding."""
    data = replace(data, rows=None if data.rows is None else data.rows * stage.examples_of_a_row)
    train = None if data.rows is None else max(1.0, data.rows - stage.held_out_of(data.rows))
    found = _sequences(stage, policy, data)
    parameters = parameters_trained(stage, policy.shape) if policy.shape else None
    if found is None:
        return _without_lengths(stage, train, parameters)
    row_tokens = _longest(stage, policy) if stage.packs else found.tokens
    per_pass = None if train is None else train * found.tokens / row_tokens  # rows of a pass
    rows, steps = _how_long(stage, per_pass, row_tokens, found.tokens / row_tokens if stage.packs else 1.0)
    if rows is None or steps is None:
        return Trained(parameters=parameters)
    tokens = rows * row_tokens
    passes = None if train is None else tokens / (train * found.tokens)
    held_out = 0.0 if data.rows is None or train is None else data.rows - train
    plan = Trained(tokens / found.tokens, passes, steps, tokens, parameters=parameters)
    if policy.shape is None or parameters is None:
        return plan
    if stage.packs:
        answers = found.scored / found.tokens
        batch = _Sequences(Lengths(row_tokens, 0.0), 1, row_tokens, row_tokens * answers, row_tokens)
    else:
        batch = found
    computed = _Run(stage, policy, policy.shape, parameters, device)
    measuring = computed.measuring(found, held_out)
    work = computed.work(batch, rows, steps) + measuring
    if stage.has_reference and not stage.reads_beforehand():
        work = work + computed.reference(found, rows + held_out)
    if isinstance(stage, Kto):  # mismatched pairs: by the reference beforehand, by the policy on the way
        work = work + computed.reference(found, 2 * (rows + held_out))
    if isinstance(stage, Grpo):
        work = work + computed.writing(stage, found, rows, steps)
    return replace(plan, work=work, memory=computed.memory(batch), measuring=measuring.flops / work.flops)


def reference_estimate(task: ReferenceLogProbs, policy: Policy, data: DataSize, device: Device | None) -> Trained:
    """One forward pass over both answers of each row, prompts once."""
    stage = Dpo(max_length=task.max_length, max_prompt_length=task.max_prompt_length)
    found = _sequences(stage, policy, data)
    if found is None or policy.shape is None or data.rows is None:
        return Trained(examples=data.rows)
    computed = _Run(stage, policy, policy.shape, 0, device)
    tokens = found.tokens * data.rows
    return Trained(data.rows, 1.0, tokens=tokens, work=computed.reference(found, data.rows), memory=computed.asking())


def _without_lengths(stage: Stage, train: float | None, parameters: int | None) -> Trained:
    """What the settings say by themselves, where the data's lengths are not known."""
    if stage.packs or train is None:
        return Trained(steps=stage.budget.steps if stage.budget else None, parameters=parameters)
    rows, steps = _how_long(stage, train, None)
    return Trained(rows, None if rows is None else rows / train, steps, parameters=parameters)


def _longest(stage: Stage, policy: Policy) -> int:
    longest = policy.shape.longest if policy.shape else None
    return min(stage.max_length, longest or stage.max_length)


def _sequences(stage: Stage, policy: Policy, data: DataSize) -> _Sequences | None:
    """One example: a demonstration as one sequence, a comparison as two with the same prompt."""
    data = replace(data, form=data.form or stage.forms[0])
    row = data.tokens_of_a_row(policy.characters_per_token)
    if row is None:
        return None
    longest, around = _longest(stage, policy), MARKS / policy.characters_per_token + ENDS
    if isinstance(stage, Grpo):
        return _written(stage, Lengths(max(1.0, row * data.prompt_share + around)), longest)
    if not isinstance(stage, ComparisonStage):
        lengths = Lengths(row * data.chosen_share + around)  # of comparisons SFT learns the chosen answers
        cut = lengths.mean if stage.packs else lengths.cut(longest)
        answers = 1 - data.prompt_share / data.chosen_share
        return _Sequences(lengths, 1, cut, cut * (1.0 if stage.learns_prompts else answers), cut)
    prompt = Lengths(max(1.0, row * data.prompt_share + around)).cut(stage.max_prompt_length)
    lengths = Lengths(prompt + row * (1 - data.prompt_share) / 2)
    cut = lengths.cut(longest)
    answers = 2 * cut * (1 - prompt / lengths.mean)
    if stage.texts == 1:
        return _Sequences(lengths, 1, cut, answers / 2, cut)
    scored = answers + (min(prompt, cut) if stage.learns_prompts else 0.0)
    return _Sequences(lengths, 2, 2 * cut, scored if stage.learns_tokens else 2.0, 2 * cut - min(prompt, cut))


def _written(stage: Grpo, prompt: Lengths, longest: int) -> _Sequences:
    """A prompt with each of the answers that are written to it, taken to be as long as they can be."""
    answer, n = stage.max_completion_length, stage.num_generations
    each = prompt.cut(max(1, longest - answer)) + answer
    return _Sequences(Lengths(each, 0.0), n, n * each, float(n * answer), n * each)


def _how_long(
    stage: Stage, per_pass: float | None, row_tokens: float | None, rows_of_an_example: float = 1.0
) -> tuple[float | None, float | None]:
    """Rows seen and optimizer steps: of `epochs` passes, or of the budget. A row is an example unless packed."""
    batch, budget = stage.batch_size, stage.budget
    if budget is None:
        if per_pass is None:
            return None, None
        return per_pass * stage.epochs, max(1, math.ceil(per_pass * stage.epochs / batch))
    if budget.steps is not None:
        return budget.steps * batch, budget.steps
    if budget.examples is not None:
        rows = budget.examples * rows_of_an_example
        return rows, math.ceil(rows / batch)
    if row_tokens is None or budget.tokens is None:
        return None, None
    steps = math.ceil(budget.tokens / (row_tokens * batch))
    return steps * batch, steps


@dataclass(frozen=True)
class _Run:
    """A stage on a model and a device."""

    stage: Stage
    policy: Policy
    shape: Shape
    parameters: int
    device: Device | None

    @property
    def on_gpu(self) -> bool:
        return self.device is None or not self.device.is_cpu

    @property
    def at_once(self) -> AtOnce:
        memory = self.device.memory if self.device else _UNKNOWN_MEMORY
        return at_once(self.stage, self.shape, self.policy.dtype, self.policy.quantized, memory, self.on_gpu)

    @property
    def width(self) -> int:
        return BYTES[self.policy.dtype]

    def _packed(self, example: _Sequences, examples: float) -> Rows:
        """Examples in rows of a few hundred tokens or of the longest text, prompts once and without padding."""
        tokens = example.distinct * examples
        row = max(_ROW, example.lengths.longest_of(example.number * examples, _longest(self.stage, self.policy)))
        row = min(row, max(tokens, 1.0))
        return Rows(tokens / row, row, example.scored * examples)

    def work(self, example: _Sequences, rows: float, steps: float) -> Work:
        """All optimizer steps: forward and back, with what the head moves besides where it has no kernel."""
        per_step = min(self.stage.batch_size, rows)
        batch = self._packed(example, per_step)
        again = self.at_once.checkpointing
        if self.stage.lora:
            once = training(self.shape, batch, self.width, self.parameters, checkpointing=again)
        else:
            once = training_all(self.shape, batch, self.width, checkpointing=again)
        if self.stage.learns_tokens and not self.on_gpu:
            once = once + Work(moved=_HEAD_ON_CPU * self.shape.vocabulary * batch.scored)
        return once * (rows / per_step) + Work(moved=self.parameters * 4 * 7 * steps)

    def reference(self, example: _Sequences, examples: float) -> Work:
        """A forward pass of the reference over so many examples."""
        return forward(self.shape, self._packed(example, self.stage.batch_size), self.width) * (
            examples / self.stage.batch_size
        )

    def writing(self, stage: Grpo, example: _Sequences, examples: float, steps: float) -> Work:
        """Answers, those of a step at once: for each token of one the weights are read anew."""
        tokens = stage.max_completion_length * steps
        read = weights(self.shape, self.width, self.policy.quantized) * tokens
        return self.reference(example, examples) + Work(moved=read, entered=self.shape.layers * tokens)

    def asking(self) -> Memory:
        """While the reference is asked, as when a model is scored."""
        return Memory(
            weights(self.shape, self.width, self.policy.quantized),
            activations=scoring_activations(self.shape, ENOUGH, self.width),
            libraries=self.device.base_memory if self.device else 0.0,
        )

    def measuring(self, example: _Sequences, held_out: float) -> Work:
        """The loss on the held-out examples, as often as it is measured."""
        batch = self._packed(example, MEASURED_AT_ONCE)
        return forward(self.shape, batch, self.width) * (EVALUATIONS * held_out / MEASURED_AT_ONCE)

    def memory(self, example: _Sequences) -> Memory:
        """At the largest part of a batch: as much as goes through at a time, if a batch has that, or an example."""
        longest = example.lengths.longest_of(1000, _longest(self.stage, self.policy)) * example.number
        tokens = max(longest, min(self.at_once.tokens, self.stage.batch_size * longest))
        scored = tokens * min(1.0, example.scored / example.tokens)
        each = bytes_per_token(self.stage, self.shape, self.width, self.at_once.checkpointing)
        return Memory(
            weights_beside(self.stage, self.shape, self.width, self.policy.quantized),
            TRAINED_BYTES * self.parameters,
            tokens * each,
            fused_head(self.shape, scored, self.width, self.on_gpu) if self.stage.learns_tokens else 0.0,
            libraries=self.device.base_memory if self.device else 0.0,
        )


def from_scratch_estimate(
    model: FromScratch, policy: Policy, characters: float | None, device: Device | None
) -> Trained:
    """Training a base model on a corpus of so many characters: every parameter, in float32."""
    shape = policy.shape
    assert shape is not None
    if characters is None:
        return Trained(parameters=shape.parameters)
    one_pass = characters / policy.characters_per_token
    blocks = max(1.0, one_pass / model.block_length)
    steps = math.ceil(model.epochs * math.ceil(blocks / model.batch_size))
    rows = Rows(model.batch_size, model.block_length, model.batch_size * model.block_length)
    logits = rows.tokens * shape.vocabulary * 4 * 3  # as they are, their log-probabilities, their gradient
    kept = kept_by_a_block(shape, 4, 0, dropout=False) + inputs_of_matrices(shape, 4)
    memory = Memory(
        shape.parameters * 4,
        shape.parameters * 12,
        training_activations(shape, rows.tokens, kept, 4, checkpointing=False),
        logits,
        libraries=device.base_memory if device else 0.0,
    )
    return Trained(
        blocks * model.epochs,
        model.epochs,
        steps,
        one_pass * model.epochs,
        pretraining(shape, rows, 4) * steps,
        memory,
        shape.parameters,
    )
