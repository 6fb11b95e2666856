"""A parametric head of our own: a template made by code, deformed by named anthropometric measures."""
