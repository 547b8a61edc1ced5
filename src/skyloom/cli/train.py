"""``skyloom train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["command"]


@click.command("train", epilog="Example:  skyloom train cosmos.h5 candels.h5 --name mine -o mine.safetensors")
@click.argument("cutouts", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Model file.")
@click.option("--name", help="Name of the model; the file's stem by default.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="For checkpoint and loss log.")
@click.option("--resume", is_flag=True, help="Continue the run in the folder.")
@click.option("--steps", default=3000, show_default=True, type=click.IntRange(1), help="Optimiser steps.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1), help="Galaxies a step.")
@click.option(
    "--prior",
    default="flow",
    show_default=True,
    type=click.Choice(["flow", "gaussian"]),
    help="Of the latents: a flow keeps arms and bars whole, a Gaussian is fitted in a minute.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Same seed, same model.")
@click.option("--threads", default=0, type=click.IntRange(0), help="Threads; 0 leaves it to torch.")
def command(
    cutouts: tuple[Path, ...],
    output: Path,
    name: str | None,
    folder: Path | None,
    resume: bool,
    steps: int,
    batch: int,
    prior: str,
    seed: int,
    threads: int,
) -> None:
    """Train a conditional VAE on CUTOUTS (files made by `skyloom ingest`) and write one model file.

    Cutouts of one patch of sky stay together; seven in ten train, one validates, two are held out and give the
    figures in the model card. The same seed, cutouts and threads give the same losses, also after a resume.
    """
    import torch

    from skyloom.cutouts.hdf5 import read_cutouts
    from skyloom.generators.cvae.build import build_model
    from skyloom.generators.cvae.flow_config import FlowConfig
    from skyloom.generators.cvae.train import TrainingConfig

    if threads:
        torch.set_num_threads(threads)
    config = TrainingConfig(steps=steps, batch=batch, seed=seed, evaluate_every=min(500, steps))
    sets = [read_cutouts(path) for path in cutouts]
    with _Progress(steps) as progress:
        card = build_model(
            sets,
            output,
            name=name or output.stem,
            config=config,
            flow=FlowConfig(seed=seed).shortened(steps / 3000) if prior == "flow" else None,
            folder=folder or output.with_suffix(".run"),
            resume=resume,
            progress=progress,
        )
    click.echo(card.to_markdown())


class _Progress:
    """A bar on a terminal, a line every hundred steps elsewhere."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.progress import Progress

            self._bar = Progress(transient=True)
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._steps)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, step: int, losses: dict[str, float]) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=f"training, loss {losses['loss']:.3f}")
        elif step % 100 == 0 or "validation_gain" in losses:
            click.echo(f"step {step}: " + ", ".join(f"{k} {v:.3f}" for k, v in losses.items()), err=True)
