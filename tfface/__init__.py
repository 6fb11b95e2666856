"""tfface: 3D face shape and camera pose from one or several photographs."""
