"""What a person sees of the provider in Airflow: the connection's form, its Test, and the gate."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from playwright.sync_api import expect

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.links import DEFAULT_URL_TEMPLATE
from tests.integration.stage import connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.integration.services import Services

pytestmark = pytest.mark.browser

MADE = "amv-demoquant001"
# Airflow's page does not wrap the lines of a log: what is far to the right is hidden.
LOG_ENDS_AT = 1250  # pixels, of 1280
RIGHT_EDGE = """(element, text) => {
    const nodes = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
        const range = document.createRange(), begins = nodes.currentNode.data.indexOf(text);
        if (begins < 0) continue;
        range.setStart(nodes.currentNode, begins);
        range.setEnd(nodes.currentNode, begins + text.length);
        return range.getBoundingClientRect().right;
    }
    return Infinity;
}"""


def test_the_connection(page: Page, emulator: EmulatorServer, shoot: Callable[..., Any]) -> None:
    account, (host, _, port) = emulator.world.account, emulator.url.rpartition(":")

    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill("qianfan_default")
    form.get_by_role("combobox").fill("qianfan")
    page.get_by_role("option", name="Baidu AI Cloud Qianfan").click()
    expect(form.get_by_label("Endpoint")).to_have_attribute("placeholder", re.compile("qianfan.baidubce.com"))
    expect(form.get_by_label("Access Key ID")).to_have_attribute("placeholder", re.compile("not the API key"))
    expect(form.get_by_text("Schema")).to_have_count(0)
    shoot("connection-form")
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(form.get_by_label("Timeout")).to_have_value("30")
    expect(form.get_by_text("Cannot be switched off.")).to_be_visible()
    shoot("connection-form-extra")
    form.get_by_role("button", name="Standard Fields").click()
    form.get_by_label("Endpoint").fill(host)
    form.get_by_label("Port").fill(port)
    form.get_by_label("Access Key ID").fill(account.access_key_id)
    form.get_by_label("Secret Access Key").fill("not-the-secret-access-key")
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)

    told = press_test(page)
    expect(told).to_contain_text("Test Connection Failed")
    expect(told).to_contain_text("SignatureDoesNotMatch")
    expect(told).to_contain_text("Check the connection's Secret Access Key")
    shoot("connection-test-failure")

    page.get_by_role("button", name="Edit Connection").click()
    form.get_by_label("Secret Access Key").fill(account.secret_access_key)
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)

    told = press_test(page)
    expect(told).to_contain_text("Test Connection Successful")
    expect(told).to_contain_text("accepts the key, and it may read model compression tasks")
    shoot("connection-test-success")


def press_test(page: Page) -> Locator:
    """Test the only connection, and return what comes up."""
    page.reload()
    page.get_by_role("button", name="Test Connection").click()
    return page.get_by_role("status").filter(has_text="Test Connection")


def start_a_gate(page: Page, services: Services, emulator: EmulatorServer, task: TaskSpec) -> None:
    """Let the example DAG wait for a compression, and open the page of its gate."""
    emulator.world.tasks.add(task)
    with contextlib.suppress(HTTPError):
        services.call("DELETE", "/connections/qianfan_default")
    services.call("POST", "/connections", connection("qianfan_default", emulator.url, emulator.world.account))
    run = services.trigger("gate_deployment")
    page.goto(f"/dags/gate_deployment/runs/{run.rpartition('/')[2]}")
    expect(row(page, "wait_for_compression")).to_contain_text("Deferred")
    expect(row(page, "deploy")).to_contain_text("No Status")
    row(page, "wait_for_compression").get_by_role("link").click()
    expect(page.get_by_text(f"Waiting: {task.id} ({task.name!r}) is running.")).to_be_in_viewport()
    expect(page.get_by_text("Deferred", exact=True)).to_be_in_viewport()


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("row").filter(has_text=text)


def test_a_gate_that_opens(
    page: Page, services: Services, emulator: EmulatorServer, shoot: Callable[..., Any]
) -> None:
    task = TaskSpec("amv-demogood0001", id="amva-demogood0001", name="compress-good")
    gate, deployment, tab = row(page, "wait_for_compression"), row(page, "deploy"), page.get_by_role("link")

    start_a_gate(page, services, emulator, task)
    shoot("gate-waiting")

    emulator.world.tasks.change("amva-demogood0001", TaskStep("succeeded", model_id=MADE))
    tab.get_by_text("manual__").click()
    expect(gate).to_contain_text("Success")
    expect(deployment).to_contain_text("Success")
    expect(page.get_by_text("Running", exact=True)).to_have_count(0)
    shoot("gate-open")

    gate.get_by_role("link").click()
    opens = f"The gate opens: model {MADE}, produced by amva-demogood0001 ('compress-good')."
    expect(page.get_by_text(opens)).to_be_in_viewport()
    shoot("gate-log")

    tab.get_by_text("Storage").click()
    tab.get_by_text("XCom").click()
    for key in ("modelId", "return_value"):
        expect(page.get_by_role("row").filter(has=page.get_by_text(key, exact=True))).to_contain_text(MADE)
    page.get_by_role("button", name="Expand all extra JSON").click()
    expect(page.get_by_role("row").filter(has_text="model_comp_task")).to_contain_text("compress-good")
    shoot("gate-xcom")

    tab.get_by_text("Details").click()
    expect(tab.get_by_text("Qianfan console")).to_have_attribute("href", DEFAULT_URL_TEMPLATE)
    shoot("gate-details-link")

    tab.get_by_text("manual__").click()
    deployment.get_by_role("link").click()
    expect(page.get_by_text(f"Deploying {MADE}")).to_be_visible()


def test_a_gate_that_fails(
    page: Page, services: Services, emulator: EmulatorServer, shoot: Callable[..., Any]
) -> None:
    task = TaskSpec("amv-demogood0001", id="amva-demofail0001", name="compress-fail")
    why = "the calibration data set is empty"

    start_a_gate(page, services, emulator, task)
    emulator.world.tasks.change("amva-demofail0001", TaskStep("failed", failed_reason=why))

    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    told = page.get_by_text(f"The compression failed: {why}. The gate stays shut.").first
    expect(told).to_be_in_viewport()
    assert told.evaluate(RIGHT_EDGE, why) < LOG_ENDS_AT
    shoot("gate-failed", 500)  # the traceback has paths of this machine
    page.get_by_role("link").get_by_text("manual__").click()
    expect(row(page, "deploy")).to_contain_text("Upstream Failed")
