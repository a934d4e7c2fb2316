"""Prove that a layer or model has the symmetry it declares.

>>> import torch
>>> from geomlib import verify
>>> print(verify.check(lambda x: 2 * x, "O(3)", "vector", "vector").verdict)
EXACT
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geomlib._lazy import attribute_loader

if TYPE_CHECKING:
    from geomlib.verify.checking import check
    from geomlib.verify.comparing import Certificate, CertificateRow, compare
    from geomlib.verify.inferring import InferReport, infer
    from geomlib.verify.lie_derivative import LieErrors, lie
    from geomlib.verify.locating import LocateReport, LocateRow, locate
    from geomlib.verify.mutants import mutant
    from geomlib.verify.registering import register_group, register_representation
    from geomlib.verify.report import EquivarianceError, FieldResult, Report
    from geomlib.verify.walk import Subject, subjects

__all__ = [
    "Certificate",
    "CertificateRow",
    "EquivarianceError",
    "FieldResult",
    "InferReport",
    "LieErrors",
    "LocateReport",
    "LocateRow",
    "Report",
    "Subject",
    "check",
    "compare",
    "infer",
    "lie",
    "locate",
    "mutant",
    "register_group",
    "register_representation",
    "subjects",
]

# Loaded on first use, so that ``geomlib verify --help`` does not wait for torch.
_LAZY = {
    "check": "checking",
    "compare": "comparing",
    "infer": "inferring",
    "lie": "lie_derivative",
    "locate": "locating",
    "mutant": "mutants",
    "Certificate": "comparing",
    "CertificateRow": "comparing",
    "EquivarianceError": "report",
    "FieldResult": "report",
    "InferReport": "inferring",
    "LieErrors": "lie_derivative",
    "LocateReport": "locating",
    "LocateRow": "locating",
    "Report": "report",
    "register_group": "registering",
    "register_representation": "registering",
    "Subject": "walk",
    "subjects": "walk",
}

__getattr__ = attribute_loader("geomlib.verify", _LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
