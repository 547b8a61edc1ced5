"""Sampled structure holds nothing that a Sersic fit would take."""

import pytest
import torch

from skyloom.generators.cvae.frame import COLUMNS, R0, ROWS, node_radii, nodes
from skyloom.generators.cvae.orthogonal import orthogonal_to_sersic
from skyloom.physics.sersic import sersic_surface_brightness

N = torch.tensor([0.5, 1.0, 2.5, 4.0, 6.0])


def _changed(n, *, size=1.0, index=1.0, flux=1.0, shift=(0.0, 0.0), shear=0.0):
    """ln of a changed Sersic over the Sersic, on the nodes."""
    x = nodes().expand(len(n), -1, -1, -1) - torch.tensor(shift)
    x = x * torch.tensor([1 + shear, 1 - shear]) / size
    changed = flux * sersic_surface_brightness(index * n[:, None, None], x.norm(dim=-1))
    return torch.log(changed / sersic_surface_brightness(n[:, None, None], nodes().norm(dim=-1)))


def _weight():
    """Of rows, as in a fit; the correction sets in between 0.2 and 0.4."""
    r = node_radii()
    light = sersic_surface_brightness(N[:, None], r) / sersic_surface_brightness(N[:, None], torch.ones(1))
    return r * (r + R0) / (1 + light**-2) * ((r > 0.4) & (r < 3.5))


def _rms(f):
    weight = _weight()
    return ((weight * f.square().mean(2)).sum(1) / weight.sum(1)).sqrt()


@pytest.mark.parametrize(
    "change", [{"size": 1.05}, {"index": 1.05}, {"flux": 0.95}, {"shift": (0.03, -0.02)}, {"shear": 0.03}]
)
def test_another_sersic_is_taken_out_whole(change):
    f = _changed(N, **change)
    assert (_rms(orthogonal_to_sersic(f, N)) < 0.12 * _rms(f)).all()


def test_an_arm_stays():
    r, phi = nodes().norm(dim=-1), torch.atan2(nodes()[..., 1], nodes()[..., 0])
    arm = (0.5 * torch.cos(2 * (phi - 3 * torch.log(r)))).expand(len(N), -1, -1)
    kept = orthogonal_to_sersic(arm, N)
    assert (_rms(kept - arm) < 0.35 * _rms(arm)).all()


def test_products_with_the_derivatives_vanish():
    torch.manual_seed(1)
    f = 0.3 * torch.randn(len(N), ROWS, COLUMNS)
    flux = [(_weight() * torch.expm1(g).mean(2)).sum(1) for g in (f, orthogonal_to_sersic(f, N))]
    assert (flux[1].abs() < 0.3 * flux[0].abs().max()).all()


def test_a_turned_map_gives_a_turned_result():
    torch.manual_seed(2)
    f = 0.3 * torch.randn(len(N), ROWS, COLUMNS)
    torch.testing.assert_close(
        orthogonal_to_sersic(f.roll(5, 2), N), orthogonal_to_sersic(f, N).roll(5, 2), atol=1e-4, rtol=0
    )


def test_nothing_is_left_of_nothing():
    zero = torch.zeros(len(N), ROWS, COLUMNS)
    assert torch.equal(orthogonal_to_sersic(zero, N), zero)
