"""
Blots out the secrets of a request in what comes back.

A gateway or a proxy may quote the headers of a request in its answer. What a server says gets into logs and
error messages.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, AnyStr
from urllib.parse import quote

from airflow_provider_qianfan.api.signing import Secret, forgotten_locals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_qianfan.hooks._route import Proxy

_SHORTEST = 5
"""Characters, as for Airflow's own masker: a shorter text is in many words."""


@forgotten_locals()
def sent_secrets(headers: Mapping[str, str], proxy: Proxy | None) -> list[str]:
    """Return what is secret in a request: its signature, the session token, the password of the proxy."""
    found = [headers.get("Authorization", "").rpartition("/")[2], headers.get("x-bce-security-token", "")]
    if proxy is not None and proxy.password:
        user = f"{proxy.username or ''}:{proxy.password}".encode()
        found += [proxy.password, b64encode(user).decode()]
    return [Secret(secret) for secret in found if len(secret) >= _SHORTEST]


@forgotten_locals()
def blotted(text: AnyStr, secrets: list[str]) -> AnyStr:
    """Return a text without the secrets, however they are quoted in it."""
    for secret in secrets:
        in_json = json.dumps(secret)[1:-1]
        for form in {secret, quote(secret, safe=""), in_json, in_json.replace("/", "\\/")}:
            if isinstance(text, bytes):
                text = text.replace(form.encode(), b"***")
            else:
                text = text.replace(form, "***")
    return text
