"""What a task knows of a model's way, for its asset event and for OpenLineage."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._compat import asset_classes
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.assets.qianfan import (
    SCHEME,
    convert_asset_to_openlineage,
    qianfan_model,
    qianfan_service,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Asset, AssetAlias, Context


@dataclass(frozen=True, slots=True)
class Lineage:
    """
    A part of the way from a source model to a service, as far as it is known.

    :param model_id: the model version that was produced, or that the service serves.
    """

    model_id: str | None = None
    source_model_id: str | None = None
    model_comp_task_id: str | None = None
    service_id: str | None = None

    def inputs(self) -> list[Asset]:
        """Return what something was made from: of a service, the model version; of that, the source model."""
        model_id = self.source_model_id if self.service_id is None else self.model_id
        return [] if model_id is None else [qianfan_model(model_id)]

    def outputs(self) -> list[Asset]:
        """Return what was made: the service, or else the model version."""
        if self.service_id is not None:
            return [qianfan_service(self.service_id)]
        return [] if self.model_id is None else [qianfan_model(self.model_id)]

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


class HasLineage:
    """
    Update an asset if asked to, and tell OpenLineage where a model came from.

    This class goes before Airflow's base class.
    """

    asset: Asset | AssetAlias | None = None
    _lineage: Lineage | None = None

    if not TYPE_CHECKING:  # a type checker takes it for another attribute than Airflow's

        @classmethod
        def partial(cls, **arguments: Any) -> Any:
            """Begin a mapped task. The scheduler knows the outlets that are named here."""
            begun = super().partial(**arguments)
            of = (arguments.get("default_args"), *(_defaults(begun, name) for name in ("task_group", "dag")))
            asset = cls._asset_of(ChainMap(arguments, *(dict(each or {}) for each in of)))
            if asset is not None:
                begun.kwargs["outlets"] = _with(begun.kwargs.get("outlets"), asset)
            return begun

    @classmethod
    def _asset_of(cls, arguments: Mapping[str, Any]) -> Any:
        """Return the asset that a task with these arguments updates."""
        return arguments.get("asset")

    def _update(self, asset: Any) -> None:
        """
        Have the asset updated when the task succeeds.

        :raises ValueError: if it is no asset.
        """
        self.asset = asset
        if asset is None:
            return
        if not isinstance(asset, asset_classes()):
            raise ValueError(
                f"asset={clean(repr(asset))} is neither an Asset nor an AssetAlias. Pass one, such as"
                " qianfan_service('svco-…') or AssetAlias('compressed-model')."
            )
        self.outlets = _with(getattr(self, "outlets", None), asset)

    def _trace(self, context: Context, lineage: Lineage) -> None:
        """Keep what is known, and put it into the asset's event. Airflow stores that if the task succeeds."""
        self._lineage = lineage
        if self.asset is None:
            return
        accessor: Any = context["outlet_events"][self.asset]
        if isinstance(self.asset, asset_classes()[0]):
            accessor.extra.update(lineage.to_json())
            return
        for made in lineage.outputs():
            accessor.add(made, extra=lineage.to_json())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell OpenLineage the inputs, the outputs and the compression. Its provider calls this."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import external_query_run

        lineage = self._lineage or Lineage()
        facets = {}
        if lineage.model_comp_task_id is not None:
            facets["externalQuery"] = external_query_run.ExternalQueryRunFacet(
                externalQueryId=lineage.model_comp_task_id, source=SCHEME
            )
        return OperatorLineage(
            inputs=[convert_asset_to_openlineage(asset, None) for asset in lineage.inputs()],
            outputs=[convert_asset_to_openlineage(asset, None) for asset in lineage.outputs()],
            run_facets=facets,
        )


def _defaults(begun: Any, name: str) -> Any:
    return getattr(begun.kwargs.get(name), "default_args", None)


def _with(outlets: Any, asset: Any) -> list[Any]:
    """Return the outlets, and the asset among them."""
    listed = outlets if isinstance(outlets, list | tuple) else [] if outlets is None else [outlets]
    return [*listed] if asset in listed else [*listed, asset]
