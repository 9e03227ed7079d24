"""``python -m migratectl``."""

from __future__ import annotations

import sys

from migratectl.cli import main

sys.exit(main())
