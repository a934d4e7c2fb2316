"""Products of functions on the sphere: exact grids, Fourier coefficients, sparse tables, and what they can express."""

from geomlib.algebra.gaunt.expressivity import Coupling, expressivity, interactability
from geomlib.algebra.gaunt.fourier import fourier_coefficients, fourier_projection, smooth_size
from geomlib.algebra.gaunt.quadrature import SphereGrid, polar_functions, sphere_grid
from geomlib.algebra.gaunt.tables import KINDS, SparseTable, degree_of, path_constant, sparse_table
from geomlib.algebra.gaunt.vectors import vector_constant, vector_harmonics, vector_labels

__all__ = [
    "KINDS",
    "Coupling",
    "SparseTable",
    "SphereGrid",
    "degree_of",
    "expressivity",
    "fourier_coefficients",
    "fourier_projection",
    "interactability",
    "path_constant",
    "polar_functions",
    "smooth_size",
    "sparse_table",
    "sphere_grid",
    "vector_constant",
    "vector_harmonics",
    "vector_labels",
]
