"""Make the shipped model ``cosmos``: ingest the real cutouts, train, fit the prior, measure, write the weights.

    python scripts/train_cosmos.py --data ../shared/data --work build/cosmos

Every stage leaves its result in the work folder and is not done again; a stopped training goes on where it was.
Two hours and a half on two cores: the networks at the default 5,500 steps, what stamps tell of latents, the prior.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path

import torch

from skyloom.cutouts.hdf5 import read_cutouts
from skyloom.generators.cvae.build import build_model
from skyloom.generators.cvae.flow_config import FlowConfig
from skyloom.generators.cvae.train import TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "cosmos": "cosmos_hst",
    "jwst": "jwst_cosmosweb",
    "candels": "candels_hst/candels_hst.h5",
    "ceers": "jwst_ceers/jwst_ceers.h5",
}
ABOUT = {
    "summary": "conditional VAE of galaxy structure, HST and JWST, 0.6 to 4.4 micron",
    "licence": "BSD-3-Clause (weights); training images are public HST and JWST data",
    "training_data": (
        "COSMOS, HST/ACS F814W, 70 galaxies (GalSim RealGalaxy format, via BlendingToolKit, MIT); "
        "CANDELS, HST F606W, F814W, F125W, 161 galaxies, thresholded stamps (bpRsh/a1_data, MIT); "
        "COSMOS-Web, JWST/NIRCam F444W and F115W, 226 galaxies; "
        "CEERS, JWST/NIRCam, seven bands F115W to F444W, 98 galaxies; "
        "simulated structure (arms, bars, rings, clumps, dust lanes) drawn from published statistics"
    ),
    "pixel_response": "not included: profiles are above the atmosphere, before PSF and pixel",
    "limits": [
        "not validated for weak-lensing shear calibration",
        "a few hundred galaxies were seen: the variety of mergers and irregulars is small",
        "structure finer than 0.1 half-light radii is not modelled",
        "COSMOS and COSMOS-Web share a field and were not matched by position: a galaxy may be in two splits",
    ],
}


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "cosmos")
    parser.add_argument("--output", type=Path, default=ROOT / "src/skyloom/generators/weights/cosmos.safetensors")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument(
        "--threads", type=int, default=min(2, torch.get_num_threads()), help="of torch; another number rounds otherwise"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    files = []
    for name, source in SOURCES.items():
        files.append(args.work / f"{name}.h5")
        if not files[-1].exists():
            command = [
                sys.executable,
                "-m",
                "skyloom",
                "ingest",
                str(args.data / source),
                "-o",
                str(files[-1]),
            ]
            subprocess.run(command, check=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    card = build_model(
        [read_cutouts(path) for path in files],
        args.output,
        name="cosmos",
        config=TrainingConfig(steps=args.steps),
        flow=FlowConfig(),
        folder=args.work / "run",
        resume=True,
        about=ABOUT,
        progress=lambda step, losses: print(step, losses, flush=True) if step % 100 == 0 else None,
    )
    print(card.to_markdown())


if __name__ == "__main__":
    main()
