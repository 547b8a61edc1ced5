"""How coherent a model's structure is against real galaxies, as a table: for comparing priors.

    python scripts/coherence_table.py build/cosmos/*.h5 --model cosmos --draws 3

Bright resolved galaxies of the held-out split; each model's galaxies at their conditions, through their PSF, noise and
mask, fitted again and encoded by the first model's encoder, as the real ones are. `skyloom validate` judges the same
numbers.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from astropy.table import Table

import skyloom
from skyloom.generators.cvae.build import split_cutouts
from skyloom.stamps import Cutout
from skyloom.validate.counterparts_shape import counterparts_as_real
from skyloom.validate.metrics_colour import RATIOS, colour_metrics
from skyloom.validate.reencoded import Reencoder, encoder_among, judged_rows
from skyloom.validate.reencoded_arms import arm_metrics
from skyloom.validate.reencoded_colour import colour_figures
from skyloom.validate.reencoded_metrics import COHERENCE, coherence_comparison
from skyloom.validate.run_samples import default_refit

COLUMNS = (*COHERENCE, "ring", "rms")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", nargs="+", type=Path)
    parser.add_argument("--model", action="append", help="name or weights file; may be given again  [cosmos]")
    parser.add_argument("--part", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--draws", type=int, default=1, help="galaxies drawn for each real one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--colour", action="store_true", help="also the structure in two bands")
    args = parser.parse_args()
    started = time.process_time()
    models = {name: skyloom.load_model(name) for name in args.model or ["cosmos"]}
    encoder = encoder_among(models.values())
    if encoder is None:
        parser.error("none of these models can encode galaxies (it has no encode_maps)")
    part = getattr(split_cutouts([skyloom.read_cutouts(path) for path in args.cutouts]), args.part)
    real = [part[i] for i in judged_rows(part)]
    if not real:
        parser.error("none of these cutouts is bright, resolved and held out")
    reencoder, how = Reencoder(encoder, real), {"seed": args.seed, "draws": args.draws}
    tables = {
        name: _drawn(name, reencoder, real, counterparts_as_real(real, model, default_refit, **how))
        for name, model in [*models.items(), ("Sersic", None)]
    }
    print(f"{len(real)} stamps of {len({(c.source, c.galaxy_id) for c in real})} galaxies, {args.draws} draws each")
    print_coherence(tables)
    for name, (truth, found) in tables.items():
        print_structure(name, truth, found)
    if args.colour:
        for name, model in models.items():
            print_colour(name, colour_figures(encoder, model, part, default_refit, seed=args.seed))
    print(f"{time.process_time() - started:.0f} s of one core")


def _drawn(
    name: str, reencoder: Reencoder, real: list[Cutout], made: tuple[list[Cutout], list[int]]
) -> tuple[Table, Table]:
    """The real galaxies' table and the model's."""
    cutouts, rows = made
    found = reencoder.figures(cutouts, rows)
    if not found:
        raise SystemExit(f"{name}: none of {len(cutouts)} simulated galaxies of {len(real)} could be encoded")
    return found["reencoded_real"], found["reencoded_model"]


def print_coherence(tables: dict[str, tuple[Table, Table]]) -> None:
    """Median / 84th percentile; of models and Sersic with how many sigma they are off the real ones."""
    print("\nmedian / 84th percentile; below: (model - real) / bootstrap error of the difference, 2 is allowed")
    print(f"{'':14s}" + "".join(f"{name:>15s}" for name in COLUMNS) + f"{'rms sigma':>11s}")
    rng = np.random.default_rng(0)
    for i, (name, (real, model)) in enumerate(tables.items()):
        found = coherence_comparison(real, model, rng, list(COLUMNS))
        twelve = found.sigmas[: 2 * len(COHERENCE)]
        if i == 0:
            print(f"{'real':14s}" + "".join(_pair(found.real, k) for k in range(len(COLUMNS))))
            print(f"{'  +-':14s}" + "".join(_pair(found.real_error, k) for k in range(len(COLUMNS))))
        print(f"{name[:13]:14s}" + "".join(_pair(found.model, k) for k in range(len(COLUMNS))))
        rms, within = np.sqrt(np.mean(twelve**2)), int((np.abs(twelve) <= 2).sum())
        sigmas = "".join(_pair(found.sigmas, k, 1) for k in range(len(COLUMNS)))
        print(f"{'  sigma':14s}{sigmas}{rms:11.2f}   {within} of {len(twelve)} within 2")


def _pair(values: np.ndarray, k: int, places: int = 3) -> str:
    return f"{values[2 * k]:.{places}f} / {values[2 * k + 1]:.{places}f}".rjust(15)


def print_structure(name: str, real: Table, model: Table) -> None:
    """Pitch angles and bars."""
    print()
    for metric in arm_metrics():
        found = metric.compute(None, None, seed=0, reencoded_real=real, reencoded_model=model)
        if np.isfinite(found["value"]):
            shown = {k: round(v, 3) for k, v in found.items() if k not in ("error", "floor", "floor_error")}
            print(f"{name}, {metric.label}: {shown}")
        else:
            print(f"{name}, {metric.label}: not available")


def print_colour(name: str, figures: dict[str, Table]) -> None:
    """Correlation of the structure in two bands, by wavelength ratio."""
    for metric in colour_metrics():
        found = metric.compute(None, None, seed=0, **figures)
        if not np.isfinite(found["value"]):
            print(f"\n{name}, {metric.label}: not available")
            continue
        print(f"\n{name}, {metric.label}: rms sigma {found['value']:.2f}")
        for i in range(len(RATIOS) - 1):
            if f"ratio_{i}" in found:
                real, model, sigma = (found[f"{kind}_{i}"] for kind in ("real", "model", "sigma"))
                print(f"  ratio {found[f'ratio_{i}']:.2f}: real {real:.2f}, model {model:.2f}, {sigma:+.1f} sigma")


if __name__ == "__main__":
    main()
