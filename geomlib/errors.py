"""Typed errors: every public entry point reports bad input with one of these."""

from __future__ import annotations

__all__ = ["CheckpointError", "GeomlibError", "InvalidInput", "MissingDependency"]


class GeomlibError(Exception):
    """Base class of all errors raised on purpose by geomlib."""


class InvalidInput(GeomlibError, ValueError):
    """An argument or a file is wrong; the message says what was found, what was expected and the fix."""


class CheckpointError(GeomlibError, RuntimeError):
    """A file of ours is damaged, of a newer format, or could not be written."""


class MissingDependency(GeomlibError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""
