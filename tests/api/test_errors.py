from __future__ import annotations

import pytest

from airflow_provider_qianfan.api.errors import AUTH_CODES, QianfanAPIError, QianfanAuthError, QianfanError


def test_an_error_says_what_happened() -> None:
    error = QianfanAPIError(
        "DescribeModelCompTasks",
        code="InappropriateJSON",
        message="no\nway",
        request_id="r-1",
        http_status=400,
    )

    assert str(error) == r"DescribeModelCompTasks: HTTP 400 InappropriateJSON: no\nway (request id r-1)."


def test_what_an_error_does_not_know_is_left_out() -> None:
    error = QianfanAPIError("Describe", code="Busy")

    assert str(error) == "Describe: HTTP 400 Busy (request id not given)."
    assert (error.message, error.request_id, error.http_status) == ("", "", 400)
    assert str(QianfanError()) == ""


@pytest.mark.parametrize("path", ["/v2/model", "/v2/service"])
@pytest.mark.parametrize("code", sorted(AUTH_CODES))
def test_an_auth_error_says_what_to_do(code: str, path: str) -> None:
    error = str(QianfanAuthError("Describe", code=code, http_status=403, path=path))

    assert len(error.partition("(request id not given). ")[2]) > 20


def test_no_policy_is_named_for_an_action_of_another_path() -> None:
    assert "Policy" not in str(QianfanAuthError("DescribeDatasets", code="AccessDenied", path="/v2/dataset"))
