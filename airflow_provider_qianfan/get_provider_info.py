"""
What an installed provider tells Airflow about itself.

Every Airflow component calls this when it starts, so this module imports nothing. The connection form is
described here for Airflow 3.2 and newer, which draw it without importing the hook.
"""

_INTEGRATION = "Baidu AI Cloud Qianfan"


def _modules(*names: str) -> list[dict[str, object]]:
    modules = [f"airflow_provider_qianfan.{name}" for name in names]
    return [{"integration-name": _INTEGRATION, "python-modules": modules}]


_ASSET_URIS = [
    {
        "schemes": ["qianfan"],
        "handler": "airflow_provider_qianfan.assets.qianfan.sanitize_uri",
        "factory": "airflow_provider_qianfan.assets.qianfan.create_asset",
        "to_openlineage_converter": "airflow_provider_qianfan.assets.qianfan.convert_asset_to_openlineage",
    }
]


def get_provider_info() -> dict[str, object]:
    """Describe the provider as Airflow's ``provider_info.schema.json`` asks."""
    return {
        "package-name": "airflow-provider-qianfan",
        "name": _INTEGRATION,
        "description": "Gate deployments on Baidu AI Cloud Qianfan (千帆) model compression tasks.",
        "versions": ["0.1.0"],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://cloud.baidu.com/doc/WENXINWORKSHOP/index.html",
                "tags": ["service"],
            }
        ],
        "hooks": _modules("hooks.qianfan"),
        "operators": _modules("operators.model_compression", "operators.service"),
        "sensors": _modules("sensors.model", "sensors.model_compression", "sensors.service"),
        "triggers": _modules("triggers.model_compression", "triggers.waiting"),
        "asset-uris": _ASSET_URIS,
        "dataset-uris": _ASSET_URIS,  # the name in Airflow 2.11
        "extra-links": ["airflow_provider_qianfan.links.QianfanConsoleLink"],
        "config": {
            "qianfan": {
                "description": "Baidu AI Cloud Qianfan",
                "options": {
                    "console_url_template": {
                        "description": (
                            "The page that the link *Qianfan console* of a task opens. The arguments of the\n"
                            "task replace ``{source_model_id}`` and ``{model_comp_task_id}``, escaped for a"
                            " URL.\nWith the default, tasks about a service link to the list of services.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://console.example.com/compression?model={source_model_id}",
                        "default": "https://console.bce.baidu.com/qianfan/modelcenter/model/user/list",
                    },
                    "requests_per_second": {
                        "description": (
                            "The most requests per second that a triggerer sends with one key for its\n"
                            "deferred waits, on average. The platform documents no limit.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "5",
                        "default": "10.0",
                    },
                    "request_burst": {
                        "description": (
                            "The most requests that a triggerer sends at once with one key, after a pause.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": "10",
                        "default": "20",
                    },
                    "shortest_interval": {
                        "description": (
                            "Seconds between two readings of the platform by a triggerer with one key,\n"
                            "however short the waits' ``poke_interval`` is.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "15",
                        "default": "1.0",
                    },
                },
            },
        },
        "connection-types": [
            {
                "connection-type": "qianfan",
                "hook-class-name": "airflow_provider_qianfan.hooks.qianfan.QianfanHook",
                "hook-name": _INTEGRATION,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "login": "Access Key ID",
                        "password": "Secret Access Key",
                        "host": "Endpoint",
                    },
                    "placeholders": {
                        "login": "of an IAM user; not the API key of an application",
                        "password": "of the same IAM user",
                        "host": "if empty: https://qianfan.baidubce.com",
                        "port": "443; needed by Test in Airflow 3.3.1 and 3.3.2",
                        "session_token": "only with temporary (STS) keys",
                        "timeout": "30",
                        "verify": "true",
                        "proxy": "http://proxy.example.com:3128",
                    },
                },
                # A type without "null" would make the form demand a value.
                "conn-fields": {
                    "session_token": {
                        "label": "Session Token",
                        "description": "Only with temporary (STS) keys: the token that came with them.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "timeout": {
                        "label": "Timeout (seconds)",
                        "description": (
                            "How long to wait for an answer. Connecting comes first, and may take as long,"
                            " but at most 10."
                        ),
                        "schema": {"type": ["number", "null"], "default": 30, "minimum": 1, "maximum": 600},
                    },
                    "verify": {
                        "label": "Verify TLS",
                        "description": (
                            "Leave it empty for the environment's CA bundle (REQUESTS_CA_BUNDLE, ...)."
                            " Behind a proxy that decrypts TLS, give the path of its CA bundle. Cannot be"
                            " switched off."
                        ),
                        "schema": {"type": ["string", "null"]},
                    },
                    "proxy": {
                        "label": "Proxy",
                        "description": (
                            "URL of an HTTP or SOCKS proxy, such as http://proxy.example.com:3128. If empty:"
                            " the environment's (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."
                        ),
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
    }
