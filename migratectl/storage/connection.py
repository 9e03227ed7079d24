"""The connection that everything below the command line works on."""

from __future__ import annotations

from sqlalchemy import Connection

__all__ = ["Connection"]
