"""Deleting folders for good, whatever agents did to them."""

import os
import shutil
from contextlib import suppress
from pathlib import Path


def empty_trash(trash: Path) -> None:
    """Delete what was removed; what cannot be deleted now stays for the next time.

    Several may do it at once.
    """
    with suppress(FileNotFoundError):
        for folder in list(trash.iterdir()):
            delete(folder)


def delete(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        _make_writable(path)
        shutil.rmtree(path, ignore_errors=True)


def _make_writable(folder: Path) -> None:
    """Top down: what a folder holds is seen only when the folder may be read."""
    with suppress(OSError):
        folder.chmod(0o700)
    for top, names, _ in os.walk(folder):
        for name in names:
            inner = Path(top, name)
            with suppress(OSError):
                if not inner.is_symlink():
                    inner.chmod(0o700)
