"""Make the demo's table of conditions, src/skyloom/demo/conditions.fits.

The table holds no catalogue row: a smooth distribution is fitted to published measurements, and sampled.

- counts: log N linear in F814W magnitude, fitted to COSMOS at 20 to 23 and continued to 25;
- F160W magnitude of an F814W one: a line, from galaxies in both catalogues (matched within 0.5 arcsec);
- log half-light radius, log Sersic index, logit of the axis ratio and log(1 + redshift), given F160W: a
  quadratic mean and one covariance, fitted to the GALFIT measurements of van der Wel et al. (2012) and FAST
  redshifts of 3D-HST (Skelton et al. 2014), all in the COSMOS field.

A few large bright discs are added so that there is something to look at: the demo is a picture, not a census.

    python scripts/make_demo_conditions.py ../shared/data/catalogues
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

OUT = Path(__file__).resolve().parents[1] / "src" / "skyloom" / "demo" / "conditions.fits"
LIMITS = {"mag": (18.5, 25.0), "half_light_radius": (0.12, 2.2), "sersic_n": (0.5, 5.0), "q": (0.2, 0.98)}
UNITS = {"mag": "mag", "half_light_radius": "arcsec", "beta": "deg"}


def logit(x):
    """Log odds."""
    return np.log(x / (1 - x))


def read(folder: Path) -> tuple[Table, Table]:
    """The GALFIT measurements with redshifts, good ones only, and the F814W magnitudes."""
    fits = Table.read(folder / "cosmos_3dhst.v4.1_f160w.galfit", format="ascii.commented_header")
    fast = Table.read(folder / "cosmos_3dhst.v4.1.fout", format="ascii.commented_header")
    fits["z"] = fast["z"][np.searchsorted(fast["id"], fits["NUMBER"])]
    good = (fits["f"] == 0) & (fits["n"] > 0.3) & (fits["n"] < 7.5) & (fits["re"] > 0.02) & (fits["z"] > 0.02)
    good &= (fits["q"] > 0.06) & (fits["q"] < 0.995) & (fits["mag"] > 17) & (fits["mag"] < 24.5)
    return fits[good], Table.read(folder / "f814w_counts_23.5.fits.gz")


def fit_counts(mag: np.ndarray) -> float:
    """Slope d log10 N / d mag."""
    counts, edges = np.histogram(mag, np.arange(20, 23.01, 0.25))
    return float(np.polyfit(0.5 * (edges[1:] + edges[:-1]), np.log10(counts), 1)[0])


def main() -> None:
    """Fit, sample, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("catalogues", type=Path, help="folder of the published catalogues")
    parser.add_argument("--field", type=int, default=285, help="galaxies of the field")
    parser.add_argument("--discs", type=int, default=15, help="large bright discs added")
    args = parser.parse_args()
    fits, counts = read(args.catalogues)
    rng = np.random.default_rng(814)

    slope = fit_counts(np.asarray(counts["F814W"]))
    near, distance, _ = SkyCoord(fits["RA"], fits["DEC"], unit="deg").match_to_catalog_sky(
        SkyCoord(counts["RA"], counts["DEC"], unit="deg")
    )
    both = distance.arcsec < 0.5
    f814w, f160w = np.asarray(counts["F814W"])[near[both]], np.asarray(fits["mag"])[both]
    to_f160w = np.polyfit(f814w, f160w, 1)

    shape = np.stack(
        [np.log(fits["re"] * np.sqrt(fits["q"])), np.log(fits["n"]), logit(fits["q"]), np.log1p(fits["z"])]
    )
    powers = np.vander(np.asarray(fits["mag"]) - 22, 3).T
    mean = np.linalg.lstsq(powers.T, shape.T, rcond=None)[0]
    covariance = np.cov(shape - mean.T @ powers)
    print(f"counts slope {slope:.3f}; {both.sum()} galaxies: F160W = {to_f160w[0]:.3f} F814W {to_f160w[1]:+.3f}")
    scatter = np.sqrt(np.diag(covariance)).round(3)
    print(f"{len(fits)} galaxies: scatter in ln r, ln n, logit q, ln(1+z): {scatter}")

    low, high = 10 ** (slope * np.array(LIMITS["mag"]))
    mag = np.log10(rng.uniform(low, high, 20 * args.field)) / slope
    f160w = np.minimum(np.polyval(to_f160w, mag), 24.5)
    drawn = np.vander(f160w - 22, 3) @ mean + rng.multivariate_normal(np.zeros(4), covariance, len(mag))
    field = {
        "mag": mag,
        "half_light_radius": np.exp(drawn[:, 0]),
        "sersic_n": np.exp(drawn[:, 1]),
        "q": 1 / (1 + np.exp(-drawn[:, 2])),
        "redshift": np.expm1(drawn[:, 3]).clip(0.05, 4.0),
    }
    inside = np.all([(field[k] >= a) & (field[k] <= b) for k, (a, b) in LIMITS.items()], axis=0)
    field = {k: v[inside][: args.field] for k, v in field.items()}

    n = args.discs
    discs = {
        "mag": rng.uniform(18.6, 20.6, n),
        "half_light_radius": np.exp(rng.uniform(np.log(0.9), np.log(2.2), n)),
        "sersic_n": rng.uniform(0.8, 1.8, n),
        "q": rng.uniform(0.4, 0.95, n),
        "redshift": rng.uniform(0.1, 0.5, n),
    }
    table = Table({k: np.concatenate([field[k], discs[k]]) for k in field})
    table = table[rng.permutation(len(table))]
    table["beta"] = rng.uniform(0, 180, len(table))
    table.add_column(np.arange(1, len(table) + 1), name="galaxy_id", index=0)
    for name in table.colnames[1:]:
        table[name] = np.round(table[name], 4)
        table[name].unit = UNITS.get(name)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table.write(OUT, overwrite=True)
    print(f"{len(table)} galaxies to {OUT.name}")
    table["mag", "half_light_radius", "sersic_n", "q", "redshift"].pprint(max_lines=8)


if __name__ == "__main__":
    main()
