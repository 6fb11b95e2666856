"""The Laplacian of a graph, as of a mesh's edges."""

import numpy as np
import numpy.typing as npt
import scipy.sparse

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


def laplacian(edges: Indices, weights: Array, size: int) -> scipy.sparse.csr_matrix:
    """L = D - S with S_ab = s_ab and D_aa = sum_b s_ab, so that x^T L x = sum_ab s_ab (x_a - x_b)^2.

    Args:
      edges: [E, 2], each once.
      weights: [E], s_ab.
      size: V, of vertices.

    Returns:
      [V, V].
    """
    a, b = edges.T
    joined = scipy.sparse.coo_matrix((weights, (a, b)), shape=(size, size))
    joined = (joined + joined.T).tocsr()
    return (scipy.sparse.diags(np.asarray(joined.sum(axis=1)).ravel()) - joined).tocsr()
