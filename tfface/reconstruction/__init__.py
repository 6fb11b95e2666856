"""Photographs or a video in, a textured face out."""
