"""Appearance from MakeHuman's assets: skins, eyes, brows and hair, brought from its base mesh onto a head once."""
