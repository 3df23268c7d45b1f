"""A data set of questions as an lm-eval task: a YAML file and a JSONL file that the `lm_eval` command can run."""

import json
from pathlib import Path

import polars as pl
import yaml

from datatrial.errors import DataError
from datatrial.evaluation._tasks import Tasks, read_tasks
from datatrial.tables import Table

NAME = "questions"
_METRICS = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")]
_TASK = {
    "task": NAME,
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}},
    "test_split": "test",
    "fewshot_split": "test",  # lm-eval leaves the question itself out of its examples
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\n\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": _METRICS,
    "metadata": {"version": 1.0},
}
_HOW = "# Here: lm_eval --model hf --model_args pretrained=MODEL --tasks questions --include_path .\n"


def write_task(result: Path, folder: Path) -> tuple[Tasks, dict[str, Path]]:
    """Writes the questions of a data set's result as a task; gives the task and the files it reads.

    Raises: DataError naming the question that cannot be asked.
    """
    table = Table.read(result)
    if table.card.form != "questions":
        raise DataError(f"this benchmark asks questions; its data set holds {table.card.form}")
    _check(table.rows)
    folder.mkdir()
    rows = table.rows.select("question", "choices", "answer").to_dicts()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")
    (folder / "questions.yaml").write_text(_HOW + yaml.safe_dump(_TASK, sort_keys=False), encoding="utf-8")
    return read_tasks(str(folder / "questions.yaml")), {"data/questions.jsonl": folder / "questions.jsonl"}


def _check(rows: pl.DataFrame) -> None:
    choices = pl.col("choices").list.len()
    empty = pl.col("choices").list.eval(pl.element().str.len_chars() == 0).list.any()
    numbered = rows.with_row_index("row", offset=1)
    wrong = numbered.filter((choices < 2) | empty | ~pl.col("answer").is_between(0, choices.cast(pl.Int64) - 1))
    for row in wrong.head(1).iter_rows(named=True):
        what = f"choices {row['choices']!r}, answer {row['answer']}"
        raise DataError(
            f"question {row['row']}: {what}: it needs two choices or more, none empty, and answer is one's place from 0"
        )
