"""Read the gallery of a report."""

import base64
import json
import re

import numpy as np


def read_gallery(workdir):
    """Returns the content of the gallery in the report of a workdir."""
    text = (workdir / "evaluation" / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def numbers_of(text):
    """Returns the boxes or the IoUs of an item as integers."""
    return np.frombuffer(base64.b64decode(text), "<u2").astype(int)
