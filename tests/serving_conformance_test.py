"""TensorFlow Serving's protocol, held with the stock stubs of tensorflow-serving-api.

    pytest tests/serving_conformance_test.py                                              # the embedded server
    pytest tests/serving_conformance_test.py --server=host:8500 --rest_server=host:8501   # any other

Against another server, it serves a model of `tfface.export` under the name `--server_model`. What only holds for the
embedded server (it refuses more, and earlier) is left out then. Tests that change what lies under a base path are in
serving_lifecycle_test.py.

This file is the suite; its fixtures and cases stand in serving_conformance/, a module for each part of the protocol.
"""

import pytest

pytest.register_assert_rewrite("serving_conformance")

from serving_conformance.models import *
from serving_conformance.predict import *
from serving_conformance.refusals import *
from serving_conformance.rest import *
from serving_conformance.target import *
