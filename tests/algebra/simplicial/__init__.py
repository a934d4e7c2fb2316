"""Tests of simplicial complexes."""
