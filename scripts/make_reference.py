"""Measure real cutouts into a reference table for ``skyloom validate --reference``: numbers only, no pixels.

    python scripts/make_reference.py cosmos.h5 -o src/skyloom/validate/references/cosmos-hst.ecsv \
        --provenance "what the galaxies are, where they come from, their licence"

The cutouts are files of ``skyloom ingest``. Those that cannot be judged are left out and counted in the table's
metadata; thresholded ones always, for their isophote is not a number of the table.
"""

from __future__ import annotations

import argparse
import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from skyloom.cutouts.hdf5 import read_cutouts, read_provenance
from skyloom.stamps import Cutout
from skyloom.validate.measure import measure_cutouts
from skyloom.validate.reference import COLUMNS, reference_row
from skyloom.validate.run_samples import default_refit
from skyloom.validate.sample import select

DIGITS = 6


def whole(cutout: Cutout) -> tuple[str, str] | None:
    return ("thresholded", "") if cutout.thresholded else None


def measure(path: Path, workers: int) -> tuple[Table, dict[str, object]]:
    chosen, screening = select(read_cutouts(path), refit=default_refit, keep=whole)
    table = measure_cutouts(chosen, workers=workers)
    extra = Table(rows=[reference_row(cutout) for cutout in chosen])
    for name in COLUMNS:
        table[name] = extra[name]
    source = {
        "cutouts": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "provenance": read_provenance(path),
        "read": screening.read,
        "kept": screening.kept,
        "set_aside": screening.reasons,
    }
    return table, source


def rounded(table: Table) -> Table:
    """Cut numbers to six digits: more is noise, and doubles the file."""
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name][:] = [float(f"{value:.{DIGITS}g}") for value in np.asarray(table[name])]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--provenance", required=True, help="what the galaxies are, and where they come from")
    parser.add_argument("--workers", default=1, type=int)
    options = parser.parse_args()
    parts = [measure(path, options.workers) for path in options.cutouts]
    table = rounded(vstack([part for part, _ in parts], metadata_conflicts="silent"))
    table = table[np.isfinite(table["fit_flux"])]  # without those that could not be measured at all
    table["index"] = np.arange(len(table))
    table.meta.clear()
    table.meta.update(
        provenance=options.provenance,
        sources=[source for _, source in parts],
        versions={name: version(name) for name in ("skyloom", "galsim", "statmorph", "numpy")},
        columns={name: text for name, text in COLUMNS.items() if text},
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    table.write(options.output, format="ascii.ecsv", overwrite=True)
    print(f"{options.output}: {len(table)} galaxies, {options.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
