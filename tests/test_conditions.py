"""`Conditions`: what is accepted, what is refused, and the message."""

from __future__ import annotations

import pickle
from typing import Any

import galsim
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from skyloom.conditions import PHYSICAL_RANGES, Conditions
from skyloom.errors import ConditionsError
from skyloom.units import COLUMN_UNITS, flux_from_mag, mag_from_flux


def make(**changes: Any) -> Conditions:
    columns: dict[str, Any] = {
        "galaxy_id": [7, 8, 9],
        "flux": [1e3, 2e3, 3e3],
        "half_light_radius": [0.3, 0.5, 0.7],
        "sersic_n": [1.0, 2.0, 4.0],
        "q": [0.3, 0.6, 1.0],
        "beta": [0.0, 1.0, -1.0],
    }
    columns.update(changes)
    return Conditions(**{k: v for k, v in columns.items() if v is not None})


def test_defaults_and_scalars() -> None:
    one = Conditions(flux=1, half_light_radius=0.5, sersic_n=1)
    assert len(one) == 1
    assert (one.galaxy_id[0], one.q[0], one.beta[0]) == (0, 1.0, 0.0)
    assert one.mag is None
    assert one.redshift is None
    many = make(sersic_n=2)
    assert many.sersic_n.tolist() == [2, 2, 2]
    assert Conditions(flux=[], half_light_radius=[], sersic_n=[]).as_dict()["flux"].shape == (0,)


@given(mag=st.floats(10, 35), zero_point=st.floats(10, 35))
def test_mag_and_flux(mag: float, zero_point: float) -> None:
    by_mag = make(flux=None, mag=mag, zero_point=zero_point)
    assert by_mag.flux[0] == pytest.approx(10 ** (-0.4 * (mag - zero_point)))
    by_flux = make(flux=by_mag.flux, zero_point=zero_point)
    assert by_flux.mag is not None
    assert by_flux.mag[0] == pytest.approx(mag, abs=1e-9)
    assert mag_from_flux(flux_from_mag(by_flux.mag, by_flux.zero_point), zero_point) == pytest.approx(mag)  # type: ignore[arg-type]


@given(
    st.sampled_from(sorted(set(PHYSICAL_RANGES) - {"flux", "mag", "zero_point"})),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(0, 2),
)
def test_a_number_is_kept_or_refused(name: str, value: float, row: int) -> None:
    low, high = PHYSICAL_RANGES[name]
    column = np.full(3, min(high, max(low, 0.5)))
    column[row] = value
    if low <= value <= high:
        assert getattr(make(**{name: column}), name)[row] == value
    else:
        with pytest.raises(ConditionsError, match=f"column '{name}', row {row} .galaxy {7 + row}.: .* is not within"):
            make(**{name: column})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"flux": [1, np.nan, 3]},
            r"^column 'flux', row 1 \(galaxy 8\): nan is not within \[1e-30, 1e\+30\]$",
        ),
        ({"flux": [1, -5, 3]}, r"^column 'flux', row 1 \(galaxy 8\): -5.0 is not within"),
        ({"flux": [1, 0, 3]}, r"^column 'flux', row 1 \(galaxy 8\): 0.0 is not within"),
        ({"flux": [1, np.inf, 3]}, "row 1 .*: inf is not within"),
        (
            {"half_light_radius": [-0.1, 1, -2]},
            r"'half_light_radius', row 0 \(galaxy 7\): -0.1 .* \(and 1 more rows?\)$",
        ),
        ({"q": [0.5, 0.5, 1.2]}, r"^column 'q', row 2 \(galaxy 9\): 1.2 is not within \[0.001, 1\]$"),
        ({"q": 0}, r"^column 'q', row 0 \(galaxy 7\): 0.0 is not within"),
        (
            {"sersic_n": [1, 6.3, 1]},
            r"^column 'sersic_n', row 1 \(galaxy 8\): 6.3 is not within \[0.3, 6.2\]$",
        ),
        (
            {"sersic_n": [0.2, 1, 1]},
            r"^column 'sersic_n', row 0 \(galaxy 7\): 0.2 is not within \[0.3, 6.2\]$",
        ),
        ({"beta": np.nan}, "'beta', row 0 .*: nan is not"),
        ({"redshift": [0.1, 0.2, np.nan]}, r"'redshift', row 2 \(galaxy 9\): nan is not"),
        ({"wavelength": -5}, "'wavelength', row 0 .*: -5.0 is not within"),
        ({"flux": None, "mag": 22}, "^column 'mag' needs 'zero_point' .*or give 'flux' in electrons$"),
        ({"flux": None, "mag": 22, "zero_point": np.nan}, "'zero_point', row 0 .*: nan"),
        ({"flux": None, "mag": 60, "zero_point": -40}, "'flux', row 0 .* is not within"),
        ({"flux": None}, "^give exactly one of the columns 'mag' and 'flux'$"),
        ({"mag": 22, "zero_point": 25}, "^give exactly one of the columns 'mag' and 'flux'$"),
        ({"half_light_radius": None}, "^column 'half_light_radius' is missing$"),
        ({"sersic_n": None}, "^column 'sersic_n' is missing$"),
        ({"q": [0.5, 0.5]}, "^columns differ in length: .*q has 2"),
        ({"galaxy_id": [1, 2]}, "^columns differ in length: .*galaxy_id has 2"),
        ({"q": np.ones((3, 2))}, r"^column 'q' must have one value a galaxy, not shape \(3, 2\)$"),
        ({"q": ["0.5", "b", "c"]}, "^column 'q', row 1: 'b' is not a number$"),
        ({"q": [0.5, None, 0.5]}, "^column 'q', row 1: None is not a number$"),
        ({"q": [1, 1, 1j]}, "^column 'q', row 2: 1j is not a number$"),
        ({"q": [[1.0], [1.0, 2.0], [1.0]]}, r"^column 'q', row 0: \[1.0\] is not a number$"),
        (
            {"flux": np.array(["2020-01-01"] * 3, dtype="M8[D]")},
            "^column 'flux', row 0: .*2020.* is not a number$",
        ),
        ({"q": ["0.5", "0.5", "0.5"]}, "^column 'q', row 0: '0.5' is text, not a number$"),
        ({"q": [True, True, True]}, "^column 'q', row 0: True is not a number$"),
        ({"q": "round"}, "^column 'q' holds 'round', which is not a number$"),
        ({"galaxy_id": [5, 6, 5]}, "^column 'galaxy_id', row 2: 5 stands in row 0 already$"),
        ({"galaxy_id": [1.0, 2.0, 3.0]}, "^column 'galaxy_id' must hold 64-bit integers, not float64"),
        ({"galaxy_id": ["a", "b", "c"]}, "^column 'galaxy_id' must hold 64-bit integers"),
        ({"galaxy_id": [True, False, True]}, "^column 'galaxy_id' must hold 64-bit integers, not bool"),
        ({"galaxy_id": np.array([1, 2, 2**63], np.uint64)}, "^column 'galaxy_id' must hold 64-bit integers"),
        (
            {"galaxy_id": [[1], [2], [3]]},
            r"^column 'galaxy_id' must have one value a galaxy, not shape \(3, 1\)$",
        ),
        (
            {"galaxy_id": np.ma.array([1, 2, 3], mask=[0, 1, 0])},
            "^column 'galaxy_id', row 1: the value is masked$",
        ),
        (
            {"q": np.ma.array([1, 1, 1], mask=[0, 0, 1])},
            r"^column 'q', row 2 \(galaxy 9\): the value is masked$",
        ),
        (
            {"flux": MaskedColumn([1.0, 2, 3], mask=[1, 0, 0])},
            r"^column 'flux', row 0 \(galaxy 7\): the value is masked$",
        ),
        (
            {"half_light_radius": [1, 2, 3] * u.kg},
            "^column 'half_light_radius' has unit 'kg', .* convert to 'arcsec'$",
        ),
        ({"q": [1, 1, 1] * u.m}, "^column 'q' has unit 'm', .* a pure number$"),
        ({"wavelength": [5, 5, 5] * u.GHz}, "^column 'wavelength' has unit 'GHz', .* 'nm'$"),
        ({"flux": [5, 5, 5] * u.Jy}, "^column 'flux' has unit 'Jy', .* 'electron'$"),
        ({"beta": [5, 5, 5] * u.s}, "^column 'beta' has unit 's', .* 'rad'$"),
        (
            {"flux": None, "mag": [5, 5, 5] * u.arcsec, "zero_point": 25},
            r"^column 'mag' has unit 'arcsec', .* 'mag\(AB\)'$",
        ),
        ({"flux": None, "mag": [5, 5, 5] * u.STmag, "zero_point": 25}, r"^column 'mag' has unit 'mag\(ST\)'"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConditionsError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("half_light_radius", [1, 2, 3] * u.arcmin, [60, 120, 180]),
        ("beta", [0, 90, 180] * u.deg, [0, np.pi / 2, np.pi]),
        ("beta", 90 * galsim.degrees, [np.pi / 2] * 3),
        ("beta", [0 * galsim.degrees, 90 * galsim.degrees, 180 * galsim.degrees], [0, np.pi / 2, np.pi]),
        ("wavelength", [0.5, 0.6, 0.7] * u.micron, [500, 600, 700]),
        ("flux", [1, 2, 3] * u.electron, [1, 2, 3]),
        ("q", [50, 60, 70] * u.percent, [0.5, 0.6, 0.7]),
        ("q", Column([0.5, 0.6, 0.7]), [0.5, 0.6, 0.7]),
        ("half_light_radius", Column([1, 2, 3], unit="arcmin"), [60, 120, 180]),
        ("half_light_radius", MaskedColumn([1.0, 2, 3], unit="arcmin", mask=[0, 0, 0]), [60, 120, 180]),
        ("half_light_radius", np.array([1, 2, 3], dtype=">f4"), [1, 2, 3]),
        ("half_light_radius", np.array([1, 2, 3], dtype=">i2"), [1, 2, 3]),
        ("galaxy_id", np.array([3, 2, -1], dtype=">i4"), [3, 2, -1]),
        ("galaxy_id", np.array([3, 2, 1], dtype=np.uint8), [3, 2, 1]),
        ("redshift", (0.5, 1, 2), [0.5, 1, 2]),
    ],
)
def test_accepted(name: str, values: Any, expected: list[float]) -> None:
    got = getattr(make(**{name: values}), name)
    assert got.dtype == (np.int64 if name == "galaxy_id" else np.float64)
    assert got.dtype.isnative
    assert got.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("unit", [u.ABmag, u.mag])
@pytest.mark.parametrize("kind", [lambda v, unit: v * unit, lambda v, unit: Column(v, unit=unit)])
def test_magnitudes_with_units(unit: Any, kind: Any) -> None:
    got = make(flux=None, mag=kind(np.array([20.0, 21, 22]), unit), zero_point=25 * u.ABmag)
    assert got.mag is not None
    assert got.mag.tolist() == pytest.approx([20, 21, 22])


def test_not_known() -> None:
    masked = np.ma.array([0.5, np.nan, 1.0], mask=[0, 1, 0])
    got = make(redshift=masked, wavelength=MaskedColumn([500.0, 1, 700], unit="nm", mask=[0, 1, 0]))
    assert np.array_equal(got.redshift, [0.5, np.nan, 1.0], equal_nan=True)  # type: ignore[arg-type]
    assert np.array_equal(got.wavelength, [500, np.nan, 700], equal_nan=True)  # type: ignore[arg-type]
    again = got.replace(sersic_n=[1, 1, 1])
    assert np.array_equal(again.redshift, got.redshift, equal_nan=True)  # type: ignore[arg-type]


def table() -> Table:
    return Table(
        {
            "galaxy_id": [1, 2],
            "flux": [5.0, 6.0],
            "half_light_radius": [1.0, 2.0],
            "sersic_n": [1.0, 1.5],
            "ra": ["a", "b"],
        }
    )


def test_from_table(tmp_path: Any) -> None:
    plain = table()
    plain["half_light_radius"].unit = "arcmin"
    expected = [60.0, 120.0]
    plain.write(tmp_path / "t.fits")
    sources = [
        plain,
        QTable(plain),
        Table.read(tmp_path / "t.fits"),
        plain[["galaxy_id", "flux", "half_light_radius", "sersic_n"]],
    ]
    for source in sources:
        got = Conditions.from_table(source)
        assert type(got.galaxy_id) is np.ndarray  # no Column, which would take its table with it
        assert got.galaxy_id.tolist() == [1, 2]
        assert got.half_light_radius.tolist() == pytest.approx(expected)
    structured = table().as_array()
    for source in (structured, {name: structured[name] for name in structured.dtype.names}):
        assert Conditions.from_table(source).half_light_radius.tolist() == [1, 2]
    assert Conditions.from_table(plain, flux=3).flux.tolist() == [3, 3]
    assert Conditions.from_table(plain, mag=3, zero_point=4, flux=None).mag is not None


def test_units_that_fits_does_not_know(tmp_path: Any) -> None:
    plain = table()
    plain.write(tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits", mode="update") as units:
        units[1].header["TUNIT2"] = "electron"
        units[1].header["TUNIT3"] = "arcmin"
    with pytest.warns(u.UnitsWarning, match="electron"):
        read = Table.read(tmp_path / "t.fits")
    assert str(read["flux"].unit) == "electron"
    assert Conditions.from_table(read).flux.tolist() == [5, 6]
    read["flux"].name = "mag"
    read["mag"].unit = u.Unit("mag(AB)", format="fits", parse_strict="silent")
    assert Conditions.from_table(read, zero_point=25).mag is not None
    read["mag"].unit = u.Unit("furlong", parse_strict="silent")
    with pytest.raises(ConditionsError, match="column 'mag' has unit 'furlong', which does not convert"):
        Conditions.from_table(read, zero_point=25)


def test_from_a_masked_table() -> None:
    masked = Table(table(), masked=True)
    masked["redshift"] = MaskedColumn([0.5, 0.6], mask=[False, True])
    assert np.isnan(Conditions.from_table(masked).redshift[1])  # type: ignore[index]
    masked["sersic_n"].mask = [False, True]
    with pytest.raises(ConditionsError, match=r"column 'sersic_n', row 1 \(galaxy 2\): the value is masked"):
        Conditions.from_table(masked)
    with pytest.raises(ConditionsError, match=r"column 'sersic_n', row 1 \(galaxy 2\): the value is masked"):
        Conditions.from_table(QTable(masked))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Table({"ra": [1.0]}), "the table has none of the columns galaxy_id, .*; it has ra"),
        ({}, "it has none"),
        ([1, 2], "a table, structured array or mapping is needed, not list"),
        (np.zeros(3), "a table, structured array or mapping is needed, not ndarray"),
    ],
)
def test_from_what_is_no_table(source: Any, message: str) -> None:
    with pytest.raises(ConditionsError, match=message):
        Conditions.from_table(source)


def test_rows() -> None:
    whole = make(redshift=[0.1, 0.2, 0.3])
    assert whole[1].galaxy_id.tolist() == [8]
    assert whole[-2:].redshift.tolist() == [0.2, 0.3]  # type: ignore[union-attr]
    assert whole[np.array([True, False, True])].q.tolist() == [0.3, 1.0]
    assert whole[[2, 0]].galaxy_id.tolist() == [9, 7]
    with pytest.raises(IndexError):
        whole[3]


def test_replace() -> None:
    by_mag = make(flux=None, mag=20, zero_point=25)
    assert by_mag.replace(zero_point=22.5).flux[0] == pytest.approx(10)
    fainter = by_mag.replace(flux=1.0)
    assert fainter.mag is not None
    assert fainter.mag[0] == pytest.approx(25)
    assert make().replace(mag=20, zero_point=25).flux[0] == pytest.approx(100)
    with pytest.raises(ConditionsError, match="'q', row 0"):
        by_mag.replace(q=2)
    with pytest.raises(ConditionsError, match="exactly one"):
        by_mag.replace(mag=2, flux=2)
    with pytest.raises(ConditionsError, match="'colour' is no column; there are galaxy_id, mag, flux"):
        by_mag.replace(colour=2)


def test_values_cannot_be_changed() -> None:
    source = np.array([0.3, 0.6, 0.9])
    ids = np.array([1, 2, 3])
    got = make(q=source, galaxy_id=ids)
    source[0], ids[0] = 99, 99
    assert got.q[0] == 0.3
    assert got.galaxy_id[0] == 1
    for array in (got.q, got.galaxy_id, got[:2].q, pickle.loads(pickle.dumps(got)).q):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.5
    ids[1] = 5  # the caller's own array stays theirs


def test_every_column_has_a_unit_and_a_range() -> None:
    assert set(COLUMN_UNITS) == set(PHYSICAL_RANGES) == set(Conditions.columns())
