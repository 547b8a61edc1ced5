"""Fit the population `cosmos` to the tables of 3D-HST/CANDELS and COSMOS, and say how well it fits.

    python scripts/fit_population.py ../shared/data/catalogues [--write] [--picture corner.png]

Only the fitted numbers are kept, in src/skyloom/populations/cosmos.json. Without --write nothing is changed:
the table of docs/populations.md is printed, from a fit to half of the galaxies compared with the other half.

Steps: (1) shapes of F160W fits with flag 0 (flag 1 too where brighter than 21: flag 1 marks a magnitude apart
from SExtractor's, and most bright galaxies have it); (2) F814W - F160W from a censored regression: galaxies
without a counterpart are fainter than 23.5 or missing from that table; (3) a Gaussian mixture, weighted so that
the fits stand for all galaxies of their magnitude; (4) number counts in both bands; (5) the shift of size and n
from F160W to F814W, from the 500 Sersic fits in F814W.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from astropy.table import Table
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.stats import norm, spearmanr, wasserstein_distance

from skyloom.populations.coordinates import NAMES, from_coordinates, to_coordinates
from skyloom.populations.mixture import Mixture

OUT = Path(__file__).resolve().parents[1] / "src/skyloom/populations/cosmos.json"
F814W_LIMIT = 23.5
F814W_AREA = 1.64  # square degrees, Leauthaud et al. 2007
COMPONENTS = 16
FITTED = (16.0, 26.5)  # F160W
TILT = 0.3
"""The fit weighs galaxies by exp(-TILT F160W) lest the faint ones have all components; undone exactly afterwards."""
COUNTED = {"f160w": (18.0, 25.25), "f814w": (18.0, 25.5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogues", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--components", type=int, nargs="*", default=[COMPONENTS])
    options = parser.parse_args()
    rng = np.random.default_rng(160)
    table = read_tables(options.catalogues)
    counts160 = count_f160w(table)
    colour, _ = impute_colours(table, rng)
    x, w = training_rows(table, colour, counts160)
    half = rng.random(len(x)) < 0.5
    fits = {}
    for k in options.components:
        fits[k] = fit_mixture(x[half], w[half], k, rng)
        score = np.average(fits[k].log_density(x[~half]), weights=w[~half])
        print(f"{k} components: mean log density {score:.4f} on the other half", flush=True)
    validate(fits[options.components[-1]], counts160, x, w, half, rng)
    mixture = fit_mixture(x, w, options.components[-1], rng)
    counts814 = count_f814w(options.catalogues, table, mixture, counts160, rng)
    shift = shift_to_f814w(options.catalogues, mixture, counts160, rng)
    if options.picture:
        corner(mixture, x, w, options.picture, rng)
    if options.write:
        write(mixture, counts160, counts814, shift, len(x))


def read_tables(folder: Path) -> dict[str, np.ndarray]:
    g = np.loadtxt(folder / "cosmos_3dhst.v4.1_f160w.galfit")
    f = np.loadtxt(folder / "cosmos_3dhst.v4.1.fout")
    t = Table.read(folder / "f814w_counts_23.5.fits.gz", 1)
    ra0, dec0 = np.median(g[:, 1]), np.median(g[:, 2])
    flat = np.cos(np.radians(dec0))
    here = np.c_[(g[:, 1] - ra0) * flat, g[:, 2] - dec0] * 3600
    there = np.c_[(t["RA"] - ra0) * flat, t["DEC"] - dec0] * 3600
    distance, nearest = cKDTree(there).query(here)
    return {
        "flag": g[:, 3], "mag": g[:, 4], "dre": g[:, 7] / np.maximum(g[:, 6], 1e-9), "n": g[:, 8], "q": g[:, 10],
        "hlr": g[:, 6] * np.sqrt(np.maximum(g[:, 10], 0)), "z": f[:, 1], "mass": f[:, 6], "av": f[:, 5],
        "ssfr": np.clip(f[:, 8], -13, -7), "x": here[:, 0], "y": here[:, 1],
        "f814w": np.where(distance < 0.5, np.asarray(t["F814W"])[nearest], np.nan),
    }  # fmt: skip


def galaxies(t: dict[str, np.ndarray]) -> np.ndarray:
    """All sources but stars: a star's fit shrinks to a point, and it is rarely faint."""
    star = (t["hlr"] < 0.025) & (t["mag"] < 24)
    return (t["flag"] < 3) & ~star & (t["mag"] > 10)


def area(t: dict[str, np.ndarray]) -> float:
    """Square degrees: occupied cells of several sizes, brought to size zero."""
    sizes = np.array([18.0, 24.0, 30.0, 36.0])
    found = [len(np.unique(np.c_[t["x"] // s, t["y"] // s], axis=0)) * s**2 for s in sizes]
    return float(np.polyfit(sizes, found, 1)[1] / 3600**2)


def count_f160w(t: dict[str, np.ndarray]) -> np.ndarray:
    """Coefficients of log10(galaxies / deg^2 / mag), a cubic in mag - 23."""
    low, high = COUNTED["f160w"]
    edges = np.arange(low, high + 0.01, 0.25)
    number = np.histogram(t["mag"][galaxies(t)], edges)[0]
    print(f"area of F160W: {area(t) * 3600:.1f} arcmin^2")
    return fit_counts(edges, number, area(t), "f160w")


def fit_counts(edges: np.ndarray, number: np.ndarray, area: float, name: str) -> np.ndarray:
    middle, width = (edges[1:] + edges[:-1]) / 2 - 23, edges[1] - edges[0]

    def cost(c: np.ndarray) -> float:
        expected = 10 ** np.polyval(c, middle) * area * width
        return float((expected - number * np.log(expected)).sum())

    first = np.polyfit(middle, np.log10(np.maximum(number, 0.5) / area / width), 3, w=np.sqrt(number + 0.1))
    found = minimize(cost, first, method="Nelder-Mead", options={"maxiter": 8000, "xatol": 1e-6, "fatol": 1e-6}).x
    expected = 10 ** np.polyval(found, middle) * area * width
    worst = np.abs(number / expected - 1)[number > 200].max(initial=0)
    print(f"counts {name}: coefficients {np.round(found, 5)}, worst bin of > 200 galaxies {worst:.1%} off")
    return found


def features(t: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """What the colour is regressed on: redshift bins (hat functions), mass to light, dust, star formation."""
    z = np.log1p(np.clip(t["z"][rows], 0, 6))
    nodes = np.log1p([0.0, 0.25, 0.5, 0.75, 1.0, 1.3, 1.7, 2.3, 3.0, 4.0, 6.0])
    hats = np.stack([np.interp(z, nodes, np.eye(len(nodes))[i]) for i in range(len(nodes))], axis=1)
    light = t["mass"][rows] + 0.4 * (t["mag"][rows] - 22) - 10
    coarse = np.stack([np.interp(z, nodes[[0, 2, 5, 10]], np.eye(4)[i]) for i in range(4)], axis=1)
    more = np.stack([light, t["av"][rows], t["ssfr"][rows] + 9], axis=1)
    products = (coarse[:, :, None] * more[:, None, :]).reshape(len(z), -1)
    mag = np.clip(t["mag"][rows] - 22, -4, 3)
    return np.c_[hats, products, light**2, mag]


def impute_colours(t: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """F814W - F160W of all galaxies: measured, or drawn from a censored regression (Tobin 1958)."""
    known = (t["z"] >= 0) & (t["mass"] > 5) & np.isfinite(t["av"]) & np.isfinite(t["ssfr"])
    rows = np.flatnonzero((t["flag"] <= 1) & (t["mag"] > 16) & (t["mag"] < 27) & known & galaxies(t))
    f = features(t, rows)
    measured = t["f814w"][rows] - t["mag"][rows]
    seen = np.isfinite(measured) & (measured > -1) & (measured < 4)
    bright = (t["mag"][rows] > 20.5) & (t["mag"][rows] < 21)
    complete = float(seen[bright].mean())
    limit = F814W_LIMIT - t["mag"][rows]
    y = np.where(seen, measured, 0)

    def cost(p: np.ndarray) -> tuple[float, np.ndarray]:
        mean, s = f @ p[:-1], np.exp(p[-1])
        r, edge = (y - mean) / s, (limit - mean) / s
        # Student's t with 4 degrees of freedom for the measured: wrong counterparts and redshifts are far out.
        a = np.log(s) + 2.5 * np.log1p(r**2 / 4)
        below = 1 - complete * norm.cdf(edge)
        value = np.where(seen, a, -np.log(below)).sum() + 0.5 * (p[:-1] ** 2).sum()
        d_r = 5 * r / (4 + r**2)
        by_edge = complete * norm.pdf(edge) / below
        d_mean = np.where(seen, -d_r / s, -by_edge / s)
        d_log_s = np.where(seen, 1 - d_r * r, -by_edge * edge).sum()
        return value, np.append(f.T @ d_mean + p[:-1], d_log_s)

    found = minimize(cost, np.append(np.zeros(f.shape[1]), np.log(0.3)), jac=True, method="L-BFGS-B",
                     options={"maxiter": 2000}).x  # fmt: skip
    mean, s = f @ found[:-1], float(np.exp(found[-1]))
    print(f"colour: {seen.sum()} of {len(rows)} measured, completeness of F814W {complete:.3f}, scatter {s:.3f} mag")
    for low in np.arange(20.5, 24.5, 0.5):
        m = (t["mag"][rows] >= low) & (t["mag"][rows] < low + 0.5)
        print(
            f"  F160W {low}: seen {seen[m].mean():.3f}, model {complete * norm.cdf((limit - mean) / s)[m].mean():.3f}"
        )
    lowest = np.clip(norm.cdf((limit - mean) / s), 0, 1 - 1e-6)
    # A missing one is beyond the limit, or just missing, in the proportion of the two probabilities.
    beyond = (1 - lowest) / (1 - complete * lowest)
    u = rng.random(len(rows))
    above = rng.random(len(rows)) < beyond
    drawn = np.where(above, norm.ppf(lowest + u * (1 - lowest)), norm.ppf(np.maximum(u * lowest, 1e-6)))
    out = np.full(len(t["mag"]), np.nan)
    out[rows] = np.where(seen, measured, mean + s * np.clip(drawn, -3.5, 3.5))
    for low in np.arange(20, 26, 1):
        m = (t["mag"] >= low) & (t["mag"] < low + 1)
        print(f"  F160W {low}: colour {np.nanpercentile(out[m], [5, 16, 50, 84, 95]).round(2)}")
    return out, complete


def training_rows(t: dict[str, np.ndarray], colour: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and weights of the galaxies that are fitted."""
    ok = galaxies(t) & ((t["flag"] == 0) | ((t["flag"] == 1) & (t["mag"] < 21) & (t["hlr"] < 3)))
    brightness = t["mag"] + 2.5 * np.log10(2 * np.pi * np.maximum(t["hlr"], 1e-6) ** 2)
    ok &= (t["mag"] > FITTED[0]) & (t["mag"] < FITTED[1]) & (t["z"] >= 0.01) & np.isfinite(colour)
    ok &= (t["n"] > 0.21) & (t["n"] < 7.9) & (t["q"] > 0.06) & (t["dre"] < 1) & (brightness < 26.3)
    ok &= (t["hlr"] > 0.012) & (t["hlr"] < 6)
    x = to_coordinates({
        "f160w": t["mag"][ok], "colour": colour[ok], "half_light_radius": t["hlr"][ok], "sersic_n": t["n"][ok],
        "q": np.minimum(t["q"][ok], 0.995), "redshift": t["z"][ok],
    })  # fmt: skip
    edges = np.arange(FITTED[0], FITTED[1] + 0.01, 0.5)
    middle = (edges[1:] + edges[:-1]) / 2
    wanted = 10 ** np.polyval(counts, np.minimum(middle, 26) - 23) * area(t) * 0.5
    wanted = np.where(middle < COUNTED["f160w"][0], np.histogram(x[:, 0], edges)[0], wanted)
    has = np.histogram(x[:, 0], edges)[0]
    ratio = np.clip(wanted / np.maximum(has, 1), 0.5, 8)
    print("weights by F160W:", dict(zip(middle, ratio.round(2), strict=True)))
    w = ratio[np.clip(np.digitize(x[:, 0], edges) - 1, 0, len(ratio) - 1)]
    print(f"{len(x)} galaxies are fitted")
    return x, w / w.mean()


def tilted(mixture: Mixture) -> Mixture:
    """The mixture times exp(TILT F160W), which is a mixture of the same covariances."""
    first = mixture.covariances[:, :, 0]
    log_weights = np.log(mixture.weights) + TILT * mixture.means[:, 0] + 0.5 * TILT**2 * first[:, 0]
    weights = np.exp(log_weights - log_weights.max())
    return Mixture(weights / weights.sum(), mixture.means + TILT * first, mixture.covariances)


def fit_mixture(x: np.ndarray, w: np.ndarray, k: int, rng: np.random.Generator, steps: int = 250) -> Mixture:
    """Weighted expectation maximisation (Dempster, Laird & Rubin 1977), started from k-means++ centres."""
    w = w * np.exp(-TILT * (x[:, 0] - 23))
    scale = x.std(axis=0)
    centres = [x[rng.integers(len(x))]]
    for _ in range(k - 1):
        d = np.min([(((x - c) / scale) ** 2).sum(axis=1) for c in centres], axis=0)
        centres.append(x[rng.choice(len(x), p=d * w / (d * w).sum())])
    floor = np.diag((0.03 * scale) ** 2)
    mixture = Mixture(np.full(k, 1 / k), np.array(centres), np.repeat(np.diag(scale**2)[None] * 0.5, k, axis=0))
    last = -np.inf
    for step in range(steps):
        logs = mixture.log_components(x)
        total = np.logaddexp.reduce(logs, axis=1)
        r = np.exp(logs - total[:, None]) * w[:, None]
        weight = r.sum(axis=0)
        mean = (r.T @ x) / weight[:, None]
        cov = np.stack([((r[:, i, None] * (x - mean[i])).T @ (x - mean[i])) / weight[i] + floor for i in range(k)])
        mixture = Mixture(weight / weight.sum(), mean, cov)
        now = float(np.average(total, weights=w))
        if step > 30 and now - last < 2e-5:
            break
        last = now
    return tilted(mixture)


def draw(mixture: Mixture, size: int, rng: np.random.Generator) -> np.ndarray:
    which = rng.choice(len(mixture.weights), size, p=mixture.weights)
    return mixture.means[which] + np.einsum("kij,kj->ki", mixture.roots[which], rng.standard_normal((size, len(NAMES))))


def validate(
    mixture: Mixture, counts: np.ndarray, x: np.ndarray, w: np.ndarray, half: np.ndarray, rng: np.random.Generator
) -> None:
    """Fit of one half against the other half: Wasserstein distances in standard deviations, rank correlations."""
    a, b, m = x[half], x[~half], weighted_draw(mixture, counts, rng)[:100000]
    wa, wb = w[half], w[~half]
    inside = [(r[:, 0] > 18) & (r[:, 0] < 26) for r in (a, b, m)]
    a, b, m, wa, wb = a[inside[0]], b[inside[1]], m[inside[2]], wa[inside[0]], wb[inside[1]]
    for low, high in ((18, 22), (22, 24), (24, 26), (18, 26)):
        rows = [(r[:, 0] >= low) & (r[:, 0] < high) for r in (a, b, m)]
        line = []
        for i, _ in enumerate(NAMES):
            s = b[rows[1], i].std()
            model = wasserstein_distance(m[rows[2], i], b[rows[1], i], None, wb[rows[1]]) / s
            floor = wasserstein_distance(a[rows[0], i], b[rows[1], i], wa[rows[0]], wb[rows[1]]) / s
            line.append(f"{model:.3f} ({floor:.3f})")
        print(f"| {low} to {high} | {rows[1].sum()} | " + " | ".join(line) + " |")
    pick = rng.choice(len(b), 20000, p=wb / wb.sum())
    other = rng.choice(len(a), 20000, p=wa / wa.sum())
    rb, rm, ra = (spearmanr(v).statistic for v in (b[pick], m[:20000], a[other]))
    for i in range(len(NAMES)):
        for j in range(i):
            print(f"| {NAMES[j]}, {NAMES[i]} | {rb[i, j]:+.3f} | {rm[i, j]:+.3f} | {ra[i, j]:+.3f} |")


def weighted_draw(mixture: Mixture, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws whose F160W follow the counts over the whole fitted range."""
    grid = np.linspace(17, 26.4, 400)
    p = 10 ** np.polyval(counts, np.minimum(grid, 26.2) - 23)
    mags = np.interp(rng.random(300000), np.cumsum(p) / p.sum(), grid)
    return mixture.given(mags, np.eye(len(NAMES))[0], rng.random(len(mags)), rng.standard_normal((len(mags), 6)))


def count_f814w(
    folder: Path, t: dict[str, np.ndarray], mixture: Mixture, counts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Counts from the mixture and those in F160W; the F814W table, for its completeness, is printed beside them."""
    low, high = COUNTED["f814w"]
    edges = np.arange(low, high + 0.01, 0.25)
    x = weighted_draw(mixture, counts, rng)
    grid = np.linspace(17, 26.4, 400)
    density = np.trapezoid(10 ** np.polyval(counts, np.minimum(grid, 26.2) - 23), grid)
    model = np.histogram(x[:, 0] + x[:, 1], edges)[0] / len(x) * density
    f = np.asarray(Table.read(folder / "f814w_counts_23.5.fits.gz", 1)["F814W"])
    table = np.histogram(f, edges)[0] / F814W_AREA
    sure = galaxies(t) & (t["mag"] > 20.5) & (t["mag"] < 21) & (t["flag"] == 0)
    complete = np.isfinite(t["f814w"][sure]).mean()
    here = np.isfinite(t["f814w"]).sum() / area(t)
    print(f"F814W table: {len(f) / F814W_AREA:.0f} per deg^2, {here:.0f} where F160W is")
    table = table / complete
    middle = (edges[1:] + edges[:-1]) / 2
    for m, a, b in zip(middle, table, model, strict=True):
        book = 46 * 10 ** (0.31 * (m - 25)) * 0.31 * np.log(10) * 3600 * 0.25
        print(f"  F814W {m:.3f}: table {a:8.0f}, mixture {b:8.0f}, LSST Science Book (i) {book:8.0f} per deg^2")
    return fit_counts(edges, model * F814W_AREA, F814W_AREA, "f814w")


def shift_to_f814w(folder: Path, mixture: Mixture, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What is added to the coordinates of size, n and q for F814W: medians of the 500 fits and of the mixture."""
    r = Table.read(folder / "real_galaxy_23.5_500_fits.fits", 1)
    s = np.asarray(r["sersicfit"])
    good = (s[:, 2] > 0.21) & (s[:, 2] < 5.95) & (s[:, 3] > 0.06) & (s[:, 1] > 0) & (np.asarray(r["mag_auto"]) < 23.5)
    q = np.minimum(s[good, 3], 0.995)
    real = to_coordinates({
        "f160w": np.asarray(r["mag_auto"])[good], "colour": np.zeros(good.sum()), "sersic_n": s[good, 2], "q": q,
        "half_light_radius": s[good, 1] * 0.03 * np.sqrt(q), "redshift": np.maximum(np.asarray(r["zphot"])[good], 0),
    })  # fmt: skip
    x = weighted_draw(mixture, counts, rng)
    f814w = x[:, 0] + x[:, 1]
    shift, weight = np.zeros(len(NAMES)), 0.0
    for low in np.arange(19.5, 23.5, 0.5):
        a = (real[:, 0] >= low) & (real[:, 0] < low + 0.5)
        b = (f814w >= low) & (f814w < low + 0.5) & (x[:, 3] < 1.6)
        if a.sum() < 10:
            continue
        d = np.median(real[a], axis=0) - np.median(x[b], axis=0)
        print(f"  F814W {low}: {a.sum()} fits; size {10 ** d[2]:.3f}, n {d[3]:+.3f}, q {d[4]:+.3f}, z {d[5]:+.3f}")
        shift += a.sum() * d
        weight += a.sum()
    shift = np.where(np.isin(NAMES, ["half_light_radius", "sersic_n"]), shift / weight, 0.0)
    print("shift to F814W:", dict(zip(NAMES, shift.round(4), strict=True)))
    return shift


def corner(mixture: Mixture, x: np.ndarray, w: np.ndarray, path: Path, rng: np.random.Generator) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    real = x[rng.choice(len(x), 6000, p=w / w.sum())]
    model = draw(mixture, 6000, rng)
    figure, axes = plt.subplots(6, 6, figsize=(15, 15))
    for i in range(6):
        for j in range(6):
            ax = axes[i, j]
            lim = [np.percentile(real[:, k], [0.2, 99.8]) for k in (j, i)]
            if i == j:
                for v, c in ((real, "k"), (model, "C1")):
                    ax.hist(v[:, i], np.linspace(*lim[0], 50), histtype="step", color=c)
                ax.set_title(NAMES[i])
            else:
                v, c = (real, "k") if i > j else (model, "C1")
                ax.plot(v[:, j], v[:, i], ",", color=c, alpha=0.5)
                ax.set(xlim=lim[0], ylim=lim[1])
    figure.tight_layout()
    figure.savefig(path, dpi=60)


def write(mixture: Mixture, counts160: np.ndarray, counts814: np.ndarray, shift: np.ndarray, number: int) -> None:
    lower = np.tril_indices(len(NAMES))
    document = {
        "name": "cosmos", "coordinates": list(NAMES), "galaxies_fitted": number,
        "sources": ["3D-HST/CANDELS COSMOS v4.1: Skelton et al. 2014; van der Wel et al. 2012; Kriek et al. 2009",
                    "COSMOS F814W: Leauthaud et al. 2007; Mandelbaum et al. 2012, 2014"],
        "weights": mixture.weights.round(6).tolist(), "means": mixture.means.round(5).tolist(),
        "covariances": [c[lower].round(7).tolist() for c in mixture.covariances],
        "counts": {"f160w": counts160.round(6).tolist(), "f814w": counts814.round(6).tolist()},
        "shift_to_f814w": shift.round(5).tolist(),
    }  # fmt: skip
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{OUT}: {OUT.stat().st_size} bytes; {from_coordinates(mixture.means)['sersic_n'].round(2)}")


if __name__ == "__main__":
    main()
