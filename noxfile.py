"""
The matrix: this provider on every Airflow and every Python that it supports. ``make test-matrix`` runs it.

========================  ==================================================================================
session                   what it does
========================  ==================================================================================
``airflow-3.1-3.12``      the tests on Airflow 3.1 and Python 3.12, from ``requirements/airflow-3.1.lock``
``lowest``                the tests at the lowest versions that ``setup.cfg`` allows: Airflow 2.11.0
``newest``                the tests at the newest version of everything, whatever the locks say
``following``             the tests on a pre-release of the next Airflow; may fail
``wheel-3.1``             installs the wheel beside Airflow; fails if that changes a package of Airflow's
========================  ==================================================================================

To choose parts of the tests (:data:`PARTS`), name them after ``--``. ``-- ci`` chooses what ``.ci/run`` runs
today. Each session has its own virtual environment. If uv is installed, uv makes it, otherwise venv and pip.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nox


@dataclass(frozen=True)
class Airflow:
    """
    A supported Airflow.

    :param newest: its newest release.
    :param by: a day on which that release was on the index. ``requirements/release-*.lock`` has nothing
        newer.
    :param pythons: the Pythons that both it and we support.
    :param bounds: limits on its dependencies. Without them, it breaks today.
    """

    newest: str
    by: str
    pythons: tuple[str, ...]
    bounds: tuple[str, ...] = ()


AIRFLOWS = {
    "2.11": Airflow("2.11.2", "2026-04-01", ("3.11", "3.12")),
    "3.0": Airflow("3.0.6", "2025-09-01", ("3.11", "3.12"), ("fastapi<0.118", "pyjwt<2.11")),
    "3.1": Airflow("3.1.8", "2026-03-15", ("3.11", "3.12", "3.13")),
    "3.2": Airflow(
        "3.2.2", "2026-06-01", ("3.11", "3.12", "3.13"), ("cadwyn<7.2", "fastapi<0.138", "svcs<26")
    ),
    "3.3": Airflow("3.3.2", "2026-10-01", ("3.11", "3.12", "3.13")),
}

PARTS = {
    "quick": (
        *(
            "-n",
            "4",
            "--cov",
            "--cov-report=",
            "tests/test_compat.py",
            "tests/test_upgrades.py",
            "tests/test_imports.py",
        ),
        *("tests/hooks/test_qianfan.py", "tests/sensors/test_resources.py", "tests/operators/test_cancel.py"),
    ),
    "tests": ("-n", "4", "--dist", "worksteal"),
    "faults": ("-n", "3", "-m", "faults"),
    "integration": ("tests/integration", "-m", "integration", "-o", "faulthandler_timeout=0"),
}
"""pytest's arguments: a selection, and those of ``make test``, ``test-faults``, ``test-integration``."""

RESULTS = Path("build", "matrix").absolute()

nox.options.default_venv_backend = "uv|venv"
nox.options.error_on_missing_interpreters = True
nox.options.download_python = "never"
for pythons in sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.*/bin")):
    os.environ["PATH"] += f":{pythons}"  # pyenv shows one Python at a time


IN_CI = {
    "airflow-2.11-3.11": ["tests"],
    **{f"airflow-{airflow}-3.11": ["quick"] for airflow in ("3.0", "3.1", "3.2")},
}
"""What ``.ci/run`` runs on the other Airflows. Each day one session of :data:`IN_TURN` runs all ``tests``."""

IN_TURN = ("airflow-3.0-3.11", "airflow-3.1-3.11", "airflow-3.2-3.11")


def parts(session: nox.Session) -> list[str]:
    """Return the parts to run. If there are none, skip the session."""
    if unknown := set(session.posargs) - {*PARTS, "ci"}:
        session.error(f"not a part: {', '.join(sorted(unknown))}. The parts are {', '.join(PARTS)}")
    if "ci" in session.posargs:
        in_turn = IN_TURN[datetime.now(UTC).timetuple().tm_yday % len(IN_TURN)]
        chosen = ["tests"] if session.name == in_turn else IN_CI.get(session.name, [])
    else:
        chosen = [part for part in PARTS if part in session.posargs] or list(PARTS)
    if not chosen:
        session.skip("nothing to run")
    return chosen


def report(session: nox.Session, part: str) -> Path:
    """Return the path of a part's report."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    return RESULTS / f"{session.name}.{part}.xml"


def run(session: nox.Session, *chosen: str) -> None:
    """Run each part, even if an earlier one fails. ``scripts/matrix.py`` makes the table from the reports."""
    failed = []
    for part in chosen:
        xml = report(session, part)
        for earlier in (xml, xml.with_suffix(".coverage")):
            earlier.unlink(missing_ok=True)
        try:
            session.run(
                *("python", "-m", "pytest", f"--junitxml={xml}", *PARTS[part]),
                env={"COVERAGE_FILE": str(xml.with_suffix(".coverage"))},
            )
        except nox.command.CommandFailed:
            failed.append(part)
    if failed:
        session.error(f"failed: {', '.join(failed)}")


def cell(session: nox.Session, airflow: str) -> None:
    """Run the tests on an Airflow."""
    chosen = parts(session)
    session.install("--requirement", f"requirements/airflow-{airflow}.lock")
    session.install("--no-deps", "--editable", ".")
    run(session, *chosen)


def wheel(session: nox.Session, airflow: str) -> None:
    """Install the wheel beside what an Airflow was released with: no other package may change."""
    pins = f"requirements/release-{airflow}.lock"
    session.install("--requirement", pins)
    before = installed(session)
    session.install("--constraint", pins, *map(str, Path("dist").glob("*.whl")))
    after = installed(session)
    ours = {package for package in after if package.startswith("airflow-provider-qianfan")}
    if moved := sorted((before ^ after) - ours):
        session.error(f"installing the wheel changes other packages: {moved}")
    session.run("airflow", "providers", "get", "airflow-provider-qianfan", env=at_home(session))
    (built,) = Path("dist").glob("*.whl")
    session.run("python", "scripts/check_wheel.py", str(built), env=at_home(session))


def installed(session: nox.Session) -> set[str]:
    """List the packages of a session, and their versions."""
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    return set(str(session.run("python", "-c", code, silent=True)).split())


def at_home(session: nox.Session) -> dict[str, str]:
    """Give Airflow a new, empty folder."""
    home = Path(session.create_tmp()).absolute()
    shutil.rmtree(home)
    return {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}


def lock(session: nox.Session) -> None:
    """Write the locks again from ``setup.cfg``; ``-- --upgrade`` moves dependencies to their newest."""
    session.install("uv")
    folder = Path(session.create_tmp())
    for name, airflow in AIRFLOWS.items():
        wanted = folder / f"airflow-{name}.in"
        wanted.write_text("\n".join((f"apache-airflow=={airflow.newest}", *airflow.bounds)))
        extras = ["--extra", "dev", *(["--extra", "cluster"] if name == [*AIRFLOWS][-1] else [])]
        resolve(session, f"airflow-{name}", *extras, "setup.cfg", str(wanted), *session.posargs)
        wanted.write_text(f"apache-airflow=={airflow.newest}")
        resolve(session, f"release-{name}", "--exclude-newer", airflow.by, str(wanted))
    resolve(session, "lowest", "--upgrade", "--resolution", "lowest-direct", "--extra", "test", "setup.cfg")


def resolve(session: nox.Session, name: str, *arguments: str) -> None:
    """Write a lock."""
    session.run(
        *("uv", "pip", "compile", "--quiet", "--no-config", "--universal", "--python-version", "3.11"),
        *("--custom-compile-command", "make lock", "--output-file", f"requirements/{name}.lock"),
        *arguments,
    )


def sbom(session: nox.Session) -> None:
    """Write what the package needs at run time as a CycloneDX SBOM, from the list of ``make licences``."""
    session.install("cyclonedx-bom>=7")
    session.run(
        *("cyclonedx-py", "requirements", "--output-reproducible", "--output-file", "build/sbom.json"),
        "build/runtime.txt",
    )


def audit(session: nox.Session) -> None:
    """Ask PyPI for known vulnerabilities of that list. A package that PyPI does not know is an error."""
    session.install("pip-audit>=2.7")
    session.run(
        *("pip-audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner", "off"),
        *("--requirement", "build/runtime.txt", *session.posargs),
    )


def lowest(session: nox.Session) -> None:
    """Run the tests at the lowest versions that ``setup.cfg`` allows."""
    chosen = parts(session)
    session.install("--requirement", "requirements/lowest.lock")
    session.install("--no-deps", "--editable", ".")
    run(session, *chosen)


def newest(session: nox.Session) -> None:
    """Run the tests at the newest version of everything."""
    chosen = parts(session)
    session.install("--upgrade", "--editable", ".[test]")
    run(session, *chosen)


def following(session: nox.Session) -> None:
    """Run the tests on the next Airflow, if there is a pre-release of it."""
    chosen = parts(session)
    newest_of_all = max(AIRFLOWS.values(), key=lambda airflow: tuple(map(int, airflow.newest.split("."))))
    major, minor, _ = newest_of_all.newest.split(".")
    try:
        session.install("--pre", f"apache-airflow>={major}.{int(minor) + 1}.0a0", "--editable", ".[test]")
    except nox.command.CommandFailed:
        session.skip("there is no pre-release of the next Airflow, or it cannot be installed")
    run(session, *chosen)


def declare() -> None:
    """Declare a session for each Airflow, and one more for each of its wheels."""
    for name, of in AIRFLOWS.items():

        def test(session: nox.Session, name: str = name) -> None:
            cell(session, name)

        def install(session: nox.Session, name: str = name) -> None:
            wheel(session, name)

        nox.session(python=list(of.pythons), name=f"airflow-{name}", tags=["tests"])(test)
        nox.session(python="3.11", name=f"wheel-{name}", tags=["wheel"])(install)
    for function in (lowest, newest, following):
        nox.session(python="3.11", name=function.__name__, tags=["tests"])(function)
    for function in (lock, sbom, audit):
        nox.session(name=function.__name__, default=False)(function)


declare()
