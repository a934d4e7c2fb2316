"""Matrix manifolds: symmetric positive definite matrices, subspaces, and the functions of symmetric matrices under them."""
