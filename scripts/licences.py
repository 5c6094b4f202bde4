"""
List what the package needs at run time, with versions and licences. ``make licences`` runs it.

The list begins at the package, and follows the dependencies of what is installed: the lock's Airflow, and all
that Airflow needs. The script fails if a licence is not in :data:`ALLOWED`. It writes the list into
``build/runtime.txt``, from which ``make sbom`` and ``make audit`` read.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "airflow-provider-qianfan"
PINS = Path("build/runtime.txt")

ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "PSF-2.0",
    # Only changes to such a package's own files have to be published.
    "MPL-2.0",
    # The names of the same licences, and of the Unlicense, in classifiers.
    "3-Clause BSD License",
    "Apache Software License",
    "BSD License",
    "ISC License (ISCL)",
    "MIT License",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "Python Software Foundation License",
    "The Unlicense (Unlicense)",
}
"""Licences that a package under Apache-2.0 may depend on."""

CHOSEN = {"text-unidecode": "Artistic-1.0"}
"""Our choice, if a package offers several licences in words that no script can read."""


def needed(name: str, extras: frozenset[str] = frozenset()) -> dict[str, Distribution]:
    """Return a package and all that it needs, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    left = [(name, extra) for extra in ("", *extras)]
    while left:
        name, extra = left.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                other = canonicalize_name(requirement.name)
                left += [(other, more) for more in ("", *requirement.extras)]
    return dict(sorted(found.items()))


def licence(of: Distribution) -> str:
    """Return the licence that a package states: an SPDX expression, or the names in its classifiers."""
    name = canonicalize_name(of.metadata["Name"])
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in of.metadata.get_all("Classifier") or ()
        if line.startswith("License :: ") and not line.endswith(":: OSI Approved")
    ]
    return (
        CHOSEN.get(name)
        or of.metadata.get("License-Expression")
        or " AND ".join(classifiers)
        or (of.metadata.get("License") or "not stated").partition("\n")[0]
    )


def is_allowed(expression: str) -> bool:
    """Tell whether all licences that apply together are allowed. If there is a choice, one is enough."""
    return any(
        all(name.strip() in ALLOWED | {*CHOSEN.values()} for name in re.split(r"\bAND\b", choice))
        for choice in re.split(r"\bOR\b", expression)
    )


def main() -> int:
    """Print the list, and what is not allowed."""
    packages = {name: of for name, of in needed(OURS).items() if name != OURS}
    PINS.parent.mkdir(exist_ok=True)
    PINS.write_text("".join(f"{name}=={of.version}\n" for name, of in packages.items()), encoding="utf-8")
    licences = {name: licence(of) for name, of in packages.items()}
    for name, of in packages.items():
        print(f"{name:45} {of.version:18} {licences[name]}")
    unknown = [name for name, told in licences.items() if not is_allowed(told)]
    print(f"{len(packages)} packages. Not allowed: {', '.join(unknown) or 'none'}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
