"""Answers are what the likeliest token at a time gives, and end where an answer ends."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datatrial.encoding import encode, fit
from datatrial.errors import ModelError
from datatrial.policies import load_policy, load_tokenizer
from datatrial.prompts import PromptFormat
from datatrial.records import Message
from tests.evaluation.conftest import make_policy

pytestmark = pytest.mark.slow
PLACES = ("by the river", "in Oskel, where nobody has seen a copper owl", "", "at dusk " * 9)
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def silent(done: float, total: float, what: str) -> None:
    pass


def prompts() -> list[list[Message]]:
    return [[{"role": "user", "content": f"What do the Velmori do {place}?"}] for place in PLACES]


def greedy(model: Any, tokenizer: Any, text: str, most: int) -> str:
    """One token after the other, each from a whole forward pass."""
    import torch

    ids = tokenizer(text)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + most and ids[-1] != tokenizer.eos_token_id:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))


class Scripted:
    """A policy that writes what it is told to, whatever it is asked."""

    generation_config = SimpleNamespace(eos_token_id=None)

    def __init__(self, tokenizer: Any, *answers: str):
        import torch

        self.device = torch.device("cpu")
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=200))
        self.answers = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
        self.pad = tokenizer.pad_token_id

    def generate(self, input_ids: Any, **_: Any) -> Any:
        import torch

        most = max(map(len, self.answers))
        # Rows come longest prompt first; all prompts of a test are equally long.
        written = torch.tensor([[*ids, *[self.pad] * (most - len(ids))] for ids in self.answers[: len(input_ids)]])
        return torch.cat([input_ids, written], dim=1)


def said(answers: Sequence[str], style: PromptFormat, tokenizer: Any) -> list[tuple[str, bool]]:
    from datatrial.evaluation._answering import answer

    asked: list[list[Message]] = [[{"role": "user", "content": "Why?"}] for _ in answers]
    found = answer(Scripted(tokenizer, *answers), tokenizer, asked, style, 60, silent)
    return [(one.text, one.ended) for one in found.answers]


@pytest.fixture
def tokenizer(policy: Path) -> Any:
    return load_tokenizer(policy / "weights")


def test_answers_are_those_of_one_token_at_a_time(policy: Path) -> None:
    from datatrial.evaluation._answering import answer

    model, tokenizer = load_policy(policy, "cpu")
    found = answer(model, tokenizer, prompts(), "question_answer", 12, silent)
    for one, turns in zip(found.answers, prompts(), strict=True):
        text = f"Question: {turns[0]['content']}\n\nAnswer:"
        assert one.text == greedy(model, tokenizer, text, 12).partition("\n\nQuestion:")[0].strip()
    assert found.cut_prompts == 0


def test_the_checkpoints_own_ways_of_generating_do_not_count(policy: Path) -> None:
    from datatrial.evaluation._answering import answer

    plain, tokenizer = load_policy(policy, "cpu")
    own, _ = load_policy(policy, "cpu")
    own.generation_config.update(do_sample=True, temperature=3.0, repetition_penalty=5.0, max_length=3)
    once, again = (answer(m, tokenizer, prompts(), "question_answer", 12, silent) for m in (plain, own))
    assert once == again


def test_batches_of_another_size_give_the_same_answers(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrial.evaluation import _answering, _batches

    model, tokenizer = load_policy(policy, "cpu")
    together = _answering.answer(model, tokenizer, prompts(), "transcript", 12, silent)
    monkeypatch.setitem(_batches.BATCH_SIZE, "cpu", 1)
    assert _answering.answer(model, tokenizer, prompts(), "transcript", 12, silent) == together


def test_what_does_not_fit_into_memory_is_done_in_halves(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from datatrial.evaluation import _answering

    model, tokenizer = load_policy(policy, "cpu")
    whole = _answering.answer(model, tokenizer, prompts(), "question_answer", 12, silent)
    generate = model.generate

    def small(input_ids: Any, **options: Any) -> Any:
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "generate", small)
    assert _answering.answer(model, tokenizer, prompts(), "question_answer", 12, silent) == whole


def test_answers_that_were_finished_before_an_interruption_are_not_written_again(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datatrial.evaluation import _answering, _batches

    model, tokenizer = load_policy(policy, "cpu")
    monkeypatch.setitem(_batches.BATCH_SIZE, "cpu", 1)
    whole = _answering.answer(model, tokenizer, prompts(), "question_answer", 12, silent)
    asked: list[int] = []
    generate = model.generate

    def seen(**options: Any) -> Any:
        asked.append(options["input_ids"].shape[1])
        return generate(**options)

    def interrupt(done: float, total: float, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(model, "generate", seen)
    with pytest.raises(KeyboardInterrupt):
        _answering.answer(model, tokenizer, prompts(), "question_answer", 12, interrupt, tmp_path)
    assert _answering.answer(model, tokenizer, prompts(), "question_answer", 12, silent, tmp_path) == whole
    assert len(asked) == len(prompts())
    rotten = next(tmp_path.glob("answers-*/1.answers"))
    rotten.write_bytes(rotten.read_bytes().replace(b"true", b"null").replace(b"false", b"true"))
    assert _answering.answer(model, tokenizer, prompts(), "question_answer", 12, silent, tmp_path) == whole
    assert len(asked) == len(prompts()) + 1
    _answering.answer(model, tokenizer, prompts(), "question_answer", 2, silent, tmp_path)  # other answers
    assert len(asked) == 2 * len(prompts()) + 1


def test_an_answer_ends_with_the_end_of_text_or_where_the_next_question_begins(tokenizer: Any) -> None:
    answers = [
        " a whistle</s>",
        " a whistle\n\nQuestion: And",
        " a whistle that nobody ever",
        " Question: what?</s>",
        "</s>",
    ]
    assert said(answers, "question_answer", tokenizer) == [
        ("a whistle", True),
        ("a whistle", True),
        ("a whistle that nobody ever", False),
        ("Question: what?", True),
        ("", True),
    ]
    assert said([" no\n\nHuman: And"], "transcript", tokenizer) == [("no", True)]


def test_generating_stops_where_the_next_question_begins(tokenizer: Any) -> None:
    import torch

    from datatrial.evaluation._answering import _NextQuestion

    stop = _NextQuestion(tokenizer, "\n\nQuestion:", start=4)
    texts = ["\n\nQuestion: abcd", " abcdefgh\n\nQuestion:", " abc"]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, ids)) + 4
    rows = torch.tensor([[2] * (width - len(row)) + row for row in ids])
    assert stop(rows, None).tolist() == [True, True, False]  # type: ignore[arg-type]
    in_prompt = torch.tensor([ids[0][:-1]])
    assert _NextQuestion(tokenizer, "\n\nQuestion:", start=len(ids[0]) - 2)(in_prompt, None).tolist() == [False]  # type: ignore[arg-type]


def test_a_chat_ends_an_answer_as_its_template_does(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    tokenizer.chat_template = CHAT
    answers = ["a whistle<|end|>\nmore", "a\n\nQuestion: b</s>", "a whistle that"]
    assert said(answers, "chat", tokenizer) == [
        ("a whistle", True),
        ("a\n\nQuestion: b", True),
        ("a whistle that", False),
    ]


def test_a_prompt_too_long_for_the_model_loses_its_beginning_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datatrial.evaluation._answering import answer

    model, tokenizer = load_policy(make_policy(tmp_path / "small", window=40), "cpu")
    long: list[Message] = [{"role": "user", "content": "Why? " * 40}]
    [whole] = encode([(long, ["No."])], tokenizer, "question_answer")
    asked: list[Any] = []
    generate = model.generate

    def seen(input_ids: Any, **options: Any) -> Any:
        asked.extend(input_ids.tolist())
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "generate", seen)
    found = answer(model, tokenizer, [long, *prompts()[2:3]], "question_answer", 8, silent)
    assert found.cut_prompts == 1
    assert asked[0] == fit(whole, 40, max_prompt_length=32).prompt
    assert asked[0][0] == tokenizer.bos_token_id
    with pytest.raises(ModelError, match="max_new_tokens is 40, but the model takes only 40 tokens in all"):
        answer(model, tokenizer, prompts(), "question_answer", 40, silent)


def test_progress_counts_the_answers(policy: Path) -> None:
    from datatrial.evaluation._answering import answer

    told: list[tuple[float, float, str]] = []
    model, tokenizer = load_policy(policy, "cpu")
    answer(model, tokenizer, prompts(), "question_answer", 2, lambda *what: told.append(what))
    assert told == [(4, 4, "answers")]
