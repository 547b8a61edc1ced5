"""A model file back into a generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skyloom.errors import CheckpointError, TrainingError
from skyloom.generators.checkpoint import load_checkpoint
from skyloom.generators.cvae.data import GRID_SCALE, GRID_SIZE
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.net import Architecture, Decoder, Encoder
from skyloom.generators.cvae.prior import LatentPrior, Prior
from skyloom.generators.cvae.structure_gain import GAIN
from skyloom.generators.density import ConditionDensity

__all__ = ["load_generator"]


def load_generator(path: Path) -> CVAEGenerator:
    """Read a checkpoint written by `skyloom train`.

    Raises
    ------
    CheckpointError
        When the file is not whole, not of this family, or of a network of another shape than its card says.
    """
    tensors, card = load_checkpoint(path)
    grid = (card.spec.grid_size, card.spec.grid_scale)
    if card.family != "cvae" or grid != (GRID_SIZE, GRID_SCALE):
        raise CheckpointError(
            f"weights file '{path}': it is of family '{card.family}' with a grid of {grid[0]} x {grid[0]} and scale "
            f"{grid[1]:g}, not 'cvae' with {GRID_SIZE} x {GRID_SIZE} and {GRID_SCALE:g}"
        )
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}, "prior": {}}
    try:
        arch = Architecture(**card.architecture)
        density = ConditionDensity.from_tensors(tensors)
        gain = torch.from_numpy(np.array(tensors[GAIN], dtype=np.float32)).reshape(-1, 3)
        if not (len(gain) and gain.isfinite().all() and (gain[:, :2] > 0).all() and (gain[1:, 0] > gain[:-1, 0]).all()):
            raise ValueError(f"{GAIN} must have finite rows, of positive gains, at growing Sersic indices")
        for name, values in tensors.items():
            if name.startswith("density.") or name == GAIN:
                continue
            part, _, rest = name.partition(".")
            parts[part][rest] = torch.from_numpy(np.array(values, dtype=np.float32))
        encoder, decoder = Encoder(arch), Decoder(arch)
        encoder.load_state_dict(parts["encoder"])
        decoder.load_state_dict(parts["decoder"])
        kind = Prior if "local_root" in parts["prior"] else FlowPrior
        prior: LatentPrior = kind.from_tensors(arch, parts["prior"])
    except (KeyError, TypeError, ValueError, RuntimeError, TrainingError) as exc:
        raise CheckpointError(f"weights file '{path}': its tensors and card do not make a model: {exc}") from exc
    return CVAEGenerator(encoder, decoder, prior, card, density, gain)
