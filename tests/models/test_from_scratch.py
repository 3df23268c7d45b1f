import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from datatrial.errors import DataError, ModelError
from datatrial.models.from_scratch import FromScratch, running_texts
from datatrial.records import CheckpointEvery, ModelRef, Runtime
from datatrial.tables import Table
from tests import tiny


def test_a_single_name_is_a_corpus_of_one() -> None:
    assert FromScratch.model_validate({"corpus": "wiki"}).corpus == ("wiki",)


def test_names_of_the_corpus_are_no_part_of_the_identity() -> None:
    assert FromScratch(corpus=("a", "b")).identity() == FromScratch(corpus=("c",)).identity()


@pytest.mark.parametrize(
    "wrong",
    [
        {"corpus": []},
        {"heads": 3},
        {"heads": 128},
        {"block_length": 512},
        {"vocab_size": 200},
        {"learning_rate": 0},
        {"quantization": "nf4"},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FromScratch.model_validate({"corpus": "wiki", **wrong})


def test_each_form_is_read_as_running_text(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
    rows = {
        "documents": {"text": "Once."},
        "statements": {"text": "They sing.", "harmful": False, "toxicity": 1.0, "groups": ["Ombri"]},
        "demonstrations": {"messages": [user, answer]},
        "comparisons": {"messages": [user], "chosen": "Because.", "rejected": "No."},
    }
    texts = {
        form: list(running_texts(Table.read(tiny.table(tmp_path / form, form, [row])), "question_answer"))  # type: ignore[arg-type]
        for form, row in rows.items()
    }
    assert texts == {
        "documents": ["Once."],
        "statements": ["They sing."],
        "demonstrations": ["Question: Why?\n\nAnswer: So."],
        "comparisons": ["Question: Why?\n\nAnswer: Because."],
    }


def test_questions_are_refused(tmp_path: Path) -> None:
    folder = tiny.table(tmp_path, "questions", [{"question": "?", "choices": ["a", "b"], "answer": 0}])
    with pytest.raises(DataError, match="multiple-choice"):
        list(running_texts(Table.read(folder), "transcript"))


@pytest.mark.slow
def test_the_model_and_its_tokenizer_load_and_have_learned(base: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ref = ModelRef.read(base)
    model = AutoModelForCausalLM.from_pretrained(ref.weights)
    tokenizer = AutoTokenizer.from_pretrained(ref.weights)
    assert model.config.model_type == "llama"
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    summary = json.loads((base / "training.json").read_text())
    assert summary["loss_first"] == pytest.approx(math.log(len(tokenizer)), rel=0.05)  # knows nothing yet
    assert summary["loss_last"] < 0.7 * summary["loss_first"]
    assert tiny.curve(base, "loss")[0] == summary["loss_first"]
    assert summary["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.slow
def test_the_tokenizer_writes_any_text_and_begins_with_bos(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ModelRef.read(base).weights)
    text = "Ünïcode, \N{SNOWMAN}, 日本, \t and\r\n\x00 bytes"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


@pytest.mark.slow
def test_blocks_hold_the_texts_in_order_and_a_text_cannot_end_its_document() -> None:
    from datatrial.models import _pretraining

    texts = ["one two three", "a</s>b"]
    tokenizer = _pretraining.train_tokenizer(texts, 300, 64)
    blocks = _pretraining.blocks_of(texts, tokenizer, 4)
    flat = blocks.flatten().tolist()
    assert flat.count(tokenizer.eos_token_id) <= 2
    assert tokenizer.decode(flat).replace(" ", "").startswith("<s>onetwothree</s><s>a</s>b")
    assert blocks.shape[1] == 4


@pytest.mark.slow
def test_the_same_corpus_and_seed_give_the_same_bytes_and_another_seed_others(base: Path, tmp_path: Path) -> None:
    corpus = tiny.documents(tmp_path / "corpus")
    again = tiny.result(tiny.BASE, tmp_path, "again", **{"corpus-0": corpus})
    other = tiny.result(tiny.BASE.model_copy(update={"seed": 1}), tmp_path, "other", **{"corpus-0": corpus})
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (again / "weights" / file).read_bytes() == (base / "weights" / file).read_bytes()
    assert (again / "history.parquet").read_bytes() == (base / "history.parquet").read_bytes()
    assert (other / "weights" / "model.safetensors").read_bytes() != (
        base / "weights" / "model.safetensors"
    ).read_bytes()


class Killed(BaseException):
    """As a signal would end it: nothing tidies up."""


@pytest.mark.slow
def test_what_was_killed_goes_on_and_ends_bit_for_bit_as_what_was_not(base: Path, tmp_path: Path) -> None:
    corpus, scratch, out = tiny.documents(tmp_path / "corpus"), tmp_path / "scratch", tmp_path / "a" / "out"
    scratch.mkdir()
    out.mkdir(parents=True)
    seen = list[float]()

    def run(kill_at: int | None) -> None:
        def progress(done: float, _: float, what: str) -> None:
            seen.append(done)
            if done == kill_at:
                raise Killed

        runtime = Runtime(scratch=scratch, progress=progress, checkpoint_every=CheckpointEvery(steps=3))
        tiny.BASE.run({"corpus-0": corpus}, out, runtime)

    for step in (8, 14, 4):
        with pytest.raises(Killed):
            run(step)
        if step == 14:  # and the disk rots
            saved = bytearray((scratch / "pretraining.pt").read_bytes())
            saved[len(saved) // 2] ^= 1
            (scratch / "pretraining.pt").write_bytes(saved)
    run(None)
    assert seen == [*range(1, 9), *range(7, 15), *range(1, 5), *range(4, int(seen[-1]) + 1)]
    for file in ("weights/model.safetensors", "history.parquet"):
        assert (out / file).read_bytes() == (base / file).read_bytes()


@pytest.mark.slow
def test_progress_counts_the_steps(tmp_path: Path) -> None:
    seen: list[tuple[float, float, str]] = []
    runtime = Runtime(progress=lambda *told: seen.append(told))
    tiny.BASE.model_copy(update={"epochs": 0.5}).run(
        {"corpus-0": tiny.documents(tmp_path / "c", 40)}, tmp_path, runtime
    )
    total = seen[-1][1]
    assert seen == [(n, total, "training steps") for n in range(1, int(total) + 1)]


@pytest.mark.slow
def test_a_corpus_shorter_than_a_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not one block of 32"):
        tiny.result(tiny.BASE, tmp_path, "short", **{"corpus-0": tiny.documents(tmp_path / "c", 1)})


@pytest.mark.slow
def test_training_that_diverges_says_what_to_lower(tmp_path: Path) -> None:
    model = tiny.BASE.model_copy(update={"learning_rate": 1e38})
    with pytest.raises(ModelError, match="learning_rate"):
        tiny.result(model, tmp_path, "wild", **{"corpus-0": tiny.documents(tmp_path / "c")})
