"""A flow prior's run on disk: one checkpoint, written whole or not at all, and the log of its losses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from skyloom.errors import TrainingError

__all__ = ["LOG", "cut_log", "read_state", "write_state"]

LOG = "flow.jsonl"
_CHECKPOINT = "flow.pt"


def write_state(folder: Path, config: dict[str, Any], posteriors: str, state: dict[str, Any]) -> None:
    """Write a checkpoint; the old one stays until the new one is whole.

    Parameters
    ----------
    folder : Path
    config : dict
        Of the run.
    posteriors : str
        Fingerprint of what it is trained on.
    state : dict
        Numbers and tensors.
    """
    temporary = folder / "flow.tmp"
    with open(temporary, "wb") as stream:
        torch.save({"config": config, "posteriors": posteriors, "state": state}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, folder / _CHECKPOINT)


def read_state(folder: Path, config: dict[str, Any], posteriors: str) -> dict[str, Any] | None:
    """The state in a folder's checkpoint; None if there is none.

    Raises
    ------
    TrainingError
        When it belongs to another configuration or other posteriors, or cannot be read.
    """
    path = folder / _CHECKPOINT
    if not path.exists():
        return None
    try:
        held = torch.load(path, weights_only=True)
        state: dict[str, Any] = held["state"]
    except Exception as exc:  # torch raises what it likes on a damaged file
        raise TrainingError(f"{path} cannot be read ({type(exc).__name__}: {exc}); use another folder") from exc
    other = [
        f"{name} {value} (now {config.get(name)})"
        for name, value in held["config"].items()
        if config.get(name) != value
    ]
    if held["posteriors"] != posteriors:
        other.append("other posteriors")
    if other:
        raise TrainingError(f"{path} was made with {', '.join(other)}; use another folder")
    return state


def cut_log(folder: Path, known: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the log's entries of steps that a resumed run makes again."""
    path = folder / LOG
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("".join(line + "\n" for line in lines if known(json.loads(line))), encoding="utf-8")
