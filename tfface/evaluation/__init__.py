"""How good a model is: predictions written to files, measures computed from them, tables and pictures of both.

`run` is the whole road; `predict` is the only other module that needs TensorFlow.
"""
