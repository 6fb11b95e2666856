"""The page of a reconstruction, and the report of a study: how they look and answer in a browser."""

import chromium
import numpy as np
import pytest
from page_scene import ANN, BLUE, ERRORS, HOSTILE, RED, SIZE, TEXTURED, VIEWS, moving, reconstruction
from PIL import Image

from tfface.drawing import document
from tfface.geometry import mesh as geometry_mesh
from tfface.geometry import rotation
from tfface.reconstruction import page

MOVING = moving()


@pytest.fixture(scope="module")
def ann(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "ann.html"
    page.write(path, ANN, TEXTURED, errors=ERRORS)
    return path


@pytest.fixture(scope="module")
def moving_ann(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "moving.html"
    page.write(path, MOVING, TEXTURED)
    return path


def _open(browser: chromium.Browser, path, width: int = 1000, height: int = 600, **options) -> None:
    browser.open(path, width, height, **options)
    browser.wait("'ready' in document.documentElement.dataset")


def _stage(browser: chromium.Browser) -> np.ndarray:
    return browser.screenshot("#view").astype(int)


def _changed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two pictures differ clearly."""
    return np.abs(a - b).max(axis=-1) > 24


def _slide(browser: chromium.Browser, label: str, value: float) -> None:
    """Moves the first slider of a label as somebody who drags it."""
    browser.evaluate(
        "(slider => { slider.value = "
        f"{value}; slider.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
        f"([...document.querySelectorAll('[data-slider]')].find(one => one.labels[0].innerText === '{label}'"
        f" || one.labels[0].textContent === '{label}'))"
    )


def _choose(browser: chromium.Browser, index: int) -> None:
    """Chooses the expression of a photograph, and waits until it is there."""
    browser.evaluate(
        f"element('expression-of').value = '{index}'; element('expression-of').dispatchEvent(new Event('change'))"
    )
    browser.wait("!expressions.isPlaying()")


def _show(browser: chromium.Browser, *, mode: str = "shaded", edges: bool = False, yaw: float = 0, opacity: float = 1):
    browser.evaluate(
        f"document.querySelector('input[value={mode}]').click();"
        f"element('edges').checked = {str(edges).lower()};"
        f"element('opacity').value = {100 * opacity};"
        f"if (view.photograph === null) lookFrom({yaw}); else redraw();"
    )
    return _stage(browser)


class TestBrowser:
    def test_the_face_is_there_in_every_mode(self, browser, ann):
        _open(browser, ann)
        pictures = {mode: _show(browser, mode=mode) for mode in ("texture", "shaded", "error")}
        pictures["wireframe"] = _show(browser, edges=True)
        browser.evaluate("view.panX = 1e5; redraw()")
        empty = _stage(browser)
        masks = {name: _changed(picture, empty) for name, picture in pictures.items()}
        height, width = empty.shape[:2]
        for name, mask in masks.items():
            assert mask[height // 2, width // 2], name
            # The cap is 60 to 85, and its height would fill the canvas if it were as near as the nose.
            assert 0.6 < mask.sum() / (height * height * 60 / 85) < 1, name
        for name in ("shaded", "error", "wireframe"):
            assert _changed(pictures["texture"], pictures[name])[masks["texture"]].mean() > 0.3, name
        assert _changed(pictures["shaded"], pictures["error"])[masks["shaded"]].mean() > 0.3
        lines = _changed(pictures["shaded"], pictures["wireframe"])[masks["shaded"]].mean()
        assert 0.1 < lines < 0.7
        assert browser.complaints == []

    def test_the_texture_lies_as_its_coordinates_say_and_errors_have_their_colours(self, browser, ann):
        _open(browser, ann)
        picture = _show(browser, mode="texture")
        height, width = picture.shape[:2]
        np.testing.assert_allclose(picture[height // 2, width // 2 - 40], RED, atol=8)
        np.testing.assert_allclose(picture[height // 2, width // 2 + 40], BLUE, atol=8)
        picture = _show(browser, mode="error")
        above, below = picture[height // 8, width // 2], picture[height * 7 // 8, width // 2]
        assert above[2] > 1.5 * above[0]
        assert below[0] > 1.5 * below[2]

    def test_its_rotations_are_those_of_the_program(self, browser, ann):
        _open(browser, ann)
        angles = [-130.0, 35.0, 20.0]
        matrix = rotation.matrix_from_yaw_pitch_roll(*angles)
        quaternion = rotation.quaternion_from_matrix(matrix).tolist()
        np.testing.assert_allclose(browser.evaluate(f"rotationFromAngles(...{angles})"), matrix.ravel(), atol=1e-12)
        np.testing.assert_allclose(browser.evaluate(f"rotationFromQuaternion({quaternion})"), matrix.ravel(), atol=1e-6)
        found = browser.evaluate(f"anglesFromRotation({matrix.ravel().tolist()})")
        np.testing.assert_allclose([found["yaw"], found["pitch"], found["roll"]], angles, atol=1e-9)

    def test_mouse_wheel_and_keys_turn_zoom_and_move(self, browser, ann):
        _open(browser, ann)
        _show(browser, mode="texture")
        browser.click("button[data-yaw='90']")  # the person's left side, which is blue
        picture = _stage(browser).reshape(-1, 3)
        assert (np.abs(picture - BLUE).max(axis=1) < 16).sum() > 10 * (np.abs(picture - RED).max(axis=1) < 16).sum()
        browser.click("button[data-yaw='0']")
        browser.drag("#view", 50, 20)  # towards the right and down, and the face follows
        assert browser.evaluate("[view.yaw, view.pitch]") == [pytest.approx(-20), pytest.approx(8)]
        browser.drag("#view", 30, -10, shift=True)
        assert browser.evaluate("[view.yaw, view.panX, view.panY]") == [pytest.approx(-20), 30, -10]
        browser.wheel("#view", -200)
        browser.wait("view.zoom > 1.3")
        for key in ("ArrowLeft", "ArrowUp", "3", "w"):  # the drag has left the focus on the view
            browser.press(key)
        assert browser.evaluate("[view.yaw, view.pitch]") == [pytest.approx(-15), pytest.approx(3)]
        assert browser.evaluate("document.querySelector('input[name=mode]:checked').value") == "error"
        assert browser.evaluate("element('edges').checked")
        _stage(browser)
        assert browser.evaluate("element('readout').textContent") == "yaw \u221215°, pitch 3°, zoom 1.3"
        assert browser.evaluate("element('legend').checkVisibility()")
        browser.press("0")
        assert browser.evaluate("[view.yaw, view.pitch, view.zoom, view.panX]") == [0, 0, 1, 0]
        assert browser.complaints == []

    @pytest.mark.parametrize("index", [0, 1])
    def test_over_a_photograph_the_face_lies_where_the_photograph_shows_it(self, browser, ann, index):
        _open(browser, ann, 1100, 400)
        browser.click(f"figure[data-view='{index}'] button")
        browser.evaluate("Object.assign(view, {zoom: 1, panX: 0, panY: 0})")
        with_face = _show(browser, mode="error")
        photograph = _show(browser, mode="error", opacity=0)
        height, width = photograph.shape[:2]
        shown_width = round(height * SIZE[1] / SIZE[0])
        left = (width - shown_width) // 2
        assert left > 0
        true = Image.fromarray(255 - VIEWS[index].pixels[..., 0]).resize(
            (shown_width, height), Image.Resampling.BILINEAR
        )
        true = np.asarray(true) > 30
        drawn = _changed(with_face, photograph)[:, left : left + shown_width]
        assert true.sum() > 0.1 * true.size
        assert (true & drawn).sum() / (true | drawn).sum() > 0.97
        half = _show(browser, mode="error", opacity=0.5)
        np.testing.assert_allclose(half, (with_face + photograph) / 2, atol=3)
        browser.evaluate("turn(0, 0)")  # whoever turns it leaves the photograph, and looks on from the same side
        yaw, pitch, roll = browser.evaluate("[view.yaw, view.pitch, view.roll]")
        assert (yaw, pitch, roll) == pytest.approx(((-35, 8, 12), (20, 8, -5))[index], abs=1e-3)
        assert browser.evaluate("view.photograph") is None

    def test_a_photograph_is_shown_around_the_face_and_left_again(self, browser, ann):
        _open(browser, ann)
        browser.click("figure[data-view='0'] button")
        assert browser.evaluate("view.zoom") > 1.1
        _stage(browser)
        assert browser.evaluate("[...document.querySelectorAll('[aria-pressed=true]')].length") == 1
        assert browser.evaluate("element('opacity-control').checkVisibility()")
        browser.click("figure[data-view='0'] button")
        _stage(browser)
        assert browser.evaluate("[...document.querySelectorAll('[aria-pressed=true]')].length") == 0
        assert not browser.evaluate("element('opacity-control').checkVisibility()")

    def test_on_a_phone_it_fits_and_is_pinched(self, browser, ann):
        _open(browser, ann, 360, 700, phone=True, dark=True)
        assert browser.evaluate("document.documentElement.scrollWidth") == 360
        assert browser.evaluate("element('view').width") == 2 * browser.evaluate("element('view').clientWidth")
        browser.pinch("#view", 60, 120)
        browser.wait("Math.abs(view.zoom - 2) < 0.1")
        assert browser.evaluate("[view.yaw, view.pitch]") == [0, 0]
        assert _stage(browser)[0, 0].max() < 80  # dark
        assert browser.complaints == []

    def test_it_asks_for_nothing_and_runs_no_script_of_a_name(self, browser, tmp_path):
        page.write(tmp_path / "hostile.html", reconstruction(HOSTILE, VIEWS), TEXTURED)
        _open(browser, tmp_path / "hostile.html")
        assert browser.evaluate("document.title") == HOSTILE
        assert browser.evaluate("window.harmed") is None
        assert {request.partition(":")[0] for request in browser.requests} == {"file", "data"}
        assert sum(request.startswith("file") for request in browser.requests) == 1
        assert browser.complaints == []
        # The policy stands behind the escapes: a script that is not the page's does not run.
        browser.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'harmed = 1'}))")
        assert browser.evaluate("window.harmed") is None
        assert any("Content Security Policy" in complaint for complaint in browser.complaints)

    def test_a_slider_moves_the_face_where_it_should_and_neutral_takes_it_back(self, browser, moving_ann):
        _open(browser, moving_ann)
        before = _show(browser, mode="texture")
        _slide(browser, "Smile", 1)
        smile = _changed(_stage(browser), before)
        height, width = smile.shape
        assert smile[height // 2 - 20 : height // 2 + 20].sum() > 100  # both cheeks widen
        assert smile[:, : width // 2].any()
        assert smile[:, width // 2 :].any()
        assert not smile[: height // 4].any()
        assert browser.evaluate("expressions.weights()") == [0, 1, 1, 0]
        _slide(browser, "Mouth smile left", 0)
        left = _changed(_stage(browser), before)
        assert left[:, : width // 2].any()  # the person's right side stays as it was moved
        assert not left[:, width // 2 :].any()
        browser.click("#neutral")
        browser.wait("!expressions.isPlaying()")
        np.testing.assert_array_equal(_stage(browser), before)
        assert browser.evaluate("[...document.querySelectorAll('[data-slider]')].every(one => one.value === '0')")
        assert browser.complaints == []

    def test_a_photographs_expression_is_played_and_shown_over_it(self, browser, moving_ann):
        _open(browser, moving_ann)
        names = browser.evaluate("[...element('expression-of').options].map(option => option.text)")
        assert names[:2] == ["no photograph", "right.jpg"]
        _choose(browser, 1)
        assert browser.evaluate("expressions.weights()") == pytest.approx([0, 0.5, 0.5, 0])
        assert browser.evaluate("document.querySelector('[data-slider]').value") == "0.5"
        browser.click("figure[data-view='0'] button")
        browser.wait("!expressions.isPlaying()")
        assert browser.evaluate("element('expression-of').value") == "0"
        expected = MOVING.posed(0).ravel()
        np.testing.assert_allclose(browser.evaluate("[...mesh.positions]"), expected, atol=2e-3)
        found = browser.evaluate("[...mesh.normals]")
        normals = geometry_mesh.vertex_normals(MOVING.posed(0), TEXTURED.triangles)
        np.testing.assert_allclose(np.array(found) / 32767, normals.ravel(), atol=2e-3)
        _slide(browser, "Jaw open", 0)
        assert browser.evaluate("element('expression-of').value") == ""

    def test_what_closes_an_opening_gets_dark_as_it_opens(self, browser, moving_ann):
        _open(browser, moving_ann)
        # Two triangles, of which the second closes an opening: at rest, a little open, wide open.
        rest = [0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0]
        found = []
        for height in (1, 1.9, 4):
            moved = [value if index != 10 else height for index, value in enumerate(rest)]
            arrays = f"new Float32Array({rest}), new Float32Array({moved}), [0, 1, 2, 1, 3, 2], 1"
            found.append(browser.evaluate(f"[...hollows({arrays})]"))
        assert found[0] == [0, 0, 0, 0]
        assert found[1][0] == 0
        assert 0 < found[1][3] < 255
        assert found[2] == [0, 255, 255, 255]

    def test_a_page_without_expressions_shows_none_of_it(self, browser, ann):
        _open(browser, ann)
        assert browser.evaluate("document.querySelectorAll('[data-slider], #expression-of, #neutral').length") == 0
        assert browser.evaluate("expressions") is None

    def test_sliders_fit_on_a_phone_and_have_names_and_values(self, browser, moving_ann):
        _open(browser, moving_ann, 390, 780, phone=True)
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        browser.evaluate("document.querySelector('#expressions details').open = true")
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        _slide(browser, "Smile", 0.4)
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        found = {n["name"]["value"]: n for n in nodes if n.get("role", {}).get("value") in ("slider", "combobox")}
        assert {"Smile", "Jaw open", "Mouth smile left", "As in"} <= set(found)
        assert found["Smile"]["value"]["value"] == pytest.approx(0.4)

    def test_every_control_and_picture_has_a_name(self, browser, ann):
        _open(browser, ann)
        _show(browser, mode="error")
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        named = {"application", "button", "checkbox", "image", "radio", "region"}
        found = [(n["role"]["value"], n["name"]["value"]) for n in nodes if n.get("role", {}).get("value") in named]
        assert {role for role, _ in found} == named
        assert [role for role, name in found if not name] == []

    def test_without_webgl_it_says_so_and_shows_the_pictures(self, browser, ann):
        without = """
            const getContext = HTMLCanvasElement.prototype.getContext;
            HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
              return kind.startsWith('webgl') ? null : getContext.call(this, kind, ...rest);
            };"""
        _open(browser, ann, before=without)
        assert browser.evaluate("element('failure').checkVisibility()")
        assert "WebGL" in browser.evaluate("element('failure').innerText")
        assert not browser.evaluate("element('controls').checkVisibility()")
        assert browser.evaluate("[...document.images].every(image => image.naturalWidth && image.checkVisibility())")
        assert browser.complaints == []

    def test_it_goes_on_after_the_graphics_processor_was_taken_away(self, browser, ann):
        _open(browser, ann)
        before = _show(browser)
        browser.evaluate(
            "window.lost = canvas.getContext('webgl').getExtension('WEBGL_lose_context'); lost.loseContext()"
        )
        browser.wait("render === null")
        browser.evaluate("lost.restoreContext()")
        browser.wait("render !== null")
        np.testing.assert_array_equal(_stage(browser), before)

    def test_the_report_of_a_study_opens_without_complaint(self, browser, tmp_path):
        Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "dot.png")
        blocks = [
            document.Heading(f"Title {HOSTILE}", 1),
            document.Paragraph(HOSTILE),
            document.Table(("Model", "mm", HOSTILE), [("A|B", "1.5", HOSTILE)], rules=(0,), texts=(2,)),
            document.Picture(tmp_path / "dot.png", HOSTILE),
            document.Listing(HOSTILE),
        ]
        path = tmp_path / "report.html"
        path.write_text(document.page(HOSTILE, blocks), encoding="utf-8")
        browser.open(path)
        assert browser.complaints == []
        assert browser.evaluate("window.harmed") is None
        assert browser.evaluate("document.images[0].naturalWidth") == 30
        assert browser.evaluate("document.querySelector('pre').textContent") == HOSTILE
        assert (browser.screenshot("img") == (255, 0, 0)).all()
