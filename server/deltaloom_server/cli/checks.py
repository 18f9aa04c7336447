"""The doctor's checks of this machine and this installation.

Invariant: no check starts, sends or installs anything, and one that can't be made is a warning that says so.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

import platformdirs
import psutil

from deltaloom_server.cli.sizes import format_bytes

Level = Literal["ok", "warn", "fail"]

_WATCHES_WANTED = 65_536
_INSTANCES_WANTED = 128
_MEMORY_NEEDED = 700 << 20
"""What the worker takes with nano at its full trained context, rounded up."""
_TORCH_NEEDED = (2, 11)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `text` says what is, `advice` what to do ("" when nothing)."""

    name: str
    level: Level
    text: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def run_checks() -> list[Check]:
    """All checks, in the order in which a person would look."""
    checks: list[Check] = []
    for name, make in _CHECKS.items():
        try:
            found = make()
        except Exception as error:  # a check that breaks must not hide the others
            found = [Check(name, "warn", f"couldn't be checked ({error})", "Please report this as a bug.")]
        checks += found
    return checks


def check_python() -> list[Check]:
    text = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return [Check("python", "ok", text)]
    return [Check("python", "fail", text, "Install Python 3.11, 3.12 or 3.13 and install Deltaloom with it.")]


def check_platform() -> list[Check]:
    system, machine = platform.system(), platform.machine()
    text = f"{system} {platform.release()}, {machine}"
    if system == "Linux" and machine in {"x86_64", "AMD64"}:
        return [Check("platform", "ok", text)]
    if system in {"Linux", "Darwin"}:
        return [Check("platform", "warn", text, "Only Linux on x86-64 is tested; please report what fails.")]
    return [Check("platform", "fail", text, "Deltaloom needs Unix sockets: on Windows, run it inside WSL.")]


def check_torch() -> list[Check]:
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return [Check("torch", "fail", "isn't installed", "Run: pip install torch")]
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < _TORCH_NEEDED:
        return [Check("torch", "fail", f"{version} is too old", "Run: pip install --upgrade 'torch>=2.11'")]
    build, cards = _torch_build(), nvidia_cards()
    text = f"{version}, {build} build; " + (", ".join(cards) if cards else "no NVIDIA card seen")
    if cards and build == "CPU":
        advice = "The card stays unused: install a CUDA build of torch (see PyTorch's install selector)."
        return [Check("torch", "warn", text, advice)]
    return [Check("torch", "ok", text)]


def _torch_build() -> str:
    """`CPU`, `CUDA 12.8` or `ROCm 6.4`, read from torch's version file (an import takes seconds)."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "unknown"
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    for name, label in (("cuda", "CUDA"), ("hip", "ROCm")):
        if found := re.search(rf"^{name}\b[^=]*= *'([^']+)'", text, re.MULTILINE):
            return f"{label} {found[1]}"
    return "CPU"


def nvidia_cards() -> list[str]:
    """The names of the NVIDIA cards that the driver shows; none without a driver."""
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        if found := re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE):
            names.append(found[1].strip())
    if names or shutil.which("nvidia-smi") is None:
        return names
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def check_model() -> list[Check]:
    from deltaloom_model.api import ModelSpec
    from deltaloom_model.errors import ModelLoadError
    from deltaloom_model.loading.manifest import read_manifest, verify_files
    from deltaloom_model.runtime_folder import model_folder

    folder = model_folder(ModelSpec())
    try:
        manifest = read_manifest(folder)
        if manifest is None:
            text = f"the embedded model's manifest is missing in {folder}"
            return [Check("model", "fail", text, "Install Deltaloom again.")]
        verify_files(folder, manifest, manifest.files)
    except ModelLoadError as error:
        return [Check("model", "fail", str(error), "Install Deltaloom again.")]
    size = sum(entry.bytes for entry in manifest.files.values())
    text = f"nano, {len(manifest.files)} files, {format_bytes(size)}, as their SHA-256 manifest says"
    return [Check("model", "ok", text)]


def check_folders() -> list[Check]:
    from deltaloom_model.errors import DeltaloomModelError
    from deltaloom_model.runtime_folder import runtime_folder

    try:
        runtime = runtime_folder()
    except DeltaloomModelError as error:
        return [Check("folders", "fail", "no folder for sockets", str(error))]
    folders = {
        "runtime": runtime,
        "cache": platformdirs.user_cache_path("deltaloom"),
        "logs": platformdirs.user_log_path("deltaloom"),
    }
    return [check_folder(name, folder) for name, folder in folders.items()]


def check_folder(name: str, folder: Path) -> Check:
    """Whether a folder is this user's own and closed to all others."""
    try:
        info = folder.lstat()
    except FileNotFoundError:
        return Check(name, "ok", f"{folder} (made when it is needed)")
    if not stat.S_ISDIR(info.st_mode):
        return Check(name, "fail", f"{folder} isn't a folder", f"Move it away: mv {folder} {folder}.old")
    if info.st_uid != os.getuid():
        return Check(name, "fail", f"{folder} belongs to another user", "Remove it, or ask its owner to.")
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o077:
        return Check(name, "warn", f"{folder} is open to others ({mode:04o})", f"Run: chmod 700 {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(name, "fail", f"{folder} can't be written", f"Run: chmod 700 {folder}")
    return Check(name, "ok", f"{folder} ({mode:04o})")


def check_watching() -> list[Check]:
    limits = Path("/proc/sys/fs/inotify")
    if not limits.is_dir():
        return []
    watches = int((limits / "max_user_watches").read_text())
    instances = int((limits / "max_user_instances").read_text())
    text = f"{watches} inotify watches, {instances} instances"
    if watches >= _WATCHES_WANTED and instances >= _INSTANCES_WANTED:
        return [Check("watching", "ok", text)]
    advice = (
        "Changes outside the editor may be missed in large workspaces; run: sudo sysctl "
        f"fs.inotify.max_user_watches={max(watches, _WATCHES_WANTED * 8)} "
        f"fs.inotify.max_user_instances={max(instances, _INSTANCES_WANTED * 4)}"
    )
    return [Check("watching", "warn", text, advice)]


def check_git() -> list[Check]:
    path = shutil.which("git")
    if path is None:
        advice = "Install git: without it .gitignore files are read by Deltaloom's own, simpler rules."
        return [Check("git", "warn", "not found", advice)]
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return [Check("git", "ok", f"{done.stdout.strip().removeprefix('git version ')} ({path})")]


def check_memory() -> list[Check]:
    memory = psutil.virtual_memory()
    text = f"{format_bytes(memory.available)} of {format_bytes(memory.total)} available"
    if memory.available >= _MEMORY_NEEDED:
        return [Check("memory", "ok", text)]
    advice = f"The model worker takes about {format_bytes(_MEMORY_NEEDED)}: close something large."
    return [Check("memory", "warn", text, advice)]


def check_worker() -> list[Check]:
    from deltaloom_model.client import ping_status

    checks = []
    for status in ping_status():
        name = status.model.name if status.model else "no model yet"
        text = f"process {status.pid}, {status.state}, {name}"
        if status.state == "failed":
            advice = "Correct what the sentence says; the next request tries again."
            checks.append(Check("worker", "fail", f"{text}: {status.detail}", advice))
        else:
            checks.append(Check("worker", "ok", text))
    return checks or [Check("worker", "ok", "none is running; one starts with the first request")]


def check_scanners() -> list[Check]:
    from deltaloom_server.security.scanner_versions import versions
    from deltaloom_server.security.scanners.ruff import RuffNotFound, find_ruff

    found = versions()
    missing = [name for name in ("ruff", "bandit", "detect-secrets") if not found[name]]
    try:
        find_ruff()
    except RuffNotFound:
        missing = sorted({*missing, "ruff"})
    shown = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if missing:
        return [
            Check("scanners", "fail", f"{', '.join(missing)} missing", "Install deltaloom again with pip.")
        ]
    if not found["semgrep"]:
        advice = "For JavaScript, TypeScript, Java, C, Go and PHP run: pip install 'deltaloom[semgrep]'"
        return [Check("scanners", "ok", shown, advice)]
    return [Check("scanners", "ok", shown)]


_CHECKS: dict[str, Callable[[], list[Check]]] = {
    "python": check_python,
    "platform": check_platform,
    "torch": check_torch,
    "model": check_model,
    "folders": check_folders,
    "watching": check_watching,
    "git": check_git,
    "memory": check_memory,
    "worker": check_worker,
    "scanners": check_scanners,
}
