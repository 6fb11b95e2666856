"""Tests of a preparation as a Beam pipeline: the same records, from any runner and number of workers."""

import importlib.util
import os
import pickle
import threading

import pytest
import tiny_people

from tfface.data import beam, manifest, preparation, workers

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None


def prepare(folder, *arguments):
    recipe = preparation.Recipe(modes=4)
    return preparation.prepare(
        tiny_people.PEOPLE,
        folder,
        recipe,
        num_workers=1,
        progress=False,
        pipeline=["--runner=DirectRunner", *arguments],
    )


@pytest.fixture
def small_parts(monkeypatch):
    """Several parts, and several elements of a pipeline, of twelve people."""
    monkeypatch.setattr(preparation, "CHUNK", 4)
    monkeypatch.setattr(preparation, "_PARTS_TOGETHER", 2)


@pytest.mark.parametrize("count", [1, 3])
def test_a_pipeline_makes_the_same_records(tmp_path, small_parts, count):
    pytest.importorskip("apache_beam", reason="apache-beam is not installed: it is the extra beam")
    made = prepare(tmp_path, "--direct_running_mode=multi_threading", f"--direct_num_workers={count}")
    assert made == manifest.read(tiny_people.records_folder())


def test_what_a_pipeline_is_given_makes_the_same_records(tmp_path, small_parts, monkeypatch):
    """Without Beam: each element is pickled and done by itself, in any order."""
    given = []

    def run(function, jobs, shared, arguments):
        given.append(arguments)
        for job in reversed(list(jobs)):
            sent = pickle.loads(pickle.dumps((function, shared, job)))
            sent[0](*sent[1:])

    monkeypatch.setattr(beam, "run", run)
    monkeypatch.setattr(beam, "require", lambda: None)
    assert prepare(tmp_path) == manifest.read(tiny_people.records_folder())
    assert given == [["--runner=DirectRunner"]]


def test_workers_that_write_elsewhere_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "run", lambda *_: None)
    monkeypatch.setattr(beam, "require", lambda: None)
    with pytest.raises(ValueError, match=r"train-000000.npz: not found; Beam's workers have to see the folder"):
        prepare(tmp_path)


@pytest.mark.skipif(HAS_BEAM, reason="apache-beam is installed")
def test_without_beam_nothing_is_begun(tmp_path):
    with pytest.raises(ModuleNotFoundError, match=r"pip install tfface\[beam\]"):
        prepare(tmp_path)
    assert not list(tmp_path.iterdir())


def test_pools_that_are_open_at_once_leave_the_environment_as_it_was():
    """A pipeline of several threads opens a pool in each: the first to end leaves the others theirs."""
    before = dict(os.environ)
    inside, ended = threading.Event(), threading.Event()

    def first():
        with workers._one_thread_each:
            inside.set()
            ended.wait()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with workers._one_thread_each:
        ended.set()
        thread.join()
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert dict(os.environ) == before
