"""One run a folder: a lock that ends with its process, on whatever machine that runs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyloom.errors import RenderError

__all__ = ["folder_lock"]

_BEAT = 15.0  # seconds between two signs of life
_STALE = 120.0  # seconds without one, after which a run on another machine counts as dead
_HELD: set[str] = set()  # POSIX locks don't exclude their own process
_THREADS = threading.Lock()


@contextmanager
def folder_lock(folder: Path, shard: tuple[int, int] | None = None) -> Iterator[None]:
    """Hold the folder for this run.

    A whole run excludes every other run; shards exclude a whole run, and the same shard. The lock is a
    POSIX lock, so it is gone with its process however that ends. Some file systems keep such locks to one
    machine: therefore the holder also touches the file every few seconds, and a fresh file of another
    machine counts as held.

    Parameters
    ----------
    folder : pathlib.Path
        Where the lock files are; it exists.
    shard : (int, int), optional
        Number and count.

    Raises
    ------
    RenderError
        When another run has the folder; names its process and machine.
    """
    key = str(folder.resolve())
    with _THREADS:
        if key in _HELD:
            raise RenderError(f"this process is already rendering into '{folder.parent}'")
        _HELD.add(key)
    try:
        if shard is None:
            with _lock(folder / "lock", exclusive=True) as locked:
                _refuse_shards(folder, locked)
                yield
        else:
            name = f"lock-{shard[0]}-of-{shard[1]}"
            with _lock(folder / "lock", exclusive=False), _lock(folder / name, exclusive=True):
                yield
    finally:
        _HELD.discard(key)


@contextmanager
def _lock(path: Path, *, exclusive: bool) -> Iterator[bool]:
    """Hold a lock; says whether the file system has locks at all."""
    # A POSIX lock ends with the first close of ANY descriptor of its file: nothing else here may open it.
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    stop = threading.Event()
    try:
        try:
            fcntl.lockf(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            locked = True
        except OSError as exc:
            if exc.errno in (errno.EACCES, errno.EAGAIN):
                raise RenderError(_held(path, _holder(file))) from exc
            locked = False  # a file system without locks: only the text in the file is left
        if _alive_elsewhere(path, _holder(file)) or (not locked and _alive_here(_holder(file))):
            raise RenderError(_held(path, _holder(file)))
        if exclusive:
            _write(file, {"pid": os.getpid(), "host": socket.gethostname()})
            threading.Thread(target=_beat, args=(path, stop), daemon=True).start()
        try:
            yield locked
        finally:
            stop.set()
            if exclusive:
                _write(file, None)
    finally:
        os.close(file)


def _write(file: int, content: dict[str, object] | None) -> None:
    try:
        os.ftruncate(file, 0)
        if content is not None:
            os.pwrite(file, json.dumps(content).encode(), 0)
    except OSError:  # on a full disk the lock holds without its text
        pass


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(_BEAT):
        try:
            os.utime(path)
        except OSError:
            return


def _holder(file: int) -> dict[str, object]:
    try:
        content = json.loads(os.pread(file, 1000, 0))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _alive_elsewhere(path: Path, holder: dict[str, object]) -> bool:
    return bool(holder) and holder.get("host") != socket.gethostname() and time.time() - path.stat().st_mtime < _STALE


def _alive_here(holder: dict[str, object]) -> bool:
    try:
        os.kill(int(str(holder["pid"])), 0)
    except (KeyError, ValueError, OSError):
        return False
    return holder.get("host") == socket.gethostname()


def _held(path: Path, holder: dict[str, object]) -> str:
    who = f"process {holder['pid']} on {holder['host']}" if {"pid", "host"} <= holder.keys() else "another run"
    return f"{who} is rendering into '{path.parent.parent}' ({path.name}); wait for it, or choose another folder"


def _refuse_shards(folder: Path, locked: bool) -> None:
    """Refuse for a shard whose shared lock does not reach this process: on another machine, or where there are none."""
    for path in folder.glob("lock-*-of-*"):
        file = os.open(path, os.O_RDONLY)
        try:
            holder = _holder(file)
        finally:
            os.close(file)
        if _alive_elsewhere(path, holder) or (not locked and _alive_here(holder)):
            raise RenderError(_held(path, holder))
