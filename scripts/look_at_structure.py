"""Look at the simulated structure beside real galaxies, and print what was asked for against what is measured.

    python scripts/look_at_structure.py structure.png --cutouts build/cosmos/ceers.h5 build/cosmos/candels.h5

The upper rows are simulated galaxies as they would look (Sersic and residual, inclined), the lower ones, with
--cutouts, reconstructions of bright and well resolved real galaxies by the shipped model. docs/structure.md holds the
tables of one run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import skyloom
from skyloom.generators.cvae.data import Stamps, usable
from skyloom.generators.cvae.frame import R0, node_radii
from skyloom.generators.cvae.instrument import GridGeometry, residual_grid
from skyloom.generators.cvae.projection import without_sersic
from skyloom.generators.cvae.reencode import reencoded_maps
from skyloom.generators.cvae.simulate import build_components, shade, simulate_structure
from skyloom.generators.cvae.simulate_parameters import barred_share, draw_parameters
from skyloom.generators.cvae.structure import bar_strength, measured_pitch, strongest_mode
from skyloom.physics.sersic import sersic_surface_brightness

CELL, HALF, ACROSS = 108, 3.0, 12  # pixels; half-light radii along the major axis; galaxies a row


def sky(f: Tensor, sersic_n: Tensor, q: Tensor) -> Tensor:
    """Galaxies as they would look without a PSF, major axes level; shape (B, CELL, CELL)."""
    x = torch.linspace(-HALF, HALF, CELL)
    y, x = torch.meshgrid(x, x, indexing="ij")
    flat = q.clamp(min=0.08)[:, None, None]
    points = torch.stack([x.expand(len(q), -1, -1), y / flat], -1) * 0.8
    light = sersic_surface_brightness(sersic_n[:, None, None], points.norm(dim=-1).clamp(min=0.06))
    return light + residual_grid(f, GridGeometry.of(points), sersic_n)


def picture(images: Tensor) -> np.ndarray:
    """Cells at one stretch, each scaled to its brightest hundredth."""
    scaled = images / images.flatten(1).quantile(0.99, 1)[:, None, None]
    scaled = torch.asinh(10 * scaled) / np.arcsinh(11.0)
    rows = -(-len(scaled) // ACROSS)
    cells = torch.zeros(rows * ACROSS, CELL, CELL)
    cells[: len(scaled)] = scaled.clamp(0, 1)
    return cells.view(rows, ACROSS, CELL, CELL).permute(0, 2, 1, 3).reshape(rows * CELL, -1).numpy()


def simulated() -> Tensor:
    """Four rows of discs at z = 0.3, two of discs at z = 2.5, two edge on, one of spheroids."""
    rows = [(1.0, None, 0.3)] * 4 + [(1.0, None, 2.5)] * 2 + [(1.0, 0.2, 0.3), (1.0, 0.2, 2.0), (3.8, 0.75, 0.8)]
    parts = []
    for n, q, z in rows:
        ratios = torch.linspace(0.42, 0.95, ACROSS) if q is None else torch.full((ACROSS,), q)
        index = torch.full((ACROSS,), n)
        f = simulate_structure(index, ratios, torch.full((ACROSS,), z), torch.full((ACROSS, 1), 0.5))[:, 0]
        parts.append(sky(f, index, ratios))
    return torch.cat(parts)


def reconstructed(path: Path) -> dict[str, Tensor]:
    """Maps of a set's bright, resolved galaxies by the shipped model; wavelengths in micron, rest frame if known."""
    model = skyloom.load_model("cosmos")
    cutouts = [c for c in skyloom.read_cutouts(path) if usable(c) and c.fit.half_light_radius > 5 * c.pixel_scale]
    maps, bright = [], []
    for k in range(0, len(cutouts), 64):
        stamps = Stamps.from_cutouts(cutouts[k : k + 64])
        with torch.no_grad():
            maps.append(reencoded_maps(model.encoder, model.decoder, stamps))
        noise = (stamps.sigma_noise**2 * stamps.mask).sum((1, 2)).sqrt()
        bright.append((stamps.image * stamps.mask).sum((1, 2)) / noise > 150)
    keep = torch.cat(bright)
    stretch = [1 + float(c.redshift) if c.redshift is not None and np.isfinite(c.redshift) else 1.0 for c in cutouts]
    columns = {
        "sersic_n": [c.fit.sersic_n for c in cutouts],
        "q": [c.fit.q for c in cutouts],
        "wavelength": [c.wavelength / 1000 / s for c, s in zip(cutouts, stretch, strict=True)],
        "galaxy": [c.galaxy_id for c in cutouts],
    }
    return {"f": torch.cat(maps)[keep]} | {k: torch.tensor(v, dtype=torch.float64)[keep] for k, v in columns.items()}


def percentiles(values: Tensor) -> str:
    """16th, 50th and 84th percentile."""
    values = values[torch.isfinite(values)]
    return " / ".join(f"{v:.3g}" for v in np.percentile(values.numpy(), [16, 50, 84])) if len(values) else "-"


def correlations(f: Tensor, wavelength: Tensor, galaxy: Tensor) -> list[str]:
    """Median correlation of two bands of one galaxy, by the ratio of their wavelengths."""
    r = node_radii()
    weight = (r * (r + R0) * ((r > 0.3) & (r < 2.5)))[None, :, None].expand(1, *f.shape[1:])
    f = f - (f * weight).sum((1, 2), keepdim=True) / weight.sum()
    unit = (f * weight.sqrt()).flatten(1)
    unit = unit / unit.norm(dim=1, keepdim=True).clamp(min=1e-9)
    ratio, corr = wavelength[None] / wavelength[:, None], unit @ unit.T
    pairs = galaxy[None] == galaxy[:, None]
    out = []
    for low, high in ((1.02, 1.25), (1.25, 1.45), (1.45, 1.7), (1.7, 2.1), (2.1, 2.8), (2.8, 5.2)):
        here = corr[pairs & (ratio > low) & (ratio <= high)]
        out.append(f"{low}-{high}: {float(here.median()):.2f} ({len(here)})" if len(here) else f"{low}-{high}: -")
    return out


def report_maps(name: str, f: Tensor) -> None:
    """Strength by radius, and what the measures of structure say, of discs seen face on."""
    around = (f - f.mean(2, keepdim=True)).square().mean(2).sqrt()
    radii = [int((node_radii() - r).abs().argmin()) for r in (0.4, 0.6, 0.85, 1.2, 1.6, 2.2)]
    for percent in (0.5, 0.84):
        row = " ".join(f"{float(around[:, i].quantile(percent)):.2f}" for i in radii)
        print(f"{name}: rms around the circle at r = .4 .6 .85 1.2 1.6 2.2, {percent:.0%}: {row}")
    m, _, _ = strongest_mode(f)
    shares = " ".join(f"{float((m == k).float().mean()):.2f}" for k in (1, 2, 3, 4))
    print(f"{name}: pitch {percentiles(measured_pitch(f))}; strongest m = 1-4: {shares}", end="; ")
    print(f"A2 {percentiles(bar_strength(f))}")


def report_simulated(count: int = 1500) -> None:
    """Asked for against measured."""
    n, q = torch.full((count,), 1.0), 0.5 + 0.45 * torch.rand(count)
    for z in (0.1, 1.0, 2.0, 3.4):
        p = draw_parameters(n, q, torch.full((count,), z))
        f = without_sersic(shade(build_components(p), torch.full((count,), 0.6)), n)
        barred, spiral, strength = p.barred > 0, p.spiral > 0, bar_strength(f)
        regular = spiral & (p.clumpy == 0) & (p.flocculent == 0) & (p.arm_share > 0.05)
        print(f"z = {z}: discs {float(p.disc.mean()):.2f}, spiral {float(p.spiral.mean()):.2f}, barred asked", end=" ")
        print(f"{float(barred_share(torch.tensor([z]))):.2f} drawn {float(p.barred.mean()):.2f}", end=" ")
        print(f"A2 > .2: {float((strength > 0.2).float().mean()):.2f}", end=", ")
        print(f"irregular {float(p.irregular.mean()):.2f}, clumpy {float(p.clumpy.mean()):.2f}")
        print(f"  pitch drawn {percentiles(torch.rad2deg(p.pitch[spiral, 0]))}", end=" ")
        print(f"measured, regular spirals {percentiles(measured_pitch(f[regular]))}", end="; ")
        print(f"arm share {percentiles(p.arm_share[spiral])}, bar share {percentiles(p.bar_share[barred])}", end="; ")
        print(f"bar length {percentiles(p.bar_length[barred])}")
        print(f"  A2 barred {percentiles(strength[barred])}, unbarred {percentiles(strength[~barred])}")
        report_maps("  simulated", f)


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--cutouts", type=Path, nargs="*", default=[], help="files of cutouts with fits")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    parts = [picture(simulated())]
    report_simulated()
    bands = torch.tensor([0.3, 0.36, 0.45, 0.6, 0.8, 1.1, 1.5])
    n, q = torch.full((200,), 1.0), 0.5 + 0.45 * torch.rand(200)
    f = simulate_structure(n, q, torch.full((200,), 1.5), bands.expand(200, -1)).flatten(0, 1)
    print("simulated: correlation by ratio:", *correlations(f, bands.repeat(200), torch.arange(1400) // 7), sep="  ")
    for path in arguments.cutouts:
        real = reconstructed(path)
        show = torch.randperm(len(real["f"]))[: 3 * ACROSS]
        parts.append(picture(sky(real["f"][show], real["sersic_n"][show].float(), real["q"][show].float())))
        discs = (real["sersic_n"] < 2) & (real["q"] > 0.5)
        report_maps(path.stem, real["f"][discs])
        disc = real["sersic_n"] < 2.3
        found = correlations(real["f"][disc], real["wavelength"][disc], real["galaxy"][disc])
        print(f"{path.stem}: correlation by ratio:", *found, sep="  ")
    Image.fromarray(np.uint8(255 * np.concatenate(parts))).save(arguments.picture)
    print(f"wrote {arguments.picture}")


if __name__ == "__main__":
    main()
