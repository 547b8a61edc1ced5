"""One galaxy as a cutout was seen, without noise, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyloom.errors import RenderError, SkyloomError
from skyloom.frames import profile_jacobian
from skyloom.galaxy import LearnedGalaxy
from skyloom.stamps import Cutout, SersicFit
from skyloom.validate.sample import SERSIC_N, name_of

__all__ = ["MAX_FFT", "draw_through", "known_fit", "psf_fwhm", "psf_of", "seen_through", "sersic_galaxy"]

MAX_FFT = 1024
"""Side of the largest Fourier grid left to GalSim, which holds some 40 bytes a point.

The grid grows with the wings of the galaxy, not with the stamp: a fit that ran away to n = 6.2 and 10 arcsec asks for
30,000 x 30,000 points, 15 GB. `skyloom.draw` takes the light of its periodic copies off instead, so that its grids stay
below 4095 x 2048; the two agree to about 1e-6 of the peak but for the rim of a PSF that its image cuts off.
"""


def known_fit(cutout: Cutout) -> SersicFit:
    """The cutout's fit.

    Raises
    ------
    SkyloomError
        When it has none.
    """
    if cutout.fit is None:
        raise SkyloomError(f"cutout {name_of(cutout)} has no Sersic fit to take conditions from")
    return cutout.fit


def sersic_galaxy(fit: SersicFit) -> LearnedGalaxy:
    """The galaxy of a fit at the stamp's true centre, without its offset."""
    shape = (np.array([v]) for v in (fit.half_light_radius, fit.q, fit.beta))
    return LearnedGalaxy(
        sersic_n=min(max(fit.sersic_n, SERSIC_N[0]), SERSIC_N[1]),
        flux=fit.flux,
        jacobian=profile_jacobian(*shape)[0],
        half_light_radius=fit.half_light_radius,
        q=fit.q,
        beta=fit.beta,
    )


def psf_of(cutout: Cutout) -> galsim.InterpolatedImage:
    """The cutout's effective PSF, of flux 1."""
    image = galsim.Image(np.asarray(cutout.psf, dtype=np.float64), scale=cutout.pixel_scale)
    return galsim.InterpolatedImage(image, flux=1.0)


def psf_fwhm(cutout: Cutout) -> float:
    """Full width at half maximum of the cutout's effective PSF, arcsec; NaN for one without a peak."""
    psf = np.asarray(cutout.psf, dtype=np.float64)
    if not (psf.size and np.isfinite(psf).all() and psf.max() > 0):
        return float("nan")
    return float(galsim.Image(psf, scale=cutout.pixel_scale).calculateFWHM())


def draw_through(galaxy: galsim.GSObject, cutout: Cutout, *, shifted: bool = True) -> NDArray[np.float64]:
    """Draw a galaxy as `cutout` was seen, without noise: its effective PSF (pixel included), offset and sky.

    Parameters
    ----------
    galaxy : galsim.GSObject
        Centred; flux in the cutout's units.
    cutout : Cutout
        With a fit, which gives the offset and the constant sky.
    shifted : bool
        Whether to move the galaxy to the fitted centre; False for one that is there already.

    Returns
    -------
    ndarray of float64, shape (S, S)

    Raises
    ------
    SkyloomError
        For a galaxy that needs too large a Fourier grid, or a cutout without a fit.
    """
    fit = known_fit(cutout)
    return seen_through(galaxy, cutout, shift=(fit.dx, fit.dy) if shifted else (0.0, 0.0)) + fit.sky


def seen_through(
    galaxy: galsim.GSObject,
    cutout: Cutout,
    *,
    matrix: ArrayLike = ((1.0, 0.0), (0.0, 1.0)),
    shift: tuple[float, float] = (0.0, 0.0),
    psf: galsim.GSObject | None = None,
) -> NDArray[np.float64]:
    """Draw a galaxy through a cutout's PSF onto its pixels, without sky.

    Parameters
    ----------
    galaxy : galsim.GSObject
    cutout : Cutout
    matrix : array_like, shape (2, 2)
        Area-preserving map of the sky onto itself, before the shift: a shear, a rotation.
    shift : (float, float)
        Arcsec.
    psf : galsim.GSObject, optional
        That of the cutout, where it is at hand already.

    Returns
    -------
    ndarray of float64, shape (S, S)

    Raises
    ------
    RenderError
        For a galaxy that needs too large a Fourier grid.
    """
    psf = psf_of(cutout) if psf is None else psf
    jacobian = np.asarray(matrix, dtype=np.float64)
    placed = galaxy.transform(*jacobian.ravel()).shift(*shift)
    seen = galsim.Convolve(placed, psf)
    height, width = cutout.image.shape
    side = max(2 * seen.maxk, 2 * np.pi / cutout.pixel_scale) / seen.stepk  # of the grid that GalSim would take
    if side <= MAX_FFT:
        image = seen.drawImage(nx=width, ny=height, scale=cutout.pixel_scale, method="no_pixel", dtype=np.float64)
        return np.asarray(image.array)
    if not isinstance(galaxy, LearnedGalaxy) or height != width:
        raise RenderError(
            f"a galaxy as wide as this, in the stamp of {name_of(cutout)}, needs a Fourier grid of "
            f"{side:.0f} x {side:.0f} points, more than {MAX_FFT} x {MAX_FFT}"
        )
    from skyloom.physics.draw import draw  # imports torch: few galaxies need it, and a worker may meet none

    light = _Light.of(galaxy, jacobian, np.asarray(shift, dtype=np.float64))
    return draw(light, psf, pixel_scale=cutout.pixel_scale, stamp_size=width, pixel=False)[0].astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Light:
    """One galaxy as `skyloom.draw` reads it."""

    sersic_n: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    offset: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    residual: NDArray[np.float32] | None
    grid_scale: float

    @classmethod
    def of(cls, galaxy: LearnedGalaxy, matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> _Light:
        residual = galaxy.residual
        share = 1.0 if residual is None else 1 + float(residual.sum(dtype=np.float64)) * galaxy.grid_scale**2
        return cls(
            sersic_n=np.array([galaxy.sersic_n], dtype=np.float64),
            jacobian=(matrix @ np.asarray(galaxy.jacobian, dtype=np.float64))[None],
            offset=(matrix @ np.array([galaxy.offset.x, galaxy.offset.y]) + shift)[None],
            amplitude=np.array([galaxy.flux / share]),
            residual=None if residual is None else np.asarray(residual, dtype=np.float32)[None],
            grid_scale=galaxy.grid_scale,
        )
