"""The model that is fitted: a Sersic through the stamp's PSF, and its derivatives, a batch at once.

Everything happens in k space, with the Fourier transform of the Sersic family from `skyloom.physics`, on the
wavenumbers that the PSF lets through: a well sampled PSF stops most. Distances are in pixels here. The shape
is a log shear (eta1, eta2): axis ratio ``q = exp(-|eta|)``, position angle ``atan2(eta2, eta1)/2``, the
half-light radius is kept. Unlike (q, beta) it has no edge and no undefined angle at the circle.
"""

from __future__ import annotations

import torch

from skyloom.cutouts.fit_instrument import Instrument
from skyloom.physics.tables import galaxy_rows, transform_table

__all__ = ["ALL", "DX", "DY", "ETA1", "ETA2", "LN_N", "LN_R", "model_images"]

DX, DY, LN_R, LN_N, ETA1, ETA2 = range(6)
"""Columns of the parameters: centre from the stamp's true centre, ln half-light radius, ln n, log shear."""

ALL = tuple(range(6))


def model_images(
    instrument: Instrument, p: torch.Tensor, *, jacobian: bool, columns: tuple[int, ...] = ALL
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stamps of Sersic profiles of flux 1.

    Parameters
    ----------
    instrument : Instrument
    p : Tensor, shape (B, 6)
        Columns `DX` ... `ETA2`, pixels.
    jacobian : bool
        Whether to give derivatives too.
    columns : tuple of int
        By which parameters.

    Returns
    -------
    image : Tensor, shape (B, S, S)
    derivatives : Tensor, shape (B, len(columns), S, S), or None
    """
    column = [c[:, None, None] for c in p.unbind(1)]
    # |k'|^2 with k' the wavevector in the frame where the galaxy is circular: J^T k, J J^T = r^2 exp(eta .
    # sigma)
    eta = torch.sqrt(column[ETA1] ** 2 + column[ETA2] ** 2 + 1e-12)
    cosh, sinhc = torch.cosh(eta), torch.sinh(eta) / eta
    square, plus, cross = instrument.square, instrument.plus, instrument.cross
    stretch = column[ETA1] * plus + column[ETA2] * cross
    form = torch.addcmul(cosh * square, sinhc, stretch).clamp_(min=1e-20)
    x0 = transform_table().x0
    scaled = form * (torch.exp(2 * column[LN_R]) / x0**2)  # (k / x0)^2
    found = _look_up(p[:, LN_N], torch.log1p(scaled), derivatives=jacobian)

    phase = torch.polar(torch.ones(()), -instrument.ky * column[DY]) * instrument.otf
    phase = phase * torch.polar(torch.ones(()), -instrument.kx * column[DX])
    waves = torch.empty(len(p), 1 + len(columns) if jacobian else 1, 2, *form.shape[1:])
    base_re, base_im = waves[:, 0].unbind(1)
    torch.mul(phase.real, found[0], out=base_re)
    torch.mul(phase.imag, found[0], out=base_im)
    if not jacobian:
        return instrument.stamps(waves)[:, 0], None

    by_ln_k = found[1] * (2 * scaled / (1 + scaled))
    common = by_ln_k * (0.5 / form)
    slope = (cosh - sinhc) / eta**2 * stretch
    for i, which in enumerate(columns, start=1):
        re, im = waves[:, i].unbind(1)
        if which in (DX, DY):
            k = instrument.kx if which == DX else instrument.ky
            torch.mul(base_im, k, out=re)
            torch.mul(base_re, -k, out=im)
            continue
        if which == LN_R:
            amplitude = by_ln_k
        elif which == LN_N:
            amplitude = found[2]
        else:
            axis = plus if which == ETA1 else cross
            amplitude = common * (sinhc * (column[which] * square + axis) + slope * column[which])
        torch.mul(phase.real, amplitude, out=re)
        torch.mul(phase.imag, amplitude, out=im)
    images = instrument.stamps(waves)
    return images[:, 0], images[:, 1:]


def _look_up(ln_n: torch.Tensor, t: torch.Tensor, derivatives: bool) -> tuple[torch.Tensor, ...]:
    """The transform at ``t = ln(1 + (k / x0)^2)``, shape (B, ...), and its derivatives by t and ln n.

    A step along the tangent from the nearest node: as good as a line between two, and one look-up for all.
    """
    table, step = transform_table(), 0.02
    n = torch.exp(ln_n)
    if derivatives:
        rows, high, low = galaxy_rows(table, torch.cat([n, n * (1 + step), n * (1 - step)])).chunk(3)
        by_t = torch.gradient(rows, dim=1)[0]
        nodes = torch.stack([rows, by_t, (high - low) / (2 * step), by_t], dim=2)
    else:
        rows = galaxy_rows(table, n)
        nodes = torch.stack([rows, torch.gradient(rows, dim=1)[0]], dim=2)
    size = rows.shape[1]
    position = (t / table.t_step).clamp_(max=size - 1).flatten(1)
    nearest = position.round()
    index = nearest.long() + size * torch.arange(len(n))[:, None]
    got = nodes.flatten(0, 1).index_select(0, index.flatten()).reshape(*t.shape, -1)
    by_step = got[..., 1]
    value = torch.addcmul(got[..., 0], by_step, (position - nearest).reshape(t.shape))
    return (value, by_step / table.t_step, got[..., 2]) if derivatives else (value,)
