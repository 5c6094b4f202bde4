"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import logging

from airflow_provider_qianfan import __version__

logging.getLogger("airflow").setLevel(logging.WARNING)  # at import, it logs which airflow.cfg it reads

project = "airflow-provider-qianfan"
release = __version__
project_copyright = "airflow-provider-qianfan contributors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]
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

myst_fence_as_directive = ["mermaid"]
mermaid_height = "900px"
mermaid_fullscreen = False
myst_heading_anchors = 3
