"""What simulated galaxies are made of, against the published tables they are drawn from."""

import math

import numpy as np
import pytest
import torch

from skyloom.generators.cvae.simulate import build_components
from skyloom.generators.cvae.simulate_colour import contrast, dust_curve
from skyloom.generators.cvae.simulate_fields import PHI, RADII, random_field
from skyloom.generators.cvae.simulate_parameters import (
    ARM_COUNT_SHARES,
    BARRED_SHARE,
    barred_share,
    draw_parameters,
)
from skyloom.physics.sersic import sersic_surface_brightness

COUNT = 6000


def _discs(redshift: float, count: int = COUNT, n: float = 1.0, q: float = 0.8):
    torch.manual_seed(5)
    return draw_parameters(torch.full((count,), n), torch.full((count,), q), torch.full((count,), redshift))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("pitch", (12.2, 18.0, 26.1)),  # Hart et al. 2017, SpArcFiRe
        ("arm_share", (0.029, 0.121, 0.258)),  # Lingard et al. 2020
        ("bar_share", (0.025, 0.068, 0.133)),  # Lingard et al. 2020
        ("bar_length", (0.30, 0.52, 0.84)),  # S4G: Herrera-Endoqui et al. 2015
    ],
)
def test_percentiles_are_those_of_the_tables(name, table):
    p = _discs(0.3)
    values = {
        "pitch": torch.rad2deg(p.pitch[p.spiral > 0, 0]),
        "arm_share": p.arm_share[p.spiral > 0],
        "bar_share": p.bar_share[p.barred > 0],
        "bar_length": p.bar_length[p.barred > 0],
    }[name]
    np.testing.assert_allclose(np.percentile(values.numpy(), [16, 50, 84]), table, rtol=0.09)


def test_widths_of_bars_are_hoyle_s():
    p = _discs(0.3)
    long = (p.barred > 0) & (p.bar_length > 0.6)  # shorter ones are as wide as the map can show
    ratio = (p.bar_width / p.bar_length)[long]
    np.testing.assert_allclose(np.percentile(ratio.numpy(), [16, 50, 84]), (0.183, 0.236, 0.310), rtol=0.08)


@pytest.mark.parametrize("redshift", [0.0, 0.8, 1.2, 1.8, 2.2, 2.7, 3.4])
def test_barred_share_follows_redshift(redshift):
    p = _discs(redshift)
    share = float(p.barred[p.disc > 0].mean())
    assert share == pytest.approx(np.interp(redshift, *BARRED_SHARE), abs=0.03)


def test_barred_share_is_the_table_at_its_points():
    np.testing.assert_allclose(barred_share(torch.tensor(BARRED_SHARE[0])), BARRED_SHARE[1], atol=1e-5)
    assert float(barred_share(torch.tensor(9.0))) == pytest.approx(BARRED_SHARE[1][-1])


def test_arms_are_as_many_as_volunteers_traced():
    p = _discs(0.1)
    counts = p.arm_count[p.spiral > 0].int()
    assert set(counts.tolist()) == {2, 3, 4}
    for arms, share in ((2, ARM_COUNT_SHARES[0] + ARM_COUNT_SHARES[1]), (3, ARM_COUNT_SHARES[2])):
        assert float((counts == arms).float().mean()) == pytest.approx(share, abs=0.025)
    second = p.arm_strength[(p.spiral > 0) & (p.arm_count == 2), 1]
    first = p.arm_strength[(p.spiral > 0) & (p.arm_count == 2), 0]
    assert 0.25 < float((second < 0.5 * first).float().mean()) < 0.5  # those with one traced arm


def test_galaxies_of_the_past_are_less_regular():
    now, then = _discs(0.2), _discs(2.5)
    assert then.spiral.mean() < 0.65 * now.spiral.mean()
    assert then.barred.mean() < 0.65 * now.barred.mean()
    assert then.irregular.mean() > 2.5 * now.irregular.mean()
    assert then.clump_share.mean() > 3 * now.clump_share.mean()


def test_spheroids_have_no_arms_and_bars():
    p, discs = _discs(0.5, n=4.0), _discs(0.5)
    for name in ("spiral", "barred", "clumpy"):
        assert float(getattr(p, name).mean()) < 0.08 < 0.3 < float(getattr(discs, name).mean())


def test_unknown_redshift_is_the_marginal():
    torch.manual_seed(0)
    n, q = torch.ones(COUNT), torch.full((COUNT,), 0.8)
    half = torch.where(torch.arange(COUNT) % 2 == 0, torch.nan, 3.0)
    p = draw_parameters(n, q, half)
    assert torch.isfinite(p.redshift).all()
    assert (p.redshift[1::2] == 3.0).all()
    assert 0.7 < float(p.redshift[::2].median()) < 1.1
    none = draw_parameters(n, q).redshift
    assert float(none.median()) == pytest.approx(float(p.redshift[::2].median()), abs=0.08)


@pytest.mark.parametrize(("parts", "name"), [(("bar",), "bar_share"), (("old", "young"), "arm_share")])
def test_parts_hold_the_share_of_light_that_was_drawn(parts, name):
    p = _discs(0.1, count=1500, q=0.9)
    only = (p.clumpy == 0) & (p.ringed == 0) & (p.flocculent == 0) & (p.irregular == 0)
    only &= (p.bar_share == 0) if name == "arm_share" else (p.arm_share == 0)
    only &= getattr(p, name) > 0
    components = build_components(p)
    light = sersic_surface_brightness(p.sersic_n[:, None, None], RADII) * RADII * (RADII + 0.3)
    added = (sum(getattr(components, part) for part in parts) * light).sum((1, 2)) / (light * torch.ones(64)).sum(
        (1, 2)
    )
    found = (added / (1 + added))[only]
    asked = getattr(p, name)[only]
    assert only.sum() > 20
    short = (found / asked < 0.98).float().mean()  # where a part would outshine the disc eightfold
    assert short < 0.12
    assert float((found / asked).median()) == pytest.approx(1.0, abs=0.01)


def test_dust_is_calzetti_s():
    wave = torch.tensor([0.15, 0.3, 0.55, 0.8, 1.6, 2.2, 4.4])
    k = dust_curve(wave)
    assert float(k[2]) == pytest.approx(1.0, abs=0.002)
    assert float(k[4] * 4.05) == pytest.approx(2.659 * (-1.857 + 1.04 / 1.6) + 4.05, rel=1e-3)
    assert (k.diff() < 0).all()
    assert float(k[6] / k[5]) == pytest.approx(2**-1.8, rel=1e-4)
    edge = dust_curve(torch.tensor([0.6299, 0.6301]))
    assert float(edge[1] / edge[0]) == pytest.approx(1.0, abs=0.02)


def test_contrast_is_one_at_the_reference_and_a_power_elsewhere():
    assert float(contrast(torch.tensor(0.6), -0.9)) == pytest.approx(1.0)
    assert float(contrast(torch.tensor(0.3), -1.0)) == pytest.approx(2.0)


@pytest.mark.parametrize("sense", [-1.0, 1.0])
def test_sheared_fields_wind_as_asked(sense):
    torch.manual_seed(1)
    b, pitch = 40, math.radians(30)
    field = random_field(torch.full((b,), 4.0), torch.full((b,), 2.0), torch.full((b,), sense / math.tan(pitch)))
    power = torch.fft.fft(torch.fft.rfft(field[:, 8:], dim=2), dim=1).abs()[:, :, 2:6].square().sum((0, 2))
    k = torch.fft.fftfreq(24)
    wrong, right = power[sense * k > 0].sum(), power[sense * k < 0].sum()
    assert right > 3 * wrong
    assert float(field.abs().mean()) > 0.3
    assert PHI.shape == (1, 64)
