"""Exports as FITS stamps with an instance catalogue, read as imSim reads them."""

from __future__ import annotations

import math
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits

import skyloom
from skyloom.export import export_instance_catalog
from skyloom.profiles import ProfileBatch

from .export_batches import RUBIN, conditions, difference, sersics

RUBIN_AREA = 0.25 * math.pi * 649**2  # cm^2, imSim's


@pytest.fixture(scope="module")
def batch() -> ProfileBatch:
    return skyloom.load_model("cosmos").sample(conditions(), seed=3, out_of_range="clip")


@pytest.fixture(scope="module")
def exported(batch: ProfileBatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "instance"
    assert export_instance_catalog(batch, folder, ra=np.linspace(10, 11, 6), dec=np.linspace(-30, -31, 6)) == 6
    return folder


def objects(folder: Path) -> list[list[str]]:
    lines = (folder / "instance_catalog.txt").read_text().splitlines()
    return [line.split() for line in lines if line.startswith("object") and " inf " not in line]


def as_imsim(folder: Path, tokens: list[str], bandpass: galsim.Bandpass, exp_time: float) -> galsim.GSObject:
    """What imSim's `InstCatalog` builds of a line: same tokens, same SED, same scaling."""
    info, dust = tokens[12:15], tokens[15:]
    assert dust == ["none", "none"]
    assert info[0].endswith(".fits")
    obj = galsim.InterpolatedImage(str(folder / info[0]), scale=float(info[1]))
    if float(info[2]) != 0.0:
        obj = obj.rotate(-float(info[2]) * galsim.degrees)
    gamma1, gamma2, kappa = float(tokens[7]), -float(tokens[8]), float(tokens[9])
    mu = 1.0 / ((1.0 - kappa) ** 2 - (gamma1**2 + gamma2**2))
    obj = obj._lens(gamma1 / (1.0 - kappa), gamma2 / (1.0 - kappa), mu)
    at_500 = galsim.Bandpass(galsim.LookupTable([499, 500, 501], [0, 1, 0]), wave_type="nm").withZeropoint("AB")
    sed = galsim.SED(str(folder / tokens[5]), wave_type="nm", flux_type="flambda").withMagnitude(0, at_500)
    sed = sed.atRedshift(float(tokens[6]))
    scale = math.exp(-0.9210340371976184 * float(tokens[4])) * RUBIN_AREA * exp_time
    return obj.withFlux(sed.calculateFlux(bandpass) * scale)


@pytest.mark.parametrize("band", ["u", "i"])
def test_imsim_draws_the_original(batch: ProfileBatch, exported: Path, band: str) -> None:
    bandpass = galsim.Bandpass(f"LSST_{band}.dat", wave_type="nm").withZeropoint("AB")
    lines = objects(exported)
    assert [tokens[1] for tokens in lines] == [str(i) for i in batch.galaxy_id]
    per_flux = 10 ** (0.4 * (bandpass.zeropoint - 25.94)) * RUBIN_AREA * 30.0
    for i, tokens in enumerate(lines):
        assert len(tokens) == 17
        found = as_imsim(exported, tokens, bandpass, 30.0)
        truth = batch[i].withFlux(batch.flux[i] * per_flux)
        assert difference(found, truth, RUBIN, 0.2) < 1e-3
        assert difference(found, truth * 1.01, RUBIN, 0.2) > 5e-3


def test_lines(batch: ProfileBatch, exported: Path) -> None:
    lines = objects(exported)
    assert np.allclose([float(t[2]) for t in lines], np.linspace(10, 11, 6), atol=1e-9)
    assert np.allclose([float(t[3]) for t in lines], np.linspace(-30, -31, 6), atol=1e-9)
    assert [float(t[6]) for t in lines] == batch.redshift.tolist()
    for tokens in lines:
        with fits.open(exported / tokens[12]) as hdus:
            hdus.verify("exception")
            assert len(hdus) == 1
            header = hdus[0].header
            assert (str(header["GALID"]), header["SEED"], header["WSHA256"]) == (tokens[1], "3", batch.weights_sha256)
            assert float(tokens[4]) == pytest.approx(
                header["STAMPMAG"] + 2.5 * math.log10(1 + float(tokens[6])), abs=1e-7
            )
            assert float(tokens[13]) == header["PIXSCALE"] == 0.03
            assert hdus[0].data.min() > -0.02 * hdus[0].data.max()
    comments = [line for line in (exported / "instance_catalog.txt").read_text().splitlines() if line.startswith("#")]
    assert f"# WSHA256 {batch.weights_sha256}" in comments


def test_unknown_redshift_and_no_weights(tmp_path: Path) -> None:
    given = skyloom.Conditions(flux=[5.0, 6.0], half_light_radius=0.3, sersic_n=1.0)
    galaxies = skyloom.load_model("sersic").sample(given, seed=0)
    export_instance_catalog(galaxies, tmp_path / "out", ra=[0, 1], dec=[0, 1])
    lines = objects(tmp_path / "out")
    assert [float(t[6]) for t in lines] == [0, 0]
    assert "# WSHA256 -" in (tmp_path / "out" / "instance_catalog.txt").read_text()


def test_same_bytes_however_it_is_batched(tmp_path: Path) -> None:
    galaxies, place = sersics(5), np.arange(5.0)
    export_instance_catalog(galaxies, tmp_path / "a", ra=place, dec=place)
    export_instance_catalog([galaxies[:2], galaxies[2:]], tmp_path / "b", ra=place, dec=place)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
