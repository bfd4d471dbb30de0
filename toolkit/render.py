# SPDX-License-Identifier: GPL-2.0-only
"""Templates, rendered by jinja2: the only place that knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2


def render(template: Path, /, **values: Any) -> str:
    """The text of `template` with `values`; HTML templates (*.html.j2) escape them.

    An undefined name is an error (jinja2.UndefinedError), never an empty string.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        autoescape=template.name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(**values)
