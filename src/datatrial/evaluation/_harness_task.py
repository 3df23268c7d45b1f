"""A task of lm-eval whose data, texts and requests are made once, and put to one model after another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa  # type: ignore[import-untyped]
from datasets.fingerprint import Hasher
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.samplers import ContextSampler
from lm_eval.api.task import ConfigurableTask

from datatrial.errors import ModelError
from datatrial.evaluation._answers import is_number
from datatrial.evaluation._task_data import is_plain_parquet
from datatrial.foreign import parquet

Doc = dict[str, Any]

_SURE, _NEVER = (0.0, True), (-1000.0, False)  # answers (log-likelihood, greedy) of a model sure of one choice

# lm-eval compiles a task's template anew for each question: half of the time it takes to put MMLU's together.
utils.env.from_string = lru_cache(maxsize=1024)(utils.env.from_string)


class HarnessTask(ConfigurableTask):  # type: ignore[misc]
    """A task as lm-eval makes it. What does not depend on the model is remembered rather than made again for each.

    `failures` names the items, as (task, number), that the model at hand cannot answer: they are left out of results.
    `metrics` holds what `process_results` gave: for each filter in turn, the items in turn.
    """

    _instances: list[Instance] | None

    def __init__(self, config: dict[str, Any]):
        self.failures: Mapping[tuple[str, int], str] = {}
        self.metrics: list[Mapping[str, Any]] = []
        self._chat_format = ""
        self._rows: dict[int | None, list[Doc]] = {}
        self._texts: dict[tuple[str, int, int], tuple[Doc, Any]] = {}
        self._requests: dict[Any, list[Instance]] = {}
        self._worth: dict[tuple[tuple[str, ...], str], Mapping[str, list[float]]] = {}
        super().__init__(config=config)

    def prepare(self, failures: Mapping[tuple[str, int], str], chat_format: str) -> None:
        """Make ready for a model, given where it will tell of failures, and what says how it is chatted with."""
        self.failures, self._chat_format = failures, chat_format

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: Any) -> None:
        if dataset_kwargs and is_plain_parquet(self.DATASET_PATH, dataset_kwargs):
            self.dataset = ParquetSplits(dataset_kwargs["data_files"])
        else:
            super().download(dataset_kwargs)

    def fewshot_docs(self) -> list[Doc] | None:
        # lm-eval lists them at 0 shots, too, and never looks at them: HellaSwag's 40,000 take 8 s.
        return rows(super().fewshot_docs(), None) if self.config.num_fewshot else None

    @cached_property
    def eval_docs(self) -> Any:
        return super().eval_docs  # lm-eval processes all of them again whenever it asks

    def doc_iterator(self, *, limit: int | None = None, **_: Any) -> Iterator[tuple[int, Doc]]:
        """The items with their numbers, but for those that failed."""
        if limit not in self._rows:
            self._rows[limit] = rows(self.eval_docs, limit)
        name = self.config.task
        return ((n, doc) for n, doc in enumerate(self._rows[limit]) if (name, n) not in self.failures)

    def doc_to_text(self, doc: Doc, doc_to_text: Any = None) -> Any:
        return self._once(super().doc_to_text, doc, doc_to_text)

    def doc_to_target(self, doc: Doc, doc_to_target: Any = None) -> Any:
        return self._once(super().doc_to_target, doc, doc_to_target)

    def doc_to_choice(self, doc: Doc, doc_to_choice: Any = None) -> Any:
        return self._once(super().doc_to_choice, doc, doc_to_choice)

    def _once(self, write: Callable[[Doc, Any], Any], doc: Doc, template: Any) -> Any:
        key = (write.__name__, id(doc), id(template))
        if key not in self._texts:
            self._texts[key] = doc, write(doc, template)  # with the document, so that no other comes to have its id
        return self._texts[key][1]

    def build_all_requests(self, **settings: Any) -> None:
        key = settings["limit"], settings["apply_chat_template"] and self._chat_format
        if key not in self._requests:
            super().build_all_requests(**settings)
            self._requests = {key: self.instances}
        self._instances = self._requests[key]

    def apply_filters(self) -> None:
        """Called by lm-eval once the model has answered.

        Raises: ModelError when none of the answers is one.
        """
        answered = [r for r in self.instances if (r.task_name, r.doc_id) not in self.failures]
        if not answered:
            first = self.instances[0]
            reason = self.failures[first.task_name, first.doc_id]
            raise ModelError(f"{self.config.task}: no item can be put to this model; item {first.doc_id}: {reason}")
        self._instances = answered
        super().apply_filters()
        self.metrics = []

    def process_results(self, doc: Doc, results: Sequence[Any]) -> Mapping[str, Any]:
        metrics: Mapping[str, Any] = super().process_results(doc, results)
        self.metrics.append(metrics)
        return metrics

    def if_sure(self, doc: Doc) -> Mapping[str, list[float]]:
        """For each metric the scores of models that are sure of the first choice, of the second, and so on.

        lm-eval's own scoring says what an answer is worth, so that one rule serves every task, TruthfulQA's included.
        """
        choices = self.doc_to_choice(doc)
        right = self.doc_to_text(doc) if self.multiple_input else self.doc_to_target(doc)
        key = tuple(map(str, choices)), repr(right)
        if key in self._worth:
            return self._worth[key]
        worth: dict[str, list[float]] = {}
        requests = len(choices) * (2 if "acc_mutual_info" in self._metric_fn_list else 1)
        for sure in range(len(choices)):
            scores = super().process_results(doc, [_SURE if i == sure else _NEVER for i in range(requests)])
            for metric, value in scores.items():
                if is_number(value):
                    worth.setdefault(metric, []).append(float(value))
        if not callable(self.config.process_results):  # such a function may look at more of the document
            self._worth[key] = worth
        return worth

    def forget_answers(self) -> None:
        """Let go of what belongs to the model at hand."""
        for requests in self._requests.values():
            for request in requests:
                request.resps, request.filtered_resps = [], {}
        self._instances, self.metrics, self.failures = None, [], {}


class SharedShots(ContextSampler):  # type: ignore[misc]
    """The same examples before each question, drawn once. Where examples are drawn from the questions themselves, as
    lm-eval tells, the next one drawn stands in for the question.
    """

    _drawn: list[Doc] | None = None

    def set_rnd(self, rnd: int | None) -> "SharedShots":
        self._drawn = None
        super().set_rnd(rnd)
        return self

    def sample(self, n: int, eval_doc: Doc | None = None, df: Sequence[Doc] | None = None, **_: Any) -> list[Doc]:
        if self._drawn is None:
            self._drawn = self.rnd.sample(self.df, len(self.df))
        found = list(islice((doc for doc in self._drawn if doc != eval_doc), n))
        assert len(found) == n, f"there are only {len(found)} examples to show before a question"
        return found


class ParquetSplits(Mapping[str, datasets.Dataset]):
    """Parquet files by split, each read when it is asked for: `datasets` would first copy all of them."""

    def __init__(self, files: Mapping[str, str | Sequence[str]]):
        self._files = files
        self._read: dict[str, datasets.Dataset] = {}

    def __getitem__(self, split: str) -> datasets.Dataset:
        if split not in self._read:
            named = self._files[split]
            files = [named] if isinstance(named, str) else list(named)
            table = pa.concat_tables([_whole(Path(file)) for file in files])
            # Without a fingerprint it would be one of all the contents, which takes longer than reading them.
            self._read[split] = datasets.Dataset(table, fingerprint=Hasher.hash(files))
        return self._read[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _whole(path: Path) -> pa.Table:
    with parquet.opened(path) as file:
        return pa.Table.from_batches(parquet.batches(file, path), schema=file.schema_arrow)


def rows(data: Any, limit: int | None) -> list[Doc]:
    """The first rows of a data set, or all; a thousand at a time, which is ten times as fast as one by one."""
    if not isinstance(data, datasets.Dataset):
        return list(islice(data, limit))
    batches = data.select(range(min(limit, len(data)))).iter(1000) if limit else data.iter(1000)
    return [dict(zip(batch, row, strict=True)) for batch in batches for row in zip(*batch.values(), strict=True)]
