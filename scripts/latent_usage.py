"""Which latents a model uses on cutouts it has not seen, and the evidence of a few galaxies.

    python scripts/latent_usage.py --model cosmos build/cosmos/*.h5
    python scripts/latent_usage.py --model cosmos build/cosmos/*.h5 --evidence 24 --samples 16 --temperatures 64

Cutouts of the model's own test split are chosen; the split is by patch of sky. Latents: nats of the posterior's KL
divergence from N(0, 1), and active units (Burda et al. 2016). Evidence: the gain over the Sersic in nats, under the
training prior and the one that samples are drawn from, with its standard error, effective samples and lower bound.
Annealing (``--temperatures``) takes seconds a galaxy and band, plain sampling has few effective samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import skyloom
from skyloom.generators.cvae.build import split_cutouts
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.importance import Sampling, log_evidence
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.usage import LatentUsage, usage_of


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", nargs="+", type=Path)
    parser.add_argument("--model", default="cosmos")
    parser.add_argument("--evidence", type=int, default=0, help="galaxies whose evidence is estimated")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--temperatures", type=int, default=0)
    parser.add_argument("--sharpen", action="store_true", help="begin at the posterior's maximum")
    parser.add_argument("--priors", nargs="+", choices=["training", "own"], default=["training", "own"])
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = skyloom.load_model(args.model)
    if not isinstance(model, CVAEGenerator):
        parser.error(f"'{args.model}' has no latents")
    test = split_cutouts([skyloom.read_cutouts(path) for path in args.cutouts]).test
    if not test:
        parser.error("none of these cutouts is held out")
    stamps = Stamps.from_cutouts(test)
    galaxies = Galaxies.of(stamps)
    usage(usage_of(model.encoder, stamps, galaxies))
    if args.evidence:
        sampling = Sampling(args.samples, temperatures=args.temperatures, sharpen=args.sharpen)
        picked = np.unique(np.linspace(0, galaxies.count - 1, args.evidence).astype(int))
        rows = torch.nonzero(torch.isin(galaxies.row, torch.from_numpy(picked)))[:, 0]
        evidence(model, stamps.subset(rows.tolist()), sampling, args.priors, args.seed)


def usage(found: LatentUsage) -> None:
    """Nats and active units, by row of cells and channel."""
    card = found.for_card()
    print(f"{card['galaxies']} galaxies; nats a galaxy: {card['kl_nats_global']} global, {card['kl_nats_local']} local")
    print(
        f"active: {card['active_global']} of {found.arch.global_latents} global, {card['active_local']} of "
        f"{found.nats.numel() - found.arch.global_latents} local; unused: {100 * card['unused_share']:.1f} %\n"
    )
    print("global, nats each: " + ", ".join(f"{v:.2f}" for v in found.of_global(found.nats).tolist()) + "\n")
    nats, active = found.of_local(found.nats).sum(2), found.of_local(found.active).sum(2)
    channels = range(len(nats))
    print("| row, from the centre | " + " | ".join(f"channel {c}: nats (active)" for c in channels) + " |")
    print("|" + "---|" * (len(nats) + 1))
    for row in range(nats.shape[1]):
        cells = (f"{float(nats[c, row]):.2f} ({int(active[c, row])})" for c in channels)
        print(f"| {row} | " + " | ".join(cells) + " |")


def evidence(model: CVAEGenerator, stamps: Stamps, sampling: Sampling, priors: list[str], seed: int) -> None:
    """Gain of each galaxy in nats, by prior."""
    galaxies = Galaxies.of(stamps)
    bands = torch.bincount(galaxies.row)
    print("\n| galaxy | bands | prior | gain | error | effective samples | bound |\n|" + "---|" * 7)
    for name in priors:
        prior = None if name == "training" else model.prior
        generator = torch.Generator().manual_seed(seed)
        found = log_evidence(model.encoder, model.decoder, prior, stamps, galaxies, sampling, generator)
        gain, bound = (found[key] - found["sersic"] for key in ("log_evidence", "bound"))
        for k, first in enumerate(galaxies.first.tolist()):
            print(
                f"| {stamps.source[first]} {stamps.galaxy_id[first]} | {int(bands[k])} | {name} | {float(gain[k]):.1f} "
                f"| {float(found['standard_error'][k]):.2f} | {float(found['effective_samples'][k]):.1f} "
                f"| {float(bound[k]):.1f} |"
            )
        print(f"| mean | | {name} | {float(gain.mean()):.1f} | | | {float(bound.mean()):.1f} |")


if __name__ == "__main__":
    main()
