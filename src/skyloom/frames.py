"""The canonical frame, and the affine map that takes it to the sky.

In the canonical frame a galaxy is a face-on disc: a circular Sersic of half-light radius 1 about the origin.
The sky position of a canonical point x is ``J x + offset`` with a 2x2 matrix J in arcsec. J stretches by
(1/sqrt(q), sqrt(q)), turns by beta and scales by the circularised half-light radius, as
`galsim.GSObject.shear` does (area kept).

A circular profile leaves the turn of the canonical grid free. We turn it by the angle for which J is lower
triangular (an LQ decomposition): the discrete Fourier transform of the grid onto an output k grid is then
separable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["axis_angle", "grid_angle", "profile_jacobian"]


def axis_angle(beta: ArrayLike) -> NDArray[np.float64]:
    """Position angles of a galaxy's axis in (-pi/2, pi/2]: beta and beta + pi are one ellipse.

    What is not an ellipse must know which end of the axis is which. No choice can be right for all angles: turned by
    pi, an ellipse is itself again and a lopsided galaxy is not. So there is a cut, at the y axis, where a galaxy turns
    over; angles within rounding of it count as +pi/2.

    Parameters
    ----------
    beta : array_like, shape (N,)
        Radians.

    Returns
    -------
    ndarray, shape (N,)
        Those within the interval unchanged to the last bit.
    """
    beta = np.asarray(beta, dtype=np.float64)
    return np.asarray(beta - np.pi * np.ceil(beta / np.pi - 0.5 - 1e-9))


def profile_jacobian(half_light_radius: ArrayLike, q: ArrayLike, beta: ArrayLike) -> NDArray[np.float64]:
    """Lower-triangular map from the canonical frame to the sky.

    Parameters
    ----------
    half_light_radius : array_like, shape (N,)
        Circularised, sqrt(ab), arcsec.
    q : array_like, shape (N,)
        Axis ratio b/a in (0, 1].
    beta : array_like, shape (N,)
        Position angle of the major axis from +x towards +y, radians.

    Returns
    -------
    ndarray, shape (N, 2, 2)
        Arcsec per canonical unit; ``J J^T`` equals that of ``R(beta) diag(1/sqrt(q), sqrt(q))
        half_light_radius``.
    """
    r, q, beta = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (half_light_radius, q, beta)))
    c, s = np.cos(beta), np.sin(beta)
    xx, xy = c * c / q + s * s * q, c * s * (1 / q - q)  # of J J^T at half-light radius 1
    out = np.zeros((*r.shape, 2, 2))
    out[..., 0, 0] = np.sqrt(xx)
    out[..., 1, 0] = xy / np.sqrt(xx)
    out[..., 1, 1] = 1.0 / np.sqrt(xx)  # the determinant is 1
    return out * r[..., None, None]


def grid_angle(q: ArrayLike, beta: ArrayLike) -> NDArray[np.float64]:
    """Angle in the canonical frame, from the grid's +x axis to the galaxy's major axis.

    With ``J`` of `profile_jacobian`, ``J (cos a, sin a)`` points along `beta` on the sky.

    Parameters
    ----------
    q, beta : array_like, shape (N,)
        As for `profile_jacobian`.

    Returns
    -------
    ndarray, shape (N,)
        Radians.
    """
    q, beta = np.broadcast_arrays(np.asarray(q, dtype=np.float64), np.asarray(beta, dtype=np.float64))
    jacobian = profile_jacobian(np.ones_like(q), q, beta)
    c, s = np.cos(beta), np.sin(beta)
    x = c / jacobian[..., 0, 0]
    y = (s - jacobian[..., 1, 0] * x) / jacobian[..., 1, 1]
    return np.asarray(np.arctan2(y, x))
