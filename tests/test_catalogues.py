"""Catalogues on disk: each format read once, mapped by name, checked whole."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import galsim
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

import skyloom
from skyloom.errors import CatalogueError
from skyloom.populations import read as read_module
from skyloom.populations import read_catalogue
from skyloom.populations.skycatalogs import RUBIN_AREA, one_sersic

FORMATS = ["fits", "fits.gz", "ecsv", "csv", "parquet", "hdf5", "h5"]


def rows() -> dict[str, Any]:
    return {
        "galaxy_id": np.array([5, 3, 9]),
        "MAG_I": np.array([21.0, 22.5, 24.0]),
        "half_light_radius": np.array([0.5, 0.3, 0.2], dtype=np.float32),
        "sersic_n": np.array([1.0, 4.0, 2.5]),
        "q": np.array([0.3, 0.9, 1.0]),
        "RA": np.array([150.0, 150.1, 150.2]),
        "DEC": np.array([2.0, 2.1, 2.2]),
        "g1": np.array([0.01, -0.02, 0.0]),
        "g2": np.array([0.0, 0.01, 0.03]),
    }


def write(path: Path, columns: dict[str, Any]) -> Path:
    name = path.name
    if name.endswith((".hdf5", ".h5")):
        with h5py.File(path, "w") as file:
            for key, values in columns.items():
                file[key] = np.asarray(values).astype("S") if np.asarray(values).dtype.kind == "U" else values
    elif name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path)
    else:
        kind = "fits" if ".fits" in name else f"ascii.{path.suffix[1:]}"
        Table(columns).write(path, format=kind)
    return path


MAP = {"mag": "MAG_I", "zero_point": 30.0}


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"cat.{ending}", rows())
    found = read_catalogue(path, columns=MAP)
    assert found.conditions.galaxy_id.tolist() == [5, 3, 9]
    assert found.conditions.mag.tolist() == [21.0, 22.5, 24.0]
    assert found.conditions.flux == pytest.approx(10 ** (0.4 * np.array([9.0, 7.5, 6.0])))
    assert found.conditions.half_light_radius == pytest.approx([0.5, 0.3, 0.2])
    assert found.ra.tolist() == [150.0, 150.1, 150.2]  # our name, in the file's capitals
    assert found.g2.tolist() == [0.0, 0.01, 0.03]
    assert found.mu is None
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found[1:].conditions.galaxy_id.tolist() == [3, 9]
    assert found[np.array([True, False, True])].dec.tolist() == [2.0, 2.2]
    with pytest.raises(ValueError, match="read-only"):
        found.ra[0] = 0


def test_it_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "cat.csv", rows())
    calls = []
    real = read_module.open_table
    monkeypatch.setattr(read_module, "open_table", lambda *a: calls.append(1) or real(*a))
    first = read_catalogue(path, columns=MAP)
    assert read_catalogue(str(path), columns=dict(reversed(MAP.items()))) is first
    assert len(calls) == 1
    changed = rows() | {"MAG_I": np.array([20.0, 20.0, 20.25])}
    path.unlink()
    write(path, changed)
    assert read_catalogue(path, columns=MAP).conditions.mag.tolist() == [20.0, 20.0, 20.25]
    assert skyloom.read_catalogue is read_catalogue


def test_units_of_the_file_are_brought_to_ours(tmp_path: Path) -> None:
    table = Table(rows())
    table["half_light_radius"] = [0.5, 0.3, 0.2] * u.arcsec
    table["half_light_radius"] = table["half_light_radius"].to(u.arcmin)
    table["RA"] = np.radians(table["RA"]) * u.rad
    for name in ("cat.fits", "cat.ecsv"):
        table.write(tmp_path / name)
        found = read_catalogue(tmp_path / name, columns=MAP)
        assert found.conditions.half_light_radius == pytest.approx([0.5, 0.3, 0.2])
        assert found.ra == pytest.approx([150.0, 150.1, 150.2])


def test_shear_and_convergence_become_reduced_shear(tmp_path: Path) -> None:
    columns = {k: v for k, v in rows().items() if not k.startswith("g") or k == "galaxy_id"}
    columns |= {"gamma1": np.full(3, 0.03), "gamma2": np.full(3, -0.01), "kappa": np.full(3, 0.1)}
    found = read_catalogue(write(tmp_path / "cat.parquet", columns), columns=MAP)
    matrix = np.array([[1 - 0.1 - 0.03, 0.01], [0.01, 1 - 0.1 + 0.03]])
    assert found.g1 == pytest.approx(np.full(3, 0.03 / 0.9))
    assert found.mu == pytest.approx(np.full(3, 1 / np.linalg.det(matrix)))


@pytest.mark.parametrize("kinds", [["galaxy", "STAR", "galaxy"], [False, True, False], [0, 1, 0]])
@pytest.mark.parametrize("ending", ["fits", "hdf5", "parquet", "csv"])
def test_stars_need_no_size(tmp_path: Path, ending: str, kinds: Any) -> None:
    if ending == "csv" and kinds[0] is False:
        pytest.skip("CSV has no type of truth values")
    columns = rows() | {"kind": np.array(kinds)}
    columns["half_light_radius"][1] = 0
    columns["sersic_n"][1] = -1
    found = read_catalogue(write(tmp_path / f"cat.{ending}", columns), columns=MAP)
    assert found.is_star.tolist() == [False, True, False]
    assert found.conditions.half_light_radius[0] == 0.5


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"galaxy_id": np.array([5, 3, 5])}, r"cat\..*'galaxy_id', row 2: 5 stands in row 0"),
        ({"MAG_I": np.array([21.0, np.nan, 24.0])}, r"cat\..*'mag', row 1"),
        ({"sersic_n": np.array([1.0, 4.0, 9.0])}, r"cat\..*'sersic_n', row 2 \(galaxy 9\): 9.0 is not within"),
        ({"g1": np.array([0.0, 0.0, np.nan])}, r"cat\..*'g1', row 2"),
        ({"DEC": np.array([0.0, 91.0, 0.0])}, r"cat\..*'dec', row 1: 91.0 is not within"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, ending: str, change: dict[str, Any], says: str) -> None:
    path = write(tmp_path / f"cat.{ending}", rows() | change)
    with pytest.raises(CatalogueError, match=says):
        read_catalogue(path, columns=MAP)


@pytest.mark.parametrize("ending", FORMATS)
def test_no_rows_and_missing_columns(tmp_path: Path, ending: str) -> None:
    empty = write(tmp_path / f"empty.{ending}", {k: v[:0] for k, v in rows().items()})
    with pytest.raises(CatalogueError, match="has no rows"):
        read_catalogue(empty, columns=MAP)
    path = write(tmp_path / f"cat.{ending}", rows())
    with pytest.raises(CatalogueError, match=r"no column 'MAG_J', which is mapped to 'mag'; did you mean MAG_I"):
        read_catalogue(path, columns={"mag": "MAG_J"})
    bare = write(tmp_path / f"bare.{ending}", {k: v for k, v in rows().items() if k != "sersic_n"})
    with pytest.raises(CatalogueError, match="bare.*'sersic_n' is missing"):
        read_catalogue(bare, columns=MAP)
    half = write(tmp_path / f"half.{ending}", {k: v for k, v in rows().items() if k != "DEC"})
    with pytest.raises(CatalogueError, match="one of 'ra' and 'dec'"):
        read_catalogue(half, columns=MAP)


def test_mistakes_in_the_call(tmp_path: Path) -> None:
    path = write(tmp_path / "cat.csv", rows())
    with pytest.raises(CatalogueError, match="'magg' is no name of ours; did you mean mag"):
        read_catalogue(path, columns={"magg": "MAG_I"})
    with pytest.raises(CatalogueError, match="'mag' is a column's name or a number, not None"):
        read_catalogue(path, columns={"mag": None})  # type: ignore[dict-item]
    with pytest.raises(CatalogueError, match="does not exist"):
        read_catalogue(tmp_path / "none.fits")
    with pytest.raises(CatalogueError, match="is no file"):
        read_catalogue(tmp_path)
    (tmp_path / "cat.txt").write_text("a b")
    with pytest.raises(CatalogueError, match="the ending is none of .fits"):
        read_catalogue(tmp_path / "cat.txt")
    with pytest.raises(CatalogueError, match="layout is"):
        read_catalogue(path, layout="sky")


@pytest.mark.parametrize("ending", ["fits", "fits.gz", "parquet", "hdf5", "ecsv"])
def test_truncated_files_are_refused(tmp_path: Path, ending: str) -> None:
    columns = {k: np.tile(v, 3000) for k, v in rows().items()} | {"galaxy_id": np.arange(9000)}
    path = write(tmp_path / f"cat.{ending}", columns)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3] if ending != "ecsv" else whole[:60])
    with pytest.raises(CatalogueError, match="cat"):
        read_catalogue(path, columns=MAP)


def test_a_fits_header_that_declares_terabytes(tmp_path: Path) -> None:
    path = write(tmp_path / "cat.fits", rows())
    raw = path.read_bytes()
    line = next(raw[i : i + 80] for i in range(0, len(raw), 80) if raw[i : i + 8] == b"NAXIS2  ")
    path.write_bytes(raw.replace(line, b"NAXIS2  =     100000000000 / rows".ljust(80)))
    with pytest.raises(CatalogueError, match="declares .* bytes and is"):
        read_catalogue(path, columns=MAP)
    small = tmp_path / "small.fits.gz"
    small.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(CatalogueError, match="declares .* bytes and is"):
        read_catalogue(small, columns=MAP)


def test_hdf5_that_lies_or_points_outside_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = write(tmp_path / "secret.hdf5", {"a": np.arange(3.0)})
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "a", (3,))
    cases = {
        "terabytes": (lambda f: f.create_dataset("q", (10**12,), "f8", chunks=(10**6,)), "absurd|declares"),
        "external": (lambda f: f.create_dataset("q", (3,), "f8", external=[(str(secret), 0, 24)]), "another file"),
        "virtual": (lambda f: f.create_virtual_dataset("q", layout), "virtual dataset"),
        "link": (lambda f: f.__setitem__("q", h5py.ExternalLink(str(secret), "a")), "ExternalLink"),
    }
    paths = {}
    for name, (do, _) in cases.items():
        paths[name] = write(tmp_path / f"{name}.hdf5", rows())
        with h5py.File(paths[name], "r+") as file:
            del file["q"]
            do(file)  # in the place of a column that is wanted
    read: list[str] = []
    real = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: read.append(self.name) or real(self, key))
    assert len(read_catalogue(write(tmp_path / "sound.hdf5", rows()), columns=MAP)) == 3
    assert "/q" in read
    read.clear()
    for name, (_, says) in cases.items():
        with pytest.raises(CatalogueError, match=f"{name}.hdf5.*({says})"):
            read_catalogue(paths[name], columns=MAP)
    assert not read


def test_hdf5_tables_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "cat.hdf5"
    Table(rows()).write(path, path="compound", serialize_meta=True)
    assert len(read_catalogue(path, columns=MAP)) == 3
    with h5py.File(path, "r+") as file:
        for key, values in rows().items():
            file[f"group/{key}"] = values
    with pytest.raises(CatalogueError, match="has the tables compound, group; name one"):
        read_catalogue(path, columns=MAP)
    assert len(read_catalogue(path, columns=MAP, table="group")) == 3
    with pytest.raises(CatalogueError, match="no table 'other'"):
        read_catalogue(path, columns=MAP, table="other")
    with h5py.File(path, "r+") as file:
        file["group/extra"] = np.arange(5)
    with pytest.raises(CatalogueError, match="columns differ in length"):
        read_catalogue(path, columns=MAP, table="group")


def test_unknown_redshifts_may_stay_unknown(tmp_path: Path) -> None:
    columns = {k: pa.array(v) for k, v in rows().items()} | {"redshift": pa.array([0.5, None, 1.0])}
    pq.write_table(pa.table(columns), tmp_path / "cat.parquet")
    found = read_catalogue(tmp_path / "cat.parquet", columns=MAP)
    assert np.isnan(found.conditions.redshift).tolist() == [False, True, False]


# --- skyCatalogs -----------------------------------------------------------------------------------------------


def sky_columns() -> dict[str, Any]:
    e = np.array([0.3, 0.0, 0.1])
    return {
        "galaxy_id": np.array([11, 12, 13]), "ra": np.array([55.0, 55.1, 55.2]), "dec": np.full(3, -30.0),
        "redshift": np.array([0.3, 0.8, 1.1]), "shear_1": np.full(3, 0.02), "shear_2": np.full(3, -0.01),
        "convergence": np.full(3, 0.05), "size_bulge_true": np.array([0.2, 0.3, 0.4], dtype=np.float32),
        "size_minor_bulge_true": np.array([0.2, 0.3, 0.4], dtype=np.float32),
        "size_disk_true": np.array([1.0, 0.8, 0.6]),
        "size_minor_disk_true": np.array([1.0, 0.8, 0.6]) * (1 - e) / (1 + e),
        "ellipticity_1_disk_true": -e, "ellipticity_2_disk_true": np.zeros(3),
        "ellipticity_1_bulge_true": np.zeros(3), "ellipticity_2_bulge_true": np.zeros(3),
        "sersic_bulge": np.full(3, 4.0), "sersic_disk": np.full(3, 1.0),
        "bulge_magnorm": np.array([np.inf, 20.0, 22.0]), "disk_magnorm": np.array([21.0, np.inf, 22.0]),
        "knots_magnorm": np.full(3, np.inf),
    }  # fmt: skip


def test_skycatalogs(tmp_path: Path) -> None:
    path = tmp_path / "galaxy_9812.parquet"
    pq.write_table(pa.table(sky_columns()), path)
    with pytest.raises(CatalogueError, match="no file 'galaxy_flux_9812.parquet' beside it"):
        read_catalogue(path)
    flux = {"galaxy_id": np.array([13, 11, 12]), "lsst_flux_i": np.array([3e-4, 1e-4, 2e-4], dtype=np.float32)}
    pq.write_table(pa.table(flux), tmp_path / "galaxy_flux_9812.parquet")
    found = read_catalogue(path, band="i", exptime=30.0)
    mu = 1 / (0.95**2 - 0.02**2 - 0.01**2)
    assert found.mu == pytest.approx(np.full(3, mu))
    assert found.g1 == pytest.approx(np.full(3, 0.02 / 0.95))
    assert found.conditions.flux == pytest.approx(np.array([1e-4, 2e-4, 3e-4]) * RUBIN_AREA * 30 / mu, rel=1e-6)
    disk, bulge, both = range(3)
    assert found.conditions.sersic_n[disk] == pytest.approx(1.0, abs=0.02)
    assert found.conditions.q[disk] == pytest.approx(0.7 / 1.3)
    assert found.conditions.half_light_radius[disk] == pytest.approx(np.sqrt(0.7 / 1.3), rel=1e-6)
    assert found.conditions.beta[disk] == pytest.approx(0.0)  # both components are reversed when drawn
    assert found.conditions.sersic_n[bulge] == pytest.approx(4.0, abs=0.02)
    assert 1.0 < found.conditions.sersic_n[both] < 4.0
    assert 1 < found.conditions.half_light_radius[both] / 0.4 < 0.6 / 0.4
    with pytest.raises(CatalogueError, match="no column 'lsst_flux_k'"):
        read_catalogue(path, band="k")


def test_skycatalogs_light_from_its_seds(tmp_path: Path) -> None:
    columns = {k: v for k, v in sky_columns().items() if "magnorm" not in k}
    columns["lsst_flux_r"] = np.full(3, 1e-4)
    path = tmp_path / "galaxy_1.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(CatalogueError, match="neither bulge_magnorm"):
        read_catalogue(path, band="r")
    lists = {
        "sed_val_bulge": [[0.0, 0.0], [1.0, 2.0], [1.0, 1.0]],
        "sed_val_disk": [[1.0, 2.0], [0.0, 0.0], [1.0, 1.0]],
    }
    path = tmp_path / "galaxy_2.parquet"
    pq.write_table(pa.table(columns | lists), path)
    n = read_catalogue(path, band="r").conditions.sersic_n
    assert n[:2] == pytest.approx([1.0, 4.0], abs=0.02)
    dark = columns | {k: [[0.0], *v[1:]] for k, v in lists.items()}
    pq.write_table(pa.table(dark), path)
    with pytest.raises(CatalogueError, match="row 0: neither bulge nor disk has light"):
        read_catalogue(path, band="r")


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.floats(0.05, 2), st.floats(0.05, 2))
def test_one_sersic_holds_half_of_the_light(share: float, a: float, b: float) -> None:
    r, n = one_sersic(share, a, b)
    bulge, disk = galsim.Sersic(4, half_light_radius=a), galsim.Sersic(1, half_light_radius=b)
    inside = share * bulge.calculateIntegratedFlux(r[0]) + (1 - share) * disk.calculateIntegratedFlux(r[0])
    assert inside == pytest.approx(0.5, abs=2e-3)  # GalSim's Sersic has its own accuracy
    assert 0.3 <= n[0] <= 6.2


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0, 6.0])
def test_one_sersic_of_two_alike_is_that_one(n: float) -> None:
    r, index = one_sersic(np.array([0.3]), 0.7, 0.7, n, n)
    assert (r[0], index[0]) == pytest.approx((0.7, n), rel=2e-3)
