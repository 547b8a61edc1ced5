"""Weights files: what is written is read, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

from skyloom.errors import CheckpointError
from skyloom.generators import checkpoint
from skyloom.generators.checkpoint import ModelCard, load_checkpoint, read_card, save_checkpoint
from skyloom.generators.cvae.load import load_generator
from skyloom.profiles import GeneratorSpec

TENSORS = {
    "decoder.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "decoder.steps": np.array(7, dtype=np.int64),
    "prior.mask": np.array([True, False, True]),
    "prior.none": np.zeros((0, 4), np.float16),
}
SPEC = GeneratorSpec(
    name="tiny",
    summary="A test.",
    ranges={"q": (0.2, 1.0)},
    bands=("F814W",),
    grid_size=96,
    grid_scale=9 / 96,
)
CARD: dict[str, Any] = {
    "family": "cvae",
    "name": "tiny",
    "spec": SPEC,
    "training_data": "ten galaxies",
    "licence": "CC0-1.0",
    "date": "2026-01-02",
    "architecture": {"channels": [8, 4]},
    "metrics": {"held_out": {"gain_nats": 12.5}},
    "versions": {"numpy": "2.0"},
    "remark": {"anything": "else – é"},
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, TENSORS, CARD)
    return path


def forged(path: Path, metadata: dict[str, str] | None, tensors: dict[str, np.ndarray] | None = None) -> Path:
    save_file(tensors or {"a": np.zeros(3, np.float32)}, path, metadata=metadata)
    return path


def test_what_is_written_is_read(weights: Path) -> None:
    tensors, card = load_checkpoint(weights)
    assert {name: (a.dtype, a.shape, a.tolist()) for name, a in tensors.items()} == {
        name: (a.dtype, a.shape, a.tolist()) for name, a in TENSORS.items()
    }
    assert card == read_card(weights)
    assert card.sha256 == card.spec.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert dict(card.spec.ranges) == {"q": (0.2, 1.0)}
    assert (card.spec.bands, card.spec.required) == (("F814W",), SPEC.required)
    assert (card.name, card.licence, card.extras) == ("tiny", "CC0-1.0", {"remark": CARD["remark"]})
    assert sorted(p.name for p in weights.parent.iterdir()) == ["tiny.safetensors"]  # no temporary left
    assert pickle.loads(pickle.dumps(card)) == card


def test_the_file_is_plain_safetensors(weights: Path) -> None:
    assert load_file(weights)["decoder.weight"].tolist() == TENSORS["decoder.weight"].tolist()


def test_the_same_gives_the_same_file(weights: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, dict(reversed(TENSORS.items())), read_card(weights))
    assert again.read_bytes() == weights.read_bytes()


def test_date_and_versions_are_filled_in(tmp_path: Path) -> None:
    card = save_checkpoint(tmp_path / "a.safetensors", TENSORS, {"family": "f", "name": "n", "spec": SPEC})
    assert len(card.date) == len("2026-01-02")
    assert {"python", "numpy", "skyloom"} <= set(card.versions)


def test_card_to_read(weights: Path) -> None:
    page = read_card(weights).to_markdown()
    for part in (
        "# tiny",
        "ten galaxies",
        "CC0-1.0",
        "| q | 0.2 | 1 |",
        "gain_nats",
        "anything",
        read_card(weights).sha256,
    ):
        assert part in page


def test_every_flipped_bit_is_found(weights: Path) -> None:
    whole = weights.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    bits = {*range(64), *range(64, 8 * header, 7), *range(8 * header, 8 * len(whole))}
    assert len(bits) > 800
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        weights.write_bytes(damaged)
        for read in (load_checkpoint, read_card):
            with pytest.raises(CheckpointError, match=r"tiny\.safetensors"):
                read(weights)
    weights.write_bytes(whole)
    read_card(weights)


def test_every_truncation_is_found(weights: Path) -> None:
    whole = weights.read_bytes()
    for size in [*range(10), *range(10, len(whole), 13), len(whole) - 1]:
        weights.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"truncated|empty"):
            load_checkpoint(weights)
    weights.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="too long"):
        read_card(weights)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.safetensors"
        path.write_bytes(noise)
        with pytest.raises(CheckpointError, match=r"noise\.safetensors"):
            load_checkpoint(path)


class Bomb:
    """Its pickle would make a file called `boom` when read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return (self.folder / "boom").touch, ()


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps(Bomb(tmp_path), protocol=protocol))
    with pytest.raises(CheckpointError, match="a pickle"):
        load_checkpoint(path)
    assert not (tmp_path / "boom").exists()


def test_zip_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    path = tmp_path / "torch.safetensors"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="zip archive"):
        read_card(path)


def test_absurd_header_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    for length in (1 << 63, 1 << 40):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(CheckpointError, match="cannot be that long"):
            load_checkpoint(path)


def test_absurd_shape_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    table = {"a": ("F32", (1 << 40, 1 << 40))}
    header = checkpoint._header(table, "{}", "0" * 64)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(path)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(CheckpointError, match="no model card"):
        read_card(forged(path, None))
    with pytest.raises(CheckpointError, match="its format is '2'; this version of skyloom reads '1'"):
        read_card(forged(path, {"card": "{}", "sha256": "", "skyloom_format": "2"}))
    with pytest.raises(CheckpointError, match="header is damaged or was altered"):
        read_card(forged(path, {"card": "{}", "sha256": "0" * 64, "skyloom_format": "1", "more": ""}))


def test_card_must_make_sense_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "odd.safetensors"
    monkeypatch.setattr(checkpoint, "_card_text", lambda path, card: json.dumps(card))
    for card, words in [
        ({}, "no 'family'"),
        ([], "model card"),
        ({"family": "f", "name": 3, "spec": {}}, "'name' of the model card is a int"),
        ({"family": "f", "name": "n", "spec": {}}, "spec cannot be read"),
        ({"family": "f", "name": "n", "spec": {"name": "n", "ranges": {"q": [1]}}}, "spec cannot be read"),
        ({"family": "f", "name": "n", "spec": {"name": "n", "colour": 1}}, "unknown entry 'colour'"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            save_checkpoint(path, TENSORS, card)  # reads it back


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": {"loss": float("nan")}}, "not JSON compliant"),
        ({"metrics": {"loss": object()}}, "not JSON serializable"),
        ({"family": ""}, "must not be empty"),
        ({"spec": None}, "'spec'"),
    ],
)
def test_cards_that_cannot_be_kept(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "bad.safetensors"
    with pytest.raises(CheckpointError, match=words):
        save_checkpoint(path, TENSORS, {**CARD, **changes})
    assert not list(tmp_path.iterdir())


def test_tensors_that_cannot_be_kept(tmp_path: Path) -> None:
    for tensors in ({"a": np.array(["x"])}, {"__metadata__": np.zeros(1)}, {"a": np.array([None])}):
        with pytest.raises(CheckpointError, match="cannot be kept"):
            save_checkpoint(tmp_path / "bad.safetensors", tensors, CARD)


def test_other_layouts_in_memory_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wanted = np.arange(6.0).reshape(2, 3)
    save_checkpoint(path, {"big": wanted.astype(">f8"), "turned": wanted.T}, CARD)
    tensors, _ = load_checkpoint(path)
    assert tensors["big"].tolist() == wanted.tolist()
    assert tensors["turned"].tolist() == wanted.T.tolist()


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors': it does not exist"):
        read_card(tmp_path / "nowhere.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        read_card(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "no folder" / "a.safetensors", TENSORS, CARD)


def test_failed_write_leaves_the_old_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(weights, {"a": np.ones(100)}, CARD)
    assert weights.read_bytes() == before
    assert [p.name for p in weights.parent.iterdir()] == [weights.name]


def test_safetensors_itself_would_not_see_a_flipped_bit(weights: Path) -> None:
    """Why the SHA-256 is needed."""
    whole = bytearray(weights.read_bytes())
    whole[-1] ^= 1
    weights.write_bytes(whole)
    load_file(weights)
    with pytest.raises(CheckpointError, match="SHA-256 does not match"):
        load_checkpoint(weights)


def test_card_knows_no_hash_before_it_is_written() -> None:
    card = ModelCard.from_dict(CARD)
    assert card.sha256 == ""
    assert "SHA-256" not in card.to_markdown()
    assert save({"a": np.zeros(1)})  # the library is there at all


def test_a_card_of_another_architecture_is_a_damaged_model(tmp_path: Path) -> None:
    path = tmp_path / "older.safetensors"
    card = {**CARD, "architecture": {"local_channels": 4, "fine_channels": 0}}  # from before there were colour channels
    save_checkpoint(path, TENSORS, card)
    with pytest.raises(CheckpointError, match=r"older\.safetensors.*do not make a model"):
        load_generator(path)
