"""The synthetic photographer: renders photographs of a head whose shape, pose and camera are known exactly."""
