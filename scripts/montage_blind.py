"""Tell real galaxies from simulated ones by eye, on a shuffled sheet, and score the answers; see docs/gallery.md.

    python scripts/montage_blind.py sheet build/cosmos/*.h5 [--against sersic --swap]
    python scripts/montage_blind.py score build/montage/blind_model.json answers.txt

The sheet shows real galaxies of the test split: it stays outside the repository. The key beside it is not to be opened
before judging. Answers are lines of a number, r or s (real or simulated) and a confidence from 1 to 3.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from montage import read_test
from montage_cells import ROOT, cell, filled, levels, window
from PIL import Image, ImageDraw
from scipy.stats import binomtest

import skyloom
from skyloom.profiles import Generator
from skyloom.validate.counterparts import Counterparts
from skyloom.validate.drawing import known_fit

SIDE, TOP, ACROSS, DOWN = 192, 14, 6, 4  # pixels of a picture and of its number; pictures of a page


def sheet(args: argparse.Namespace, model: Generator) -> None:
    """Write a shuffled sheet, half real and half simulated at the conditions of other real galaxies, and its key."""
    if args.out.resolve().is_relative_to(ROOT / "docs"):
        raise SystemExit(f"{args.out} would put pixels of real galaxies into the repository")
    galaxies = list(read_test(args.cutouts, model).values())
    rng = np.random.default_rng(args.seed)
    order = rng.permutation(len(galaxies))[: args.count // 2 * 2]
    chosen = [galaxies[i][int(rng.integers(len(galaxies[i])))] for i in order]
    half = len(chosen) // 2
    real, asked = (chosen[half:], chosen[:half]) if args.swap else (chosen[:half], chosen[half:])
    fits = iter([known_fit(c) for c in asked])  # as windows of real galaxies follow from their fits
    generator = None if args.against == "sersic" else model
    made = list(
        Counterparts(asked, generator, lambda some: [next(fits) for _ in some], seed=args.seed, out_of_range="clip")
    )
    if len(made) != len(asked):
        raise SystemExit(f"{len(asked) - len(made)} galaxies could not be drawn; choose another --seed")
    every = [(c, "r") for c in real] + [(c, "s") for c in made]
    every = [every[i] for i in rng.permutation(len(every))]
    args.out.mkdir(parents=True, exist_ok=True)
    name = f"blind_{args.against}" + "_swapped" * args.swap
    cells = [cell(filled(c, k), c.pixel_scale, window(c), *levels(c)) for k, (c, _) in enumerate(every)]
    for start in range(0, len(cells), ACROSS * DOWN):
        page = Image.new("L", (ACROSS * (SIDE + 2), DOWN * (SIDE + TOP + 2)), 40)
        pen = ImageDraw.Draw(page)
        for k, one in enumerate(cells[start : start + ACROSS * DOWN]):
            x, y = k % ACROSS * (SIDE + 2), k // ACROSS * (SIDE + TOP + 2)
            page.paste(one.resize((SIDE, SIDE)), (x, y + TOP))
            pen.text((x + 3, y + 1), str(start + k), fill=255)
        page.save(args.out / f"{name}_{start // (ACROSS * DOWN)}.png")
    key = [{"is": what, "galaxy": f"{c.source} {c.galaxy_id} {c.band}", "snr": known_fit(c).snr} for c, what in every]
    (args.out / f"{name}.json").write_text(json.dumps(key, indent=1))
    print(f"{args.out / name}_*.png: {len(every)} cutouts, of {len(galaxies)} galaxies to choose from")


def score(args: argparse.Namespace) -> None:
    """Compare answers with the key."""
    key = np.array([entry["is"] for entry in json.loads(args.key.read_text())])
    lines = [line.split() for line in args.answers.read_text().splitlines() if line.strip() and line[0] != "#"]
    answers = {int(number): (word, int(sure)) for number, word, sure in lines}
    if sorted(answers) != list(range(len(key))) or {word for word, _ in answers.values()} - {"r", "s"}:
        raise SystemExit(f"{args.answers}: needs one answer, r or s, for each of 0 to {len(key) - 1}")
    right = np.array([answers[i][0] == what for i, what in enumerate(key)])
    sure = np.array([answers[i][1] for i in range(len(key))])
    parts = {"all": sure > 0, "real": key == "r", "simulated": key == "s"}
    for label, rows in {**parts, **{f"confidence {c}": sure == c for c in (1, 2, 3)}}.items():
        print(f"{label:14s}{right[rows].sum():3d} right of {rows.sum()}")
    chance = binomtest(int(right.sum()), len(key), 0.5, alternative="greater").pvalue
    print(f"chance of as many by guessing: {chance:.2g}")


def main() -> None:
    """Run one mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("sheet")
    mode.add_argument("cutouts", nargs="+", type=Path)
    mode.add_argument("--model", default="cosmos")
    mode.add_argument("--out", type=Path, default=ROOT / "build" / "montage")
    mode.add_argument("--seed", type=int, default=3)
    mode.add_argument("--count", type=int, default=48)
    mode.add_argument("--against", choices=("model", "sersic"), default="model")
    mode.add_argument("--swap", action="store_true", help="show as real those that gave conditions, and back")
    mode = modes.add_parser("score")
    mode.add_argument("key", type=Path)
    mode.add_argument("answers", type=Path)
    args = parser.parse_args()
    if args.mode == "score":
        score(args)
    else:
        sheet(args, skyloom.load_model(args.model))


if __name__ == "__main__":
    main()
