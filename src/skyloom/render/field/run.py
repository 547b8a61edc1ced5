"""`render_field`: a catalogue's way to an image, stage by stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import galsim
import numpy as np
from numpy.typing import ArrayLike

from skyloom.errors import BadInputError
from skyloom.manager import call_observers
from skyloom.physics.sized_stamps import check_device
from skyloom.profiles import OutOfRange
from skyloom.render.field.filling import Galaxies, fill_image
from skyloom.render.field.keeping import keep_stamps
from skyloom.render.field.objects import read_objects
from skyloom.render.field.observing import image_size, image_wcs, observe, tile_label
from skyloom.render.field.origin import origin_of, psf_label
from skyloom.render.field.painting import MAX_STAMP_SIZE, View
from skyloom.render.field.places import find_places, on_sky
from skyloom.render.field.psf_cells import PsfCells
from skyloom.render.field.result import Field
from skyloom.render.field.sky import add_sky
from skyloom.render.field.stages import PsfChoice, ask_noise, stage
from skyloom.rng import check_seed, galaxy_rng

if TYPE_CHECKING:
    from astropy.table import Table

    from skyloom.conditions import Conditions
    from skyloom.populations import Catalogue
    from skyloom.surveys import ObservingConditions

__all__ = ["render_field"]


def render_field(
    catalogue: Conditions | Catalogue | Table | str | os.PathLike[str],
    *,
    size: int | tuple[int, int],
    seed: int,
    survey: str | ObservingConditions | None = None,
    model: str | Mapping[str, str] = "cosmos",
    out_of_range: OutOfRange = "error",
    population: Mapping[str, Any] | None = None,
    area: float | None = None,
    kind: ArrayLike | None = None,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    ra: ArrayLike | None = None,
    dec: ArrayLike | None = None,
    wcs: Any = None,
    g1: ArrayLike | None = None,
    g2: ArrayLike | None = None,
    mu: ArrayLike | None = None,
    psf: PsfChoice | None = None,
    psf_cell: int = 1024,
    noise: str = "ccd",
    noise_parameters: Mapping[str, float] | None = None,
    subtract_sky: bool = False,
    exposure: int = 0,
    pixel_scale: float | None = None,
    zero_point: float | None = None,
    exptime: float | None = None,
    sky_level: float | None = None,
    gain: float | None = None,
    read_noise: float | None = None,
    wavelength: float | None = None,
    stamp_size: int | None = None,
    batch_size: int = 512,
    device: str = "cpu",
    stamps: str | os.PathLike[str] | None = None,
    stamp_threshold: float = 1.0,
) -> Field:
    """Make the image of a field: profiles, lensing, PSF, pixels, sky and noise, each through its hook.

    The image depends on what is asked for alone: not on `batch_size`, nor on the order of the rows.

    Parameters
    ----------
    catalogue : Conditions, Catalogue, table, path or str
        What there is: conditions, what `skyloom.read_catalogue` gives or reads, a table with the same columns, or the
        name of a population. Magnitudes stay, and become electrons by the image's zero point; where there are only
        fluxes, they are electrons over this exposure.
    size : int or (int, int)
        Pixels, along x and y.
    seed : int
        Of galaxies, places, populations and noise.
    survey : str or ObservingConditions, optional
        Gives PSF, pixel scale, zero point, exposure, sky, gain, read noise and wavelength; each may be given by
        itself. Without one: `psf`, `pixel_scale` or `wcs`, an exposure of 1 s, gain 1, no sky, no read noise.
    model : str or mapping
        Generator, by name or path of its weights; or one for each kind.
    out_of_range : {'error', 'clip', 'parametric'}
        What to do with galaxies outside the generator's ranges.
    population : mapping, optional
        Options of the population, e.g. ``{"mag": (18, 24)}``.
    area : float, optional
        Square degrees whose galaxies a population gives; the image's by default.
    kind : array_like of str, optional
        Class of the objects, one or one each: ``galaxy`` by default, ``star`` for points. Profiles are requested
        kind by kind.
    x, y : array_like, optional
        Pixels, the first is 1. They replace the catalogue's, as do the next.
    ra, dec : array_like, optional
        Degrees; where `wcs` is of the sky they count, and `x`, `y` do not. Objects without places are spread
        uniformly over the image.
    wcs : galsim.BaseWCS or astropy.wcs.WCS, optional
        In place of `pixel_scale`. Angles and shears are those of its world coordinates (u, v).
    g1, g2, mu : array_like, optional
        Reduced shear and magnification. Stars are not lensed.
    psf : str, galsim.GSObject or callable (x, y, wavelength) -> galsim.GSObject, optional
        A name of a survey's or a plugin's, in place of the survey's; a GSObject is the same everywhere.
    psf_cell : int
        A PSF by name or function is asked for once a square of so many pixels, at its middle.
    noise : str
        ``ccd``, ``gaussian``, ``none``, or a plugin's.
    noise_parameters : mapping, optional
        Numbers for it, beside ``gain``, ``read_noise``, ``exptime`` and ``sky`` (e-/pixel).
    subtract_sky : bool
        Take the expected sky out of the image afterwards.
    exposure : int
        Another number is another noise, and nothing else. Images of another projection, size or pixel scale have
        noise of their own without it.
    pixel_scale : float, optional
        arcsec, 1e-4 to 100.
    zero_point : float, optional
        AB magnitude of one electron a SECOND.
    exptime : float, optional
        s.
    sky_level : float, optional
        ADU/arcsec^2.
    gain : float, optional
        e-/ADU.
    read_noise : float, optional
        e-.
    wavelength : float, optional
        nm, observed; an image has one.
    stamp_size : int, optional
        Pixels, of every galaxy; by default each has the size that GalSim would choose.
    batch_size : int
        Objects in memory at a time.
    device : str
        Torch's, for drawing.
    stamps : path, optional
        An HDF5 file for every object by itself, without noise, its PSF, and a segmentation: see
        `skyloom.read_stamps`. It appears when the field is whole.
    stamp_threshold : float
        Of the segmentation, in units of the noise of sky and read-out: a pixel belongs to the object that is
        brightest in it, where that is above.

    Returns
    -------
    Field

    Raises
    ------
    BadInputError
        For anything given that cannot be; names row, galaxy and value.
    PluginError
        When a plugin fails or gives what cannot be.
    RenderError
        For a galaxy that cannot be drawn.

    Examples
    --------
    >>> field = skyloom.render_field("cosmos", size=1024, seed=1, survey="euclid_vis", out_of_range="parametric")
    >>> field.write("field.fits")
    """
    with stage("observing"):
        check_seed(seed)
        _check(stamp_size, batch_size, psf_cell, exposure, device)
        if not 0 <= stamp_threshold < np.inf:
            raise BadInputError(f"stamp_threshold must be a number from 0, not {stamp_threshold!r}")
        nxy, projection = image_size(size), image_wcs(wcs)
        given = {
            "pixel_scale": pixel_scale, "zero_point": zero_point, "exptime": exptime, "sky_level": sky_level,
            "gain": gain, "read_noise": read_noise, "wavelength": wavelength,
        }  # fmt: skip
        observing, found = observe(survey, projection, given, nxy)
        if projection is None:
            projection = galsim.PixelScale(observing.pixel_scale)
        choice = _choose_psf(psf, survey, found)
    with stage("catalogue"):
        columns = {"x": x, "y": y, "ra": ra, "dec": dec, "g1": g1, "g2": g2, "mu": mu}
        degrees = nxy[0] * nxy[1] * (observing.pixel_scale / 3600) ** 2 if area is None else area
        objects = read_objects(
            catalogue, columns, kind, observing, seed=seed, area=degrees, population=population or {}
        )  # fmt: skip
        places = find_places(objects, projection, nxy, seed)
    view = View(projection, nxy, PsfCells(choice, observing.wavelength, psf_cell, nxy), stamp_size, device)
    image = np.zeros((nxy[1], nxy[0]), dtype=np.float32)
    galaxies = Galaxies(objects, places, observing.pixel_scale, model, seed, out_of_range)
    with keep_stamps(None if stamps is None else Path(stamps), view, observing.gain) as keep:
        filled = fill_image(image, galaxies, view, batch_size, keep)
        add_sky(image, projection, observing.sky_level * observing.gain)
        numbers = {
            **(noise_parameters or {}), "gain": observing.gain, "read_noise": observing.read_noise,
            "exptime": observing.exptime, "sky": observing.sky_electrons,
        }  # fmt: skip
        tile = tile_label(projection, nxy, observing.pixel_scale)
        rng = galaxy_rng(seed, exposure, f"noise of a field {observing.name} {observing.wavelength} {tile}")
        image, noise_by = ask_noise(image, noise, numbers, rng)
        if subtract_sky:
            add_sky(image, projection, -observing.sky_level)
        sky_places = dict(zip(("ra", "dec"), on_sky(projection, places), strict=True))
        truth = filled.truth.table(
            objects, {"x": places[0], "y": places[1], **sky_places, **galaxies.lensing()},
            out_of_range=out_of_range, seed=seed,
        )  # fmt: skip
        provenance = origin_of(
            galaxies, observing, projection, nxy, filled, view.psfs,
            exposure=exposure, noise=noise, noise_by=noise_by, numbers=numbers, psf=psf_label(choice),
            psf_cell=psf_cell, stamp_size=stamp_size, subtract_sky=subtract_sky,
        )  # fmt: skip
        if keep is not None:
            keep.finish(observing, stamp_threshold, provenance["config_sha256"])
        with stage("after_image"):
            image.flags.writeable = False  # who is told of it does not change it
            call_observers("skyloom_after_image", image=image, truth=truth, provenance=provenance)
            image.flags.writeable = True
    return Field(image, truth, provenance, projection, observing)


def _choose_psf(psf: Any, survey: Any, found: ObservingConditions | None) -> PsfChoice:
    """What the PSF is asked from: what the caller says, or the survey."""
    if psf is None:
        if found is None:
            raise BadInputError("give psf, or a survey that has one")
        return survey if isinstance(survey, str) else found.psf
    if not isinstance(psf, (str, galsim.GSObject)) and not callable(psf):
        raise BadInputError(f"psf is a name, a galsim.GSObject or a function (x, y, wavelength), not {psf!r:.60}")
    return psf


def _check(stamp_size: Any, batch_size: Any, psf_cell: Any, exposure: Any, device: str) -> None:
    whole = {
        "batch_size": (batch_size, 1, 2**31), "psf_cell": (psf_cell, 1, 2**31), "exposure": (exposure, 0, 2**62),
        **({} if stamp_size is None else {"stamp_size": (stamp_size, 1, MAX_STAMP_SIZE)}),
    }  # fmt: skip
    for name, (value, low, high) in whole.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
            raise BadInputError(f"{name} must be a whole number within {low} and {high}, not {value!r:.60}")
    check_device(device)
