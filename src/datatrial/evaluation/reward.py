"""What a reward model makes of the answers that a policy gives."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from datatrial.errors import DataError
from datatrial.evaluation._base import Benchmark, Workload
from datatrial.prompts import PromptFormat
from datatrial.records import Form, Message, PartOfStudy, Runtime

if TYPE_CHECKING:
    import polars as pl

    from datatrial.evaluation._answering import Answer
    from datatrial.rewards import RewardModel

METRIC = "win_rate"
Asked = tuple[list[Message], str]  # the turns up to the answer, and the data set's own answer


class RewardOfAnswers(Benchmark):
    """How often an answer gets a higher reward than the data set's own answer to the same prompt; ties count half.

    The policy answers greedily; the data set's own answer is a demonstration's, or the chosen one of a comparison.
    Writes `scores.parquet` with the metrics `win_rate` (0–1), `reward` (unbounded), `answer_tokens` and `cut` (1 for an
    answer that reached `max_new_tokens`), and `items.parquet` (question, response, target, their rewards).
    """

    version: ClassVar[int] = 2

    forms: ClassVar[tuple[Form, ...]] = ("demonstrations", "comparisons")

    reward_model: str = Field(exclude=True)  # one of the study's; what it is counts, not its name
    limit: int | None = Field(None, gt=0)  # the first rows only
    max_new_tokens: int = Field(128, gt=0)  # of an answer; a longer one is cut
    prompt: PromptFormat | None = None  # None: the study's

    @model_validator(mode="after")
    def _on_data(self) -> Self:
        if self.data is None:
            raise ValueError("`data` is missing: a data set of demonstrations or comparisons, whose prompts are asked")
        return self

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {**super().reads(), "reward_model": PartOfStudy("reward_model", self.reward_model)}

    def asked_in(self, prompt: PromptFormat) -> Self:
        return self if self.prompt else self.model_copy(update={"prompt": prompt})

    @property
    def workload(self) -> Workload:
        return Workload("prompts", self.limit, new_tokens=self.max_new_tokens, judged=2)  # and the data set's own

    @property
    def bare(self) -> Self:
        return self.model_copy(update={"limit": None, "max_new_tokens": 128, "prompt": None})

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from datatrial.rewards import RewardModel

        asked = _asked(inputs["data"], self.limit)
        answers, tokens, notes = self._answers(asked, inputs["policy"], runtime)
        judge = RewardModel.load(inputs["reward_model"], runtime.device)
        rewards = _rewards(asked, answers, judge, runtime)
        items = _items(asked, answers, tokens, rewards)
        left_out = len(asked) - items.height
        if not items.height:
            raise DataError("no prompt leaves room for an answer within the reward model's max_length: raise it there")
        if left_out:
            notes.append(
                f"{left_out} of {len(asked)} prompts leave no room for an answer in the reward model's max_length"
            )
        scores = _scores(items)
        scores.write_parquet(out / "scores.parquet")
        items.write_parquet(out / "items.parquet")
        notes += [*self._notes(items), *judge.valuer.notes]
        summary = _summary(scores, items, notes, judge.valuer.recorded())
        (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False))

    def _answers(
        self, asked: Sequence[Asked], policy: Path, runtime: Runtime
    ) -> "tuple[list[Answer], list[tuple[int, int]], list[str]]":
        """The policy's answers; how many of its tokens they and the data set's own have; and what is to be noted."""
        from datatrial.evaluation._answering import answer
        from datatrial.policies import load_policy

        model, tokenizer = load_policy(policy, runtime.device)
        prompts = [turns for turns, _ in asked]
        style = self.prompt or "question_answer"
        found = answer(model, tokenizer, prompts, style, self.max_new_tokens, runtime.progress, runtime.scratch)
        texts = [text for said, (_, own) in zip(found.answers, asked, strict=True) for text in (said.text, own)]
        lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]
        cut = f"{found.cut_prompts} of {len(asked)} prompts lost their beginning to fit into the model"
        return found.answers, list(zip(lengths[::2], lengths[1::2], strict=True)), [cut] * bool(found.cut_prompts)

    def _notes(self, items: "pl.DataFrame") -> list[str]:
        # Of all arms the report shows each note once: what differs between arms is a metric instead.
        own = sum(items["target_tokens"]) / items.height
        notes = [f"reward models tend to favour long answers: see `answer_tokens`; the data set's own have {own:.0f}"]
        if not items["ended"].all():
            cut = f"answers were cut at max_new_tokens ({self.max_new_tokens}) and scored as they were: see `cut`"
            notes.append(cut)
        return notes


def _asked(data: Path, limit: int | None) -> list[Asked]:
    from datatrial.tables import Table

    table = Table.read(data)
    form = table.card.form
    if form not in RewardOfAnswers.forms:
        raise DataError(f"this benchmark asks the prompts of demonstrations or comparisons; its data set holds {form}")
    rows = table.rows.head(limit) if limit else table.rows
    if form == "comparisons":
        return list(rows.select("messages", "chosen").iter_rows())
    return [(turns[:-1], turns[-1]["content"]) for turns in rows["messages"].to_list()]


def _rewards(
    asked: Sequence[Asked], answers: "Sequence[Answer]", judge: "RewardModel", runtime: Runtime
) -> list[tuple[float, float]]:
    """The reward of each answer, and of the data set's own."""
    texts = [*(answer.text for answer in answers), *(own for _, own in asked)]
    prompts = [turns for turns, _ in (*asked, *asked)]
    conversations: list[list[Message]] = [
        [*turns, {"role": "assistant", "content": text}] for turns, text in zip(prompts, texts, strict=True)
    ]
    # All at once: a prompt is read once for both of its answers.
    rewards = judge.rewards(conversations, runtime.progress, runtime.scratch)
    given, own = rewards[: len(asked)], rewards[len(asked) :]
    # Word for word the same answer is a tie, whatever stands around it.
    same = [answer.text == text.strip() for answer, (_, text) in zip(answers, asked, strict=True)]
    return [(b if equal else a, b) for a, b, equal in zip(given, own, same, strict=True)]


def _items(
    asked: Sequence[Asked],
    answers: "Sequence[Answer]",
    tokens: Sequence[tuple[int, int]],
    rewards: Sequence[tuple[float, float]],
) -> "pl.DataFrame":
    """A row for each prompt that has rewards, in the columns of lm-eval's generated answers and some more."""
    import polars as pl

    n, empty = len(asked), [[] for _ in asked]  # type: ignore[var-annotated]
    columns: dict[str, tuple[Sequence[Any], Any]] = {
        "item": ([str(number) for number in range(n)], pl.String),
        "stratum": ([""] * n, pl.String),
        "question": (["\n\n".join(turn["content"] for turn in turns) for turns, _ in asked], pl.String),
        "choices": (empty, pl.List(pl.String)),
        "log_likelihoods": (empty, pl.List(pl.Float64)),
        "chosen": ([None] * n, pl.Int64),
        "right": (empty, pl.List(pl.Int64)),
        "response": ([answer.text for answer in answers], pl.String),
        "target": ([own for _, own in asked], pl.String),
        "reward": ([given for given, _ in rewards], pl.Float64),
        "target_reward": ([own for _, own in rewards], pl.Float64),
        "tokens": ([given for given, _ in tokens], pl.Int64),
        "target_tokens": ([own for _, own in tokens], pl.Int64),
        "ended": ([answer.ended for answer in answers], pl.Boolean),
    }
    rows = pl.DataFrame([pl.Series(name, values, dtype) for name, (values, dtype) in columns.items()])
    return rows.filter(pl.col("reward").is_not_nan() & pl.col("target_reward").is_not_nan())


def _scores(items: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    better, equal = pl.col("reward") > pl.col("target_reward"), pl.col("reward") == pl.col("target_reward")
    metrics = {
        METRIC: pl.when(equal).then(0.5).otherwise(better),
        "reward": pl.col("reward"),
        "answer_tokens": pl.col("tokens"),
        "cut": ~pl.col("ended"),
    }
    parts = [
        items.select("item", "stratum", pl.lit(name).alias("metric"), of.cast(pl.Float64).alias("value"))
        for name, of in metrics.items()
    ]
    return pl.concat(parts)


def _summary(
    scores: "pl.DataFrame", items: "pl.DataFrame", notes: list[str], scoring: Mapping[str, Any]
) -> dict[str, Any]:
    import polars as pl

    means = scores.group_by("metric", maintain_order=True).agg(pl.col("value").mean())
    return {
        "statistic": "mean",
        "metric": METRIC,
        "metrics": dict(means.iter_rows()),
        "higher_is_better": True,
        "chance": {},
        "majority": {},
        "same_answer": None,
        "items": items.height,
        "notes": notes,
        "reward_of_data": items["target_reward"].mean(),
        "scoring": dict(scoring),
    }
