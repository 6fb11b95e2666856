"""Raw scans: reading and cleaning them, finding the face in them, registering collections, and a simulated scanner."""
