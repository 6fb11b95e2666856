"""The page where photographs are dropped: in a browser, and against requests that are none of the page's."""

import base64
import http.client
import io
import json
import threading
import time
import zipfile

import chromium
import numpy as np
import page_scene
import pytest
import reconstruction_run_test
import tiny
from PIL import Image

from tfface import models
from tfface.reconstruction import reconstruction_run
from tfface.studio import server, worker
from tfface.studio.gallery import Gallery, RefusedError
from tfface.studio.options import AppOptions


def photograph(*squares, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(reconstruction_run_test.picture(*squares)).save(content, kind)
    return content.getvalue()


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The application on a free port, with a tiny model that smiles and a detector of red squares."""
    folder = tmp_path_factory.mktemp("app")
    face_model = page_scene.moving().face_model
    statistics = models.ExpressionStatistics((0.2,) * 4, (0.2,) * 4)
    model = tiny.build("single_view", face=face_model, expressions=statistics)
    (path,) = tiny.saved(folder, {"model": model}).values()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction_run, "shared_mtcnn", lambda: reconstruction_run_test.detector)
        running = server.App(
            AppOptions(str(folder / "kept"), port=0, model=str(path), texture_size=32, max_megabytes=1, max_files=3)
        )
        thread = threading.Thread(target=running.run)
        thread.start()
        try:
            wait(lambda: ask(running, "GET", "/")[0] == 200)
            yield running
        finally:
            running.stop()
            thread.join()


def wait(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except ConnectionRefusedError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask(app, method, path, body=None, **headers):
    """Status and body of an answer; the page's token goes along unless another one is given."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)
    connection.request(method, path, body, {"X-Token": app.token, **headers})
    answer = connection.getresponse()
    content = answer.status, answer.read()
    connection.close()
    return content


def dropped(app, **named):
    """A person who is reconstructed from photographs, by the requests that the page makes."""
    person = json.loads(ask(app, "POST", "/people")[1])["id"]
    for name, content in named.items():
        assert ask(app, "PUT", f"/people/{person}/photographs/{name}.png", content)[0] == 200
    assert ask(app, "POST", f"/people/{person}/start")[0] == 204
    return person


def told(app, person):
    return next(one for one in app.gallery.people() if one["id"] == person)


def _drop(browser, **named):
    """Lets go of files over the page, as somebody who drags them there."""
    files = [[name, base64.b64encode(content).decode()] for name, content in named.items()]
    browser.evaluate(
        "(files => { const carried = new DataTransfer();"
        "files.forEach(([name, text]) => carried.items.add(new File("
        "[Uint8Array.from(atob(text), one => one.charCodeAt(0))], name.replace('_', '.'))));"
        "window.dispatchEvent(new DragEvent('drop', {dataTransfer: carried, bubbles: true, cancelable: true})); })"
        f"({json.dumps(files)})"
    )


def test_drop_wait_turn_smile_and_take_away(app, browser, tmp_path):
    browser.open(app.address, 1280, 800)
    browser.wait("'ready' in document.documentElement.dataset")
    assert browser.evaluate("element('people').children.length") == 0
    _drop(browser, anna_png=photograph((20, 20, 40)), side_jpg=photograph((60, 20, 45), kind="JPEG"))
    browser.wait("element('status').textContent === 'anna: Done'")
    assert browser.evaluate("document.querySelectorAll('#faces circle').length") > 0
    assert browser.evaluate("[...document.querySelectorAll('#faces figcaption')].map(one => one.textContent)") == [
        "anna.png",
        "side.jpg",
    ]
    with browser.inside("#viewer") as within:
        wait(lambda: within("'ready' in document.documentElement.dataset"))
        before = within("element('readout').textContent")
        within("turn(30, 0)")
        wait(lambda: within("element('readout').textContent") != before)
        within(
            "(slider => { slider.value = 1; slider.dispatchEvent(new Event('input', {bubbles: true})); return 1; })"
            "([...document.querySelectorAll('[data-slider]')].find(one => one.labels[0].textContent === 'Smile'))"
        )
        still = np.frombuffer(base64.b64decode(within("data.positions")), "<f4")
        moved = np.array(within("[...mesh.positions]"))
        assert np.abs(moved - still).max() > 5
        assert str(tmp_path.parent) not in within("document.documentElement.outerHTML")
    links = browser.evaluate("[...document.querySelectorAll('#downloads a')].map(one => [one.textContent, one.href])")
    assert [kind for kind, _ in links][:1] == ["GLB"]
    assert {"OBJ", "JSON"} <= {kind for kind, _ in links}
    contents = {kind: ask(app, "GET", "/" + address.split("/", 3)[3]) for kind, address in links}
    assert all(status == 200 for status, _ in contents.values())
    assert contents["GLB"][1][:4] == b"glTF"
    assert set(zipfile.ZipFile(io.BytesIO(contents["OBJ"][1])).namelist()) == {"face.obj", "face.mtl", "face.png"}
    images = [shot["image"] for shot in json.loads(contents["JSON"][1])["photographs"]]
    assert sorted(images) == ["anna.png", "side.jpg"]
    assert browser.complaints == []


def test_a_wrong_file_is_refused_in_words_and_the_person_goes(app, browser):
    browser.open(app.address)
    browser.wait("'ready' in document.documentElement.dataset")
    count = len(app.gallery.people())
    _drop(browser, notes_txt=b"no picture")
    browser.wait("!element('refused').hidden")
    text = browser.evaluate("element('refused').textContent")
    assert text == "notes.txt is neither a photograph nor a video that can be read"
    browser.wait(f"people.size === {count}")
    _drop(browser, broken_jpg=b"\xff\xd8\xff\xe0 not much")
    browser.wait("element('status').textContent === 'broken: No face could be made'")
    fault = browser.evaluate("element('faults').textContent")
    assert fault.startswith("broken.jpg: ")
    assert "/" not in fault
    browser.evaluate("setTimeout(() => element('delete').click())")
    wait(lambda: _accepted(browser))
    browser.wait(f"people.size === {count}")


def _accepted(browser):
    try:
        browser.accept()
    except chromium.NoAlertPresentException:
        return False
    return True


def test_two_tabs_see_the_same(app, browser):
    browser.open(app.address)
    browser.wait("'ready' in document.documentElement.dataset")
    count = len(app.gallery.people())
    with browser.another_tab(app.address):
        browser.wait("'ready' in document.documentElement.dataset")
        _drop(browser, bert_png=photograph((20, 20, 40)))
        browser.wait("element('status').textContent === 'bert: Done'")
    _drop(browser, carla_png=photograph((30, 10, 40)))
    browser.wait("element('status').textContent === 'carla: Done'")
    assert browser.evaluate("[...people.values()].map(one => one.name)")[count:] == ["bert", "carla"]


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_it_fits_and_can_be_used_without_a_mouse(app, browser, width, phone):
    browser.open(app.address, width, 800, phone=phone)
    browser.wait("'ready' in document.documentElement.dataset")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = browser.evaluate(
        "[...document.querySelectorAll('button, a, input, iframe, progress')].filter(one => one.offsetParent).filter("
        "one => !(one.getAttribute('aria-label') || one.title || one.textContent.trim() || one.labels?.length"
        " || one.getAttribute('aria-labelledby'))).length"
    )
    assert unnamed == 0
    browser.evaluate("element('files').focus()")
    assert browser.evaluate("getComputedStyle(element('drop')).outlineStyle") == "solid"


def test_other_sites_change_and_see_nothing(app):
    person = dropped(app, a=photograph((20, 20, 40)))
    for method, path in (("POST", "/people"), ("DELETE", f"/people/{person}"), ("POST", f"/people/{person}/start")):
        assert ask(app, method, path, **{"X-Token": "guessed"}) == (403, b"reload the page")
        status, text = ask(app, method, path, Origin="http://evil.example")
        assert (status, text) == (403, b"another site may not change anything here")
    for host in ("evil.example", f"evil.example:{app.port}", "127.0.0.1:1"):
        assert ask(app, "GET", "/", Host=host) == (403, b"this page is for this machine alone")
    assert ask(app, "GET", "/", Host=f"localhost:{app.port}")[0] == 200
    wait(lambda: told(app, person)["status"] == "done")
    for path in (
        f"/people/{person}/person.json",
        f"/people/{person}/..%2fperson.json",
        f"/people/{person}/results.jsonl",
        f"/people/{'0' * 16}/face.glb",
        "/people/..%2f../face.glb",
        f"/people/{person}/thumbnails/99",
        "/assets/..%2fserver.py",
    ):
        assert ask(app, "GET", path)[0] == 404
    assert ask(app, "DELETE", f"/people/{person}")[0] == 204
    assert not (app.gallery.root / person).exists()
    assert ask(app, "DELETE", f"/people/{person}")[0] == 404


def test_uploads_are_bounded_and_stay_in_their_folder(app):
    person = json.loads(ask(app, "POST", "/people")[1])["id"]
    at = f"/people/{person}/photographs/"
    status, text = ask(app, "PUT", at + "large.png", b"0" * 1_000_001)
    assert (status, text) == (413, b"large.png is too large: 1 MB are left")
    assert ask(app, "PUT", at + "..%5c..%5cup.png", b"1")[0] == 200
    assert ask(app, "PUT", at + "%2e%2e.png", b"1")[0] == 200
    assert ask(app, "PUT", at + "up.png", b"1")[0] == 200
    assert sorted(path.name for path in app.gallery.dropped(person)) == ["photograph.png", "up-2.png", "up.png"]
    assert ask(app, "PUT", at + "more.png", b"1") == (415, b"more than 3 files for one person")
    assert ask(app, "DELETE", f"/people/{person}")[0] == 204
    empty = json.loads(ask(app, "POST", "/people")[1])["id"]
    assert ask(app, "POST", f"/people/{empty}/start") == (409, b"this person has no photograph")
    assert ask(app, "DELETE", f"/people/{empty}")[0] == 204


def test_who_is_done_is_there_again_and_what_was_half_way_is_gone(tmp_path):
    gallery = Gallery(tmp_path, 2, 3, 1000)
    kept, half = gallery.add(), gallery.add()
    with pytest.raises(RefusedError, match="2 people are here already"):
        gallery.add()
    gallery.place_for(kept, "a.png")
    gallery.start(kept)
    gallery.change(kept, status="done", files=["face.glb"])
    (tmp_path / "notes").mkdir()
    again = Gallery(tmp_path, 2, 3, 1000)
    assert [person["id"] for person in again.people()] == [kept]
    assert again.file(kept, "face.glb") == tmp_path / kept / "result" / "face.glb"
    assert not (tmp_path / half).exists()
    assert (tmp_path / "notes").exists()
    again.change(kept, status="working")
    again.delete(kept)
    assert (tmp_path / kept).exists(), "somebody still works on it"
    again.finished(kept)
    assert not (tmp_path / kept).exists()


def test_a_model_that_cannot_be_opened_ends_it_and_pages_are_told(tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes(b"no model")
    running, said = server.App(AppOptions(str(tmp_path / "kept"), port=0, model=str(path))), []
    running.gallery.listen(said.append)
    with pytest.raises(ValueError, match=r"broken\.keras: not a model of tfface that can be opened"):
        running.run()
    (change,) = said
    assert change["ended"].startswith(f"This program has ended: {path}: not a model")


def test_a_second_program_on_a_folder_is_refused_before_it_removes_anything(app):
    person = json.loads(ask(app, "POST", "/people")[1])["id"]
    with pytest.raises(ValueError, match=rf"folder: {app.gallery.root} is in use by another run \(process"):
        server.App(AppOptions(str(app.gallery.root), port=0))
    assert app.gallery.dropped(person) == []
    assert (app.gallery.root / person).is_dir()
    assert ask(app, "DELETE", f"/people/{person}")[0] == 204


def test_the_page_says_why_its_program_has_ended(app, browser):
    browser.open(app.address)
    browser.wait("'ready' in document.documentElement.dataset")
    app.gallery.tell({"ended": "This program has ended: a.keras: not a model"})
    browser.wait("!element('refused').hidden")
    assert browser.evaluate("element('refused').textContent") == "This program has ended: a.keras: not a model"


def test_faces_are_shown_in_the_order_of_the_files_whichever_was_found_first():
    order = {"a.jpg": 0, "a.jpg.png": 1, "clip.mp4": 2}
    found = ["clip.mp4 3", "clip.mp4 9", "a.jpg.png", "a.jpg"]
    assert sorted(found, key=lambda name: worker._place(name, order)) == [
        "a.jpg",
        "a.jpg.png",
        "clip.mp4 3",
        "clip.mp4 9",
    ]
