"""The error tree.

When to raise which:

- the user's input cannot be used (a catalogue row, a YAML key, a file that is not what it should be):
  a subclass of `BadInputError`, exit status 2;
- the input was fine and the work failed all the same (a render that died, a plugin that broke):
  any other `SkyloomError`, exit status 1.

Every message is one sentence or a short list that names the file, row, galaxy and value.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadInputError",
    "CatalogueError",
    "CheckpointError",
    "ConditionsError",
    "ConfigError",
    "CutoutError",
    "ModelNotFoundError",
    "OutOfRangeError",
    "PluginError",
    "RenderError",
    "RequirementError",
    "SkyloomError",
    "TrainingError",
]


class SkyloomError(Exception):
    """Base of all errors Skyloom raises on purpose.

    Attributes
    ----------
    galaxy_id : int or None
        The galaxy that is to blame, where there is one and it is known.
    """

    exit_code: ClassVar[int] = 1
    galaxy_id: int | None = None


class BadInputError(SkyloomError, ValueError):
    """Something the user gave cannot be used as it is."""

    exit_code = 2


class ConditionsError(BadInputError):
    """A condition is missing, not a number, of the wrong unit or outside its physical range."""


class OutOfRangeError(BadInputError):
    """A condition lies outside the range a generator was trained on and the policy is ``error``."""


class ModelNotFoundError(BadInputError):
    """No generator has this name; the message lists those that exist."""


class CatalogueError(BadInputError):
    """A catalogue on disk cannot be read, or what it says cannot be: file, column, row and value."""


class CheckpointError(BadInputError):
    """A weights file is truncated, altered, of another format, or lacks its model card."""


class CutoutError(BadInputError):
    """A file of cutouts, or a source of them, cannot be read."""


class ConfigError(BadInputError):
    """A configuration has an unknown key or a value that cannot be used."""


class PluginError(SkyloomError):
    """A plugin is broken, claims a name twice or returned something else than its hook promises."""


class RenderError(SkyloomError):
    """An image could not be drawn."""


class RequirementError(SkyloomError):
    """A threshold that the user asked for does not hold."""


class TrainingError(SkyloomError):
    """A training run could not go on."""
