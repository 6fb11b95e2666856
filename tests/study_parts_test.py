"""The parts of the study without networks: its rows, what is measured of them, the pages it writes and its pictures."""

import dataclasses
import re
import types

import numpy as np
import pytest
import tiny
import tiny_people
from PIL import Image

from tfface import files
from tfface.drawing import charts, document, error_maps
from tfface.evaluation import (
    armse,
    engine,
    landmark_rows,
    learning_curves,
    measures,
    rows,
    study_pictures,
    table1,
    view_selection,
)
from tfface.evaluation.ground_truth import GroundTruth
from tfface.evaluation.measure import Column, Measure
from tfface.evaluation.measuring import Measurer
from tfface.evaluation.predictions import Origin, Predictions
from tfface.evaluation.rows import MEAN_FACE
from tfface.evaluation.vertex_errors import vertex_distances
from tfface.face import MorphableModel, build
from tfface.geometry.mesh import Mesh, submesh

SUBJECTS = 10


@pytest.fixture(scope="module")
def face_model() -> MorphableModel:
    people, template = tiny_people.TinyPeople(30), tiny_people.template()
    shapes = np.stack([people.shape(index) for index in range(30)])
    return build(shapes, template.triangles, template.landmarks, template.symmetry, modes=4)


@pytest.fixture(scope="module")
def truth(face_model) -> GroundTruth:
    rng = np.random.default_rng(1)
    vertices = face_model.decode(rng.normal(size=(SUBJECTS, 4)).astype(np.float32))
    pose = np.broadcast_to(np.float32([0, 0, 0, 1]), (SUBJECTS, 4, 4))
    shift = np.broadcast_to(np.float32([0, 0, 600]), (SUBJECTS, 4, 3))
    K = np.broadcast_to(np.float32([[200, 0, 32], [0, 200, 32], [0, 0, 1]]), (SUBJECTS, 4, 3, 3))
    names = tuple(f"s{index}" for index in range(SUBJECTS))
    vertices = vertices + rng.normal(0, 0.3, vertices.shape).astype(np.float32)
    return GroundTruth(names, vertices, pose, shift, K, np.ones((SUBJECTS, 4), np.float32))


def predictions(face_model, truth, num_sets: int, num_views: int, poses: bool = True) -> Predictions:
    rng = np.random.default_rng(num_sets)
    views = np.broadcast_to(np.arange(num_views), (SUBJECTS, num_sets, num_views)).astype(np.int32)
    if num_views == 1:
        views = np.broadcast_to(np.arange(num_sets)[:, None], (SUBJECTS, num_sets, 1)).astype(np.int32)
    coefficients = rng.normal(size=(SUBJECTS, num_sets, 4)).astype(np.float32)
    rows = np.arange(SUBJECTS)[:, None, None]
    pose = {"quaternions": truth.quaternions[rows, views], "translations": truth.translations[rows, views] + 5}
    origin = Origin("m", "r", "test", face_model.digest())
    return Predictions(origin, truth.subjects, views, coefficients, pose if poses else {})


@pytest.fixture(scope="module")
def people(face_model, truth):
    """What rows are told of subjects."""
    return types.SimpleNamespace(
        face_model=face_model, truth=truth, origin=lambda maker: Origin(maker, "r", "test", face_model.digest())
    )


class TestRows:
    def test_a_single_view_model_has_four(self, face_model, truth):
        single = predictions(face_model, truth, 4, 1)
        yaws = np.tile([-45.0, 80.0, 2.0, 47.0], (SUBJECTS, 1))
        choice = view_selection.ViewChoice(yaws, np.ones(yaws.shape, bool), "estimated")
        frontal, each, mean, (same,) = rows.single_view("SV", single, choice, [3])
        names = [row.name for row in (frontal, each, mean, same)]
        assert names == ["SV Frontal", "SV", "SV Mean", "SV Mean of 3"]
        found = [row.predictions.coefficients for row in (frontal, each, mean, same)]
        np.testing.assert_array_equal(found[0][:, 0], single.coefficients[:, 2])
        np.testing.assert_array_equal(found[1], single.coefficients)
        np.testing.assert_allclose(found[2][:, 0], single.coefficients.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(found[3][:, 0], single.coefficients[:, [0, 2, 3]].mean(axis=1), rtol=1e-6)

    def test_a_multi_view_model_has_its_nearest_prediction_and_the_mean_of_five(self, face_model, truth):
        several = predictions(face_model, truth, 5, 3, poses=False)
        first, mean = rows.multi_view("MV Shape-Concat", several)
        assert [first.name, mean.name] == ["MV Shape-Concat", "MV Shape-Concat Mean"]
        np.testing.assert_array_equal(first.predictions.coefficients, several.coefficients[:, :1])
        np.testing.assert_allclose(mean.predictions.coefficients[:, 0], several.coefficients.mean(axis=1), rtol=1e-6)
        assert first.predictions.quaternions is None
        (alone,) = rows.multi_view("MV Add", predictions(face_model, truth, 1, 3))
        assert alone.predictions.quaternions.shape == (SUBJECTS, 1, 3, 4)
        assert alone.predictions.views.shape == (SUBJECTS, 1, 3)

    def test_baselines_are_the_mean_face_and_the_best_coefficients(self, face_model, truth, people):
        mean, floor = rows.mean_face(people), rows.floor(people)
        assert (mean.name, floor.name) == (MEAN_FACE, "3DMM Floor")
        assert not mean.predictions.coefficients.any()
        assert mean.predictions.exists.all()
        residual = truth.vertices - face_model.decode(floor.predictions.coefficients[:, 0])
        np.testing.assert_allclose(np.tensordot(residual, face_model.basis, ((1, 2), (1, 2))), 0, atol=1e-3)

    def test_the_papers_rows_come_in_its_order(self, people):
        nobody = rows.mean_face(people).predictions
        names = ("Extra", "MV Concat", "SV Mean", MEAN_FACE, "MV Max", "SV Frontal")
        ordered = [row.name for row in table1.in_order([rows.Row(name, "", nobody) for name in names])]
        assert ordered == [MEAN_FACE, "SV Frontal", "SV Mean", "MV Concat", "Extra", "MV Max"]

    def test_shares_are_the_papers(self):
        shares = [round(table1.share_of_paper(name), 3) for name in table1.PAPER]
        assert shares == [1.0, 0.868, 0.831, 0.805, 0.772, 0.738, 0.709]
        assert table1.share_of_paper("MV Max") is None

    def test_neighbours_are_compared_and_the_questions_asked(self):
        names = [*table1.PAPER, "SV Mean of 3", "MV Max", "Landmarks MAP, 1 px"]
        pairs = table1.comparisons(names)
        assert pairs[:2] == [(MEAN_FACE, "SV Frontal"), ("SV Frontal", "SV Mean")]
        assert ("SV Mean of 3", "MV Concat") in pairs
        assert ("MV Concat", "MV Max") in pairs
        assert ("Landmarks MAP, 1 px", "MV Concat") in pairs
        assert len(pairs) == 6 + 3


class TestMeasures:
    @staticmethod
    def measurer(face_model, truth, folder, area=None, run=None) -> Measurer:
        run = tiny.serial_run(face_model, area) if run is None else run
        return Measurer(face_model, area, truth, measures.OF_PAIRS, folder, run, progress=False)

    def test_are_those_of_the_protocols(self, face_model, truth, tmp_path):
        given, area = predictions(face_model, truth, 2, 3), np.arange(60)
        measurer = self.measurer(face_model, truth, tmp_path, area)
        measured = measurer.measure("MV Add", "MV Add", given)
        assert "armse_mm" not in measured.each
        first = measurer.measure("the first", "MV Add", given.first()).each
        for subject, index in ((0, 0), (0, 1), (SUBJECTS - 1, 1)):
            shape, true = face_model.decode(given.coefficients[subject, index]), truth.vertices[subject]
            landmarks = dict(face_model.landmarks)
            tip = true[landmarks["nose_ridge_3"]]
            near = np.linalg.norm(true - tip, axis=1) <= 95
            assert 0.3 < near.mean() < 1
            cropped = submesh(Mesh(true, face_model.triangles, landmarks), near)[0]
            if index == 0:
                expected = armse(Mesh(shape, face_model.triangles, landmarks), cropped)
                assert first["armse_mm"][subject, 0] == pytest.approx(expected.mm, rel=1e-6)
                assert first["armse_percent"][subject, 0] == pytest.approx(expected.percent, rel=1e-6)
            distances = vertex_distances(shape, true, "similarity", area)
            assert measured.each["similarity_mm"][subject, index] == pytest.approx(distances[:60].mean(), rel=1e-5)
        assert measured.values["translation_mm"] == pytest.approx(np.full(SUBJECTS, np.sqrt(75)))
        for name, each in measured.each.items():
            np.testing.assert_allclose(measured.values[name], each.mean(axis=1))
        shapes = face_model.decode(given.coefficients)
        every = vertex_distances(shapes, truth.vertices[:, None], "similarity", area)
        np.testing.assert_allclose(measured.vertex_mm, every.mean(axis=(0, 1)), rtol=1e-5)

    def test_are_kept_until_something_changes(self, face_model, truth, tmp_path, monkeypatch):
        given = predictions(face_model, truth, 1, 3)
        calls = []

        def run(function, jobs):
            jobs = list(jobs)
            calls.append(len(jobs))
            return tiny.serial_run(face_model)(function, jobs)

        def measured(given):
            return self.measurer(face_model, truth, tmp_path, run=run).measure("MV Max", "MV Max", given)

        first, again = measured(given), measured(given)
        assert calls == [2]
        for name, values in first.values.items():
            np.testing.assert_array_equal(again.values[name], values)
        np.testing.assert_array_equal(first.vertex_mm, again.vertex_mm)
        changed = measured(dataclasses.replace(given, coefficients=2 * given.coefficients))
        assert len(calls) == 2
        assert changed.values["armse_mm"].mean() > first.values["armse_mm"].mean()
        farther = {**given.per_view, "translations": given.translations + 1}
        moved = measured(dataclasses.replace(given, per_view=farther))
        assert len(calls) == 3
        assert (moved.values["translation_mm"] > first.values["translation_mm"]).all()
        (tmp_path / "MV_Max.npz").write_bytes(b"damaged")
        measured(given)
        assert len(calls) == 4
        newer = dataclasses.replace(measures.REGISTRY["armse"], version=2)
        monkeypatch.setitem(measures.REGISTRY, "armse", newer)
        measured(given)
        assert len(calls) == 5

    def test_a_new_measure_is_a_file_and_a_name_in_the_registry(self, face_model, truth, tmp_path, monkeypatch):
        def of_pairs(pairs):
            return {"tallest_mm": np.ptp(pairs.predicted[..., 1], axis=1)}

        new = Measure("tallest", (Column("tallest_mm", "tallest, mm"),), of_pairs, needs=("quaternions",))
        monkeypatch.setitem(measures.REGISTRY, "tallest", new)
        given = predictions(face_model, truth, 1, 3)
        measurer = dataclasses.replace(self.measurer(face_model, truth, tmp_path), names=("vertex", "tallest"))
        measured = measurer.measure("MV", "MV", given)
        expected = np.ptp(face_model.decode(given.coefficients[:, 0])[..., 1], axis=1)
        np.testing.assert_allclose(measured.values["tallest_mm"], expected, rtol=1e-6)
        without = dataclasses.replace(given, per_view={})
        assert "tallest_mm" not in measurer.measure("MV", "MV", without).values

    def test_rows_of_one_name_are_refused(self, people):
        row = rows.mean_face(people)
        evaluation = engine.Evaluation(people, {}, None, None, (), 0, False)
        with pytest.raises(ValueError, match="the names 3DMM Mean are taken twice"):
            evaluation.measured([lambda _: [row], lambda _: [row]])


def test_results_under_another_key_are_not_taken(tmp_path):
    path = tmp_path / "sub" / "result.npz"
    assert files.load_keyed(path, "a") is None
    files.save_keyed(path, "a", {"x": np.arange(3)})
    np.testing.assert_array_equal(files.load_keyed(path, "a")["x"], [0, 1, 2])
    assert files.load_keyed(path, "b") is None
    arrays = [np.arange(4), np.arange(4.0)]
    assert len({files.digest_of([array]) for array in (*arrays, np.arange(4).reshape(2, 2))}) == 3
    assert files.name_of("MV Shape-Concat, 1 px") == "MV_Shape-Concat_1_px"


class TestDocument:
    BLOCKS = (
        document.Heading("Title <1>", 1),
        document.Paragraph("a & b"),
        document.Table(("Model", "mm", "is"), [("A|B", "1.5", "x < y"), ("C", "10", "z")], rules=(1,), texts=(2,)),
        document.Listing("x = 1"),
    )

    def test_markdown(self, tmp_path):
        lines = document.markdown(self.BLOCKS, tmp_path).splitlines()
        assert lines[:3] == ["# Title <1>", "", "a & b"]
        table = lines[4:8]
        assert table == [
            "| Model |  mm | is    |",
            "| ----- | --: | ----- |",
            r"| A\|B  | 1.5 | x < y |",
            "| C     |  10 | z     |",
        ]

    def test_the_page_needs_no_other_file_and_escapes(self, tmp_path):
        path = tmp_path / "figures" / "dot.png"
        path.parent.mkdir()
        Image.new("RGB", (3, 2), (255, 0, 0)).save(path)
        blocks = [*self.BLOCKS, document.Picture(path, 'say "hi"')]
        text = document.page("T & U", blocks)
        assert "<title>T &amp; U</title>" in text
        assert "<h1>Title &lt;1&gt;</h1>" in text
        assert '<td class="text">x &lt; y</td>' in text
        assert text.count('<tr class="rule">') == 1
        assert not re.search(r'(src|href)="(?!data:image/png;base64,)', text)
        assert 'alt="say &quot;hi&quot;"' in text
        assert '![say "hi"](figures/dot.png)' in document.markdown(blocks, tmp_path)

    def test_a_row_of_another_width_is_refused(self):
        with pytest.raises(ValueError, match="rows: expected 2 columns, got 1: x"):
            document.Table(("a", "b"), [("x",)])


class TestFigures:
    def test_are_drawn(self, face_model, tmp_path):
        rng = np.random.default_rng(0)
        errors = {name: rng.gamma(5, 0.3, 40) for name in (*table1.PAPER, "MV Max", "3DMM Floor")}
        lines = study_pictures.cumulative(errors)
        assert [line.name for line in lines if line.dashed] == ["MV Max", "3DMM Floor"]
        assert all((np.diff(line.y) >= 0).all() and line.y[0] == 0 for line in lines)
        charts.draw(tmp_path / "curves.png", lines, labels=("ARMSE, mm", "%"), limits=((0, 3), (0, 100)))
        maps = {name: rng.gamma(5, 0.3, face_model.num_vertices) for name in list(errors)[:3]}
        error_maps.draw(tmp_path / "maps.png", face_model.mean, face_model.triangles, maps, columns=2, height=80)
        line = charts.Line("SV", [1, 2, 3], [2.0, 1.8, 1.7], [(1.9, 2.1), (1.7, 1.9), (1.6, 1.8)], marked=True)
        charts.draw(tmp_path / "views.png", [line], labels=("views", "mm"), level=(MEAN_FACE, 2.9), ticks=[1, 2, 3])
        for name in ("curves", "maps", "views"):
            with Image.open(tmp_path / f"{name}.png") as image:
                pixels = np.asarray(image.convert("RGB"))
            assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, name

    def test_a_chart_shows_what_it_is_given(self, tmp_path):
        def drawn(**changes):
            line = charts.Line("SV", [1, 2, 3], [2.0, 1.8, 1.7], color="#ff0000")
            charts.draw(tmp_path / "x.png", [dataclasses.replace(line, **changes)], labels=("x", "y"))
            with Image.open(tmp_path / "x.png") as image:
                pixels = np.asarray(image.convert("RGB")).astype(int)
            return int((pixels == (255, 0, 0)).all(axis=-1).sum()), pixels

        solid, plain = drawn()
        assert 500 < solid < 20_000
        assert drawn(dashed=True)[0] < 0.85 * solid
        assert drawn(marked=True)[0] > solid + 30
        pale = (drawn(band=[(1.9, 2.1)] * 3)[1][..., 1] > 200) & (plain[..., 0] == 255)
        assert pale.sum() > 1000

    def test_of_nothing_are_refused(self, face_model, tmp_path):
        with pytest.raises(ValueError, match="rows: expected at least one"):
            error_maps.draw(tmp_path / "x.png", face_model.mean, face_model.triangles, {})
        with pytest.raises(ValueError, match="lines: expected at least one"):
            charts.draw(tmp_path / "x.png", [], labels=("x", "y"))


def test_the_history_of_a_run_is_read_from_beside_the_model(tmp_path):
    record = tmp_path / "metrics.jsonl"
    record.write_text('{"total_steps": 10, "similarity_mm": 2.5}\n{"total_steps": 20, "similarity_mm": 2.0}\n')
    paths = {"SV": str(tmp_path / "best.keras"), "other": str(tmp_path / "elsewhere" / "best.keras")}
    found = learning_curves.histories(paths)
    assert found == {"SV": learning_curves.History((10, 20), (2.5, 2.0))}
    record.write_text('{"total_steps": 10}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl: not a record of validations"):
        learning_curves.histories(paths)


def test_landmarks_of_a_view_that_does_not_exist_are_masked(face_model, truth):
    views = np.tile([0, 3, -1], (SUBJECTS, 1)).astype(np.int32)
    seen = landmark_rows.observe(truth, views, [1, 2, 3], 0.0, 0)
    assert seen.px.shape == (SUBJECTS, 3, 3, 2)
    np.testing.assert_array_equal(seen.view_mask, np.tile([True, True, False], (SUBJECTS, 1)))
    assert len(seen.part(slice(2, 5)).px) == 3
