"""`deltaloom clean`: remove what Deltaloom keeps outside repositories, after listing it.

Invariant: only folders of Deltaloom's own are touched, symbolic links are removed and never followed, and
the sockets of running workers stay.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from deltaloom_server.cli.sizes import format_bytes
from deltaloom_server.errors import DeltaloomError

_APP = "deltaloom"
_SOCKETS = "run"
"""Where sockets stand when there is no runtime folder; they are removed by the workers they belong to."""


@dataclass(frozen=True, slots=True)
class Removable:
    """One file or folder that can go. `size` is in bytes, of the files in it."""

    path: Path
    size: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", action="store_true", help="kept state and other things that are made anew")
    parser.add_argument("--models", action="store_true", help="models put into the models folder")
    parser.add_argument("--logs", action="store_true", help="logs of the server and the model worker")
    parser.add_argument("--yes", action="store_true", help="remove without asking")


def run(arguments: argparse.Namespace) -> int:
    folders = [folder for name, folder in kept_folders().items() if getattr(arguments, name)]
    if not folders:
        raise DeltaloomError("Say what to remove: --cache, --models or --logs (or several of them).")
    found = [item for folder in folders for item in list_removable(folder)]
    if not found:
        print("Nothing to remove in " + " or ".join(str(folder) for folder in folders) + ".")
        return 0
    for item in found:
        print(f"{format_bytes(item.size):>10}  {item.path}")
    print(f"{format_bytes(sum(item.size for item in found)):>10}  in all")
    if not arguments.yes and not _confirmed():
        print("Nothing was removed.")
        return 1
    for item in found:
        _remove(item.path)
    print("Removed.")
    return 0


def kept_folders() -> dict[str, Path]:
    """What Deltaloom keeps outside repositories, by the name of the option that removes it."""
    return {
        "cache": platformdirs.user_cache_path(_APP),
        "models": platformdirs.user_data_path(_APP) / "models",
        "logs": platformdirs.user_log_path(_APP),
    }


def list_removable(folder: Path) -> list[Removable]:
    """The entries of a folder with their sizes, largest first; none when the folder doesn't exist.

    Raises DeltaloomError when the folder can't be read.
    """
    if folder.is_symlink():
        raise DeltaloomError(f"{folder} is a symbolic link; remove it yourself if it should go.")
    # On some systems the logs stand inside the cache folder: each has its own option.
    nested = {other for other in kept_folders().values() if other != folder and other.is_relative_to(folder)}
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DeltaloomError(f"{folder} can't be read ({error.strerror}).") from None
    kept = [path for path in entries if path.name != _SOCKETS and path not in nested]
    return sorted((Removable(path, _size(path)) for path in kept), key=lambda item: (-item.size, item.path))


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total = 0
    for parent, _, files in os.walk(path, followlinks=False):
        total += sum((Path(parent) / name).lstat().st_size for name in files)
    return total


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise DeltaloomError("Nobody can be asked here: add --yes to remove what is listed.")
    return input("Remove all of this? [y/N] ").strip().lower() in {"y", "yes"}


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DeltaloomError(f"{path} can't be removed ({error.strerror}); the rest stays.") from None
