"""HTML pages from the templates in assets/."""

import base64
import hashlib
from typing import Any

import jinja2

_BLOCKS = {"trim_blocks": True, "lstrip_blocks": True}  # statements leave no blanks
_NOTHING = "'none'"
_LOADER = jinja2.PackageLoader("mi_classifier.reporting", "assets")


def render(template: str, **values: Any) -> str:
    """Return a page for use offline; the text of `values` is escaped.

    Args:
      template: a file in assets/. It may write `source("report.css") | safe`, and into
        its head `policy(scripts...)`.
      values: what the template uses.
    """
    environment = jinja2.Environment(
        loader=_LOADER, autoescape=True, undefined=jinja2.StrictUndefined, **_BLOCKS
    )
    environment.globals |= {"source": _source, "policy": _policy}
    return environment.get_template(template).render(**values)


def _source(name: str) -> str:
    return _LOADER.get_source(jinja2.Environment(), name)[0]


def _policy(*scripts: str) -> str:
    """Return a Content-Security-Policy: a browser loads nothing and runs our scripts.

    It is a second lock behind the escaping of names that come from data.
    """
    hashes = (hashlib.sha256(_source(name).encode()).digest() for name in scripts)
    known = " ".join(f"'sha256-{base64.b64encode(h).decode()}'" for h in hashes)
    own = f"img-src data:; style-src 'unsafe-inline'; script-src {known or _NOTHING}"
    return f"default-src {_NOTHING}; {own}; base-uri {_NOTHING}; form-action {_NOTHING}"
