"""HTML pages from the templates in assets/."""

from typing import Any

import jinja2

_BLOCKS = {"trim_blocks": True, "lstrip_blocks": True}  # statements leave no blanks


def render(template: str, **values: Any) -> str:
    """Return a page for use offline; the text of `values` is escaped.

    Args:
      template: a file in assets/. It may write `source("report.css") | safe`.
      values: what the template uses.
    """
    loader = jinja2.PackageLoader("mi_classifier.reporting", "assets")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, **_BLOCKS
    )
    environment.globals["source"] = lambda name: loader.get_source(environment, name)[0]
    return environment.get_template(template).render(**values)
