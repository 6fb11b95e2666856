"""Tests of records that are several folders' as one."""

import contextlib
import dataclasses
import shutil

import in_process
import numpy as np
import pytest
import tiny_people
import training_process

from tfface import prepare
from tfface.data import joining, manifest, pipeline, preparation, records


@dataclasses.dataclass(frozen=True)
class OtherPeople(tiny_people.TinyPeople):
    """Somebody else."""

    name = "others"

    def subject_id(self, index: int) -> str:
        return f"other-{index}"


def prepared(folder, people, **recipe):
    model = tiny_people.records_folder() / manifest.FACE_MODEL_NAME
    with in_process.workers():
        preparation.prepare(
            people, folder, preparation.Recipe(face_model=model, **recipe), num_workers=1, progress=False
        )
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("joining") / "others", OtherPeople(5, seed=3))


def test_everybody_is_there_as_before(others, tmp_path):
    first = tiny_people.records_folder()
    made = joining.join([first, others], tmp_path / "both")
    sets = [manifest.read(first), manifest.read(others)]
    assert made == manifest.read(tmp_path / "both")
    assert made.command["source"] == {"name": "mixed", "subjects": 17}
    for split, subjects in made.subjects.items():
        assert subjects == (*sets[0].subjects[split], *sets[1].subjects[split])
    records.verify(tmp_path / "both", "train", checksums=True)

    def images(folder):
        batches = pipeline.all_views(folder, "train", batch_size=1)
        return {batch["subject"][0].numpy(): batch["images"][0].numpy() for batch in batches}

    apart = images(first) | images(others)
    together = images(tmp_path / "both")
    assert together.keys() == apart.keys()
    for subject, pictures in together.items():
        np.testing.assert_array_equal(pictures[: len(apart[subject])], apart[subject][: len(pictures)])


def test_the_same_call_again_does_nothing_and_another_is_refused(others, tmp_path):
    first = tiny_people.records_folder()
    joining.join([first, others], tmp_path)
    stamp = (tmp_path / manifest.FILE_NAME).stat().st_mtime_ns
    joining.join([first, others], tmp_path)
    assert (tmp_path / manifest.FILE_NAME).stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="the folder was begun by another command"):
        joining.join([others, first], tmp_path)


def test_what_was_left_by_a_kill_is_made_again(others, tmp_path):
    first = tiny_people.records_folder()
    whole = joining.join([first, others], tmp_path)
    (tmp_path / manifest.FILE_NAME).unlink()
    half = next((tmp_path / "joined-1").rglob("*.tfrecord*"))
    half.unlink()
    half.write_bytes(b"half")
    assert joining.join([first, others], tmp_path) == whole
    records.verify(tmp_path, "train", checksums=True)


def test_a_set_that_grows_meanwhile_is_what_it_was_and_then_another(others, tmp_path, monkeypatch):
    """Its records stay where they are: what was joined is whole, and the same command says what has changed."""
    first = shutil.copytree(tiny_people.records_folder(), tmp_path / "first")
    whole = joining.join([tiny_people.records_folder(), others], tmp_path / "as_it_was")
    more = dataclasses.replace(tiny_people.PEOPLE, num_subjects=14)

    def grow_and_link(*given, real=joining._link):
        monkeypatch.undo()
        preparation.prepare(more, first, preparation.Recipe(modes=4), num_workers=1, progress=False)
        real(*given)

    monkeypatch.setattr(joining, "_link", grow_and_link)
    made = joining.join([first, others], tmp_path / "both")
    assert len(manifest.read(first).subjects["train"]) > len(
        manifest.read(tiny_people.records_folder()).subjects["train"]
    )
    assert (made.subjects, made.shards) == (whole.subjects, whole.shards)
    for split in made.shards:
        records.verify(tmp_path / "both", split, checksums=True)
    with pytest.raises(ValueError, match=r"begun by another command(.|\n)*source.subjects: 17 -> 19"):
        joining.join([first, others], tmp_path / "both")


def test_no_folder_of_records_becomes_the_output(others, tmp_path):
    """Neither one of those that are joined, nor one whose preparation is not finished; both stay as they are."""
    first = shutil.copytree(tiny_people.records_folder(), tmp_path / "first")
    (tmp_path / "link").symlink_to(first)
    (tmp_path / "begun" / preparation.IN_PROGRESS).mkdir(parents=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for out in (first, tmp_path / "link"):
        with pytest.raises(ValueError, match="begun by another command"):
            joining.join([first, others], out)
    with pytest.raises(ValueError, match="a preparation was begun there and is not finished"):
        joining.join([first, others], tmp_path / "begun")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    joining.join([first, others], first / "both")
    records.verify(first / "both", "train", checksums=True)
    records.verify(first, "train", checksums=True)


def test_two_trainings_at_once_on_one_joined_folder_end_alike(others, tmp_path):
    """Two processes; and nothing is written to the folder."""
    both = tmp_path / "both"
    joining.join([tiny_people.records_folder(), others], both)
    before = {path: path.stat().st_mtime_ns for path in both.rglob("*")}
    runs = [tmp_path / "one", tmp_path / "other"]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(training_process.training(both, run, stages="heads:2:1e-3")) for run in runs]
        for process in running:
            assert process.exit_code() == 0, process.output
    training_process.assert_same_run(*runs)
    assert {path: path.stat().st_mtime_ns for path in both.rglob("*")} == before


def test_file_systems_without_links_get_copies(others, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refused)
    joining.join([tiny_people.records_folder(), others], tmp_path)
    records.verify(tmp_path, "train", checksums=True)


def test_records_that_do_not_fit_are_refused_by_name(others, tmp_path):
    first = tiny_people.records_folder()
    with pytest.raises(ValueError, match="a subject id appears more than once"):
        joining.join([first, shutil.copytree(first, tmp_path / "same")], tmp_path / "out")
    larger = prepared(tmp_path / "larger", OtherPeople(3, seed=4, size=40))
    with pytest.raises(ValueError, match=r"larger: does not fit .*image_size: expected \(32, 32\)"):
        joining.join([first, larger], tmp_path / "out")
    with pytest.raises(ValueError, match="at least two folders of records, got 1"):
        joining.join([first], tmp_path / "out")
    with pytest.raises(ValueError, match=r"nowhere.*manifest.json: not found"):
        joining.join([first, tmp_path / "nowhere"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_flag_joins(others, tmp_path, capsys, monkeypatch):
    options = prepare.PreparationOptions(join=[str(tiny_people.records_folder()), str(others)], output=str(tmp_path))
    monkeypatch.setattr("tfface.config.values", lambda _: options)
    prepare.main(["prepare"])
    made = manifest.read(tmp_path)
    assert len([subject for split in made.subjects.values() for subject in split]) == 17
    assert f"{tmp_path}: {sum(made.views.values())} photographs" in capsys.readouterr().out
