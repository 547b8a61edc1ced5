"""What there is to do: a task is one output file of one document."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import galsim
from galsim.config.extra import valid_extra_outputs
from galsim.config.input import valid_input_types
from galsim.config.output import SetupConfigFileNum, valid_output_types

from skyloom.errors import ConfigError
from skyloom.render.documents import Document, config_message
from skyloom.render.named_files import NamedFiles
from skyloom.render.receipts import Origin

__all__ = ["GALAXY_INPUTS", "Task", "plan_tasks", "shard_of"]

GALAXY_INPUTS = ("learned_galaxies", "generative_model")
"""Sections of ``input`` that have a generator."""

_OF_ITS_GALAXIES = ("learned_truth", "learned_stamps")  # extra outputs that are others in every file


@dataclass(frozen=True)
class Task:
    """One output file, as GalSim numbers it."""

    name: str
    """Of the file, relative to the output folder."""
    document: int
    file_num: int
    image_num: int
    obj_num: int
    galaxies: int
    """Objects at most: GalSim counts before it knows which it skips."""
    origin: Origin
    extras: tuple[str, ...] = ()
    """Names of the truth table, weight image and the like."""
    own: frozenset[str] = frozenset()
    """Names among them that hold the galaxies of this file, so that no other task can share them."""
    taken: frozenset[str] = frozenset()
    """Names among them that an earlier task writes: every task would write the same, say, PSF image."""


def plan_tasks(
    document: Document, base: dict[str, Any], logger: Any = None, *, hashes: dict[str, str] | None = None
) -> list[Task]:
    """List the files of a document, with the numbers GalSim would give them.

    Parameters
    ----------
    document : Document
        What stands in the hash.
    base : dict
        Its configuration with the inputs in that don't change from file to file; it is not altered.
    logger : logging.Logger, optional
        Gets GalSim's messages.
    hashes : dict, optional
        SHA-256 by path of files that other documents named too; added to.

    Raises
    ------
    ConfigError
        When GalSim refuses what it says, or a name leaves the output folder.
    """
    config = galsim.config.CopyConfig(base)
    # GalSim makes the folders of a name it is asked for: in no folder of ours, and not in the current one
    config["output"].pop("dir", None)
    try:
        return list(_plan(document, config, logger, {} if hashes is None else hashes))
    except Exception as exc:
        raise config_message(document.root, exc) from exc


def _plan(document: Document, config: dict[str, Any], logger: Any, hashes: dict[str, str]) -> Iterable[Task]:
    image_num = obj_num = 0
    named = NamedFiles(document.config, hashes)
    sha256 = document.sha256
    for file_num in range(galsim.config.GetNFiles(config, logger=logger)):
        SetupConfigFileNum(config, file_num, image_num, obj_num, logger)
        output = config["output"]
        builder = valid_output_types[output["type"]]
        builder.setup(output, config, file_num, galsim.config.LoggerWrapper(logger))
        galsim.config.ProcessInput(config, logger=logger, file_scope_only=True)
        now = galsim.config.CopyConfig(config)  # with random numbers of its own: the count of objects takes some too
        counts = galsim.config.GetNObjForFile(config, file_num, image_num, logger=logger, approx=True)
        extras = list(_extra_names(output, config))
        numbers = f"{sha256} {file_num} {image_num} {obj_num}"
        yield Task(
            name=_name(output, config, builder.default_ext, document.root),
            document=document.index,
            file_num=file_num,
            image_num=image_num,
            obj_num=obj_num,
            galaxies=sum(counts),
            origin=Origin(
                config_sha256=hashlib.sha256(numbers.encode()).hexdigest(),
                document_sha256=sha256,
                seed=document.seed,
                models=_models(now),
                inputs=named.of_file(now),
            ),
            extras=tuple(name for _, name in extras),
            own=frozenset(name for key, name in extras if key in _OF_ITS_GALAXIES),
        )
        image_num += len(counts)
        obj_num += sum(counts)


def shard_of(tasks: list[Task], shard: tuple[int, int] | None) -> list[Task]:
    """The tasks of shard (number from 1, count): every count-th, so that bands and tiles spread evenly.

    The names that tasks share are given to the first task that has them, before the division.

    Raises
    ------
    ConfigError
        When two tasks would write the same image or the same table of galaxies, or an image has the name of
        another's table.
    """
    owner: dict[str, str] = {}
    for task in tasks:
        if task.name in owner:
            raise ConfigError(
                f"two of the {len(tasks)} output files would have the name '{task.name}'; "
                "let output.file_name depend on the file's number or band"
            )
        owner[task.name] = task.name
    own = frozenset[str]().union(*(task.own for task in tasks))
    out = []
    for task in tasks:
        taken = frozenset(name for name in task.extras if owner.setdefault(name, task.name) != task.name)
        if any(owner[name] == name or name == task.name for name in task.extras):
            raise ConfigError(f"'{task.name}': an extra output has the name of an image")
        shared = sorted(taken & own)
        if shared:
            raise ConfigError(
                f"'{shared[0]}' would hold the galaxies of one of the {len(tasks)} output files and lose the others'; "
                "let the file_name of output.learned_truth and learned_stamps depend on the file's number or band, "
                "or leave it out"
            )
        out.append(replace(task, taken=taken))
    return out if shard is None else out[shard[0] - 1 :: shard[1]]


def _name(output: dict[str, Any], config: dict[str, Any], suffix: str | None, root: str) -> str:
    if "file_name" in output:
        galsim.config.SetDefaultExt(output["file_name"], suffix)
        return _inside(galsim.config.ParseValue(output, "file_name", config, str)[0])
    if suffix is None:
        raise ConfigError(f"configuration '{root}': output.file_name is missing")
    return f"{root}{suffix}"


def _extra_names(output: dict[str, Any], config: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Section and name; a truth table has two."""
    for key in valid_extra_outputs:
        field = output.get(key)
        if isinstance(field, dict) and "file_name" in field:
            galsim.config.SetDefaultExt(field, ".fits")
            name = _inside(galsim.config.ParseValue(field, "file_name", config, str)[0])
            yield key, name
            if key == "learned_truth":
                yield key, str(PurePath(name).with_suffix(".parquet"))


def _inside(name: str) -> str:
    normal = os.path.normpath(name)
    if os.path.isabs(normal) or normal.split(os.sep)[0] in ("..", ".skyloom"):
        raise ConfigError(f"file name '{name}' leads out of the output folder; give a name relative to it")
    return normal


def _models(config: dict[str, Any]) -> dict[str, str]:
    """Weights by model, of every input that has a generator."""
    found = {}
    for key, objects in config.get("_input_objs", {}).items():
        for number, item in enumerate(objects if isinstance(objects, list) else ()):
            spec = getattr(_of_this_file(config, key, number) if item is None else item, "spec", None)
            if spec is not None and hasattr(spec, "weights_sha256"):
                found[str(spec.name)] = str(spec.weights_sha256 or "")
    return found


def _of_this_file(config: dict[str, Any], key: str, number: int) -> Any:
    """What stands for an input that changes from file to file and is not there yet: its generator."""
    if key not in GALAXY_INPUTS:
        return None
    section = config["input"][key]
    section = section[number] if isinstance(section, list) else section
    try:
        loader = valid_input_types[key]
        return loader.init_func(**loader.getKwargs(section, config, None)[0])
    except Exception:  # a zero point of each image, say; the model's name is what counts
        from skyloom.generators.registry import load_model

        try:
            return load_model(galsim.config.ParseValue(section, "model", config, str)[0])
        except Exception:  # GalSim itself says what is wrong with it
            return None
