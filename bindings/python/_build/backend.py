# SPDX-License-Identifier: MIT
"""A small PEP 517 and 660 build backend: builds the C library with meson and ninja and puts it into the wheel.

Sources are those of the repository this lies in, or, in a source distribution, their copy under csrc/. The wheel holds
Python files, the shared library (libmoe/lib) and the bundled model (libmoe/models). It fits any Python 3 on the platform.
Settings (pip's --config-settings): setup-args, e.g. -Csetup-args=-Dthreads=openmp."""
from __future__ import annotations

import base64
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent.parent
NAME = "libmoe"
MODEL = "examples/models/demo.gguf"
#: what a source distribution needs of the repository
SOURCES = ["meson.build", "meson_options.txt", "LICENSE", "include", "src", MODEL, "tools/meson.build", "tools/libmoe/meson.build",
           "tools/read_version.py", "tests/meson.build", "examples/meson.build", "docs/meson.build"]


def source_tree():
    for root in (HERE / "csrc", HERE.parent.parent):
        if (root / "include" / "moe" / "version.h").is_file():
            return root
    raise SystemExit("the C sources of libmoe are neither in csrc/ nor in the repository around this folder")


def version():
    text = (source_tree() / "include/moe/version.h").read_text(encoding="utf-8")
    return ".".join(re.search(rf"#define MOE_VERSION_{part} (\d+)", text).group(1) for part in ("MAJOR", "MINOR", "PATCH"))


def _tool(name):
    """The command for meson or ninja: from the build environment, or the system's."""
    beside = pathlib.Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    if not found:
        raise SystemExit(f"{name} is needed to build libmoe")
    return found


def get_requires_for_build_wheel(config_settings=None):
    del config_settings
    return [need for name, need in (("meson", "meson>=1.0"), ("ninja", "ninja")) if not shutil.which(name)]


get_requires_for_build_editable = get_requires_for_build_wheel


def get_requires_for_build_sdist(config_settings=None):
    del config_settings
    return []


def _build_library(folder, config_settings):
    """Builds the shared library under `folder`; returns its path."""
    extra = (config_settings or {}).get("setup-args", [])
    options = ["--buildtype=release", "-Ddefault_library=shared", "-Dtests=disabled", "-Dexamples=disabled",
               "-Dtool=disabled", "-Ddocs=disabled", *([extra] if isinstance(extra, str) else extra)]
    subprocess.run([_tool("meson"), "setup", str(folder), str(source_tree()), *options], check=True)
    subprocess.run([_tool("ninja"), "-C", str(folder)], check=True)
    for pattern in ("libmoe.so.*", "libmoe.so", "libmoe*.dylib", "*moe*.dll"):
        for path in sorted((folder / "src").glob(pattern), key=lambda p: len(p.name), reverse=True):
            if path.is_file() and not path.is_symlink():
                return path
    raise SystemExit("the build made no shared library")


def _library_name(path):
    return "libmoe.so" if ".so" in path.name else path.name


def _metadata():
    license_text = (source_tree() / "LICENSE").read_text(encoding="utf-8")
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {version()}",
             "Summary: Runs Mixture-of-Experts language models on the CPU, with routing you can see and change",
             "License: MIT", "Requires-Python: >=3.9", "Provides-Extra: numpy", "Provides-Extra: plot",
             "Requires-Dist: numpy; extra == 'numpy'", "Requires-Dist: numpy; extra == 'plot'",
             "Requires-Dist: matplotlib; extra == 'plot'", "Classifier: Typing :: Typed",
             "Description-Content-Type: text/markdown", "", readme]
    return "\n".join(lines), license_text


def _tag():
    platform = re.sub(r"[^\w]", "_", sysconfig.get_platform())
    return f"py3-none-{platform}"


class _Wheel:
    def __init__(self, folder, tag):
        self.info = f"{NAME}-{version()}.dist-info"
        self.name = f"{NAME}-{version()}-{tag}.whl"
        self.zip = zipfile.ZipFile(pathlib.Path(folder) / self.name, "w", zipfile.ZIP_DEFLATED)
        self.records = []
        self.tag = tag

    def add(self, name, data, mode=0o644):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.records.append(f"{name},sha256={digest},{len(data)}")
        info = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))  # the same bytes for the same sources
        info.external_attr = (0o100000 | mode) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        self.zip.writestr(info, data)

    def finish(self):
        metadata, license_text = _metadata()
        self.add(f"{self.info}/METADATA", metadata.encode())
        self.add(f"{self.info}/LICENSE", license_text.encode())
        self.add(f"{self.info}/WHEEL", (f"Wheel-Version: 1.0\nGenerator: libmoe\nRoot-Is-Purelib: false\n"
                                        f"Tag: {self.tag}\n").encode())
        self.add(f"{self.info}/top_level.txt", f"{NAME}\n".encode())
        self.records.append(f"{self.info}/RECORD,,")
        self.zip.writestr(f"{self.info}/RECORD", "\n".join(self.records) + "\n")
        self.zip.close()
        return self.name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    del metadata_directory
    wheel = _Wheel(wheel_directory, _tag())
    with tempfile.TemporaryDirectory() as scratch:
        library = _build_library(pathlib.Path(scratch) / "build", config_settings)
        for path in sorted((HERE / NAME).glob("*.py")) + [HERE / NAME / "py.typed"]:
            wheel.add(f"{NAME}/{path.name}", path.read_bytes())
        wheel.add(f"{NAME}/lib/{_library_name(library)}", library.read_bytes(), 0o755)
    wheel.add(f"{NAME}/models/demo.gguf", (source_tree() / MODEL).read_bytes())
    return wheel.finish()


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The library is built into the package folder (which git ignores), Python files are used where they lie."""
    del metadata_directory
    wheel = _Wheel(wheel_directory, _tag())
    with tempfile.TemporaryDirectory() as scratch:
        library = _build_library(pathlib.Path(scratch) / "build", config_settings)
        target = HERE / NAME / "lib" / _library_name(library)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(library, target)
    wheel.add(f"__editable__.{NAME}.pth", f"{HERE}\n".encode())
    return wheel.finish()


def build_sdist(sdist_directory, config_settings=None):
    del config_settings
    base = f"{NAME}-{version()}"
    name = f"{base}.tar.gz"
    root = source_tree()
    with tarfile.open(os.path.join(sdist_directory, name), "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for path in ["pyproject.toml", "README.md", "_build/backend.py", *sorted(
                f"{NAME}/{p.name}" for p in (HERE / NAME).iterdir() if p.suffix in (".py", ".typed")), *sorted(
                str(p.relative_to(HERE)) for folder in ("tests", "examples") for p in (HERE / folder).glob("*.py"))]:
            tar.add(HERE / path, f"{base}/{path}")
        for path in SOURCES:
            tar.add(root / path, f"{base}/csrc/{path}", filter=lambda i: None if "__pycache__" in i.name else i)
        metadata = _metadata()[0].encode()
        info = tarfile.TarInfo(f"{base}/PKG-INFO")
        info.size = len(metadata)
        tar.addfile(info, io.BytesIO(metadata))
    return name
