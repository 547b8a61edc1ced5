"""The command ``skyloom export``."""

from __future__ import annotations

from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skyloom.cli.main import run


def write(path: Path, **columns: object) -> str:
    base = {"mag": [22.0, 23.0, 21.5], "half_light_radius": [0.3, 0.2, 0.5], "sersic_n": [1.0, 2.5, 4.0]}
    Table({name: v for name, v in (base | columns).items() if v is not None}).write(path)
    return str(path)


def test_both_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.ecsv", q=[0.5, 0.6, 0.7])
    out = tmp_path / "out"
    assert run(["export", table, "--model", "sersic", "--seed", "5", "--format", "both", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{out}: 3 galaxies by model sersic, seed 5, as real-galaxy and instance, " in printed
    assert len(printed.splitlines()) == 1
    catalogue = galsim.COSMOSCatalog(str(out / "real_galaxy_catalog.fits"))
    assert catalogue.makeGalaxy(0, gal_type="parametric").flux == pytest.approx(10 ** (-0.4 * (22.0 - 25.94)))
    lines = [x.split() for x in (out / "instance_catalog.txt").read_text().splitlines() if x.startswith("object")]
    assert len({(x[2], x[3]) for x in lines}) == 3  # on a grid: the table has no positions
    assert max(float(x[3]) for x in lines) < 0.1


@pytest.mark.parametrize(
    "given", [{"mag": [22.0, 23.0, 21.5]}, {"flux": 10 ** (-0.4 * (np.array([22, 23, 21.5]) - 30))}]
)
def test_the_tables_zero_point_is_replaced(tmp_path: Path, given: dict[str, object]) -> None:
    table = write(tmp_path / "t.ecsv", **({"mag": None} | given), zero_point=[30.0] * 3, ra=[1, 2, 3], dec=[4, 5, 6])
    assert run(["export", table, "--model", "sersic", "-o", str(tmp_path / "out")]) == 0
    rows = fits.getdata(tmp_path / "out" / "real_galaxy_catalog.fits", 1)
    assert np.allclose(rows["mag"], [22.0, 23.0, 21.5])
    assert rows["ra"].tolist() == [1, 2, 3]
    assert rows["stamp_flux"][0] == pytest.approx(10 ** (-0.4 * (22.0 - 25.94)), rel=1e-3)


def test_flux_without_zero_point_is_kept(tmp_path: Path) -> None:
    table = write(tmp_path / "t.ecsv", mag=None, flux=[10.0, 20.0, 30.0])
    assert run(["export", table, "--model", "sersic", "-o", str(tmp_path / "out")]) == 0
    assert fits.getdata(tmp_path / "out" / "real_galaxy_catalog_fits.fits", 1)["flux"][:, 0] == pytest.approx(
        [10, 20, 30]
    )


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"ra": [1.0, 2.0, 3.0]}, [], "has a column 'ra' but not the other"),
        ({"ra": ["a", "b", "c"], "dec": [1, 2, 3]}, [], "must be numbers of degrees"),
        ({"ra": [1.0, np.nan, 3.0], "dec": [1, 2, 3]}, [], "'ra' must lie in -360 to 360 degrees; row 1 has nan"),
        ({"sersic_n": None}, [], "column 'sersic_n' is missing"),
        ({"galaxy_id": [1, 1, 2]}, [], "galaxy_id"),
        ({}, ["--pixel-scale", "1e-5"], "pixel_scale must lie in 0.001 to 1 arcsec"),
        ({}, ["--center", "0", "90", "--format", "instance"], "meets the pole"),
        ({}, ["--model", "nosuch"], "nosuch"),
    ],
)
def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, object], arguments: list[str], message: str
) -> None:
    table = write(tmp_path / "t.ecsv", **columns)
    assert run(["export", table, "--model", "sersic", *arguments, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["t.ecsv"]


def test_a_full_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.ecsv")
    assert run(["export", table, "--model", "sersic", "-o", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_table_without_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Table({"mag": np.zeros(0)}).write(tmp_path / "t.ecsv")
    assert run(["export", str(tmp_path / "t.ecsv"), "-o", str(tmp_path / "out")]) == 2
    assert "has no rows" in capsys.readouterr().err
