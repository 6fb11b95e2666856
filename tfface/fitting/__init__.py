"""Bundle adjustment: from points in photographs and a 3DMM to identity, expressions, poses and their covariance."""

from tfface.fitting.adjustment import Adjustment, Start, adjust
from tfface.fitting.priors import NETWORK_ERROR_VARIANCE, IdentityPrior
from tfface.fitting.reliability import Reliability, identity_prior
from tfface.fitting.rig import Placement, Rig, place
from tfface.fitting.settings import NETWORK_POINTS, Settings
from tfface.fitting.surface_points import SurfacePoints

__all__ = [
    "NETWORK_ERROR_VARIANCE",
    "NETWORK_POINTS",
    "Adjustment",
    "IdentityPrior",
    "Placement",
    "Reliability",
    "Rig",
    "Settings",
    "Start",
    "SurfacePoints",
    "adjust",
    "identity_prior",
    "place",
]
