"""The documents of a configuration file, with templates and overrides in, before anything is evaluated."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import galsim
import yaml
from galsim.config.process import ImportModules, ProcessAllTemplates
from galsim.errors import GalSimConfigError, GalSimIndexError, GalSimKeyError

from skyloom.errors import BadInputError, ConfigError, RenderError

__all__ = ["CONFIG_ERRORS", "Document", "config_message", "differences", "parse_overrides", "read_documents"]

CONFIG_ERRORS = (GalSimConfigError, GalSimKeyError, GalSimIndexError, yaml.YAMLError, BadInputError)
"""Errors that say the configuration is at fault, not the run."""

_NOT_IN_HASH = (
    ("output", "dir"), ("output", "nproc"), ("output", "timeout"), ("output", "retry_io"), ("output", "noclobber"),
    ("image", "nproc"), ("image", "timeout"),
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """One document of a configuration: a band, an exposure, a tile, or the whole of a plain file."""

    index: int
    config: dict[str, Any]
    """As GalSim would process it; nothing in it has been evaluated yet."""
    seed: int | None = None
    """`image.random_seed` where it is a number, or the one that was drawn because there was none."""
    seed_drawn: bool = False
    reading: str = field(default_factory=lambda: secrets.token_hex(16), compare=False)
    """Another one each time the file is read: inputs opened for one run are not those of the next."""

    @property
    def root(self) -> str:
        """Name of the configuration file without suffix."""
        return str(self.config.get("root", "configuration"))

    @property
    def hashed(self) -> dict[str, Any]:
        """The part of the configuration that decides the pixels: no folder, no number of processes."""
        return _without(self.config)

    @property
    def sha256(self) -> str:
        """Of `hashed`, whatever the order of its keys."""
        text = json.dumps(self.hashed, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Turn ``gal.flux=100`` into ``{"gal.flux": 100}``; values are YAML, as on `galsim`'s command line.

    Raises
    ------
    ConfigError
        For a pair without ``=`` or with a value that is not YAML.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"'{pair}' is not of the form key.sub=value")
        try:
            out[key] = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise ConfigError(f"'{pair}': the value is not YAML: {exc}") from exc
    return out


def read_documents(
    path: Path,
    overrides: Mapping[str, Any],
    *,
    nproc: int = 1,
    seed: int = 0,
    extras: Iterable[str] = (),
    logger: logging.Logger | None = None,
) -> list[Document]:
    """Read a configuration file as the `galsim` program does.

    Parameters
    ----------
    path : pathlib.Path
        YAML, of one or several documents, or JSON.
    overrides : mapping
        Values by key (``image.random_seed``), applied after templates.
    nproc : int, optional
        Processes for the galaxies of an image; 1 leaves to the file what it says.
    seed : int, optional
        Takes the place of an ``image.random_seed`` that is missing or 0, with which no file could be made
        twice.
    extras : iterable of str, optional
        Extra outputs that every document has, with their defaults where it does not mention them.
    logger : logging.Logger, optional
        Gets GalSim's messages.

    Raises
    ------
    ConfigError
        When the file cannot be read or is not a mapping of GalSim's fields.
    """
    documents = []
    for index, config in enumerate(_read(path, logger)):
        config.setdefault("root", path.stem)
        try:
            ImportModules(config)
            ProcessAllTemplates(config, logger)
            galsim.config.UpdateConfig(config, dict(overrides), logger)
            ImportModules(config)
        except Exception as exc:
            raise config_message(path.stem, exc) from exc
        _prepare(config, path.stem)
        if nproc != 1:
            config["image"]["nproc"] = nproc
        for name in extras:
            config["output"].setdefault(name, {})
        drawn = config["image"].get("random_seed") in (None, 0)
        if drawn:
            config["image"]["random_seed"] = seed
        documents.append(Document(index, config, _first_seed(config["image"]["random_seed"]), drawn))
    return documents


def config_message(root: str, exc: BaseException) -> Exception:
    """The error of ours that stands for what went wrong in the configuration `root`."""
    if isinstance(exc, ModuleNotFoundError):
        hint = "; with modules: [skyloom] its configurations run" if exc.name == "galsim_hub" else ""
        return ConfigError(f"configuration '{root}': {exc}{hint}")
    if isinstance(exc, BadInputError):
        return exc
    if isinstance(exc, CONFIG_ERRORS):
        return ConfigError(f"configuration '{root}': {exc}")
    return RenderError(f"configuration '{root}': {type(exc).__name__}: {exc}")


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What differs between two configurations, a line a key: ``image.random_seed: 5 -> 6``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}, key=str):
            name = f"{where}.{key}" if where else str(key)
            if key not in new:
                yield f"{name}: {_short(old[key])} -> not there"
            elif key not in old:
                yield f"{name}: not there -> {_short(new[key])}"
            else:
                yield from differences(old[key], new[key], name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{where}.{number}")
    elif old != new:
        yield f"{where}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _read(path: Path, logger: logging.Logger | None) -> list[dict[str, Any]]:
    try:
        documents = galsim.config.ReadConfig(str(path), logger=logger)
    except OSError as exc:
        raise ConfigError(f"configuration '{path}' cannot be read: {exc.strerror or exc}") from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise ConfigError(f"configuration '{path}' cannot be read: {exc}") from exc
    if not documents or not all(isinstance(d, dict) for d in documents):
        raise ConfigError(f"configuration '{path}' is not a mapping of GalSim's fields")
    return list(documents)


def _prepare(config: dict[str, Any], root: str) -> None:
    for name in ("output", "image"):
        if not isinstance(config.setdefault(name, {}), dict):
            raise ConfigError(f"configuration '{root}': {name} must be a mapping, not {config[name]!r:.60}")
    for extra in config["output"].values():
        if isinstance(extra, dict):
            extra.pop("dir", None)
    config["output"].pop("nproc", None)  # every file is a task of its own


def _first_seed(given: Any) -> int | None:
    given = given[0] if isinstance(given, list) and given else given
    return given if isinstance(given, int) else None


def _without(config: dict[str, Any]) -> dict[str, Any]:
    out = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for section, key in _NOT_IN_HASH:
        if isinstance(out.get(section), dict):
            out[section].pop(key, None)
    return out
