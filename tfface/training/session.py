"""What the stages of a training run share."""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfface.data.record_streams import Worker
from tfface.training.checkpoints import Checkpoints
from tfface.training.examples import Examples
from tfface.training.interruption import StopRequest
from tfface.training.logs import Logger
from tfface.training.objectives import TrainingObjective
from tfface.training.options import TrainingOptions
from tfface.training.point_truth import PointTruth
from tfface.training.run_directory import Position, RunDirectory
from tfface.training.stages import Stage


@dataclasses.dataclass(frozen=True)
class Session:
    """A run under way.

    Attributes:
      options: What decides it.
      plan: Its stages.
      model: What is trained.
      position: Where it stands.
      run: Its folder.
      checkpoints: In that folder.
      strategy: Where it computes.
      training_objective: What a step minimises.
      truth: Of the points that the model finds; None if it finds none.
      worker: (index, number of workers) of this process.
      examples: What it learns from.
      logger: What it tells.
      stop: Asked between steps whether to go on.
      cache_dir: Folder of cached features.
    """

    options: TrainingOptions
    plan: Sequence[Stage]
    model: keras.Model
    position: Position
    run: RunDirectory
    checkpoints: Checkpoints
    strategy: tf.distribute.Strategy
    training_objective: TrainingObjective
    truth: PointTruth | None
    worker: Worker
    examples: Examples
    logger: Logger
    stop: StopRequest
    cache_dir: str
