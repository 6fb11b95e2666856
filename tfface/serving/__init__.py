"""From a trained model to predictions over the network: export, an embedded server and a client.

``exporter`` writes a SavedModel that TensorFlow Serving runs; ``server`` speaks TensorFlow Serving's protocol for a
laptop, for tests and for small services; ``client`` asks either of them.
"""
