"""Skyloom's own files of cutouts: what goes in comes out, and nothing hostile is read."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.cutouts.hdf5 import is_cutouts_file, read_cutouts, read_provenance, write_cutouts
from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, CutoutSet, FitFlag, SersicFit

FIT = SersicFit(*(0.01 * k for k in range(1, 19)), flag=int(FitFlag.LOW_SNR | FitFlag.TRUNCATED))


def make_cutout(i=0, size=16, **changes):
    rng = np.random.default_rng(i)
    cutout = Cutout(
        image=rng.normal(size=(size, size)).astype(np.float32),
        variance=rng.uniform(0.1, 1, (size, size)).astype(np.float32),
        mask=rng.uniform(size=(size, size)) > 0.2,
        psf=rng.uniform(size=(9, 9)).astype(np.float32),
        pixel_scale=0.03,
        zero_point=25.94,
        band="F814W",
        wavelength=804.6,
        galaxy_id=i,
        group=f"çosmos/{i // 2}",
        source="cosmos",
        redshift=float("nan") if i % 2 else 0.7,
        thresholded=i == 3,
        noise_correlation=0.4,
        fit=FIT if i % 2 else None,
    )
    return dataclasses.replace(cutout, **changes)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cutouts.h5"
    write_cutouts(path, (make_cutout(i) for i in range(70)), provenance={"made": "in a test"})
    return path


def assert_same(one, two):
    for field in dataclasses.fields(Cutout):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        else:
            assert type(a) is type(b), field.name
            assert a == b or (a != a and b != b), field.name


def test_what_goes_in_comes_out(path):
    cutouts = read_cutouts(path)
    assert isinstance(cutouts, CutoutSet)
    assert len(cutouts) == 70
    for i, cutout in enumerate(cutouts):
        assert_same(cutout, make_cutout(i))
    assert read_provenance(path) == {"made": "in a test"}
    assert is_cutouts_file(path)


def test_table_has_all_scalars_and_no_pixels(path):
    table = read_cutouts(path).table
    assert len(table) == 70
    assert set(table["fit_flag"]) == {-1, FIT.flag}
    assert np.isnan(table["fit_q"][0])
    assert table["group"][3] == "çosmos/1"
    assert all(table[name].ndim == 1 for name in table.colnames)


def test_subsets(path):
    cutouts = read_cutouts(path)
    good = cutouts.subset(cutouts.column("thresholded"))
    assert [c.galaxy_id for c in good] == [3]
    assert [c.galaxy_id for c in cutouts.subset([5, 2])[::-1]] == [2, 5]
    assert cutouts[-1].galaxy_id == 69
    assert cutouts.subset(slice(10, 20)).subset([1])[0].galaxy_id == 11
    with pytest.raises(IndexError):
        cutouts[70]
    with pytest.raises(CutoutError, match="no column 'colour'"):
        cutouts.column("colour")


def test_opened_anew_in_another_process(path):
    cutouts = read_cutouts(path)
    assert cutouts[0].galaxy_id == 0  # the file is open here
    handed = pickle.dumps(cutouts.subset(slice(1, None)))
    assert pickle.loads(handed)[4].galaxy_id == 5
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[4].galaxy_id)"
    done = subprocess.run([sys.executable, "-c", code], input=handed, capture_output=True, check=True)
    assert done.stdout.strip() == b"5"


def test_opened_anew_after_a_fork(path):
    cutouts = read_cutouts(path)
    assert cutouts[0].galaxy_id == 0
    before = cutouts._file
    cutouts._pid = -2  # as in a child of this process
    assert cutouts[4].galaxy_id == 4
    assert cutouts._file is not before


def test_same_cutouts_same_bytes(path, tmp_path):
    other = tmp_path / "again.h5"
    write_cutouts(other, [make_cutout(i) for i in range(70)], provenance={"made": "in a test"})
    assert other.read_bytes() == path.read_bytes()


def test_a_file_is_whole_or_not_there(path):
    before = path.read_bytes()

    def dies():
        yield make_cutout(1)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="broke"):
        write_cutouts(path, dies())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["cutouts.h5"]


def test_rows_of_a_replaced_file_are_not_read(path):
    cutouts = read_cutouts(path)
    write_cutouts(path, [make_cutout(9), make_cutout(8)])
    with pytest.raises(CutoutError, match="replaced"):
        cutouts[0]


def nan_pixel():
    cutout = make_cutout(7)
    cutout.image[2, 3] = np.nan
    return cutout


BAD = {
    "no cutouts": [],
    "galaxy 1 of 'cosmos' comes twice in F814W": [make_cutout(1), make_cutout(1)],
    "galaxy 2 of 'cosmos' in F814W: image has shape": [make_cutout(1), make_cutout(2, size=18)],
    "galaxy 7 .* not finite": [nan_pixel()],
    "variance must be positive": [make_cutout(1, variance=np.zeros((16, 16), np.float32))],
}


@pytest.mark.parametrize("message", BAD)
def test_cutouts_that_cannot_be_written(tmp_path, message):
    with pytest.raises(CutoutError, match=message):
        write_cutouts(tmp_path / "bad.h5", BAD[message])
    assert not list(tmp_path.iterdir())


def test_two_bands_of_one_galaxy_are_welcome(tmp_path):
    both = [make_cutout(1), make_cutout(1, band="F606W")]
    assert write_cutouts(tmp_path / "two.h5", both) == 2


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(CutoutError, match=r"cutouts\.h5"):
        list(read_cutouts(path))


def test_missing_and_other_files(tmp_path):
    with pytest.raises(CutoutError, match="no such file"):
        read_cutouts(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(CutoutError, match="not an HDF5 file"):
        read_cutouts(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros(3)
    with pytest.raises(CutoutError, match="not a file of cutouts"):
        read_cutouts(tmp_path / "other.h5")
    assert not is_cutouts_file(tmp_path / "other.h5")


def test_a_flipped_bit_is_noticed(path):
    with h5py.File(path) as file:
        chunk = file["image"].id.get_chunk_info(5)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 4
    path.write_bytes(bytes(data))
    cutouts = read_cutouts(path)
    assert cutouts[4].galaxy_id == 4
    with pytest.raises(CutoutError, match="cutout 5 cannot be read"):
        cutouts[5]


def external(file, folder):
    (folder / "secret").write_bytes(bytes(70 * 16 * 16 * 4))
    del file["image"]
    where = [(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("image", (70, 16, 16), "<f4", external=where)


def virtual(file, folder):
    del file["image"]
    layout = h5py.VirtualLayout((70, 16, 16), "<f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "image", (70, 16, 16))
    file.create_virtual_dataset("image", layout)


def soft(file, folder):
    file["columns/more"] = h5py.SoftLink("/image")


def outside(file, folder):
    file["columns/more"] = h5py.ExternalLink("other.h5", "/image")


def enormous(file, folder):
    del file["image"]
    file.create_dataset("image", (10**6, 1000, 1000), "<f4", chunks=(1, 1000, 1000))


def hollow(file, folder):
    del file["image"]
    file.create_dataset("image", (70, 2000, 2000), "<f4", chunks=(1, 2000, 2000), compression="gzip")


def wide(file, folder):
    del file["image"]
    file.create_dataset("image", (1, 20_000, 4), "<f4")


def rows(file, folder):
    del file["columns/galaxy_id"]
    file["columns/galaxy_id"] = np.arange(3)


def lost(file, folder):
    del file["columns/band"]


def future(file, folder):
    file.attrs["version"] = 2


def objects(file, folder):
    del file["columns/band"]
    file.create_dataset("columns/band", data=["a"] * 70, dtype=h5py.string_dtype())


HOSTILE = {
    external: "stored in another file",
    virtual: "virtual dataset",
    soft: "SoftLink",
    outside: "ExternalLink",
    enormous: "absurd shape",
    hollow: "declares",
    wide: "absurd shape",
    rows: "3 rows for 70 images",
    lost: "lacks columns/band",
    future: "layout version 2",
    objects: "fixed-length text",
}


@pytest.mark.parametrize("damage", HOSTILE, ids=lambda f: f.__name__)
def test_hostile_files_are_refused_before_they_are_read(path, damage):
    with h5py.File(path, "r+") as file:
        damage(file, path.parent)
    with pytest.raises(CutoutError, match=HOSTILE[damage]):
        read_cutouts(path)


@given(flag=st.integers(0, 511))
def test_flags_have_names(flag):
    assert int(dataclasses.replace(FIT, flag=flag).flags) == flag
    assert sum(f.value for f in dataclasses.replace(FIT, flag=flag).flags) == flag


def test_importing_stamps_does_not_import_torch():
    code = "import sys, skyloom.stamps, skyloom.cutouts.hdf5; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
