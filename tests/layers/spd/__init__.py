"""Layers on symmetric positive definite matrices."""
