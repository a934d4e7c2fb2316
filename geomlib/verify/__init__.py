"""Prove that a layer or model has the symmetry it declares.

>>> import torch
>>> from geomlib import verify
>>> print(verify.check(lambda x: 2 * x, "O(3)", "vector", "vector").verdict)
EXACT
"""

from __future__ import annotations

from geomlib.verify.check import check
from geomlib.verify.mutants import mutant
from geomlib.verify.report import EquivarianceError, FieldResult, Report
from geomlib.verify.walk import Subject, subjects

__all__ = ["EquivarianceError", "FieldResult", "Report", "Subject", "check", "mutant", "subjects"]
