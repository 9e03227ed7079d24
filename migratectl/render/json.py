"""A result as JSON: one document, one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from migratectl.render.keys import complete


def to_json(document: Mapping[str, Any]) -> str:
    """The document in one line of ASCII, with every key of its command."""
    return json.dumps(complete(document)) + "\n"
