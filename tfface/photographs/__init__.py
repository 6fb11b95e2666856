"""Photographs of real people: files, lenses, videos, the faces in them, and the crop as a camera."""
