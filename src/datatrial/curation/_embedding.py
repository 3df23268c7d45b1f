"""Texts as vectors of length 1, and a spread-out choice among them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from datatrial.errors import ModelError, first_line
from datatrial.foreign.model_files import SAFE_WEIGHTS, refuse_kernels, refuse_pickles, why_code
from datatrial.policies import load_tokenizer, longest_input
from datatrial.records import Runtime

Vectors = npt.NDArray[np.float32]

CHARACTERS = 2_000  # of a text that are worth reading: what it is about shows in its beginning
DIMENSIONS = 128
FEATURES = 2**17  # words, hashed
FITTED = 10_000  # rows that the dimensions are found on
TOKENS = 512  # of a text that an encoder reads
BATCH_TOKENS = {"cpu": 2**12, "cuda": 2**16}
PROGRESS = 50  # choices between two reports


def by_words(texts: pl.Series, seed: int) -> Vectors:
    """Latent semantic analysis: hashed words, weighted by TF-IDF, in the 128 dimensions that tell most.

    Shape (texts, at most 129): the last dimension is that of texts without words, where there are any. One thread, so
    that the rounding, and with it the choice, does not hang on how many there are.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from threadpoolctl import threadpool_limits

    words = HashingVectorizer(n_features=FEATURES, alternate_sign=False, norm=None, dtype=np.float32)
    counts = words.transform(texts.to_list())
    fitted = np.sort(np.random.default_rng(seed).permutation(len(texts))[:FITTED])
    known = np.unique(counts[fitted].indices)
    if not known.size:
        return _of_length_one(np.zeros((len(texts), 1), dtype=np.float32))
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, known])
    with threadpool_limits(1):
        svd = TruncatedSVD(min(DIMENSIONS, len(fitted), known.size), random_state=seed, n_iter=2)
        return _of_length_one(svd.fit(weighted[fitted]).transform(weighted))


def by_model(texts: pl.Series, folder: Path, runtime: Runtime) -> Vectors:
    """The mean of a model's last hidden states over a text's tokens, as sentence transformers take it.

    Shape (texts, the model's width). Reads the first 512 tokens of a text, or as many as the model takes.
    Raises: ModelError when the folder holds no model that gives hidden states.
    """
    import torch

    tokenizer = load_tokenizer(folder)
    model = _encoder(folder, runtime.device)
    longest = min(TOKENS, tokenizer.model_max_length, longest_input(model.config) or TOKENS)
    tokens = [ids[:longest] for ids in tokenizer(texts.to_list(), truncation=True, max_length=longest)["input_ids"]]
    vectors = np.zeros((len(tokens), model.config.hidden_size), dtype=np.float32)
    done = 0
    for batch in _batches([len(ids) for ids in tokens], BATCH_TOKENS.get(runtime.device, BATCH_TOKENS["cpu"])):
        padded = tokenizer.pad({"input_ids": [tokens[row] for row in batch]}, return_tensors="pt").to(runtime.device)
        with torch.inference_mode():
            states = model(**padded).last_hidden_state.float()
        mask = padded["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        vectors[batch] = mean.cpu().numpy()
        done += len(batch)
        runtime.progress(done, len(tokens), "texts embedded")
    return _of_length_one(vectors)


def farthest_first(vectors: Vectors, n: int, seed: int, runtime: Runtime) -> list[int]:
    """Numbers of n vectors (of length 1), each the farthest by cosine from all before it; the first by seed.

    Of equally far ones, the earliest. Takes n passes over the vectors.
    """
    from threadpoolctl import threadpool_limits

    chosen = [int(np.random.default_rng(seed).integers(len(vectors)))]
    nearest = np.full(len(vectors), -np.inf, dtype=np.float32)  # cosine of each to the nearest that is chosen
    with threadpool_limits(1):
        while len(chosen) < n:
            np.maximum(nearest, vectors @ vectors[chosen[-1]], out=nearest)
            nearest[chosen[-1]] = np.inf
            chosen.append(int(nearest.argmin()))
            if len(chosen) % PROGRESS == 0:
                runtime.progress(len(chosen), n, "rows chosen")
    return chosen


def _of_length_one(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    nothing = (lengths == 0).astype(np.float32)
    scaled = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    # Texts that say nothing are all alike, and unlike any other.
    return np.ascontiguousarray(np.hstack([scaled, nothing]) if nothing.any() else scaled, dtype=np.float32)


def _encoder(folder: Path, device: str) -> Any:
    """The model of a folder without its head; code that comes with it is never run."""
    from transformers import AutoModel

    refuse_pickles(folder)
    refuse_kernels(folder)
    try:
        return AutoModel.from_pretrained(folder, **SAFE_WEIGHTS).float().to(device).eval()
    except Exception as error:  # transformers and safetensors each raise their own
        said = why_code(folder / "config.json") or first_line(error)
        raise ModelError(f"cannot load the model in {folder} to embed texts with: {said}") from error


def _batches(lengths: list[int], tokens: int) -> list[list[int]]:
    """Numbers of texts in batches of so many tokens with padding, longest first."""
    batches: list[list[int]] = [[]]
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batches[-1] and (len(batches[-1]) + 1) * lengths[batches[-1][0]] > tokens:
            batches.append([])
        batches[-1].append(row)
    return [batch for batch in batches if batch]
