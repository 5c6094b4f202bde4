"""
Build the wheel and the source distribution into ``dist``: ``make dist``.

The wheel of a commit has the same bytes, whoever builds it, wherever and whenever. For that, only the files
that belong in it are copied, with fixed modes, and dated SOURCE_DATE_EPOCH or else as the last commit. The
script builds a second time, from a copy with other times and modes, to check this.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTENT = ("airflow_provider_qianfan", "LICENSE", "README.md", "pyproject.toml", "setup.cfg")
OUTSIDE_GIT = "315532800"  # 1980, the first year of a zip file


def date() -> str:
    """Return the date of the build, in seconds since the epoch."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    if not (ROOT / ".git").exists():
        return OUTSIDE_GIT
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def copy(source: Path, target: Path, *, mode: int, time: int) -> None:
    """Copy what belongs in a distribution. All files get the same mode and time."""
    for name in CONTENT:
        for file in sorted([source / name, *(source / name).rglob("*")]):
            if file.is_file() and "__pycache__" not in file.parts:
                copied = target / file.relative_to(source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copied)
                copied.chmod(mode)
                os.utime(copied, (time, time))


def build(source: Path, target: Path, as_of: str) -> str:
    """Build from a copy of ``source``; return the wheel's checksum."""
    with tempfile.TemporaryDirectory(prefix="qianfan-build-") as folder:
        copy(source, Path(folder), mode=0o644, time=int(as_of))
        result = subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, folder],
            env=os.environ | {"SOURCE_DATE_EPOCH": as_of},
            umask=0o022,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if result.returncode:
        raise SystemExit(result.stdout)
    (wheel,) = target.glob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def main() -> int:
    """Build twice, and compare."""
    dist, as_of = ROOT / "dist", date()
    shutil.rmtree(dist, ignore_errors=True)
    checksum = build(ROOT, dist, as_of)
    with tempfile.TemporaryDirectory(prefix="qianfan-again-") as folder:
        os.umask(0o077)
        copy(ROOT, Path(folder, "source"), mode=0o600, time=1)
        again = build(Path(folder, "source"), Path(folder, "dist"), as_of)
    if again != checksum:
        print(f"Two builds of one source differ: {checksum} and {again}")
        return 1
    for file in sorted(dist.iterdir()):
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
