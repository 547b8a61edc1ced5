"""Receipts: what was made, from what, and whether it still is what it was."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from skyloom.render.products import file_sha256

__all__ = [
    "Origin",
    "Receipt",
    "listed_files",
    "origin_changes",
    "read_receipt",
    "receipt_name",
    "receipt_path",
    "versions",
    "write_receipt",
]

FORMAT = 2  # in 1, `inputs` had the files of the section input alone, without their folders


@dataclass(frozen=True)
class Origin:
    """What decides the pixels of a file."""

    config_sha256: str
    """Of the document as it counts for this file: with the numbers of the file, its images and objects."""
    document_sha256: str
    """Of the document alone; its text is kept under this name."""
    seed: int | None
    models: dict[str, str] = field(default_factory=dict)
    """Weights' SHA-256 by model."""
    inputs: dict[str, str] = field(default_factory=dict)
    """SHA-256 by path, as it is named, of the catalogues and other files that the configuration names."""


@dataclass(frozen=True)
class Receipt:
    """One task that was done: its file, and the files that came with it."""

    name: str
    origin: Origin
    files: dict[str, dict[str, Any]]
    """By name relative to the output folder: ``bytes``, ``sha256`` and, for images, ``pixels_sha256``."""
    galaxies: int
    seconds: float
    cpu_seconds: float
    versions: dict[str, str]
    format: int = FORMAT

    def damage(self, out: Path) -> str | None:
        """What is wrong with the files in the folder `out`: None when every byte is as it was."""
        for name, entry in self.files.items():
            path = out / name
            try:
                size = path.stat().st_size
                if size < entry["bytes"]:
                    return f"{name} is truncated: {size} of {entry['bytes']} bytes"
                if size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
                    return f"{name} has been altered"
            except FileNotFoundError:
                return f"{name} is missing"
            except OSError as exc:
                return f"{name} cannot be read: {exc.strerror}"
        return None


def receipt_path(out: Path, name: str) -> Path:
    """Beside the file: ``f0.fits.receipt.json``."""
    return out / receipt_name(name)


def receipt_name(name: str) -> str:
    """Name of the receipt of a file."""
    return f"{name}.receipt.json"


def write_receipt(out: Path, receipt: Receipt) -> None:
    """Write the receipt into a temporary folder, from where it goes the way of the files."""
    receipt_path(out, receipt.name).write_text(json.dumps(asdict(receipt), indent=1) + "\n")


def read_receipt(out: Path, name: str) -> Receipt | str | None:
    """The receipt of a file, None when there is none, or what is wrong with it."""
    path = receipt_path(out, name)
    try:
        content = json.loads(path.read_text())
        receipt = Receipt(**{**content, "origin": Origin(**content["origin"])})
        sound = receipt.name == name and receipt.format == FORMAT and all(
            {"bytes", "sha256"} <= entry.keys() for entry in receipt.files.values()
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{path.name} is damaged"
    return receipt if sound else f"{path.name} is a receipt of another version of Skyloom"


def listed_files(out: Path, name: str) -> list[str]:
    """Names in the receipt of a file, of whatever version it is; none where there is no receipt, or no telling."""
    try:
        files = json.loads(receipt_path(out, name).read_text())["files"]
        return [str(file) for file in files]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def origin_changes(old: Origin, new: Origin) -> list[str]:
    """What changed between a receipt and now, but for the configuration's text."""
    changed = []
    if old.seed != new.seed:
        changed.append(f"seed: {old.seed} -> {new.seed}")
    changed += _changes("weights of model", old.models, new.models)
    changed += _changes("input file", old.inputs, new.inputs)
    return changed


def _changes(what: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        f"{what} '{name}': {(old.get(name) or 'none')[:12]} -> {(new.get(name) or 'none')[:12]}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def versions() -> dict[str, str]:
    """Of Skyloom and of what decides the pixels beside it."""
    from skyloom import __version__

    found = {"skyloom": __version__, "python": platform.python_version()}
    for name in ("galsim", "numpy", "torch", "astropy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
