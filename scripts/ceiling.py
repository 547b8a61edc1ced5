"""What validation says of the galaxies' own reconstructions: the most that samples of a model can be asked for.

    python scripts/ceiling.py build/cosmos/*.h5 --model cosmos --part test -o build/ceiling

Each galaxy is judged against itself: the posterior mean of its latents, drawn through its PSF and noise in place of a
sample. What is short here is not the prior's fault: the decoder or the PSF cannot show it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import skyloom
from skyloom.conditions import Conditions
from skyloom.galaxy import LearnedGalaxy
from skyloom.generators.cvae.build import split_cutouts
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.stamps import Cutout
from skyloom.validate.reencoded_print import structure_page
from skyloom.validate.report import write_report
from skyloom.validate.run import Plan, validate

SHOWN = (
    "auc_logistic",
    "auc_forest",
    "auc_logistic_resolved",
    "auc_forest_resolved",
    "wasserstein_residual_rms",
    "wasserstein_residual_rms_smoothed",
    "wasserstein_asymmetry",
    "wasserstein_concentration",
    "residual_power_bright",
    "residual_power_middle",
    "residual_power_faint",
)


class Reconstructions:
    """A generator that answers the conditions of known galaxies with the galaxies themselves."""

    def __init__(self, model: CVAEGenerator, cutouts: Sequence[Cutout]) -> None:
        self.spec = replace(model.spec, name="reconstructions")
        batch = model.reconstruct(cutouts)
        centred = replace(batch, offset=np.zeros_like(batch.offset))
        self._known = {
            (cutout.galaxy_id, cutout.fit.flux): galaxy
            for cutout, galaxy in zip(cutouts, centred, strict=True)
            if cutout.fit is not None
        }

    def sample(self, conditions: Conditions, **_: Any) -> list[LearnedGalaxy]:
        """The galaxies that have these ids and fluxes."""
        asked = zip(conditions.galaxy_id.tolist(), conditions.flux.tolist(), strict=True)
        return [self._known[key] for key in asked]


def main() -> None:
    """Validate the reconstructions, and the model beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", nargs="+", type=Path)
    parser.add_argument("--model", default="cosmos")
    parser.add_argument("--part", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--limit", type=int)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/ceiling"))
    args = parser.parse_args()
    model = skyloom.load_model(args.model)
    if not isinstance(model, CVAEGenerator):
        parser.error(f"model '{args.model}' cannot reconstruct galaxies")
    cutouts = [cutout for path in args.cutouts for cutout in skyloom.read_cutouts(path)]
    own: list[Cutout] = getattr(split_cutouts([cutouts]), args.part)
    generators: dict[str, Any] = {model.spec.name: model, "reconstructions": Reconstructions(model, own)}
    plan = Plan(real=cutouts, generators=generators, part=args.part, limit=args.limit)
    found, gallery = validate(plan, args.output / "work")
    write_report(found, gallery, args.output)
    names = [*generators, "Sersic"]
    print(f"{'':36s}" + "".join(f"{name:>20s}" for name in names))
    for line in found.lines:
        if line.metric in SHOWN:
            scores = (line.scores[name] for name in names)
            print(f"{line.metric:36s}" + "".join(f"{f'{s.value:.3f} +- {s.error:.3f}':>20s}" for s in scores))
    for text in structure_page(found.lines):
        print(text)


if __name__ == "__main__":
    main()
