"""The page of a reconstruction: what stands in it. How it looks and answers is in page_browser_test.py."""

import base64
import dataclasses
import html.parser
import json
import re

import numpy as np
import pytest
from page_scene import ANN, ERRORS, EXPRESSIONS, HOSTILE, TEXTURED, TRIANGLES, VERTICES, VIEWS, moving, reconstruction

from tfface.face import Expressions
from tfface.geometry import mesh
from tfface.reconstruction import page, page_expressions

HOSTILE_FILE = HOSTILE.rpartition("/")[2]


class _Elements(html.parser.HTMLParser):
    """Every element of a page with its attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] == "script":
            self.scripts.append(data)


def _content(text: str) -> dict:
    """What is embedded for the script of a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def _array(text: str, dtype: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def _wireframes(text: str) -> list[str]:
    """The pictures of wireframes in a page, as they are embedded."""
    found = _Elements(text).found
    return [a["src"] for tag, a in found if tag == "img" and a["alt"].startswith("Wireframe")]


class TestText:
    def test_it_embeds_mesh_texture_and_errors(self):
        errors = np.where(VERTICES[:, 1] > 60, np.nan, ERRORS)
        content = _content(page.page(ANN, TEXTURED, errors=errors))
        np.testing.assert_array_equal(_array(content["positions"], "<f4", -1, 3), VERTICES)
        np.testing.assert_array_equal(_array(content["triangles"], "<u4", -1, 3), TRIANGLES)
        normals = mesh.vertex_normals(VERTICES, TRIANGLES)
        np.testing.assert_allclose(_array(content["normals"], "<i2", -1, 3) / 32767, normals, atol=2e-5)
        uv = (VERTICES[TRIANGLES, :2] / [60, 85] + 1) / 2
        np.testing.assert_allclose(_array(content["uv"], "<u2", -1, 3, 2) / 65535, uv, atol=1e-5)
        embedded = _array(content["errors"], "<f4", -1)
        np.testing.assert_allclose(embedded, np.where(np.isnan(errors), -1, errors), rtol=1e-6)

    def test_a_mesh_without_texture_is_drawn_as_it_is_written(self):
        inwards = reconstruction(triangles=TRIANGLES[:, ::-1])
        content = _content(page.page(inwards))
        np.testing.assert_array_equal(_array(content["triangles"], "<u4", -1, 3), TRIANGLES)
        assert content["uv"] is None
        assert content["textures"] == []
        assert content["pieces"] == [{"count": 3 * len(TRIANGLES), "image": None, "face": True}]

    def test_a_large_photograph_is_reduced_with_its_camera(self):
        large, small = (_content(page.page(ANN, max_side=side))["photographs"][0] for side in (500, 84))
        assert large["size"] == [168, 128]
        assert small["size"] == [84, 64]
        np.testing.assert_allclose(np.array(small["intrinsics"])[:2], np.array(large["intrinsics"])[:2] / 2)
        np.testing.assert_allclose(np.array(small["box"]), np.array(large["box"]) / 2)

    def test_it_offers_only_what_it_has(self):
        assert 'value="error"' not in page.page(ANN, TEXTURED)
        assert 'value="texture"' not in page.page(ANN, errors=ERRORS)
        alone = page.page(reconstruction())
        assert "<figure" not in alone
        assert 'value="shaded" checked' in alone

    def test_it_states_errors_and_cameras(self):
        text = page.page(ANN, errors=np.where(np.arange(len(ERRORS)) == 0, np.nan, 2.0))
        assert "mean 2.00 mm, median 2.00 mm, 95 % of the vertices within 2.00 mm, largest 2.00 mm. Grey" in text
        assert "168 &times; 128 px, focal length 230 px · yaw &minus;35°, pitch 8°, roll 12°" in text
        assert "0.56 m away · detector's confidence 98 %" in text

    def test_names_are_text_and_pictures_have_one(self):
        elements = _Elements(page.page(reconstruction(HOSTILE, VIEWS)))
        tags = [tag for tag, _ in elements.found]
        assert tags.count("script") == 2
        assert tags.count("img") == 4
        assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
        assert [a["alt"] for tag, a in elements.found if tag == "img"] == [
            "Photograph right.jpg",
            "Wireframe of the face over right.jpg",
            f"Photograph {HOSTILE_FILE}",
            f"Wireframe of the face over {HOSTILE_FILE}",
        ]
        assert json.loads(elements.scripts[0])["photographs"][1]["name"] == HOSTILE_FILE

    def test_a_face_that_moves_has_sliders_and_another_none(self):
        assert "slider" not in "".join(map(str, _Elements(page.page(ANN, TEXTURED)).found))
        assert json.loads(_Elements(page.page(ANN, TEXTURED)).scripts[0])["expressions"] is None
        text = page.page(moving(HOSTILE), TEXTURED)
        elements = _Elements(text)
        assert [tag for tag, _ in elements.found].count("script") == 2
        told = json.loads(elements.scripts[0])["expressions"]
        labels = ["Smile", "Jaw open", "Jaw open", "Mouth smile left", "Mouth smile right"]
        assert [slider["label"] for slider in told["sliders"]][:5] == labels
        assert told["sliders"][0]["parts"] == {"1": 1.0, "2": 1.0}
        assert sum("data-slider" in attributes for _, attributes in elements.found) == 6
        np.testing.assert_allclose(told["weights"], moving().expressions, atol=1e-5)
        index = np.frombuffer(base64.b64decode(told["index"]), "<u4")
        deltas = np.frombuffer(base64.b64decode(told["deltas"]), "<i2").reshape(-1, 3)
        starts = np.cumsum([0, *told["counts"]])
        for number, scale in enumerate(told["scales"]):
            own = slice(starts[number], starts[number + 1])
            rebuilt = np.zeros_like(VERTICES)
            rebuilt[index[own]] = deltas[own] * scale
            np.testing.assert_allclose(rebuilt, EXPRESSIONS.deltas[number], atol=1e-3)

    def test_displacements_in_the_page_are_bounded(self, monkeypatch):
        whole = page_expressions.content(moving(), EXPRESSIONS.deltas)
        monkeypatch.setattr(page_expressions, "_MAX_MOVES", whole["counts"][0] + whole["counts"][1])
        cut = page_expressions.content(moving(), EXPRESSIONS.deltas)
        assert cut["counts"] == whole["counts"][:2]
        assert len(cut["index"]) == len(cut["deltas"]) == sum(cut["counts"])
        # A smile of one side only is not in the short list.
        assert [slider["label"] for slider in cut["sliders"]] == ["Jaw open", "Jaw open", "Mouth smile left"]
        assert np.shape(cut["weights"]) == (2, 2)

    def test_components_go_both_ways_and_have_no_short_list(self):
        model = moving().face_model
        other = Expressions(model.expressions.deltas, ("component_000", "b", "c", "d"), "components")
        one = dataclasses.replace(moving(), face_model=dataclasses.replace(model, expressions=other))
        found = [a for _, a in _Elements(page.page(one)).found if "data-slider" in a]
        assert [(a["min"], a["max"]) for a in found] == [("-3", "3")] * 4

    def test_wireframes_have_the_expression_of_their_photograph(self):
        neutral = dataclasses.replace(moving(), expressions=None)
        pairs = zip(*(_wireframes(page.page(one)) for one in (moving(), neutral)), strict=True)
        assert [posed == still for posed, still in pairs] == [False, False]
        alone = dataclasses.replace(moving(), expressions=np.array([[0.8, 0, 0, 0], [0] * 4], np.float32))
        pairs = zip(*(_wireframes(page.page(one)) for one in (alone, neutral)), strict=True)
        assert [posed == still for posed, still in pairs] == [False, True]

    def test_it_refers_to_nothing_outside(self):
        text = page.page(ANN, TEXTURED, errors=ERRORS)
        addresses = [
            attributes[name]
            for _, attributes in _Elements(text).found
            for name in ("src", "href", "srcset", "action", "data", "poster")
            if name in attributes
        ]
        assert len(addresses) == 4
        assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
        assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
        assert "url(" not in text

    def test_it_is_written_as_a_whole_and_the_same_every_time(self, tmp_path):
        path = tmp_path / "out" / "ann.html"
        page.write(path, ANN, TEXTURED)
        assert path.read_bytes().decode() == page.page(ANN, TEXTURED)
        with pytest.raises(ValueError, match="errors"):
            page.write(path, ANN, errors=[1.0])
        assert [file.name for file in path.parent.iterdir()] == ["ann.html"]
        assert path.read_bytes().decode() == page.page(ANN, TEXTURED)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"errors": [1.0]}, r"errors must have the shape \[567\], got \[1\]"),
            ({"errors": np.full(567, np.nan)}, "errors must be finite and 0 or more where they are known"),
            ({"errors": -ERRORS}, "errors must be finite and 0 or more"),
            ({"errors": ERRORS, "max_error": 0}, "max_error must be positive, got 0"),
            (
                {"face": dataclasses.replace(TEXTURED, triangles=TRIANGLES + 1)},
                "triangles must index 567 vertices, got 1 to 567",
            ),
        ],
    )
    def test_bad_arguments_are_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            page.page(ANN, **options)
