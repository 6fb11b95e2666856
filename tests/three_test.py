"""The GLB file in three.js, as a headless Chromium draws it."""

import os
import pathlib

import chromium
import numpy as np
import painted_people
import pytest

from tfface.reconstruction.outputs import avatar_building, avatar_glb, texture

_PAGE = """<!doctype html><canvas id="view" width="240" height="240"></canvas>
<script type="importmap">{"imports": {"three": "%(three)s/build/three.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import {GLTFLoader} from "%(three)s/examples/jsm/loaders/GLTFLoader.js";
const loaded = await new GLTFLoader().loadAsync("face.glb");
const scene = new THREE.Scene();
scene.add(loaded.scene, new THREE.AmbientLight(0xffffff, Math.PI));
const camera = new THREE.OrthographicCamera(-0.12, 0.12, 0.12, -0.12, 0.1, 2);
camera.position.z = 1;
const renderer = new THREE.WebGLRenderer({canvas: document.getElementById("view"), preserveDrawingBuffer: true});
renderer.setClearColor(0x0000ff);
renderer.render(scene, camera);
const meshes = [];
loaded.scene.traverse((node) => { if (node.isMesh) meshes.push(node); });
window.seen = meshes.map((node) => ({
  vertices: node.geometry.attributes.position.count,
  triangles: node.geometry.index.count / 3,
  texture: node.material.map.image.width,
}));
</script>"""


def _three() -> pathlib.Path | None:
    """The package three of npm, where node would look for it."""
    folders = [pathlib.Path(name) / "three" for name in os.environ.get("NODE_PATH", "").split(os.pathsep) if name]
    return next((folder for folder in folders if (folder / "build" / "three.module.js").is_file()), None)


def test_three_draws_the_face_with_its_texture_the_right_way_up(tmp_path):
    three = _three()
    if three is None:
        pytest.skip("NODE_PATH names no folder with three: npm install -g three; NODE_PATH=$(npm root -g)")
    if reason := chromium.missing():
        pytest.skip(reason)
    person = painted_people.person(size=96)
    face = texture.bake(person, 96)
    avatar_glb.write(avatar_building.build(person, face), tmp_path / "face.glb")
    page = tmp_path / "page.html"
    page.write_text(_PAGE % {"three": three.resolve().as_uri()}, encoding="utf-8")
    (tmp_path / "profile").mkdir()
    with chromium.running(tmp_path / "profile", "--allow-file-access-from-files") as browser:
        browser.open(page, 300, 300)
        browser.wait("window.seen")
        assert browser.evaluate("window.seen") == [
            {"vertices": len(face.vertices), "triangles": len(face.triangles), "texture": 96}
        ]
        drawn = browser.screenshot("#view").astype(int)
        assert not [text for text in browser.complaints if text.startswith("SEVERE")]
    background = np.abs(drawn - (0, 0, 255)).max(axis=-1) < 8
    assert 0.3 < background.mean() < 0.7
    u, v = np.meshgrid((-0.6, 0.0, 0.6), (-0.6, -0.3, 0.3, 0.6))
    points = face.vertices[
        [
            np.abs(face.vertices[:, :2] - p).sum(axis=1).argmin()
            for p in zip(70 * u.ravel(), 95 * v.ravel(), strict=True)
        ]
    ]
    columns, rows = np.round(120 + points[:, :2] * 1e-3 / 0.24 * 240 - 0.5).astype(int).T
    expected = 255 * painted_people.paint(points)
    assert np.ptp(expected, axis=0).min() > 10
    assert np.abs(drawn[rows, columns] - expected).mean() < 8
