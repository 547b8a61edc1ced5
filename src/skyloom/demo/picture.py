"""The demo's picture: the field, and its finest galaxies as drawn beside how the survey sees them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.conditions import Conditions
from skyloom.generators.registry import load_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "TEXT", "asinh_stretch", "choose_galaxies", "draw_picture"]

Image = NDArray[np.float64]
COLOURS: tuple[str, ...] = ("#04050a", "#141c2e", "#3d5270", "#8f9aa6", "#d9cfc0", "#fffaf0")
"""Of the sky, from black to the brightest."""

TEXT = "#c8ccd4"
_GROUND = "#04050a"
_FINE = 4  # pixels of the noise-free drawing along a pixel of the field


def asinh_stretch(image: Image, sigma: float, top: float, knee: float) -> Image:
    """Scale an image to [0, 1]: linear up to `knee`, logarithmic on to `top` (Lupton et al. 2004).

    Parameters
    ----------
    image : ndarray
        Sky subtracted.
    sigma, top, knee : float
        In the image's unit; two `sigma` below the sky come out black, `top` white.
    """
    low, high = np.arcsinh(-2 * sigma / knee), np.arcsinh(top / knee)
    return np.asarray(np.clip((np.arcsinh(np.asarray(image, dtype=np.float64) / knee) - low) / (high - low), 0, 1))


def choose_galaxies(truth: Table, size: int, pixel_scale: float, number: int) -> NDArray[np.int64]:
    """Rows of the galaxies that show most, best first: bright, large, round enough, whole and apart.

    Parameters
    ----------
    truth : astropy.table.Table
        With x, y, mag, half_light_radius, q.
    size : int
        Pixels along a side of the field.
    pixel_scale : float
        Arcsec.
    number : int
        How many; fewer where there are not enough.
    """
    x, y, radius = truth["x"], truth["y"], np.asarray(truth["half_light_radius"]) / pixel_scale
    # Area at fixed surface brightness counts: the number of resolved, well measured pieces.
    score = -0.4 * np.asarray(truth["mag"]) + 1.2 * np.log10(radius) + 0.5 * np.log10(truth["q"])
    chosen: list[int] = []
    for row in np.argsort(-score, kind="stable"):
        edge = min(x[row], y[row], size - x[row], size - y[row])
        near = [np.hypot(x[row] - x[r], y[row] - y[r]) < 2 * radius[r] for r in chosen]
        if edge > 3.2 * radius[row] and not any(near) and len(chosen) < number:
            chosen.append(int(row))
    return np.array(chosen, dtype=np.int64)


def draw_picture(
    image: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    picture: str | os.PathLike[str],
    *,
    model: str,
) -> fits.Header:
    """Write the PNG `picture` of a rendered field.

    Parameters
    ----------
    image, truth : path
        As the demo's configuration writes them.
    picture : path
        To write.
    model : str
        The generator of the field.

    Returns
    -------
    astropy.io.fits.Header
        The image's.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    with fits.open(image) as hdus:
        field, header = hdus[0].data.astype(np.float64), hdus[0].header
    table, scale = Table.read(truth), float(header["GS_SCALE"])
    rows = choose_galaxies(table, len(field), scale, 10)
    sigma = 1.4826 * float(np.median(np.abs(field - np.median(field))))
    colours = LinearSegmentedColormap.from_list("night", COLOURS)

    wide, high, side = 17.3, 10.2, 9.5  # inches: the figure, the field
    figure = Figure(figsize=(wide, high), facecolor=_GROUND)
    axes = figure.add_axes((0.15 / wide, 0.35 / high, side / wide, side / high))
    show: dict[str, Any] = {"origin": "lower", "cmap": colours, "vmin": 0, "vmax": 1}
    axes.imshow(asinh_stretch(field, sigma, 250 * sigma, 4 * sigma), interpolation="none", **show)
    _bare(axes)
    _scale_bar(axes, len(field), 20 / scale, '20"')
    left, right = (side + 0.3) / wide, 1 - 0.15 / wide
    grid = figure.add_gridspec(
        5, 4, left=left, right=right, bottom=0.35 / high, top=(side + 0.05) / high, wspace=0.03, hspace=0.03
    )
    for place, row in enumerate(rows):
        half = int(np.ceil(3.0 * table["half_light_radius"][row] / scale))
        x, y = round(table["x"][row]), round(table["y"][row])
        seen = field[y - 1 - half : y + half, x - 1 - half : x + half]
        drawn = _fine_drawing(table[row : row + 1], header, model, 2 * half + 1, scale)
        top = max(float(np.percentile(drawn, 99.7)), 20 * sigma)
        for column, (stamp, name) in enumerate([(drawn, "as drawn"), (seen, "as observed")]):
            box = figure.add_subplot(grid[place // 2, 2 * (place % 2) + column])
            box.imshow(asinh_stretch(stamp, sigma, top, top / 12), interpolation="nearest", **show)
            _bare(box)
            if place < 2:
                box.set_title(name, color=TEXT, fontsize=12, pad=5)
        magnitude = f"{table['mag'][row]:.1f} mag"
        box.text(0.96, 0.04, magnitude, color=TEXT, fontsize=9, ha="right", transform=box.transAxes)
        corner = (x - 1 - half, y - 1 - half)
        axes.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, edgecolor="#8fb4d8", lw=0.6, alpha=0.7))
    weights = f", weights {header['WEIGHTS'][:12]}" if header["WEIGHTS"] else ""
    title = f"Euclid-like field of {len(table)} galaxies by the model “{header['MODEL']}”{weights}"
    caption = "as drawn: no PSF, no pixel, no noise; as observed: cut from the field"
    figure.text(0.15 / wide, (side + 0.43) / high, title, color=TEXT, fontsize=13, va="bottom")
    figure.text(left, 0.1 / high, caption, color=TEXT, fontsize=9.5)
    figure.savefig(picture, dpi=100, facecolor=_GROUND)
    return header


def _fine_drawing(row: Table, header: fits.Header, model: str, size: int, scale: float) -> Image:
    """Draw the galaxy of a truth table's row once more, without PSF and noise, in field pixels of flux."""
    wavelength = header.get("WAVELEN")
    conditions = Conditions.from_table(
        row["galaxy_id", "mag", "half_light_radius", "sersic_n", "q", "beta", "redshift"],
        zero_point=header["ZEROPNT"],
        **({} if wavelength is None else {"wavelength": wavelength}),
    )
    batch = load_model(model).sample(conditions, seed=int(header["GALSEED"]), out_of_range=header["OUTRANGE"])
    offset: Any = ((row["x"][0] - round(row["x"][0])) * _FINE, (row["y"][0] - round(row["y"][0])) * _FINE)
    pixels = size * _FINE
    stamp = batch[0].drawImage(nx=pixels, ny=pixels, scale=scale / _FINE, method="no_pixel", offset=offset)
    return np.asarray(stamp.array, dtype=np.float64) * _FINE**2


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#2a3446")


def _scale_bar(axes: Axes, size: int, length: float, text: str) -> None:
    left = bottom = 0.03 * size
    axes.plot([left, left + length], [bottom, bottom], color=TEXT, lw=1.6)
    axes.text(left + length / 2, bottom + 0.008 * size, text, color=TEXT, fontsize=10, ha="center")
