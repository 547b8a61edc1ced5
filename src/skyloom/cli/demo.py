"""``skyloom demo``: a mock survey field of learned galaxies."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import click

__all__ = ["command"]


@click.command("demo", epilog="Example:  skyloom demo -o demo")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder.")
@click.option("--model", default="cosmos", show_default=True, help="Name of a model, or a weights file.")
@click.option("--seed", type=click.IntRange(min=1), help="Another field: positions, galaxies and noise.")
@click.option("--nproc", type=click.IntRange(min=1), help="Processes; all cores, at most 4, by default.")
def command(out: Path, model: str, seed: int | None, nproc: int | None) -> None:
    """Make a Euclid-like field of learned galaxies: FITS image, truth table and picture.

    The galaxies' conditions come with the package; GalSim adds PSF, pixels and noise.
    """
    from skyloom.demo import run_demo

    start = time.monotonic()
    overrides = {} if seed is None else {"image.random_seed": seed}
    nproc = nproc or min(4, len(os.sched_getaffinity(0)))
    logger = logging.Logger("skyloom.demo", level=logging.WARNING)
    files = run_demo(out, model=model, overrides=overrides, nproc=nproc, logger=logger)
    weights = f", weights {files.weights_sha256[:12]}" if files.weights_sha256 else ""
    click.echo(f"{files.galaxies} galaxies by model {files.model}{weights}, {time.monotonic() - start:.0f} s")
    click.echo(f"  {files.image}  image: electrons, 0.1 arcsec pixels; zero point and origin in the header")
    click.echo(f"  {files.truth}  truth table")
    click.echo(f"  {files.picture}  picture: the field, and galaxies before and after PSF and noise")
