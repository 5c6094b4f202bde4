"""Verdicts below the hook are plain exceptions. Users get the ones of the same names that Airflow knows."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan import exceptions
from airflow_provider_qianfan._compat import AirflowFailException
from airflow_provider_qianfan.api.exchange import Sleep, Steps
from airflow_provider_qianfan.exceptions import (
    QianfanAPIError,
    QianfanGateError,
    QianfanTaskFailedError,
    for_airflow,
)
from airflow_provider_qianfan.gate import errors
from airflow_provider_qianfan.hooks.qianfan import QianfanHook

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer

VERDICTS = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, errors.QianfanGateError)
]
TOLD = {
    "model_comp_task_id": "amva-1",
    "resource_id": "amv-2",
    "status": "failed",
    "reason": "数据集为空",
    "source_model_id": "amv-1",
    "request_id": "r-1",
}


@pytest.mark.parametrize("plain", VERDICTS, ids=lambda plain: plain.__name__)
def test_airflow_gets_the_error_of_the_same_name(plain: type[errors.QianfanGateError]) -> None:
    error = for_airflow(plain("shut", **TOLD))

    assert type(error) is getattr(exceptions, plain.__name__)
    assert plain.__name__ in exceptions.__all__
    assert isinstance(error, QianfanGateError)
    assert isinstance(error, AirflowFailException)
    assert isinstance(error, plain)
    assert not issubclass(plain, AirflowFailException)
    assert str(error) == "shut"
    assert vars(error) == TOLD
    assert type(error).__doc__ == plain.__doc__ or plain is errors.QianfanGateError


@pytest.mark.parametrize("make", [errors.QianfanTaskFailedError, QianfanTaskFailedError])
def test_it_survives_pickling(make: type[errors.QianfanGateError]) -> None:
    again = pickle.loads(pickle.dumps(make("shut", **TOLD)))

    assert type(again) is make
    assert str(again) == "shut"
    assert vars(again) == TOLD


def test_a_traceback_names_the_public_module_and_the_place() -> None:
    try:
        raise errors.QianfanTaskFailedError("shut")
    except errors.QianfanGateError as error:
        with pytest.raises(QianfanTaskFailedError) as raised:
            raise for_airflow(error) from None
    told = "".join(traceback.format_exception(raised.value))

    assert told.splitlines()[-1] == "airflow_provider_qianfan.exceptions.QianfanTaskFailedError: shut"
    assert 'raise errors.QianfanTaskFailedError("shut")' in told


def test_other_words_keep_what_is_known() -> None:
    error = QianfanTaskFailedError("shut", **TOLD).made(QianfanTaskFailedError, "shut. Try again.")

    assert str(error) == "shut. Try again."
    assert vars(error) == TOLD


def test_what_airflow_knows_stays_as_it_is() -> None:
    class MyError(QianfanGateError):
        pass

    error = MyError("shut")

    assert for_airflow(error) is error


def test_the_hook_shows_what_led_to_a_verdict(emulator: EmulatorServer) -> None:
    def cancel() -> Steps[None]:
        try:
            raise QianfanAPIError("Cancel", code="Refused", request_id="r-cancel")  # noqa: TRY301
        except QianfanAPIError:
            raise errors.QianfanTaskNotFoundError("gone")  # noqa: B904  as _find_lost() and others do
        yield Sleep(0)

    with pytest.raises(exceptions.QianfanTaskNotFoundError) as raised:
        QianfanHook().run(cancel())

    assert "r-cancel" in "".join(traceback.format_exception(raised.value))
