"""Direct page migration between NUMA nodes, modelled over a state file."""

from __future__ import annotations

__version__ = "0.1.0"
