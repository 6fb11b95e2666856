"""The training loop, one for every `tf.distribute` strategy.

`model.fit` of Keras 3 cannot run under MultiWorkerMirroredStrategy, so the loop is our own: ``strategy.run`` around a
GradientTape, gradients summed over the replicas and divided by the global batch.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from tfface import schema
from tfface.data import pipeline
from tfface.data.record_streams import Worker
from tfface.training import kernel_gradients, objectives
from tfface.training.examples import StageBatches
from tfface.training.point_truth import PointTruth
from tfface.training.session import Session
from tfface.training.stages import Stage
from tfface.training.strategy import on_processors


class NonFiniteLossError(ArithmeticError):
    """The loss of a step was not a finite number; the newest checkpoint is the last good position."""


class StageTrainer:
    """Trains one stage: a network that shares its weights with the whole model, from batches that suit it."""

    def __init__(
        self,
        network: keras.Model,
        variables: list[Any],
        objective: objectives.Objective,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        training_objective: objectives.TrainingObjective | None = None,
        truth: PointTruth | None = None,
    ):
        """Makes a trainer.

        Args:
          network: What is trained.
          variables: Of the network, those that are trained.
          objective: What a validation reports as the loss.
          optimizer: Of the variables.
          strategy: Where it runs.
          batch_size: Subjects a step, over all replicas.
          training_objective: What a step minimises; `objective` if None.
          truth: Of the points that it finds, if it finds any.
        """
        self.network = network
        self.objective = objective
        self.training_objective = training_objective or (lambda batch, outputs, _: objective(batch, outputs))
        self.optimizer = optimizer
        self.strategy = strategy
        self.batch_size = batch_size
        self._variables = variables
        self._truth = truth
        with strategy.scope():
            optimizer.build(variables)
        # Neither has control flow on tensors; to have their sources translated would take longer than to trace them.
        self._step = tf.function(self._distributed_step, autograph=False)
        self._measure: Callable[[Any], dict[str, tf.Tensor]] | None = None

    def step(self, batch: Any) -> float:
        """One step on a distributed batch; the mean loss over it, before the step."""
        return float(self._step(batch))

    def distributed(self, part: Callable[[Worker], tf.data.Dataset]) -> Any:
        """Batches for the strategy's replicas, of which each worker reads its own part and nothing else."""

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            batches = part((context.input_pipeline_id, context.num_input_pipelines))
            if context.num_replicas_in_sync > context.num_input_pipelines:  # several replicas a worker
                batches = batches.rebatch(self.batch_size // context.num_replicas_in_sync)
            return batches

        return self.strategy.distribute_datasets_from_function(of_worker)

    def validate(self, batches: Iterable[Any], spec: Any) -> dict[str, float]:
        """The measures of `objectives.measures` over all distributed batches, which are of this `element_spec`."""
        if self._measure is None:  # traced once for batches of any number: the last has fewer
            self._measure = tf.function(self._distributed_measure, input_signature=[spec], autograph=False)
        sums: dict[str, float] = {}
        for batch in batches:
            for key, value in self._measure(batch).items():
                sums[key] = sums.get(key, 0.0) + float(value)
        return objectives.means(sums)

    def _inputs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {key: batch[key] for key in self.network.input}

    def _differentiated(self) -> contextlib.AbstractContextManager[None]:
        """In what the network is called, for its gradients."""
        if on_processors(self.strategy):
            return kernel_gradients.as_matrix_products(self.network)
        return contextlib.nullcontext()

    def _replica_step(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self._variables])
            with self._differentiated():
                outputs = self.network(self._inputs(batch), training=True)
            # The optimizer's count is part of every checkpoint, so that what is random in a step is so again.
            per_example = self.training_objective(batch, outputs, self.optimizer.iterations.value)
            loss = tf.reduce_sum(per_example) / self.batch_size
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        self.optimizer.apply(gradients, self._variables)
        return loss

    def _distributed_step(self, batch: Any) -> tf.Tensor:
        losses = self.strategy.run(self._replica_step, args=(batch,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _replica_measure(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        # A replica that has no part of the last examples has to join in, and oneDNN's convolutions take no empty batch.
        padded = {key: _at_least_one(tensor) for key, tensor in self._inputs(batch).items()}
        count = tf.shape(batch[schema.VERTICES.key])[0]
        outputs = {key: tensor[:count] for key, tensor in self.network(padded, training=False).items()}
        return objectives.measures(batch, outputs, self.objective, self._truth)

    def _distributed_measure(self, batch: Any) -> dict[str, tf.Tensor]:
        sums = self.strategy.run(self._replica_measure, args=(batch,))
        return {key: self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for key, value in sums.items()}


def _at_least_one(batch: tf.Tensor) -> tf.Tensor:
    """The batch, or a single example of zeros in place of an empty one."""
    shape = tf.concat([[tf.maximum(1 - tf.shape(batch)[0], 0)], tf.shape(batch)[1:]], axis=0)
    return tf.ensure_shape(tf.concat([batch, tf.zeros(shape, batch.dtype)], axis=0), [None, *batch.shape[1:]])


def take_steps(trainer: StageTrainer, stage: Stage, batches: StageBatches, session: Session) -> None:
    """Takes the steps of a stage from its position to its end, or until `patience` validations brought nothing better.

    Raises:
      NonFiniteLossError: At the first loss that is not finite; names the step.
      StoppedError: If the run was asked to stop; the position is saved.
      ValueError: If the records cannot be read; names the shard or the subject.
    """
    options, position, checkpoints = session.options, session.position, session.checkpoints
    start = int(position.step.numpy())
    stream = functools.partial(batches.stream, start)
    training = pipeline.naming_faults(trainer.distributed(stream), options.records, "train")
    held_out = trainer.distributed(batches.validation)
    smoothed = float(position.training_loss.numpy())
    begun = time.monotonic()
    with _bar(stage, start, session.run.chief) as bar:
        for done in range(start + 1, stage.steps + 1):
            loss = trainer.step(next(training))
            if not math.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss of step {done - 1} of stage {stage} is {loss}; the newest checkpoint "
                    f"({checkpoints.newest or 'none yet'}) is the last good position"
                )
            smoothed = loss if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * loss
            position.advance(smoothed)
            images = (done - start) * trainer.batch_size / (time.monotonic() - begun)
            bar.set_postfix_str(f"loss {smoothed:.3f}, {images:.0f} subjects/s", refresh=False)
            bar.update()
            if done % options.validate_every == 0 or done == stage.steps:
                _validate(trainer, held_out, stage, session)
                if options.patience and int(position.without_better.numpy()) >= options.patience:
                    tqdm.write(f"{stage.name}: no better model in {options.patience} validations, going on")
                    break
            if (done % options.checkpoint_every == 0 and done < stage.steps) or session.stop.requested:
                checkpoints.save(int(position.total_steps.numpy()))
                session.stop.check(f"after step {done} of stage {stage}")


def measure_solved(trainer: StageTrainer, stage: Stage, batches: StageBatches, session: Session) -> None:
    """What a stage that is solved, not trained, does in place of steps: one validation. It counts as a step.

    Raises:
      ValueError: If the records cannot be read; names the shard or the subject.
    """
    session.position.advance(float("nan"))
    _validate(trainer, trainer.distributed(batches.validation), stage, session)


def _validate(trainer: StageTrainer, held_out: Any, stage: Stage, session: Session) -> None:
    """Measures, tells, and keeps the model if it is the best so far."""
    options, position = session.options, session.position
    measured = trainer.validate(pipeline.naming_faults(held_out, options.records, "validation"), held_out.element_spec)
    training_loss = float(position.training_loss.numpy())
    known = {} if math.isnan(training_loss) else {"training_loss": training_loss}
    session.logger.validation(int(position.total_steps.numpy()), str(stage), {**known, **measured})
    if position.is_best(measured["points_nats" if stage.points else options.best_by]):
        session.run.save_model(session.model, "best")


def _bar(stage: Stage, start: int, shown: bool) -> tqdm:
    return tqdm(
        total=stage.steps,
        initial=start,
        desc=f"{stage.name} (lr {stage.learning_rate:g})",
        unit="step",
        dynamic_ncols=True,
        disable=not shown,
        mininterval=1.0,
    )
