"""Run a GalSim configuration file in this process, and know which of its files failed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import galsim
import yaml
from galsim.errors import GalSimConfigError, GalSimIndexError, GalSimKeyError

from skyloom.errors import BadInputError, ConfigError, RenderError

__all__ = ["RenderedFiles", "parse_overrides", "render_config"]


@dataclass(frozen=True)
class RenderedFiles:
    """What became of the image files of a configuration."""

    written: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by file name."""


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


def render_config(
    config_file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overrides: dict[str, Any] | None = None,
    nproc: int = 1,
    logger: logging.Logger | None = None,
) -> RenderedFiles:
    """Make the images of a GalSim configuration file in the folder `out`.

    A configuration is a program: its ``modules`` are imported and its ``$`` strings evaluated. Run only
    those you trust.

    Parameters
    ----------
    config_file : path
        YAML or JSON, as the `galsim` program takes it. Relative names of inputs in it are relative to the
        current folder, as there.
    out : path
        Replaces ``output.dir``, also of the truth table and other extra outputs.
    overrides : dict, optional
        Values by key (``image.random_seed``), applied after templates.
    nproc : int, optional
        Processes: over the files where there are several, else over the galaxies of an image. The pixels are
        the same.
    logger : logging.Logger, optional
        Gets GalSim's messages.

    Returns
    -------
    RenderedFiles

    Raises
    ------
    ConfigError
        When the file cannot be read or GalSim refuses what it says.
    """
    out = Path(out)
    path = Path(config_file)
    watch = _Watch()
    quiet = logging.Logger("skyloom.render", level=logging.WARNING) if logger is None else logger
    quiet.addHandler(watch)
    before = galsim.errors.raise_fft_size_error
    galsim.errors.raise_fft_size_error = True  # a far too large FFT would end the process without a word
    try:
        for document in _read(path, quiet):
            _process(document, path.stem, out, dict(overrides or {}), nproc, quiet, watch)
    finally:
        galsim.errors.raise_fft_size_error = before
        quiet.removeHandler(watch)
    return RenderedFiles([Path(name) for name in watch.written], watch.failed)


def _read(path: Path, logger: logging.Logger) -> list[dict[str, Any]]:
    try:
        documents = galsim.config.ReadConfig(str(path), logger=logger)
    except OSError as exc:
        raise ConfigError(f"configuration '{path}' cannot be read: {exc.strerror or exc}") from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise ConfigError(f"configuration '{path}' cannot be read: {exc}") from exc
    if not documents or not all(isinstance(d, dict) for d in documents):
        raise ConfigError(f"configuration '{path}' is not a mapping of GalSim's fields")
    return list(documents)


def _process(
    document: dict[str, Any],
    root: str,
    out: Path,
    overrides: dict[str, Any],
    nproc: int,
    logger: logging.Logger,
    watch: _Watch,
) -> None:
    document.setdefault("root", root)
    output = document.setdefault("output", {})
    if not isinstance(output, dict):
        raise ConfigError(f"configuration '{root}': output must be a mapping, not {output!r:.60}")
    for extra in output.values():
        if isinstance(extra, dict):
            extra.pop("dir", None)
    overrides["output.dir"] = str(out)
    try:
        if nproc != 1:
            document.setdefault("image", {})
            several = galsim.config.GetNFiles(document) > 1
            overrides["output.nproc" if several else "image.nproc"] = nproc
        galsim.config.Process(document, logger, new_params=overrides)
    except BadInputError:
        raise
    except (GalSimConfigError, GalSimKeyError, GalSimIndexError, yaml.YAMLError) as exc:
        raise ConfigError(f"configuration '{root}': {exc}") from exc
    except ModuleNotFoundError as exc:
        hint = "; with modules: [skyloom] its configurations run" if exc.name == "galsim_hub" else ""
        raise ConfigError(f"configuration '{root}': {exc}{hint}") from exc
    except Exception as exc:
        if not watch.failed:
            raise RenderError(f"configuration '{root}': {type(exc).__name__}: {exc}") from exc
        name = next(reversed(watch.failed))
        watch.failed[name] = f"{type(exc).__name__}: {exc}"


class _Watch(logging.Handler):
    """GalSim reports a file that failed, or that is done, in its log alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.written: list[str] = []
        self.failed: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Remember the file of the messages that name one."""
        message = str(record.msg)
        if "Exception caught for file" in message and isinstance(record.args, tuple):
            self.failed[str(record.args[1])] = "failed"
        elif "File %d = %s: time" in message and isinstance(record.args, tuple):
            self.written.append(str(record.args[1]))
        elif "Traceback" in record.getMessage() and self.failed:
            name = next(reversed(self.failed))
            self.failed[name] = record.getMessage().strip().splitlines()[-1]
