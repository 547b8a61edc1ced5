"""Ablations: the model with one thing left out, each trained on an equal, short budget and judged on the test split.

    python scripts/ablations.py build/cosmos/*.h5 --workers 2 --docs docs

Each variant is trained in a process of its own and keeps its checkpoint and its result in the work folder: a stopped
run goes on where it was, and a finished one only writes the tables. `--model` names the trained model whose priors are
compared; `--model none` leaves that out. The weights kept in each training are chosen on the validation split; the test
split gives the numbers and decides nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from ablation_priors import compare_priors
from ablation_tables import write_tables
from ablation_variants import VARIANTS, run_variant

from skyloom.cutouts.hdf5 import read_cutouts
from skyloom.generators.cvae.build import split_cutouts

PRIORS = "priors"


def main() -> None:
    """Run what is missing, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/ablations"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16, help="galaxies a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time, one core each")
    parser.add_argument("--model", default="cosmos", help="whose priors are compared: name, weights file or none")
    parser.add_argument("--draws", type=int, default=3, help="samples a real galaxy, for the priors")
    parser.add_argument("--docs", type=Path, help="folder for ablations.json and ablations_table.md  [the work folder]")
    parser.add_argument("--only", choices=(*VARIANTS, PRIORS), help="run this one, in this process, and write no table")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.only is not None:
        torch.set_num_threads(1)
        run_one(args)
        return
    wanted = [*VARIANTS, *([PRIORS] if args.model != "none" else [])]
    missing = [name for name in wanted if kept(args, name) is None]
    with ThreadPoolExecutor(args.workers) as pool:
        statuses = list(pool.map(lambda name: in_process(args, name), missing))
    failed = [name for name, status in zip(missing, statuses, strict=True) if status]
    results = {name: result for name in wanted if (result := kept(args, name)) is not None}
    write_tables(results, args.docs or args.work, command_of(args))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; see the logs in {args.work}")


def in_process(args: argparse.Namespace, name: str) -> int:
    """Run one variant in a process of its own, with one thread; its exit status."""
    print(f"{datetime.datetime.now():%H:%M:%S} {name}", flush=True)
    command = [sys.executable, __file__, *map(str, args.cutouts), "--only", name]
    for option in ("work", "steps", "batch", "seed", "model", "draws"):
        command += [f"--{option}", str(getattr(args, option))]
    with open(args.work / f"{name}.log", "a", encoding="utf-8") as log:
        run = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, check=False)
    return run.returncode


def run_one(args: argparse.Namespace) -> None:
    """Train and judge one variant, or compare the priors, and keep the result."""
    splits = split_cutouts([read_cutouts(path) for path in args.cutouts])
    folder = args.work / f"{args.only}-{args.steps}-{args.seed}"
    if args.only == PRIORS:
        result = compare_priors(args.model, splits, args.work / PRIORS, draws=args.draws, seed=args.seed)
    else:
        variant = VARIANTS[args.only]
        config = variant.config(args.steps, args.batch, args.seed)
        result = {"label": variant.label, **run_variant(variant, splits, config, folder)}
    result |= {"settings": settings(args, args.only), "date": f"{datetime.date.today()}"}
    path = result_path(args, args.only)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(_rounded(result)), encoding="utf-8")
    os.replace(temporary, path)


def settings(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """What a result depends on besides the cutouts."""
    if name == PRIORS:
        return {"model": Path(args.model).name, "draws": args.draws, "seed": args.seed}
    return {option: getattr(args, option) for option in ("steps", "batch", "seed")}


def result_path(args: argparse.Namespace, name: str) -> Path:
    """Where the result of a variant is kept."""
    return Path(args.work / f"{name}.json")


def kept(args: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """The result in the work folder, if it was made with these settings."""
    path = result_path(args, name)
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result if result["settings"] == settings(args, name) else None


def command_of(args: argparse.Namespace) -> str:
    """The command that makes these results again."""
    return (
        f"python scripts/ablations.py build/cosmos/*.h5 --steps {args.steps} --batch {args.batch} --seed {args.seed} "
        f"--draws {args.draws}"
    )


def _rounded(value: Any) -> Any:
    """Figures to six digits, so that the file stays readable."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
