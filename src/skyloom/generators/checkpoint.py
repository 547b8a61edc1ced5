"""One self-verifying safetensors file a model: weights and model card. Nothing in it is ever executed.

A skyloom weights file is a safetensors file (a JSON header, then the tensors' bytes) with these rules on top:

- ``__metadata__`` holds ``skyloom_format``, ``card`` (canonical JSON) and ``sha256``, the SHA-256 of the
  canonical tensor table, the card and the tensors' bytes;
- the header is canonical: it is compared byte by byte with the one we would write. So each bit of the file is
  either under the SHA-256 or has one lawful value.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import CheckpointError
from skyloom.generators.model_card import ModelCard

__all__ = ["FORMAT", "ModelCard", "load_checkpoint", "read_card", "save_checkpoint"]

FORMAT = "1"
"""Version of the file format; another one is refused."""

_DTYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL", "uint8": "U8"},
    **{"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8"},
}
_ITEM_SIZES = {code: np.dtype(name).itemsize for name, code in _DTYPES.items()}
_LARGEST_HEADER = 1 << 24
_CHUNK = 1 << 20
_FOREIGN = {b"PK": "a zip archive, as torch.save writes it", b"\x80": "a pickle", b"\x89HDF": "an HDF5 file"}

Table = dict[str, tuple[str, tuple[int, ...]]]  # of each tensor: safetensors' name of the dtype, and the shape


@dataclass(frozen=True)
class _Verified:
    card: ModelCard
    content: bytes  # the whole file; empty when only the card was asked for


def save_checkpoint(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]],
    card: Mapping[str, Any] | ModelCard,
) -> ModelCard:
    """Write weights and card; the file appears under its name only when whole.

    Parameters
    ----------
    path : path-like
        Ends in ``.safetensors``; its folder exists.
    tensors : mapping of str to ndarray
        Floats, integers or booleans of any shape.
    card : mapping or ModelCard
        The fields of `ModelCard`, ``family``, ``name`` and ``spec`` at least. Others become extras; ``date``
        and ``versions`` are filled in when missing. What it holds must be JSON.

    Returns
    -------
    ModelCard
        As read back from the file, its SHA-256 filled in.

    Raises
    ------
    CheckpointError
        When something cannot be kept in such a file, or the file cannot be written.
    """
    path = Path(path)
    text = _card_text(path, card)
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    table: Table = {}
    for name, array in arrays.items():
        if name == "__metadata__" or array.dtype.name not in _DTYPES:
            raise _error(path, f"tensor {name!r} of type {array.dtype} cannot be kept")
        table[name] = (_DTYPES[array.dtype.name], array.shape)
    payload = [
        np.ascontiguousarray(arrays[name], dtype=arrays[name].dtype.newbyteorder("<")).tobytes()
        for name in _ordered(table)
    ]
    digest = _digest(table, text)
    for part in payload:
        digest.update(part)
    header = _header(table, text, digest.hexdigest())
    _write_atomically(path, [len(header).to_bytes(8, "little"), header, *payload])
    return read_card(path)


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], ModelCard]:
    """Read weights and card, having verified every bit.

    Raises
    ------
    CheckpointError
        Names the file, and what is wrong with it.
    """
    from safetensors.numpy import load

    found = _verify(Path(path), keep=True)
    return dict(load(found.content)), found.card


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Read the card alone, having verified the whole file without keeping it in memory.

    Raises
    ------
    CheckpointError
        As `load_checkpoint`.
    """
    return _verify(Path(path), keep=False).card


def _verify(path: Path, *, keep: bool) -> _Verified:
    try:
        with path.open("rb") as file:
            return _verify_open(path, file, os.fstat(file.fileno()).st_size, keep)
    except FileNotFoundError as exc:
        raise _error(path, "it does not exist") from exc
    except OSError as exc:
        raise _error(path, f"it cannot be read: {exc.strerror}") from exc


def _verify_open(path: Path, file: BinaryIO, size: int, keep: bool) -> _Verified:
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, _LARGEST_HEADER):
        for magic, what in _FOREIGN.items():
            if start.startswith(magic):
                raise _error(path, f"it is {what}, not safetensors")
        if len(start) == 8 and length <= _LARGEST_HEADER:
            raise _error(path, f"it is truncated: {size} bytes for a header of {length}")
        long = "it is not a safetensors file: its header cannot be that long"
        raise _error(path, long if len(start) == 8 else "it is empty or truncated")
    raw = file.read(length)
    table, text, wanted = _parse(path, raw)
    end = 8 + length + sum(_bytes(*entry) for entry in table.values())
    if size != end:
        word = "truncated" if size < end else "too long"
        raise _error(path, f"it is {word}: {size} bytes instead of {end}")
    whole = hashlib.sha256(start + raw)
    digest = _digest(table, text)
    content = [start, raw] if keep else []
    while chunk := file.read(_CHUNK):
        whole.update(chunk)
        digest.update(chunk)
        if keep:
            content.append(chunk)
    if digest.hexdigest() != wanted:
        raise _error(path, "it is damaged or was altered: its SHA-256 does not match")
    try:
        card = ModelCard.from_dict(json.loads(text), whole.hexdigest())
    except (ValueError, TypeError) as exc:
        raise _error(path, f"{exc}") from exc
    return _Verified(card, b"".join(content))


def _parse(path: Path, raw: bytes) -> tuple[Table, str, str]:
    """Tensor table, card and SHA-256 of a header that is as we would write it."""
    try:
        header = json.loads(raw.decode("ascii"))
        metadata = header.pop("__metadata__", {})
        table: Table = {n: (v["dtype"], tuple(map(int, v["shape"]))) for n, v in header.items()}
        known = all(code in _ITEM_SIZES and min(shape, default=0) >= 0 for code, shape in table.values())
        version_found, text, sha256 = (metadata.get(k) for k in ("skyloom_format", "card", "sha256"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise _error(path, "its header is damaged, or it is not a safetensors file") from exc
    if text is None:
        raise _error(path, "it has no model card: safetensors, but not written by skyloom")
    if version_found != FORMAT:
        raise _error(path, f"its format is {version_found!r}; this version of skyloom reads {FORMAT!r}")
    if not known or not isinstance(text, str) or _header(table, text, str(sha256)) != raw:
        raise _error(path, "its header is damaged or was altered")
    return table, text, str(sha256)


def _header(table: Table, text: str, sha256: str) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"card": text, "sha256": sha256, "skyloom_format": FORMAT}}
    offset = 0
    for name in _ordered(table):
        code, shape = table[name]
        entries[name] = {
            "data_offsets": [offset, offset + _bytes(code, shape)],
            "dtype": code,
            "shape": list(shape),
        }
        offset = entries[name]["data_offsets"][1]
    raw = _canonical(entries).encode("ascii")
    return raw + b" " * (-len(raw) % 8)


def _ordered(table: Table) -> list[str]:
    """Names in the order of the bytes: large items first, so that each tensor is aligned."""
    return sorted(table, key=lambda name: (-_ITEM_SIZES[table[name][0]], name))


def _bytes(code: str, shape: tuple[int, ...]) -> int:
    size = _ITEM_SIZES[code]
    for axis in shape:  # Python's integers don't overflow
        size *= axis
    return size


def _digest(table: Table, text: str) -> Any:
    return hashlib.sha256(_canonical([FORMAT, sorted(table.items()), text]).encode("ascii"))


def _canonical(values: Any) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _card_text(path: Path, card: Mapping[str, Any] | ModelCard) -> str:
    values = card.to_dict() if isinstance(card, ModelCard) else dict(card)
    if not values.get("date"):
        values["date"] = datetime.now(UTC).date().isoformat()
    if not values.get("versions"):
        packages = ("skyloom", "numpy", "safetensors")
        values["versions"] = {"python": platform.python_version(), **{p: version(p) for p in packages}}
    try:
        return _canonical(ModelCard.from_dict(values).to_dict())
    except (ValueError, TypeError) as exc:
        raise _error(path, f"{exc}") from exc


def _write_atomically(path: Path, parts: list[bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        folder = os.open(path.parent, os.O_RDONLY)  # so that the new name outlives a power cut
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise _error(path, f"it cannot be written: {exc.strerror}") from exc


def _error(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"weights file '{path}': {reason}")
