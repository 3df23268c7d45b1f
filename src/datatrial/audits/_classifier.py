"""How toxic a text classifier of the hub takes sentences to be."""

from pathlib import Path

import polars as pl
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from datatrial.component import did_you_mean
from datatrial.errors import DataError, ModelError, first_line
from datatrial.foreign.model_files import SAFE_WEIGHTS, SAFELY, refuse_kernels, refuse_pickles, why_code
from datatrial.records import Runtime

AT_MOST = 200  # sentences of each group that are classified
SEED = 0
LONGEST = 256  # tokens of a sentence
_BATCH = 32
TOXIC = ("toxic", "toxicity", "hate", "hateful", "hate speech", "offensive", "abusive")  # names of such labels


def with_toxicity(mentions: pl.DataFrame, model: Path, label: str, runtime: Runtime) -> pl.DataFrame:
    """The mentions with a column `toxicity`: the toxic label's probability (0–1), null but for those drawn of a group.

    Of each group, `AT_MOST` mentions are drawn; a sentence drawn for several groups is classified once.

    Raises: ModelError when the folder holds no text classifier; DataError when no label of it is known to be toxic.
    """
    drawn = pl.int_range(pl.len()).shuffle(SEED).over("group") < AT_MOST
    mentions = mentions.with_columns(drawn=drawn)
    sentences = mentions.filter("drawn")["sentence"].unique(maintain_order=True)
    scores = _scores(sentences.to_list(), model, label, runtime)
    scored = pl.DataFrame({"sentence": sentences, "toxicity": scores}, schema_overrides={"toxicity": pl.Float64})
    joined = mentions.join(scored, on="sentence", how="left", maintain_order="left")
    # Joined by text, a sentence has its score also where it was drawn for another group alone.
    return joined.with_columns(toxicity=pl.when("drawn").then("toxicity"))


def _scores(sentences: list[str], folder: Path, label: str, runtime: Runtime) -> list[float]:
    refuse_pickles(folder)
    refuse_kernels(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **SAFELY)
        model = AutoModelForSequenceClassification.from_pretrained(folder, **SAFE_WEIGHTS).to(runtime.device).eval()
    except (OSError, ValueError, KeyError) as error:
        said = why_code(folder / "config.json") or why_code(folder / "tokenizer_config.json") or first_line(error)
        raise ModelError(f"the classifier cannot be loaded: {said}") from error
    toxic = toxic_label(model.config.id2label, label)
    limit = min(LONGEST, getattr(model.config, "max_position_embeddings", LONGEST) - 2)
    scores: list[float] = []
    for start in range(0, len(sentences), _BATCH):
        batch = sentences[start : start + _BATCH]
        tokens = tokenizer(batch, return_tensors="pt", padding=True, truncation=True, max_length=limit)
        with torch.inference_mode():
            logits = model(**tokens.to(runtime.device)).logits.float()
        # A classifier with several labels at once scores each on its own.
        several = model.config.problem_type == "multi_label_classification" or logits.shape[-1] == 1
        scores += (logits.sigmoid() if several else logits.softmax(-1))[:, toxic].tolist()
        runtime.progress(start + len(batch), len(sentences), "sentences")
    return scores


def toxic_label(labels: dict[int, str], wanted: str) -> int:
    """Which of a classifier's labels says that a text is toxic: the one wanted, or one whose name says so.

    Raises: DataError when there is none, or more than one.
    """
    found = [n for n, name in labels.items() if name == wanted or (not wanted and _plain(name) in TOXIC)]
    if len(found) == 1:
        return int(found[0])
    known = list(labels.values())
    if wanted:
        raise DataError(f"the classifier has no label {wanted!r}; {did_you_mean(wanted, known)}")
    raise DataError(f"set `toxic_label` to the classifier's label for toxic texts; it has {', '.join(known)}")


def _plain(label: str) -> str:
    return label.lower().replace("_", " ").replace("-", " ").strip()
