"""The demo: a field of learned galaxies from a stock GalSim configuration, and a picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyloom.demo.run import DemoFiles, run_demo

__all__ = ["DemoFiles", "conditions_file", "configuration_file", "run_demo"]


def conditions_file() -> str:
    """FITS table of 300 galaxies' conditions: columns as in `skyloom.Conditions`, beta in degrees."""
    return str(Path(__file__).with_name("conditions.fits"))


def configuration_file() -> Path:
    """The GalSim configuration, the same as docs/examples/euclid_field.yaml."""
    return Path(__file__).with_name("euclid_field.yaml")


def __getattr__(name: str) -> Any:
    if name not in ("DemoFiles", "run_demo"):
        raise AttributeError(f"module 'skyloom.demo' has no attribute '{name}'")
    from skyloom.demo import run

    return getattr(run, name)
