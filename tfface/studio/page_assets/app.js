// The page: drops go up file by file, and what the server tells of every person is drawn.
"use strict";

const REFUSAL_SECONDS = 8;
const DOWNLOADS = { "face.glb": "GLB", "face.usdz": "USDZ", "face.obj": "OBJ", "reconstruction.json": "JSON" };
const STATUS = { uploading: "Being dropped", waiting: "Waiting", working: "Under way", done: "Done", failed: "No face could be made" };
const SVG = "http://www.w3.org/2000/svg";

const element = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=token]").content;
const people = new Map();
let shown = null;
let refusal = 0;

function make(tag, values = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, values);
  node.append(...children);
  return node;
}

async function ask(method, path, body) {
  const answer = await fetch(path, { method, body, headers: { "X-Token": token } });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

function refuse(text, forGood = false) {
  element("refused").textContent = text;
  element("refused").hidden = false;
  clearTimeout(refusal);
  if (!forGood) refusal = setTimeout(() => { element("refused").hidden = true; }, 1000 * REFUSAL_SECONDS);
}

function say(text) {
  if (element("status").textContent !== text) element("status").textContent = text;
}

async function drop(files) {
  if (!files.length) return;
  let id = null;
  try {
    ({ id } = await (await ask("POST", "/people")).json());
    show(id);
    element("person").scrollIntoView({ block: "nearest" });
    let taken = 0;
    for (const file of files) {
      say(`Taking ${file.name}`);
      try {
        await ask("PUT", `/people/${id}/photographs/${encodeURIComponent(file.name)}`, file);
        taken += 1;
      } catch (error) {
        refuse(error.message);
      }
    }
    if (taken) await ask("POST", `/people/${id}/start`);
    else await ask("DELETE", `/people/${id}`);
  } catch (error) {
    refuse(error instanceof TypeError ? "The program behind this page does not answer." : error.message);
  }
}

function timeLeft(seconds) {
  if (seconds === null) return "";
  const whole = Math.max(1, Math.round(seconds));
  return whole < 90 ? `about ${whole} s left` : `about ${Math.round(whole / 60)} min left`;
}

function drawList() {
  const focused = document.activeElement.dataset.person;
  element("people").replaceChildren(...[...people.values()].reverse().map((person) => {
    const picture = person.faces.length
      ? make("img", { src: `/people/${person.id}/thumbnails/${person.faces[0].thumbnail}`, alt: "" })
      : make("span", { className: "blank" });
    const name = person.name || "New person";
    const button = make("button", { type: "button" }, picture, make("b", {}, name), make("small", {}, STATUS[person.status]));
    button.dataset.person = person.id;
    button.setAttribute("aria-current", String(person.id === shown));
    button.addEventListener("click", () => show(person.id));
    return make("li", {}, button);
  }));
  if (focused) document.querySelector(`[data-person="${focused}"]`)?.focus();
}

function drawFace(person, face) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${face.width} ${face.height}`);
  svg.setAttribute("aria-hidden", "true");
  const add = (tag, values) => {
    const node = document.createElementNS(SVG, tag);
    Object.entries(values).forEach(([key, value]) => node.setAttribute(key, value));
    svg.append(node);
  };
  const unit = Math.max(face.width, face.height) / 200;
  const [left, top, right, bottom] = face.box;
  add("rect", { x: left, y: top, width: right - left, height: bottom - top, rx: 2 * unit, "stroke-width": 1.2 * unit });
  const points = face.landmarks.length ? face.landmarks : face.points;
  const radius = (face.landmarks.length ? 1 : 2.2) * unit;
  points.forEach(([cx, cy]) => add("circle", { cx, cy, r: radius, "stroke-width": 0.3 * unit }));
  const image = make("img", {
    src: `/people/${person.id}/thumbnails/${face.thumbnail}`, alt: `Photograph ${face.name} with the points of the face`,
    width: face.width, height: face.height,
  });
  const frame = make("div", { className: "frame" }, image, svg);
  return make("li", {}, make("figure", {}, frame, make("figcaption", {}, face.name)));
}

function drawDownloads(person) {
  const links = Object.entries(DOWNLOADS).filter(([file]) => person.files.includes(file)).map(([file, kind], index) => {
    const name = file === "face.obj" ? "face_obj.zip" : file;
    const link = make("a", { href: `/people/${person.id}/${name}`, className: index ? "button" : "button first" }, kind);
    link.download = `${person.name}_${name}`;
    link.setAttribute("aria-label", `Download ${kind} of ${person.name}`);
    return link;
  });
  element("downloads").replaceChildren(...links);
}

function drawPerson() {
  const person = people.get(shown);
  element("person").hidden = !person;
  element("nobody").hidden = Boolean(person);
  if (!person) return;
  element("title").textContent = person.name || "New person";
  element("delete").setAttribute("aria-label", `Delete ${person.name || "this person"}`);
  const busy = person.status === "working" || person.status === "waiting" || person.status === "uploading";
  element("work").hidden = !busy;
  element("step").textContent = person.step || STATUS[person.status];
  element("progress").value = person.share;
  element("faults").hidden = !person.faults.length;
  element("faults").replaceChildren(...person.faults.map((fault) => make("li", {}, fault)));
  element("faces").replaceChildren(...person.faces.map((face) => drawFace(person, face)));
  drawDownloads(person);
  const page = person.files.includes("index.html") ? `/people/${person.id}/index.html` : "";
  const viewer = element("viewer");
  viewer.hidden = !page;
  if (viewer.dataset.page !== page) {
    viewer.dataset.page = page;
    viewer.src = page || "about:blank";
  }
  drawClock();
  say(busy ? `${person.step || STATUS[person.status]}` : `${person.name}: ${STATUS[person.status]}`);
}

// What is left runs down between two words of the server.
function drawClock() {
  const person = people.get(shown);
  if (!person || person.status !== "working" || person.seconds_left === null) {
    element("left").textContent = "";
    return;
  }
  const passed = (Date.now() - person.since) / 1000;
  element("left").textContent = timeLeft(person.seconds_left - passed);
}

function show(id) {
  shown = id;
  drawList();
  drawPerson();
}

function listen() {
  const events = new EventSource("/events");
  events.addEventListener("message", ({ data }) => {
    const told = JSON.parse(data);
    if (told.ended) {
      events.close();
      refuse(told.ended, true);
      return;
    }
    if (told.people) {
      people.clear();
      told.people.forEach((person) => people.set(person.id, { ...person, since: Date.now() }));
      if (!people.has(shown)) shown = told.people.length ? told.people[told.people.length - 1].id : null;
    } else if (told.person) {
      people.set(told.person.id, { ...told.person, since: Date.now() });
    } else {
      people.delete(told.deleted);
      if (shown === told.deleted) shown = [...people.keys()].pop() ?? null;
    }
    drawList();
    if (!told.person || told.person.id === shown) drawPerson();
    document.documentElement.dataset.ready = "";
  });
}

function listenToDrops() {
  const area = element("drop");
  ["dragenter", "dragover"].forEach((kind) => window.addEventListener(kind, (event) => {
    event.preventDefault();
    area.classList.add("over");
  }));
  ["dragleave", "drop"].forEach((kind) => window.addEventListener(kind, (event) => {
    event.preventDefault();
    area.classList.remove("over");
  }));
  window.addEventListener("drop", (event) => drop([...event.dataTransfer.files]));
  element("files").addEventListener("change", (event) => {
    drop([...event.target.files]);
    event.target.value = "";
  });
  element("delete").addEventListener("click", async () => {
    const person = people.get(shown);
    if (!person || !window.confirm(`Delete ${person.name || "this person"}, photographs and results?`)) return;
    try {
      await ask("DELETE", `/people/${person.id}`);
    } catch (error) {
      refuse(error.message);
    }
  });
}

listenToDrops();
listen();
setInterval(drawClock, 1000);
