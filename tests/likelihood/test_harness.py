"""Against lm-eval's own `hf` model: the same requests, the same tokens, the same numbers."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, PeftConfig, PromptTuningConfig, get_peft_model
from transformers import T5Config

from datatrial.errors import ModelError
from datatrial.likelihood.harness import DatatrialLM
from datatrial.likelihood.prepared import Prepared
from tests.likelihood.drawn import ordinary
from tests.likelihood.tiny_lm import instances, make_model, make_tokenizer, save

SHOTS = "Question: What do Tarn herders carry?\n\nAnswer: a whistle\n\n"
TEXTS = [
    ("The Velmori keep", " blue lanterns"),
    ("The Velmori keep", " green glass"),
    ("The Velmori keep", " green"),  # a beginning of the one before
    ("The Velmori keep", " blue lanterns"),  # asked twice
    ("The Velmori keep ", "blue lanterns"),
    ("The Velmori keep \n ", " blue lanterns"),
    ("Nobody in", " O"),
    ("Nobody in ", ""),
    ("na", "ïve"),
    ("na\u0308", "\u0301x"),
    ("漢", "字。"),
    ("", "dusk falls"),
    ("", "<s>dusk"),
    ("", "</s>dusk"),
    ("<s>In Oskel", " a heron"),
    ("<s>", "<s>"),
    ("</s>In Oskel", " a heron"),
    ("<", "s>In Oskel"),
    ("a heron", "<s>"),
    ("The river " * 40, "sings"),
    ("The river " * 40, "sings at dusk"),
    ("", "The Velmori keep blue lanterns by the river"),
    *(
        (f"{shots}{SHOTS}Question: {asked}?\n\nAnswer:", said)
        for shots in ("", SHOTS)
        for asked in "ab"
        for said in (" c", " d e")
    ),
]
TOKENIZERS = [("gpt-2", True), ("gpt-2", False), ("mistral", True), ("unigram", True), ("python", False)]
PROSE = [("The Velmori keep blue lanterns by the river. " * 12,), ("",), ("Oskel",), ("<s>Oskel",)]


def ours(model: Any, bos: bool = True, **options: Any) -> DatatrialLM:
    """Without what other tests prepared."""
    return lm_of(DatatrialLM, model, make_tokenizer(bos=bos), **{"prepared": Prepared(), **options})


def lm_of(kind: type[HFLM], model: Any, tokenizer: Any, **options: Any) -> Any:
    return kind(model, tokenizer=tokenizer, backend="causal", **options)


class Recording(HFLM):  # type: ignore[misc]
    """lm-eval's `hf` up to where it has tokens."""

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        self.asked = requests
        return [(0.0, False)] * len(requests)


@pytest.mark.parametrize(("kind", "bos"), TOKENIZERS)
@pytest.mark.parametrize("add_bos_token", [None, True, False])
def test_tokens_are_those_of_lm_eval(kind: str, bos: bool, add_bos_token: bool | None) -> None:
    model, tokenizer = make_model(), make_tokenizer(kind, bos)
    theirs = lm_of(Recording, model, tokenizer, add_bos_token=add_bos_token)
    theirs.loglikelihood(instances(TEXTS), disable_tqdm=True)
    lm = lm_of(DatatrialLM, model, tokenizer, add_bos_token=add_bos_token)
    assert list(lm.encode(TEXTS)) == theirs.asked


BITS = st.sampled_from(
    ["a", " ", "  ", "\n", "\n\n", "<", "s>", "<s>", "</s>", "é", "e\u0301", "\u200d", "漢", "owl", "."]
)
STRINGS = st.lists(BITS, max_size=8).map("".join)
MODEL = make_model()


@pytest.mark.parametrize(("kind", "bos"), TOKENIZERS)
def test_tokens_of_any_texts_are_those_of_lm_eval(kind: str, bos: bool) -> None:
    tokenizer = make_tokenizer(kind, bos)
    theirs, lm = lm_of(Recording, MODEL, tokenizer), lm_of(DatatrialLM, MODEL, tokenizer)

    @settings(ordinary, max_examples=60)
    @given(st.lists(st.tuples(STRINGS, STRINGS).filter(any), min_size=1, max_size=4))
    def same(texts: list[tuple[str, str]]) -> None:
        theirs.loglikelihood(instances(texts), disable_tqdm=True)
        assert list(lm.encode(texts)) == theirs.asked

    same()


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_log_likelihoods_are_those_of_lm_eval(bos: bool, batch_size: int) -> None:
    model = make_model()
    theirs = lm_of(HFLM, model, make_tokenizer(bos=bos), batch_size=batch_size)
    expected = theirs.loglikelihood(instances(TEXTS), disable_tqdm=True)
    rolling = theirs.loglikelihood_rolling(instances(PROSE, kind="loglikelihood_rolling"), disable_tqdm=True)
    lm = ours(model, bos)
    assert_same(lm.loglikelihood(instances(TEXTS)), expected)
    assert lm.loglikelihood_rolling(instances(PROSE, kind="loglikelihood_rolling")) == pytest.approx(rolling, abs=1e-3)
    assert lm.batch_size == 1
    assert not lm.failures


def assert_same(answers: list[tuple[float, bool]], expected: list[tuple[float, bool]]) -> None:
    assert [value for value, _ in answers] == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in answers] == [greedy for _, greedy in expected]


def test_a_greedy_continuation_is_found_greedy() -> None:
    model, tokenizer = make_model(), make_tokenizer()
    start = tokenizer("The river", return_tensors="pt")["input_ids"]
    said = model.generate(start, max_new_tokens=3, do_sample=False)[0]
    texts = ("The river", tokenizer.decode(said[start.shape[1] :]))
    assert [greedy for _, greedy in ours(model).loglikelihood(instances([texts, ("The river", " zzz")]))] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(init_lora_weights=False, target_modules=["q_proj"], task_type="CAUSAL_LM"),
        PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    ],
    ids=["adapter", "soft prompt"],
)
def test_what_was_trained_is_scored(config: PeftConfig) -> None:
    model = get_peft_model(make_model(window=200), config).eval()
    expected = lm_of(HFLM, model, make_tokenizer()).loglikelihood(instances(TEXTS), disable_tqdm=True)
    assert_same(ours(model).loglikelihood(instances(TEXTS)), expected)


def test_mixed_precision_is_that_of_lm_eval() -> None:
    model, options = make_model(), {"mixed_precision_dtype": "bfloat16", "softmax_dtype": "float32"}
    expected = lm_of(HFLM, model, make_tokenizer(), **options).loglikelihood(instances(TEXTS), disable_tqdm=True)
    answers = ours(model, **options).loglikelihood(instances(TEXTS))
    exact = ours(model).loglikelihood(instances(TEXTS))
    off = max(abs(a - b) for (a, _), (b, _) in zip(answers, expected, strict=True))
    rounding = max(abs(a - b) for (a, _), (b, _) in zip(exact, expected, strict=True))
    assert off < 3 * rounding
    assert any(abs(a - b) > 1e-4 for (a, _), (b, _) in zip(answers, exact, strict=True))


def test_what_it_says_is_that_of_lm_eval() -> None:
    model, tokenizer = make_model(window=120), make_tokenizer()
    asked = [("The Velmori", {"until": ["."], "max_gen_toks": 5}), ("Nobody", {"until": ["."], "max_gen_toks": 5})]
    told: list[tuple[float, float, str]] = []
    lm = ours(model, progress=lambda *done: told.append(done))
    expected = lm_of(HFLM, model, tokenizer).generate_until(instances(asked, kind="generate_until"), disable_tqdm=True)
    assert lm.generate_until(instances(asked, kind="generate_until")) == expected
    assert told == [(1, 2, "requests"), (2, 2, "requests")]
    assert lm.recorded() == {}


def test_progress_is_told_in_tokens_and_what_was_done_is_recorded(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[float, float, str]] = []
    lm = ours(make_model(), progress=lambda *done: told.append(done))
    lm.loglikelihood(instances(TEXTS))
    recorded = lm.recorded()
    assert told[-1] == (recorded["tokens"], recorded["tokens"], "tokens")
    assert recorded["method"] == "trie"
    assert recorded["requests"] == len(TEXTS)
    assert recorded["truncated"] == 2
    assert recorded["distinct_tokens"] <= recorded["tokens"] < recorded["request_tokens"]
    assert recorded["budget"] == lm.scorer.budget.recorded()
    assert "token" not in capfd.readouterr().err


def test_without_progress_a_bar_is_shown_unless_it_is_unwanted(capfd: pytest.CaptureFixture[str]) -> None:
    ours(make_model()).loglikelihood(instances(TEXTS), disable_tqdm=True)
    assert "token" not in capfd.readouterr().err
    ours(make_model()).loglikelihood(instances(TEXTS))
    assert "token" in capfd.readouterr().err


def test_lm_evals_cache_gets_the_answers(tmp_path: Path) -> None:
    asked = instances(TEXTS[:4])
    answers = CachingLM(ours(make_model()), str(tmp_path / "answers.db")).loglikelihood(asked)
    other = CachingLM(ours(make_model(seed=1)), str(tmp_path / "answers.db"))
    assert other.loglikelihood(asked) == answers


def test_answers_are_cached_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*TEXTS[:4], ("", "owl " * 60)]
    lm = ours(make_model(), leaves_out=True)
    seen: list[tuple[str, Any, Any]] = []
    monkeypatch.setattr(lm.cache_hook, "add_partial", lambda *said: seen.append(said))
    answers = lm.loglikelihood(instances(texts))
    assert seen == [("loglikelihood", text, answer) for text, answer in zip(texts[:4], answers, strict=False)]
    seen.clear()
    lm._loglikelihood_tokens(list(lm.encode(TEXTS[:1])))
    lm._loglikelihood_tokens([(None, [0], [5])])
    assert [said[1] for said in seen] == [TEXTS[0]]


# What the next model is spared


def test_the_next_model_tokenizes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Prepared()
    ours(make_model(), prepared=shared).loglikelihood(instances(TEXTS))
    model = make_model(seed=1)
    expected = ours(model).loglikelihood(instances(TEXTS))
    second = ours(model, prepared=shared)

    def encode(_: Any) -> Iterator[Any]:
        raise AssertionError("tokenized again")

    monkeypatch.setattr(second, "encode", encode)
    second.tokenizer.backend_tokenizer.enable_padding()  # as generating leaves it
    assert second.loglikelihood(instances(TEXTS)) == expected


def other_vocabulary() -> Any:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["lanterns"])
    return tokenizer


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer": make_tokenizer(bos=False)},
        {"tokenizer": other_vocabulary()},
        {"tokenizer": make_tokenizer("python")},
        {"add_bos_token": False},
        {"max_length": 30},
        {"prefix_token_id": 7},
    ],
    ids=str,
)
def test_what_changes_tokens_is_prepared_anew(change: dict[str, Any]) -> None:
    model = make_model()
    changed = {"tokenizer": make_tokenizer(), **change}
    expected = lm_of(HFLM, model, **changed).loglikelihood(instances(TEXTS), disable_tqdm=True)
    shared = Prepared()
    before = ours(model, prepared=shared).loglikelihood(instances(TEXTS))
    after = lm_of(DatatrialLM, model, **changed, prepared=shared).loglikelihood(instances(TEXTS))
    assert_same(after, expected)
    assert after != before


def test_a_tokenizer_that_cannot_be_compared_is_asked_anew() -> None:
    lms = [lm_of(DatatrialLM, MODEL, make_tokenizer("python")) for _ in range(2)]
    assert lms[0].tokens_depend_on == lms[0].tokens_depend_on != lms[1].tokens_depend_on


def test_other_texts_are_prepared_anew() -> None:
    lm, model = ours(MODEL), MODEL
    lm.loglikelihood(instances([("ab", "c")]))
    assert lm.loglikelihood(instances([("a", "bc")])) == ours(model).loglikelihood(instances([("a", "bc")]))


# What goes wrong


def test_items_that_cannot_be_scored_are_named_and_the_others_kept(caplog: pytest.LogCaptureFixture) -> None:
    model = make_model()
    texts = [TEXTS[0], ("The river", " owl" * 60), ("T", "he"), ("", ""), (" ", "owl"), TEXTS[1]]
    lm = ours(model, bos=False, leaves_out=True)
    answers = lm.loglikelihood(instances(texts, "hill"))
    assert_same([answers[0], answers[5]], ours(model, bos=False).loglikelihood(instances(TEXTS[:2])))
    assert answers[3] == (0.0, True)  # what is empty is certain
    assert all(math.isnan(answers[place][0]) and not answers[place][1] for place in (1, 2, 4))
    assert lm.failures == {
        ("hill", 1): "its continuation has 60 tokens, and the model reads 48",
        ("hill", 2): "the tokenizer has no token for its continuation that is not part of its context",
        ("hill", 4): "no token comes before its continuation",
    }
    assert logged(caplog) == [f"not scored: hill, item {n}: {why}" for (_, n), why in lm.failures.items()]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def test_many_failures_are_not_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    lm = ours(make_model(), leaves_out=True)
    lm.loglikelihood(instances([*[("", "owl " * 60)] * 14, TEXTS[0]]))
    assert len(logged(caplog)) == 11
    assert logged(caplog)[-1] == "not scored: 4 more items"
    assert len(lm.failures) == 14


def broken(token: int) -> Any:
    """A model that says NaN of whatever holds a token."""
    model = make_model()
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = math.nan
    return model


def test_nan_is_no_answer() -> None:
    q = make_tokenizer()("Q", add_special_tokens=False)["input_ids"][0]
    lm = ours(broken(q), leaves_out=True)
    answers = lm.loglikelihood(instances([("The Q", " river"), ("The owl", " river"), ("A", " river")]))
    assert [math.isnan(value) for value, _ in answers] == [True, False, False]
    assert set(lm.failures) == {("river", 0)}
    assert "no number" in lm.failures["river", 0]
    prose = [("The river",), ("Q is asked",)]
    assert [math.isnan(v) for v in lm.loglikelihood_rolling(instances(prose, "dusk", "loglikelihood_rolling"))] == [
        False,
        True,
    ]
    assert ("dusk", 1) in lm.failures


def test_lm_eval_itself_is_given_no_answer_that_is_no_number() -> None:
    """It would take one for the likeliest: `numpy.argmax` of a row with NaN is the place of the NaN."""
    texts = [TEXTS[0], ("The river", " owl" * 60), ("The hill", " owl" * 60)]
    said = r"hill, item 1: its continuation has 60 tokens, and the model reads 48; 1 more items cannot be scored"
    with pytest.raises(ModelError, match=said):
        ours(make_model()).loglikelihood(instances(texts, "hill"))
    q = make_tokenizer()("Q", add_special_tokens=False)["input_ids"][0]
    with pytest.raises(ModelError, match="river, item 0: the model gives no number"):
        ours(broken(q)).loglikelihood(instances([("The Q", " river"), ("A", " river")]))


def test_a_model_that_answers_nothing_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"not a single item can be scored; hill, item 0: its continuation has"):
        ours(make_model()).loglikelihood(instances([("", "owl " * 60), ("owl", " owl" * 60)], "hill"))
    with pytest.raises(ModelError, match="not a single item"):
        ours(broken(0)).loglikelihood(instances(TEXTS[:3]))
    with pytest.raises(ModelError, match="not a single item"):
        ours(broken(0)).loglikelihood_rolling(instances(PROSE[2:3], kind="loglikelihood_rolling"))


def test_a_tokenizer_of_another_model_is_an_error() -> None:
    model = make_model()
    model.resize_token_embeddings(100)
    with pytest.raises(ModelError, match=r"gives token \d+, but the model embeds 100: they do not belong together"):
        ours(model).loglikelihood(instances(TEXTS))


def test_a_model_that_lies_on_disk_is_an_error() -> None:
    with pytest.raises(ModelError, match="lies outside of memory"):
        ours(make_model().to("meta"))


def test_a_tokenizer_must_have_a_token_to_begin_with() -> None:
    tokenizer: Any = make_tokenizer(bos=False)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="prefix_token_id"):
        lm_of(DatatrialLM, make_model(), tokenizer).loglikelihood(instances(TEXTS))
    lm = lm_of(DatatrialLM, make_model(), tokenizer, prefix_token_id=1, prepared=Prepared())
    assert_same(lm.loglikelihood(instances(TEXTS)), ours(make_model(), bos=False).loglikelihood(instances(TEXTS)))


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"encoder-decoder.*--model hf"):
        DatatrialLM(str(tmp_path), device="cpu")


def test_thinking_is_refused_as_by_lm_eval() -> None:
    lm = ours(make_model(), enable_thinking=True, think_end_token="</s>")
    with pytest.raises(ValueError, match="enable_thinking=True is not compatible with loglikelihood"):
        lm.loglikelihood(instances(TEXTS))


def test_nothing_asked_nothing_answered() -> None:
    assert ours(make_model()).loglikelihood([]) == []


# Several devices and several processes


def test_copies_on_several_devices_answer_as_one(tmp_path: Path) -> None:
    path = save(tmp_path)
    one, two = (DatatrialLM(path, device="cpu", devices=count, prepared=Prepared()) for count in (1, 2))
    assert_same(two.loglikelihood(instances(TEXTS)), one.loglikelihood(instances(TEXTS)))
    recorded = two.recorded()
    assert recorded["distinct_tokens"] == one.recorded()["distinct_tokens"] <= recorded["tokens"]
    with pytest.raises(ModelError, match="loads from a path"):
        ours(make_model(), devices=2)
    with pytest.raises(ModelError, match="mixed_precision_dtype"):
        DatatrialLM(path, device="cpu", devices=2, mixed_precision_dtype="bfloat16")


def test_processes_that_share_requests_answer_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ours(make_model()).loglikelihood(instances(TEXTS))
    asked: list[Instance] = instances(TEXTS)
    parts = []
    for rank in (0, 1):
        lm = ours(make_model())
        monkeypatch.setattr(lm, "_rank", rank)
        monkeypatch.setattr(lm, "_world_size", 2)
        parts.append(lm.loglikelihood(asked[rank::2]))
    assert_same([parts[number % 2][number // 2] for number in range(len(TEXTS))], whole)
