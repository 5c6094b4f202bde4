"""Which proxy and which CA bundle: one reading of the connection and the environment."""

from __future__ import annotations

import pytest

from airflow_provider_qianfan.api.errors import QianfanConfigurationError
from airflow_provider_qianfan.api.exchange import Endpoint
from airflow_provider_qianfan.hooks._route import Route, find_route, is_excepted, read_proxy

QIANFAN = Endpoint.parse("https://qianfan.baidubce.com")


def route(
    env: dict[str, str], proxy: str | None = None, verify: bool | str = True, endpoint: Endpoint = QIANFAN
) -> Route:
    return find_route(endpoint, proxy, verify, env)


PROXIES: dict[str, tuple[dict[str, str], str | None]] = {
    "nothing is set": ({}, None),
    "HTTPS_PROXY": ({"HTTPS_PROXY": "http://upper:1"}, "http://upper:1"),
    "https_proxy": ({"https_proxy": "http://lower:1"}, "http://lower:1"),
    "both: lower case wins": ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, "http://lower:1"),
    "an empty one in lower case switches off": ({"https_proxy": "", "HTTPS_PROXY": "http://upper:1"}, None),
    "ALL_PROXY": ({"ALL_PROXY": "http://all:1"}, "http://all:1"),
    "all_proxy": ({"all_proxy": "socks5h://all:1"}, "socks5h://all:1"),
    "HTTPS_PROXY before ALL_PROXY": ({"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "http://upper:1"}, "http://upper:1"),
    "an empty one, and ALL_PROXY": ({"https_proxy": " ", "ALL_PROXY": "http://all:1"}, "http://all:1"),
    "HTTP_PROXY is for http": ({"HTTP_PROXY": "http://plain:1"}, None),
    "without a scheme": ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
    "without a port": ({"HTTPS_PROXY": "http://proxy"}, "http://proxy:80"),
    "over TLS": ({"HTTPS_PROXY": "https://proxy"}, "https://proxy:443"),
    "socks5 without a port": ({"HTTPS_PROXY": "socks5://proxy"}, "socks5://proxy:1080"),
    "an address": ({"HTTPS_PROXY": "http://[2001:db8::1]:3128/"}, "http://[2001:db8::1]:3128"),
    "with blanks around it": ({"HTTPS_PROXY": " http://proxy:1 "}, "http://proxy:1"),
    "NO_PROXY names it": ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "qianfan.baidubce.com"}, None),
    "no_proxy names it": ({"HTTPS_PROXY": "http://proxy:1", "no_proxy": ".baidubce.com"}, None),
    "no_proxy wins": ({"HTTPS_PROXY": "http://proxy:1", "no_proxy": "a", "NO_PROXY": "*"}, "http://proxy:1"),
    "unless it is empty": ({"HTTPS_PROXY": "http://proxy:1", "no_proxy": "", "NO_PROXY": "*"}, None),
}  # fmt: skip


@pytest.mark.parametrize(("env", "expected"), PROXIES.values(), ids=PROXIES)
def test_the_environments_proxy(env: dict[str, str], expected: str | None) -> None:
    found = route(env).proxy

    assert (found.url if found else None) == expected


def test_the_connections_proxy_comes_first() -> None:
    found = route({"HTTPS_PROXY": "http://upper:1", "NO_PROXY": "*"}, proxy="http://mine:1")

    assert str(found.proxy) == "the proxy http://mine:1 (from the connection's proxy)"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_is_never_proxied(host: str, scheme: str) -> None:
    env = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://proxy:1")

    found = route(env, proxy="http://mine:1", endpoint=Endpoint.parse(f"{scheme}://{host}:8443"))

    assert found.proxy is None
    assert "a loopback address is never proxied" in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://user:hu3sh@proxy:1",
        "socks4://user:hu3sh@proxy:1",
        "http://user:hu3sh@proxy:0",
        "http://user:hu3sh@proxy:x",
        "http://user:hu3sh@proxy:99999",
        "http://user:hu3sh@",
        "http://user:hu3#sh@proxy:1",
        "http://us#er:hu3sh@proxy:1",
        "http://us?er:hu3sh@proxy:1",
        "http://us/er:hu3sh@proxy:1",
        "http://user:hu3sh@proxy:1/path",
        "http://user:hu3sh@[::1",
        f"http://user:hu3sh@{'x' * 64}.com:1",
        "http://user:hu3sh%FF@proxy:1",
        "http://",
    ],
)
def test_a_proxy_that_cannot_be_used(text: str) -> None:
    with pytest.raises(QianfanConfigurationError, match="HTTPS_PROXY is not the URL of a proxy") as failure:
        route({"HTTPS_PROXY": text})

    assert "hu3" not in str(failure.value)


def test_the_password_of_a_proxy_is_not_shown() -> None:
    proxy = read_proxy("http://us%40er:p%C3%A9%3Ass@proxy:3128", "HTTPS_PROXY")

    assert (proxy.username, proxy.password) == ("us@er", "pé:ss")
    assert not any(secret in f"{proxy} {proxy!r} {proxy.url}" for secret in ("us@er", "us%40er", "pé:ss"))


NO_PROXY = {
    "the host": ("qianfan.baidubce.com", True),
    "in capitals": ("QIANFAN.BaiduBCE.com", True),
    "a domain": ("baidubce.com", True),
    "a domain with a dot": (".baidubce.com", True),
    "a domain with a star": ("*.baidubce.com", True),
    "a domain that ends with a dot": ("baidubce.com.", True),
    "half a name": ("ubce.com", False),
    "another host": ("qianfan.example.com", False),
    "a host below": ("x.qianfan.baidubce.com", False),
    "everything": ("*", True),
    "everything, among others": ("a, *", True),
    "its port": ("baidubce.com:443", True),
    "another port": ("baidubce.com:8443", False),
    "commas, blanks, empty ones": (" a.com,, \tb.com  baidubce.com,", True),
    "empty": ("", False),
    "a network": ("10.0.0.0/8", False),
    "a dot": (".", False),
    "nonsense": ("///,[,]:,%,*.", False),
}


@pytest.mark.parametrize(("no_proxy", "expected"), NO_PROXY.values(), ids=NO_PROXY)
def test_no_proxy_for_a_name(no_proxy: str, expected: bool) -> None:
    assert is_excepted("qianfan.baidubce.com", 443, no_proxy) is expected


@pytest.mark.parametrize(
    ("host", "no_proxy", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "10.1.2.3:8443", False),
        ("10.1.2.3", "10.1.2.30", False),
        ("10.1.2.3", "11.0.0.0/8", False),
        ("10.1.2.3", "2.3", False),
        ("10.1.2.3", "10.1.2.3/40", False),
        ("2001:db8::5", "2001:db8::/32", True),
        ("2001:db8::5", "[2001:db8::5]", True),
        ("2001:db8::5", "2001:0db8:0::5", True),
        ("2001:db8::5", "[2001:db8::5]:443", True),
        ("2001:db8::5", "[2001:db8::5]:8443", False),
        ("2001:db8::5", "[2001:db8::]/32", True),
        ("2001:db8::5", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "*", True),
    ],
)
def test_no_proxy_for_an_address(host: str, no_proxy: str, expected: bool) -> None:
    assert is_excepted(host, 443, no_proxy) is expected


@pytest.mark.parametrize(
    ("env", "verify", "expected"),
    [
        ({}, True, "the bundle of certifi"),
        ({"SSL_CERT_DIR": "/d", "SSL_CERT_FILE": "/s"}, True, "/s (from SSL_CERT_FILE)"),
        ({"SSL_CERT_FILE": "/s", "CURL_CA_BUNDLE": "/c"}, True, "/c (from CURL_CA_BUNDLE)"),
        ({"CURL_CA_BUNDLE": "/c", "REQUESTS_CA_BUNDLE": "/r"}, True, "/r (from REQUESTS_CA_BUNDLE)"),
        ({"REQUESTS_CA_BUNDLE": " ", "SSL_CERT_DIR": "/d"}, True, "/d (from SSL_CERT_DIR)"),
        ({"REQUESTS_CA_BUNDLE": "/r"}, "/v", "/v (from the connection's verify)"),
    ],
)
def test_the_bundle(env: dict[str, str], verify: bool | str, expected: str) -> None:
    assert str(route(env, verify=verify).bundle) == expected
