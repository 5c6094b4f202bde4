"""A client just good enough for the emulator. It shares nothing with the provider's."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx

from airflow_provider_qianfan.emulator.actions import perform
from airflow_provider_qianfan.emulator.behaviour import ACCESS_KEY_ID, SECRET_ACCESS_KEY

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World


def ask(world: World, action: str, **body: Any) -> Any:
    """Perform an action without HTTP and return its ``result``; what is None is left out of the body."""
    body = {key: value for key, value in body.items() if value is not None}
    return perform(world, path_of(action), action, body, world.account).get("result")


def path_of(action: str) -> str:
    """Return the path that an action is documented for."""
    return "/v2/service" if "Service" in action else "/v2/model"


def authorization(
    path: str,
    headers: dict[str, str],
    query: dict[str, str],
    access_key_id: str,
    secret: str,
    now: datetime,
    expiration: int,
) -> str:
    """Sign a POST with exactly these headers."""

    def mac(key: str, text: str) -> str:
        return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()

    prefix = f"bce-auth-v1/{access_key_id}/{now:%Y-%m-%dT%H:%M:%SZ}/{expiration}"
    lines = sorted(f"{name.lower()}:{quote(value, safe='')}" for name, value in headers.items())
    items = sorted(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in query.items())
    text = "\n".join(["POST", path, "&".join(items), *lines])
    names = ";".join(sorted(name.lower() for name in headers))
    return f"{prefix}/{names}/{mac(mac(secret, prefix), text)}"


@dataclass
class Client:
    """
    One client of one emulator.

    :param ahead: seconds by which this client's clock is ahead.
    """

    url: str
    access_key_id: str = ACCESS_KEY_ID
    secret: str = SECRET_ACCESS_KEY
    token: str | None = None
    ahead: float = 0.0
    expiration: int = 1800
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=5, verify=False))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(
        self,
        action: str,
        body: object = None,
        content: bytes | None = None,
        path: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Send a signed request; ``headers`` replace what would be sent, underscores for hyphens."""
        path = path or path_of(action)
        query = {"Action": action} if action else {}
        now = datetime.now(UTC) + timedelta(seconds=self.ahead)
        signed = {"Host": urlsplit(self.url).netloc, "x-bce-date": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
        if self.token is not None:
            signed["x-bce-security-token"] = self.token
        signature = authorization(path, signed, query, self.access_key_id, self.secret, now, self.expiration)
        sent = {"Content-Type": "application/json", **signed, "Authorization": signature}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        if content is None:
            content = json.dumps({} if body is None else body).encode()
        return self.http.post(f"{self.url}{path}", params=query, content=content, headers=sent)

    def result(self, action: str, **body: Any) -> Any:
        """Return the ``result`` of an action that succeeds."""
        response = self.post(action, body)
        assert response.status_code == 200, response.text
        return response.json().get("result")

    def page(self, **body: Any) -> Any:
        """Return one page."""
        return self.result("DescribeModelCompTasks", **body)

    def ids(self, **body: Any) -> list[str]:
        """Return the ids of one page."""
        return [row["id"] for row in self.page(**body)["modelCompTaskList"]]

    def detail(self, task_id: str) -> Any:
        """Return one task."""
        return self.result("DescribeModelCompTask", modelCompTaskId=task_id)

    def control(self, path: str, body: object = None) -> httpx.Response:
        """Use the control API: GET without a body, else POST."""
        url = f"{self.url}/_emulator/{path}"
        return self.http.get(url) if body is None else self.http.post(url, json=body)


def error(response: httpx.Response) -> tuple[int, str]:
    """Return status and code of an error answer of the documented form."""
    body = response.json()
    assert set(body) == {"requestId", "code", "message"}
    assert body["requestId"] == response.headers["x-bce-request-id"]
    return response.status_code, body["code"]
