"""Open3D's texture from photographs with known cameras, as a process of its own.

    python benchmarks/open3d_peer.py --arrays=FILE.npz --texture=FILE.npy --rounds=3

`texture.py` starts it with a Python that has Open3D, which tfface does not need, and compares. It imports nothing of
tfface. Prints the seconds of the processor that each round took, as a JSON list, and writes the texture.
"""

import argparse
import json
import time

import numpy as np
import open3d as o3d


def main() -> None:
    """Bakes the texture, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--texture", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    given = np.load(options.arrays)
    mesh = o3d.t.geometry.TriangleMesh()
    mesh.vertex.positions = o3d.core.Tensor(given["vertices"].astype(np.float32))
    mesh.triangle.indices = o3d.core.Tensor(given["triangles"].astype(np.int64))
    mesh.triangle.texture_uvs = o3d.core.Tensor(given["uv"].astype(np.float32))
    images = [o3d.t.geometry.Image(o3d.core.Tensor(np.ascontiguousarray(image))) for image in given["images"]]
    intrinsics = [o3d.core.Tensor(matrix.astype(np.float64)) for matrix in given["intrinsics"]]
    poses = [o3d.core.Tensor(matrix.astype(np.float64)) for matrix in given["cam_from_model"]]
    seconds = []
    for _ in range(options.rounds + 1):
        start = time.process_time()
        albedo = mesh.project_images_to_albedo(images, intrinsics, poses, int(given["size"]), False)
        seconds.append(time.process_time() - start)
    np.save(options.texture, albedo.as_tensor().numpy())
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
