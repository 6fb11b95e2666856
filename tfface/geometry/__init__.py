"""Camera, rotation, alignment and meshes: pure functions on arrays or tensors."""
