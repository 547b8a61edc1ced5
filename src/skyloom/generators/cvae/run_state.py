"""A training run on disk and its random numbers: what makes a stopped run go on to the same losses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skyloom.errors import TrainingError
from skyloom.files import whole_file

__all__ = ["cut_log", "fingerprint", "read_state", "seed_of", "write_state"]


def seed_of(*parts: object) -> int:
    """A seed of 63 bits hashed from what names a step: the same step draws the same random numbers in every run."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def fingerprint(*values: Tensor) -> str:
    """Of the tensors that a run is trained on."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in values:
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_state(path: Path, config: dict[str, Any], data: dict[str, str], state: dict[str, Any]) -> None:
    """Write a checkpoint; the old one stays until the new one is whole.

    Parameters
    ----------
    path : Path
    config : dict
        Of the run.
    data : dict of str
        What it is trained on, one word, and its `fingerprint`.
    state : dict
        Numbers and tensors.
    """
    with whole_file(path) as temporary:
        torch.save({"config": config, **data, **state}, temporary)


def read_state(path: Path, config: dict[str, Any], data: dict[str, str]) -> dict[str, Any] | None:
    """The state in a checkpoint of `write_state`; None if there is no such file.

    Raises
    ------
    TrainingError
        When it belongs to another configuration or other data, or cannot be read.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        before = state["config"]
        other = [f"other {word}" for word, mark in data.items() if state[word] != mark]
    except Exception as exc:  # torch raises what it likes on a damaged file
        raise TrainingError(f"{path} cannot be read ({type(exc).__name__}: {exc}); use another folder") from exc
    changed = [name for name in {**before, **config} if before.get(name) != config.get(name)]
    other = [f"{name} {before.get(name)} (now {config.get(name)})" for name in changed] + other
    if other:
        raise TrainingError(f"{path} was made with {', '.join(other)}; use another folder")
    return state


def cut_log(path: Path, known: Callable[[dict[str, Any]], bool]) -> None:
    """Drop a log's entries of steps that a resumed run makes again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("".join(line + "\n" for line in lines if known(json.loads(line))), encoding="utf-8")
