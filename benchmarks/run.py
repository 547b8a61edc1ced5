"""Galaxies a second on one core: decoding, drawing, and GalSim, side by side in one run.

    python benchmarks/run.py [--json FILE] [--repeats 7] [--batch 64] [--model cosmos]

64 x 64 stamps of 0.1 arcsec pixels through a Euclid-like PSF. Each row is one function that handles the same
batch of galaxies (half-light radius about 0.3 arcsec, Sersic index about 1.3). Times are processor time, all
threads together; the rows take turns and the best time of each counts, so that other work on the machine
disturbs little. A row that cannot run says why and is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import galsim
import numpy as np
import torch
from galaxies import GRID_SCALE, GRID_SIZE, PSFS, smooth_residual

from skyloom import Conditions, ProfileBatch, draw, load_model
from skyloom.errors import SkyloomError
from skyloom.frames import profile_jacobian
from skyloom.profiles import Generator

STAMP_SIZE = 64
PSF, PIXEL_SCALE = PSFS["euclid"]


@dataclass(frozen=True)
class Setting:
    """What every row shares."""

    conditions: Conditions
    profiles: ProfileBatch
    generator: Generator | None


Row = Callable[[Setting], Callable[[], object]]
"""Prepares outside the clock and returns what is timed: a call that handles the whole batch."""


def decode(setting: Setting) -> Callable[[], object]:
    """Latents and decoder: conditions to profiles."""
    generator = _needed(setting)
    return lambda: generator.sample(setting.conditions, seed=1, out_of_range="clip")


def batched_draw(setting: Setting) -> Callable[[], object]:
    """Profiles to stamps."""
    return lambda: draw(setting.profiles, PSF, pixel_scale=PIXEL_SCALE, stamp_size=STAMP_SIZE)


def decode_and_draw(setting: Setting) -> Callable[[], object]:
    """Conditions to stamps."""
    generator = _needed(setting)

    def both() -> object:
        profiles = generator.sample(setting.conditions, seed=1, out_of_range="clip")
        return draw(profiles, PSF, pixel_scale=PIXEL_SCALE, stamp_size=STAMP_SIZE)

    return both


def galsim_interpolated(setting: Setting) -> Callable[[], object]:
    """A ready image of each galaxy, 64 x 64 of 0.05 arcsec, as GalSim interpolates and draws it."""
    images = draw(setting.profiles, galsim.Gaussian(fwhm=0.05), pixel_scale=0.05, stamp_size=STAMP_SIZE, pixel=False)

    def every() -> None:
        for image in images:
            _galsim_draw(galsim.InterpolatedImage(galsim.Image(image, scale=0.05)))

    return every


def galsim_transformed(setting: Setting) -> Callable[[], object]:
    """The same in the canonical frame, 96 x 96 of 9/96 half-light radii, and the map to the sky: as general as ours."""
    profiles = setting.profiles
    face_on = replace(profiles, jacobian=np.broadcast_to(np.eye(2), (len(profiles), 2, 2)).copy())
    blur = galsim.Gaussian(fwhm=GRID_SCALE)
    images = draw(face_on, blur, pixel_scale=GRID_SCALE, stamp_size=GRID_SIZE, pixel=False)

    def every() -> None:
        for image, jacobian in zip(images, profiles.jacobian, strict=True):
            flat = galsim.InterpolatedImage(galsim.Image(image, scale=GRID_SCALE))
            _galsim_draw(galsim.Transform(flat, jac=jacobian.ravel().tolist()))

    return every


def galsim_sersic(setting: Setting) -> Callable[[], object]:
    """The parametric galaxies, whose index takes continuous values: GalSim makes a table for each."""
    c, shift = setting.conditions, np.zeros(len(setting.conditions))

    def every() -> None:
        shift[:] += 1e-6  # a new n each time, or GalSim's own cache answers
        for n, size, q, beta in zip(c.sersic_n + shift, c.half_light_radius, c.q, c.beta, strict=True):
            profile = galsim.Sersic(n, half_light_radius=size)
            _galsim_draw(profile.shear(q=q, beta=beta * galsim.radians))

    return every


def galsim_learned(setting: Setting) -> Callable[[], object]:
    """The same profiles one by one, as `skyloom.LearnedGalaxy` through GalSim."""
    return lambda: [_galsim_draw(galaxy) for galaxy in setting.profiles]


ROWS: dict[str, Row] = {
    "decode": decode,
    "batched draw": batched_draw,
    "decode + batched draw": decode_and_draw,
    "GalSim InterpolatedImage + PSF": galsim_interpolated,
    "GalSim InterpolatedImage, mapped, + PSF": galsim_transformed,
    "GalSim Sersic, continuous n, + PSF": galsim_sersic,
    "LearnedGalaxy + PSF through GalSim": galsim_learned,
}
BASELINES = {
    "plain": "GalSim InterpolatedImage + PSF",
    "mapped": "GalSim InterpolatedImage, mapped, + PSF",
}
"""What ratios are taken to: a ready, upright image of 64 x 64 pixels, and the same content as a learned profile."""


def _needed(setting: Setting) -> Generator:
    if setting.generator is None:
        raise SkyloomError("no model")
    return setting.generator


def _galsim_draw(profile: galsim.GSObject) -> galsim.Image:
    return galsim.Convolve(profile, PSF).drawImage(nx=STAMP_SIZE, ny=STAMP_SIZE, scale=PIXEL_SCALE)


def make_setting(batch: int, model: str) -> Setting:
    """Conditions, a generator where there is one, and its profiles or else random smooth ones."""
    rng = np.random.default_rng(1)
    conditions = Conditions(
        flux=rng.uniform(1e3, 1e5, batch),
        half_light_radius=np.clip(0.3 * np.exp(0.4 * rng.normal(size=batch)), 0.1, 1.0),
        sersic_n=np.clip(1.3 * np.exp(0.4 * rng.normal(size=batch)), 0.5, 5.0),
        q=rng.uniform(0.3, 1, batch), beta=rng.uniform(0, np.pi, batch),
        wavelength=np.full(batch, 700.0), redshift=rng.uniform(0.3, 1, batch),
    )  # fmt: skip
    generator: Generator | None = None
    try:
        generator = load_model(model)
        profiles = generator.sample(conditions, seed=1, out_of_range="clip")
    except SkyloomError as error:
        print(f"no decoding: {error}", file=sys.stderr)
        c = conditions
        profiles = ProfileBatch(
            galaxy_id=c.galaxy_id, sersic_n=c.sersic_n, flux=c.flux, half_light_radius=c.half_light_radius,
            q=c.q, beta=c.beta, jacobian=profile_jacobian(c.half_light_radius, c.q, c.beta),
            residual=np.array([smooth_residual(n, rng) for n in c.sersic_n]), grid_scale=GRID_SCALE,
        )  # fmt: skip
    return Setting(conditions, profiles, generator)


def measure(setting: Setting, repeats: int) -> dict[str, float]:
    """Best time of each row that runs, ms a galaxy."""
    timed: dict[str, Callable[[], object]] = {}
    for name, row in ROWS.items():
        try:
            timed[name] = row(setting)
            timed[name]()  # first calls make tables and plans
        except SkyloomError as error:
            timed.pop(name, None)
            print(f"{name}: left out, {error}", file=sys.stderr)
    best = dict.fromkeys(timed, float("inf"))
    for _ in range(repeats):
        for name, call in timed.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], 1e3 * (time.process_time() - start) / len(setting.conditions))
    return best


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--model", default="cosmos", help="name or path")
    options = parser.parse_args()
    torch.set_num_threads(1)
    best = measure(make_setting(options.batch, options.model), options.repeats)
    base = {key: best[name] for key, name in BASELINES.items()}
    print(f"| batch of {options.batch}, one core | ms a galaxy | galaxies a second | times plain | times mapped |")
    print("|---|---|---|---|---|")
    for name, value in best.items():
        ratios = " | ".join(f"{time_ / value:.1f}" for time_ in base.values())
        print(f"| {name} | {value:.3f} | {1e3 / value:.0f} | {ratios} |")
    print("plain, mapped: " + "; ".join(BASELINES.values()))
    if options.json:
        rows = {
            name: {"ms_per_galaxy": value, "per_second": 1e3 / value, "times": {k: b / value for k, b in base.items()}}
            for name, value in best.items()
        }
        options.json.write_text(json.dumps({"batch": options.batch, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
