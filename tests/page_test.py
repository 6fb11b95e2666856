"""The page of a reconstruction: what stands in it. How it looks and answers is in page_browser_test.py."""

import base64
import dataclasses
import html.parser
import json
import re

import numpy as np
import pytest
from page_scene import ANN, ERRORS, HOSTILE, TEXTURED, TRIANGLES, VERTICES, VIEWS, reconstruction

from tfface.geometry import mesh
from tfface.reconstruction import page


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
        assert content["uv"] is content["texture"] is None

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
            "Photograph photographs/right.jpg",
            "Wireframe of the face over photographs/right.jpg",
            f"Photograph {HOSTILE}",
            f"Wireframe of the face over {HOSTILE}",
        ]
        assert json.loads(elements.scripts[0])["photographs"][1]["name"] == HOSTILE

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
