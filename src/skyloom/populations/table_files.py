"""Tables on disk: what columns there are, checked against the file's size before any is read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyloom.errors import CatalogueError
from skyloom.safe_hdf5 import check_file

__all__ = ["TableFile", "open_table"]

MAX_ROWS = 500_000_000
GZIP_EXPANSION = 1_100
"""gzip cannot compress further than 1032."""


@dataclass(frozen=True)
class TableFile:
    """Columns of a file.

    Parameters
    ----------
    names : tuple of str
    rows : int
    read : callable (names) -> dict of str to array
        Values of these columns: NumPy arrays, masked ones, or astropy Columns with their unit.
    """

    names: tuple[str, ...]
    rows: int
    read: Callable[[Sequence[str]], dict[str, Any]]


def open_table(path: Path, table: str | int | None = None) -> TableFile:
    """Open a FITS, ECSV, CSV, Parquet or HDF5 table by the ending of its name.

    Parameters
    ----------
    path : pathlib.Path
    table : str or int, optional
        FITS: name or number of the HDU, the first table by default. HDF5: name of the group of columns or of
        the compound dataset, the file's root or its only table by default.

    Raises
    ------
    CatalogueError
        For a file that is not there, of another format, damaged, or that declares more than it holds.
    """
    if not path.is_file():
        raise CatalogueError(f"catalogue '{path}' " + ("is no file" if path.exists() else "does not exist"))
    name = path.name.lower()
    opener = next((opener for endings, opener in _OPENERS if name.endswith(endings)), None)
    if opener is None:
        endings = ", ".join(e for group, _ in _OPENERS for e in group)
        raise CatalogueError(f"catalogue '{path}': the ending is none of {endings}")
    try:
        found = opener(path, table)
    except CatalogueError:
        raise
    except ImportError as exc:
        raise CatalogueError(f"catalogue '{path}' needs a package: {exc}; pip install 'skyloom[catalogues]'") from exc
    except Exception as exc:  # the readers raise what they like
        raise CatalogueError(f"catalogue '{path}' cannot be read: {type(exc).__name__}: {exc}") from exc
    if found.rows == 0:
        raise CatalogueError(f"catalogue '{path}' has no rows")
    if found.rows > MAX_ROWS:
        raise CatalogueError(f"catalogue '{path}' declares {found.rows} rows; at most {MAX_ROWS} are read")
    return found


def _open_fits(path: Path, table: str | int | None) -> TableFile:
    from astropy.io import fits
    from astropy.table import Table

    with warnings.catch_warnings(), fits.open(path, memmap=True, lazy_load_hdus=True) as hdus:
        warnings.simplefilter("ignore")  # that the file may be truncated, which is an error below
        if table is None:
            hdu = next((h for h in hdus if isinstance(h, (fits.BinTableHDU, fits.TableHDU))), None)
        else:
            hdu = hdus[table]
        if not isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)):
            raise CatalogueError(f"catalogue '{path}' has no table" + ("" if table is None else f" in HDU {table!r}"))
        header, before = hdu.header, hdu.fileinfo()["datLoc"]
        declared = before + header["NAXIS1"] * header["NAXIS2"] + header.get("PCOUNT", 0)
        size = path.stat().st_size * (GZIP_EXPANSION if path.suffix.lower() == ".gz" else 1)
        if declared > size:
            raise CatalogueError(f"catalogue '{path}' declares {declared} bytes and is {path.stat().st_size} long")
        number = next(i for i, h in enumerate(hdus) if h is hdu)
        names, rows = hdu.columns.names, header["NAXIS2"]

    def read(wanted: Sequence[str]) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units that astropy does not know
            found = Table.read(path, hdu=number, format="fits")
        return {name: found[name] for name in wanted}

    return TableFile(tuple(names), rows, read)


def _open_text(path: Path, table: str | int | None) -> TableFile:
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Table.read(path, format="ascii.ecsv" if path.suffix.lower() == ".ecsv" else "ascii.csv")
    return TableFile(tuple(found.colnames), len(found), lambda wanted: {name: found[name] for name in wanted})


def _open_parquet(path: Path, table: str | int | None) -> TableFile:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows

    def read(wanted: Sequence[str]) -> dict[str, Any]:
        # One file, not the folder of a data set; no dictionary of pandas.
        with pq.ParquetFile(path) as file:
            found = file.read(columns=list(wanted))
        return {name: _arrow_values(found.column(name)) for name in wanted}

    return TableFile(tuple(names), rows, read)


def _arrow_values(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        # One number a row: the sum of each row's list, for the SEDs of skyCatalogs.
        return np.array([float(np.sum(v)) if v is not None else np.nan for v in column.to_pylist()])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not column.null_count:
        return column.to_numpy()
    mask = column.is_null().to_numpy()
    return np.ma.masked_array(column.fill_null("" if pa.types.is_string(column.type) else 0).to_numpy(), mask=mask)


def _open_hdf5(path: Path, table: str | int | None) -> TableFile:
    import h5py

    with h5py.File(path, "r") as file:
        check_file(file, path, CatalogueError)
        home = _hdf5_table(file, path, table)
        if isinstance(home, h5py.Dataset):
            names, lengths = list(home.dtype.names), {"rows": home.shape[0]}
        else:
            lengths = {n: d.shape[0] for n, d in home.items() if _is_column(n, d)}
            names = list(lengths)
        place = home.name
    if len(set(lengths.values())) > 1:
        raise CatalogueError(
            f"catalogue '{path}': columns differ in length: " + ", ".join(f"{k} has {v}" for k, v in lengths.items())
        )

    def read(wanted: Sequence[str]) -> dict[str, Any]:
        with h5py.File(path, "r") as file:
            home = file[place]
            return {name: home[name][()] for name in wanted}

    return TableFile(tuple(names), next(iter(lengths.values()), 0), read)


def _is_column(name: str, item: Any) -> bool:
    import h5py

    # astropy puts the description of a compound dataset's columns beside it.
    described = name.endswith(".__table_column_meta__")
    return isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.names is None and not described


def _hdf5_table(file: Any, path: Path, table: str | int | None) -> Any:
    import h5py

    def is_table(item: Any) -> bool:
        if isinstance(item, h5py.Dataset):
            return item.dtype.names is not None and item.ndim == 1
        return any(_is_column(n, d) for n, d in item.items())

    if table is not None:
        if str(table) not in file or not is_table(file[str(table)]):
            raise CatalogueError(f"catalogue '{path}' has no table '{table}'")
        return file[str(table)]
    if is_table(file):
        return file
    found = [n for n in file if is_table(file[n])]
    if len(found) != 1:
        raise CatalogueError(f"catalogue '{path}' has the tables {', '.join(found) or '(none)'}; name one with table=")
    return file[found[0]]


_OPENERS: tuple[tuple[tuple[str, ...], Callable[[Path, str | int | None], TableFile]], ...] = (
    ((".fits", ".fit", ".fits.gz", ".fit.gz"), _open_fits),
    ((".ecsv", ".csv"), _open_text),
    ((".parquet", ".parq", ".pq"), _open_parquet),
    ((".hdf5", ".h5", ".hdf"), _open_hdf5),
)
