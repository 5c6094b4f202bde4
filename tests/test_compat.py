"""What is said of the installed Airflow is so. On every Airflow of the matrix this file is run."""

from __future__ import annotations

from importlib import metadata

import pytest

from airflow_provider_qianfan import _compat
from airflow_provider_qianfan._compat import FEATURES, Feature

VERSION = ".".join(metadata.version("apache-airflow").split(".")[:2])


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_is_there_or_not(feature: Feature) -> None:
    assert feature.is_there() is (VERSION not in feature.lacking)


def test_an_airflow_that_is_too_old() -> None:
    with pytest.raises(ImportError, match=r"does not know this Airflow: none of .* has Nothing"):
        _compat._get("Nothing", "airflow.models", "airflow.no_such_module", "no_such_package.module")
