"""``FEATURES`` is true of the installed Airflow. The matrix runs this file on every Airflow."""

from __future__ import annotations

from importlib import metadata

import pytest

from airflow_provider_qianfan import _compat
from airflow_provider_qianfan._compat import FEATURES, Feature

VERSION = ".".join(metadata.version("apache-airflow").split(".")[:2])


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_is_there_or_not(feature: Feature) -> None:
    assert feature.is_there() is (VERSION not in feature.lacking)


def test_an_airflow_that_we_cannot_use() -> None:
    with pytest.raises(ImportError, match=r"cannot use the installed Airflow: Nothing is in none of"):
        _compat._get("Nothing", "airflow.models", "airflow.no_such_module", "no_such_package.module")
