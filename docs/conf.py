"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

from airflow_provider_qianfan import __version__
from airflow_provider_qianfan.emulator.scenario import builtin_scenarios, load
from airflow_provider_qianfan.get_provider_info import get_provider_info

logging.getLogger("airflow").setLevel(logging.WARNING)  # at import, it logs which airflow.cfg it reads

project = "airflow-provider-qianfan"
release = __version__
project_copyright = "airflow-provider-qianfan contributors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]
exclude_patterns = ["benchmarks-table.md"]  # included where it belongs
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_copy_source = False

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
maximum_signature_line_length = 80
# Names of Airflow and Python cannot be looked up without a network; our own have to be right.
nitpick_ignore_regex = [
    ("py:(class|exc|obj)", r"(?!\.|airflow_provider_qianfan|Qianfan).*"),
    ("py:class", r"airflow_provider_qianfan\.gate\.errors\..*"),  # the bases of the public errors
    ("py:class", r"airflow_provider_qianfan\.emulator\.\w+\.(Spec|Step|Thing)"),  # type variables
]

myst_enable_extensions = ["deflist", "substitution"]
myst_fence_as_directive = ["mermaid"]
mermaid_height = "900px"
mermaid_fullscreen = False
myst_heading_anchors = 3


def _options() -> str:
    """Write the options of airflow.cfg as they are described to Airflow."""
    info: Any = get_provider_info()
    return "\n".join(
        f"(config-{name})=\n"
        f"`[{section}] {name}`\n"
        f": {' '.join(option['description'].split())}\n\n"
        f"  Since {option['version_added']}. Default: `{option['default']}`. In the environment:"
        f" `AIRFLOW__{section.upper()}__{name.upper()}`. An example:\n\n"
        f"  ```ini\n  [{section}]\n  {name} = {option['example']}\n  ```\n"
        for section, described in info["config"].items()
        for name, option in described["options"].items()
    )


def _emulator_help() -> str:
    command = [sys.executable, "-m", "airflow_provider_qianfan.emulator", "--help"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return f"```text\n{told}```"


myst_substitutions = {
    "config_options": _options(),
    "emulator_help": _emulator_help(),
    "emulator_scenarios": "\n".join(
        f"`{name}`\n: {load(name).description}\n" for name in builtin_scenarios()
    ),
}
