"""A result as JSON: one document, one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def to_json(document: Mapping[str, Any]) -> str:
    """The document in one line of ASCII, keys as they stand; the key ``text``, which is for readers, is left out."""
    return json.dumps({key: value for key, value in document.items() if key != "text"}) + "\n"
