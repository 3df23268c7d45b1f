"""Finished groups of passes on disk, so that scoring that was interrupted goes on where it was.

A file is a line with its fingerprint, then blocks: length and CRC-32 of what follows (4 bytes each, the lowest first),
and the answers to the requests of some groups. What was being written when the process was killed is not whole; it is
dropped.
"""

import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from datatrial.likelihood.layout import Layout

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_SECONDS = 1.0  # between two blocks: so much work is lost at most
_BLOCK = struct.Struct("<II")
_ROW = np.dtype([("group", "<u4"), ("request", "<u4"), ("log_likelihood", "<f8"), ("greedy", "?")])
_VALUES = 8  # of each tensor, by which models are told apart


class Answers(NamedTuple):
    """Of the requests of a group of passes, in their order."""

    requests: NDArray[np.int64]
    log_likelihood: NDArray[np.float64]  # nats, ≤ 0
    greedy: NDArray[np.bool_]  # whether each token of the continuation is the likeliest one


class Journal(AbstractContextManager["Journal"]):
    """The answers of finished groups: those found in a folder under a fingerprint, to which others are added."""

    def __init__(self, folder: Path, fingerprint: str):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{fingerprint}.journal"
        head = f"{fingerprint}\n".encode()
        found = path.read_bytes() if path.exists() else b""
        blocks = list(_whole_blocks(found, len(head))) if found.startswith(head) else []
        self.finished: Mapping[int, Answers] = _by_group([rows for rows, _ in blocks])
        self._file = path.open("r+b" if blocks else "wb", buffering=0)
        if blocks:
            self._file.truncate(blocks[-1][1])
            self._file.seek(0, 2)
        else:
            self._file.write(head)
        self._waiting: list[NDArray[np.void]] = []
        self._written = time.monotonic()

    def add(self, number: int, answers: Answers) -> None:
        """Notes that a group is finished; about once a second what was noted is written."""
        rows = np.empty(len(answers.requests), _ROW)
        rows["group"] = number
        rows["request"], rows["log_likelihood"], rows["greedy"] = answers
        self._waiting.append(rows)
        if time.monotonic() - self._written >= _SECONDS:
            self._write()

    def _write(self) -> None:
        payload = np.concatenate(self._waiting).tobytes()
        self._file.write(_BLOCK.pack(len(payload), zlib.crc32(payload)) + payload)
        self._waiting, self._written = [], time.monotonic()

    def __exit__(self, *_: object) -> None:
        """Writes what is left, also when scoring fails."""
        with self._file:
            if self._waiting:
                self._write()


def fingerprint(layout: Layout, model: "PreTrainedModel | PeftModel", *settings: str) -> str:
    """Identifies what the numbers of a layout's passes depend on, for the folder of one step or model.

    Of each weight matrix some numbers are looked at: enough to tell models apart, not to find one number changed.

    settings: what is done with the passes, besides.
    """
    packages = [version(name) for name in ("datatrial", "torch", "transformers")]
    device, threads = model.device.type, torch.get_num_threads()
    attention = getattr(model.config, "_attn_implementation", None)
    sizes = [len(group) for group in layout.groups]
    how = (*settings, layout.budget.recorded(), sizes, str(model.dtype), device, threads, attention, *packages)
    digest = xxhash.xxh3_128(repr(how).encode())
    for prefix in layout.prefixes:
        digest.update(prefix.tokens.tobytes())
    for one in layout.passes:
        digest.update(repr((one.tokens.shape, one.prefix and one.prefix.depth)).encode())
        for part in (one.tokens, one.positions, one.last, one.slots, one.pick, one.targets, one.requests, one.starts):
            digest.update(part.tobytes())
    for name, tensor in model.named_parameters():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(_some(tensor))
    return digest.hexdigest()


def _some(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    return bytes(torch.cat([flat[:_VALUES], flat[-_VALUES:]]).double().cpu().numpy().tobytes())


def _whole_blocks(found: bytes, start: int) -> Iterator[tuple[NDArray[np.void], int]]:
    """The rows of each block that is whole, and where it ends."""
    while start + _BLOCK.size <= len(found):
        length, checksum = _BLOCK.unpack_from(found, start)
        start += _BLOCK.size
        payload = found[start : start + length]
        start += length
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return
        yield np.frombuffer(payload, _ROW), start


def _by_group(blocks: list[NDArray[np.void]]) -> dict[int, Answers]:
    if not blocks:
        return {}
    rows = np.concatenate(blocks)
    ends = np.flatnonzero(np.diff(rows["group"])) + 1
    return {
        int(some["group"][0]): Answers(some["request"].astype(np.int64), some["log_likelihood"], some["greedy"])
        for some in np.split(rows, ends)
    }
