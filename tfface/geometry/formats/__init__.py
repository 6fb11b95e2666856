"""Readers of mesh files: geometry alone, from the bytes of one file, which names no other that would be opened.

Each gives vertices and triangles as the file has them. What a header claims is held against the bytes that follow
before anything is allocated for it, so that memory is bounded by a multiple of the file's size.
"""
