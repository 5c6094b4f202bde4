"""
Make the schema that ``make lint`` checks ``docs/deploy/values.yaml`` against, for a new Helm chart.

    python -m scripts.chart_schema 1.22.0 values.schema.json

The file is the one in the chart of this version. The schema made has only the keys that ``values.yaml`` sets,
with their types. Unlike the chart's, it rejects all other keys. If the chart has no such key, this script
fails.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "docs" / "deploy"
KEPT = ("type", "pattern", "enum")


class Chart:
    """
    The schema of a chart.

    :param schema: what ``values.schema.json`` says.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        celery = schema["properties"]["workers"]["properties"]["celery"]["properties"]
        # The chart lets a set of workers have any key, and says in words that these count.
        celery["sets"]["items"]["properties"] = {"name": {"type": "string"}, **celery}

    def part_of(self, place: str, node: dict[str, Any], value: Any) -> dict[str, Any]:
        """Return the part of the schema that a value needs."""
        node = self._resolve(node)
        made = {key: node[key] for key in KEPT if key in node}
        if isinstance(value, dict):
            known, others = node.get("properties", {}), node.get("additionalProperties")
            if not known and isinstance(others, dict):  # any name, such as the sections of airflow.cfg
                return self._whatever_the_names(node)
            if unknown := value.keys() - known.keys():
                raise ValueError(f"the chart has no {', '.join(f'{place}{key}' for key in sorted(unknown))}")
            parts = {key: self.part_of(f"{place}{key}.", known[key], each) for key, each in value.items()}
            return {**made, "properties": parts, "additionalProperties": False}
        if isinstance(value, list):
            every = {key: each for item in value for key, each in item.items()}
            return {**made, "items": self.part_of(place, node["items"], every)}
        return made

    def _whatever_the_names(self, node: dict[str, Any]) -> dict[str, Any]:
        node = self._resolve(node)
        made = {key: node[key] for key in KEPT if key in node}
        if isinstance(others := node.get("additionalProperties"), dict):
            made["additionalProperties"] = self._whatever_the_names(others)
        return made

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        return {**self.schema["definitions"][node["$ref"].split("/")[-1]], **node}


def main(version: str, file: str) -> None:
    """Write the schema."""
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text(encoding="utf-8"))
    chart = Chart(json.loads(Path(file).read_text(encoding="utf-8")))
    made = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "description": f"The values of Airflow's Helm chart {version} that values.yaml sets."
        " Made by scripts/chart_schema.py.",
        **chart.part_of("", chart.schema, values),
    }
    (DEPLOY / "values.schema.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
