"""Builds the wheel: a backend of PEP 517 that needs nothing but Python and the native build.

The extension and its library are what CMake builds; they are packed beside the modules. The same
content gives the same wheel, bit by bit: no times, one order.

SHIMMY_PYTHON_PRESET chooses the native build (scripts/build-native.sh): `release`, for this
machine, or one of the presets for others, whose wheels say which C library they need.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TAG = "cp311-abi3"
PLATFORMS = {
    "release": f"linux_{platform.machine()}",
    "linux-x64": "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "linux-x64-musl": "musllinux_1_1_x86_64",
}
# What zip files begin counting at.
EPOCH = (1980, 1, 1, 0, 0, 0)


def _preset() -> str:
    return os.environ.get("SHIMMY_PYTHON_PRESET", "release")


def _version() -> str:
    return str(json.loads((ROOT / "package.json").read_text())["version"])


def _metadata() -> str:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {_version()}",
        f"Summary: {project['description']}",
        f"License: {project['license']['text']}",
        f"Requires-Python: {project['requires-python']}",
    ]
    for extra, requirements in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {each}; extra == '{extra}'" for each in requirements]
    return "\n".join(lines) + "\n"


def _wheel_text() -> str:
    tags = [f"{TAG}-{each}" for each in PLATFORMS[_preset()].split(".")]
    lines = ["Wheel-Version: 1.0", "Generator: shimmy", "Root-Is-Purelib: false"]
    return "\n".join(lines + [f"Tag: {tag}" for tag in tags]) + "\n"


def _content(info: str) -> dict[str, bytes]:
    package = ROOT / "build" / _preset() / "python" / "shimmy_ipc"
    files = {
        f"shimmy_ipc/{path.name}": path.read_bytes()
        for path in sorted(package.iterdir())
        if path.is_file()
    }
    files[f"{info}/METADATA"] = _metadata().encode()
    files[f"{info}/WHEEL"] = _wheel_text().encode()
    files[f"{info}/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return files


def _record(files: dict[str, bytes], info: str) -> bytes:
    def digest(data: bytes) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

    lines = [f"{name},sha256={digest(data)},{len(data)}" for name, data in files.items()]
    return ("\n".join([*lines, f"{info}/RECORD,,"]) + "\n").encode()


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return []


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None
) -> str:
    script = ROOT / "scripts" / "build-native.sh"
    subprocess.run(["bash", str(script), _preset(), "shimmy_python"], check=True)
    info = f"shimmy_ipc-{_version()}.dist-info"
    files = _content(info)
    files[f"{info}/RECORD"] = _record(files, info)
    name = f"shimmy_ipc-{_version()}-{TAG}-{PLATFORMS[_preset()]}.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            is_native = path.endswith((".so", ".so.1"))
            entry.external_attr = (0o100755 if is_native else 0o100644) << 16
            wheel.writestr(entry, data)
    return name


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    raise NotImplementedError("the extension is built in Shimmy's repository only")
