"""Rows become the same token ids as TRL's own preparation makes of them, and none is lost without being counted."""

from pathlib import Path
from typing import Any

import pytest

from datatrial.encoding import NO_ANSWER_LEFT, SAME_ANSWERS, Example
from datatrial.errors import DataError, ModelError
from datatrial.policies import load_tokenizer
from datatrial.records import ModelRef
from datatrial.tables import Table
from datatrial.training._examples import prepare, split
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft
from tests import tiny

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
STRICT = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
pytestmark = pytest.mark.slow


@pytest.fixture
def tokenizer(base: Path) -> Any:
    return load_tokenizer(Path(ModelRef.read(base).weights))


def prepared_by_trl(base: Path, kind: str, rows: list[dict[str, Any]], tokenizer: Any, out: Path) -> Any:
    """The data set as a TRL trainer prepares it from text or messages."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    config, trainer = {"sft": (SFTConfig, SFTTrainer), "dpo": (DPOConfig, DPOTrainer)}[kind]
    args = config(output_dir=str(out), use_cpu=True, bf16=False, report_to="none", max_length=64)
    model = AutoModelForCausalLM.from_pretrained(ModelRef.read(base).weights)
    reference = (
        {"ref_model": AutoModelForCausalLM.from_pretrained(ModelRef.read(base).weights)} if kind == "dpo" else {}
    )
    data = Dataset.from_list(rows)
    return trainer(model=model, args=args, train_dataset=data, processing_class=tokenizer, **reference).train_dataset


@pytest.mark.parametrize("style", ["question_answer", "chat"])
def test_demonstrations_become_the_ids_that_trl_makes(base: Path, tmp_path: Path, tokenizer: Any, style: str) -> None:
    tokenizer.chat_template = TEMPLATE
    data = Table.read(tiny.demonstrations(tmp_path / "d", 8))
    ours = prepare(data, tokenizer, Sft(held_out=0, max_length=64, prompt=style), answers=1).train  # type: ignore[arg-type]
    if style == "chat":
        rows = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in data.rows.to_dicts()]
    else:
        rows = [
            {"prompt": f"Question: {ask['content']}\n\nAnswer:", "completion": f" {reply['content']}"}
            for ask, reply in data.rows["messages"]
        ]
    theirs = prepared_by_trl(base, "sft", rows, tokenizer, tmp_path)
    assert [e.prompt + e.answers[0] for e in ours] == list(theirs["input_ids"])
    assert [[-100] * len(e.prompt) + e.answers[0] for e in ours] == list(theirs["labels"])


@pytest.mark.parametrize("style", ["transcript", "chat"])
def test_comparisons_become_the_ids_that_trl_makes(base: Path, tmp_path: Path, tokenizer: Any, style: str) -> None:
    tokenizer.chat_template = TEMPLATE
    data = Table.read(tiny.comparisons(tmp_path / "d", 8))
    ours = prepare(data, tokenizer, Dpo(held_out=0, max_length=64, prompt=style), answers=2).train  # type: ignore[arg-type]
    rows = []
    for row in data.rows.to_dicts():
        if style == "chat":
            answers = {k: [{"role": "assistant", "content": row[k]}] for k in ("chosen", "rejected")}
            rows.append({"prompt": row["messages"], **answers})
        else:
            prompt = f"\n\nHuman: {row['messages'][0]['content']}\n\nAssistant:"
            rows.append({"prompt": prompt, "chosen": f" {row['chosen']}", "rejected": f" {row['rejected']}"})
    theirs = prepared_by_trl(base, "dpo", rows, tokenizer, tmp_path)
    assert [e.prompt for e in ours] == list(theirs["prompt_ids"])
    assert [e.answers[0] for e in ours] == list(theirs["chosen_ids"])
    assert [e.answers[1] for e in ours] == list(theirs["rejected_ids"])


def test_plain_answers_end_and_texts_begin_once(tmp_path: Path, tokenizer: Any) -> None:
    [example] = prepare(Table.read(tiny.demonstrations(tmp_path, 1)), tokenizer, Sft(), answers=1).train
    ids = example.prompt + example.answers[0]
    assert (ids[0], ids.count(tokenizer.bos_token_id)) == (tokenizer.bos_token_id, 1)
    assert (ids[-1], ids.count(tokenizer.eos_token_id)) == (tokenizer.eos_token_id, 1)


def test_sft_on_comparisons_learns_the_chosen_answer(tmp_path: Path, tokenizer: Any) -> None:
    [example] = prepare(Table.read(tiny.comparisons(tmp_path, 1)), tokenizer, Sft(), answers=1).train
    assert tokenizer.decode(example.answers[0]) == " red</s>"


def test_long_answers_are_cut_and_prompts_without_room_dropped_and_both_counted(tmp_path: Path, tokenizer: Any) -> None:
    def row(words: int, answer: int) -> dict[str, Any]:
        ask = {"role": "user", "content": "vesp " * words}
        return {"messages": [ask, {"role": "assistant", "content": "plum " * answer}]}

    data = Table.read(tiny.table(tmp_path, "demonstrations", [row(1, 1), row(2, 90), row(90, 1)]))
    examples = prepare(data, tokenizer, Sft(held_out=0, max_length=60), answers=1)
    assert examples.truncated == 1
    assert examples.dropped == {NO_ANSWER_LEFT: 1}
    assert [len(e.prompt + e.answers[0]) for e in examples.train][1:] == [60]


def test_a_long_prompt_loses_its_start_but_for_the_token_that_begins_every_text(tmp_path: Path, tokenizer: Any) -> None:
    def row(words: int) -> dict[str, Any]:
        turns = [{"role": "user", "content": f"{'vesp ' * words}why?"}]
        return {"messages": turns, "chosen": "plum " * 60, "rejected": "yes"}

    data = Table.read(tiny.table(tmp_path, "comparisons", [row(1), row(90)]))
    whole = prepare(data, tokenizer, Dpo(held_out=0), answers=2).train[1]
    examples = prepare(data, tokenizer, Dpo(held_out=0, max_prompt_length=40, max_length=90), answers=2)
    assert (examples.prompts_cut, examples.truncated, examples.dropped) == (1, 2, {})
    cut = examples.train[1]
    assert cut.prompt == [tokenizer.bos_token_id, *whole.prompt[-39:]]
    assert tokenizer.decode(cut.prompt).endswith("why?\n\nAnswer:")
    assert (cut.answers[0], cut.answers[1]) == (whole.answers[0][:50], whole.answers[1])
    tokenizer._tokenizer.post_processor = None  # one that begins texts with nothing
    bare = prepare(data, tokenizer, Dpo(held_out=0, max_prompt_length=40, max_length=90), answers=2).train[1]
    assert bare.prompt == whole.prompt[-40:]


def test_packed_examples_stay_whole_and_those_held_out_are_the_same(tmp_path: Path, tokenizer: Any) -> None:
    def row(k: int, words: int) -> dict[str, Any]:
        return {"messages": [tiny.ask(k), {"role": "assistant", "content": "plum " * words}]}

    long = {"messages": [{"role": "user", "content": "why " * 90}, {"role": "assistant", "content": "so"}]}
    data = Table.read(tiny.table(tmp_path, "demonstrations", [*[row(k, k) for k in range(1, 24)], long]))
    apart = prepare(data, tokenizer, Sft(held_out=0.25, max_length=60), answers=1)
    together = prepare(data, tokenizer, Sft(held_out=0.25, max_length=60, packing=True), answers=1)
    assert together.held_out == apart.held_out
    assert (len(apart.train), apart.dropped) == (17, {NO_ANSWER_LEFT: 1})
    assert (len(together.train), together.dropped, together.truncated) == (18, {}, 0)
    assert len(together.train) == 18
    assert max(len(e.prompt) for e in together.train) > 60


def test_no_example_is_longer_than_the_model_takes(tmp_path: Path, tokenizer: Any) -> None:
    turns = [tiny.ask(1), {"role": "assistant", "content": "plum " * 90}]
    data = Table.read(tiny.table(tmp_path, "demonstrations", [{"messages": turns}]))
    examples = prepare(data, tokenizer, Sft(held_out=0, max_length=1024), answers=1, longest=50)
    assert (examples.max_length, examples.truncated) == (50, 1)
    assert [len(e.prompt + e.answers[0]) for e in examples.train] == [50]


def test_answers_that_differ_only_where_they_are_cut_teach_nothing_and_are_dropped(
    tmp_path: Path, tokenizer: Any
) -> None:
    ask = [{"role": "user", "content": "Why?"}]
    rows = [
        {"messages": ask, "chosen": "plum " * 90 + "yes", "rejected": "plum " * 90 + "no"},
        {"messages": ask, "chosen": "yes", "rejected": "no"},
    ]
    examples = prepare(Table.read(tiny.table(tmp_path, "comparisons", rows)), tokenizer, Dpo(max_length=60), answers=2)
    assert (len(examples.train), examples.dropped) == (1, {SAME_ANSWERS: 1})


def test_no_example_left_says_what_to_raise(tmp_path: Path, tokenizer: Any) -> None:
    data = Table.read(tiny.demonstrations(tmp_path, 3))
    with pytest.raises(DataError, match=r"none of 3 rows .* raise max_length \(now 4\)"):
        prepare(data, tokenizer, Sft(max_length=4), answers=1)


def test_rows_of_another_form_are_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(DataError, match="dpo trains on comparisons, not on demonstrations"):
        prepare(Table.read(tiny.demonstrations(tmp_path)), tokenizer, Dpo(), answers=2)


def test_chat_needs_a_template(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="prompt: question_answer"):
        prepare(Table.read(tiny.demonstrations(tmp_path)), tokenizer, Sft(prompt="chat"), answers=1)


def test_a_conversation_that_the_template_refuses_is_named(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.chat_template = STRICT
    turns = [{"role": "system", "content": "Be brief."}, tiny.ask(1), {"role": "assistant", "content": "red"}]
    data = Table.read(tiny.table(tmp_path, "demonstrations", [{"messages": turns[1:]}, {"messages": turns}]))
    with pytest.raises(DataError, match=r"row 2: .*no system role"):
        prepare(data, tokenizer, Sft(prompt="chat"), answers=1)


def test_equal_prompts_are_held_out_together_whatever_the_order() -> None:
    examples = [Example([k // 2], ([k],)) for k in range(40)]
    train, held_out = split(examples, round(0.25 * len(examples)))
    assert len(held_out) == 10
    assert not {e.prompt[0] for e in train} & {e.prompt[0] for e in held_out}
    _, again = split(examples[::-1], round(0.25 * len(examples)))
    assert {e.answers[0][0] for e in again} == {e.answers[0][0] for e in held_out}


def test_something_is_always_left_to_train_on() -> None:
    assert split([Example([1], ([2],))] * 5, 4)[1] == []
    assert split([Example([k], ([2],)) for k in range(5)], 0)[1] == []


def test_no_more_is_held_out_of_large_data_than_a_loss_needs() -> None:
    stage = Sft(held_out=0.05)
    assert [stage.held_out_of(rows) for rows in (100, 20_000, 350_000)] == [5, 1000, 1000]
