// The page around the drawing: reads what is embedded, keeps the view's state, and listens to mouse, touch and keys.

const TURN_PER_PIXEL = 0.4;  // degrees
const TURN_PER_KEY = 5;
const ZOOM_PER_KEY = 1.15;
const ZOOM_RANGE = [0.4, 20];
const DISTANCE_IN_RADII = 4.5;  // of the camera that is not a photograph's: about an arm's length, the nose stays small
const AROUND_BOX = 1.5;  // how much larger than the face is what is first shown of a photograph
const KEYS = {
  ArrowLeft: () => turn(TURN_PER_KEY, 0),
  ArrowRight: () => turn(-TURN_PER_KEY, 0),
  ArrowUp: () => turn(0, -TURN_PER_KEY),
  ArrowDown: () => turn(0, TURN_PER_KEY),
  "+": () => zoom(ZOOM_PER_KEY),
  "=": () => zoom(ZOOM_PER_KEY),
  "-": () => zoom(1 / ZOOM_PER_KEY),
  0: () => lookFrom(0),
  Home: () => lookFrom(0),
  Escape: () => leavePhotograph(),
  w: () => document.getElementById("edges").click(),
};

const element = (id) => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const canvas = element("view");
const figures = [...document.querySelectorAll("figure[data-view]")];
const view = { yaw: 0, pitch: 0, roll: 0, zoom: 1, panX: 0, panY: 0, photograph: null };

function decode(text, ArrayType) {
  return text && new ArrayType(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}

const mesh = {
  positions: decode(data.positions, Float32Array),
  normals: decode(data.normals, Int16Array),
  triangles: decode(data.triangles, Uint32Array),
  uv: decode(data.uv, Uint16Array),
  errors: decode(data.errors, Float32Array),
  hollows: null,
  numClosing: data.numClosing,
  errorMax: data.errorMax,
  errorColors: element("colors"),
  textures: data.textures.map((address) => Object.assign(new Image(), { src: address })),
  pieces: data.pieces,
};
const extent = measure(mesh.positions, cornersOfFace());
let render = null;
let awaitsFrame = false;
let awaitsDeforming = false;
const expressions = createExpressions(
  data.expressions && {
    ...data.expressions,
    index: decode(data.expressions.index, Uint32Array),
    deltas: decode(data.expressions.deltas, Int16Array),
  },
  mesh,
  (positions, normals, hollows) => {
    Object.assign(mesh, { positions, normals, hollows });
    awaitsDeforming = true;
    redraw();
  },
);

// The corners of what is drawn over photographs, too: the face, which the first view is to fill.
function cornersOfFace() {
  let first = 0;
  return mesh.pieces.flatMap(({ count, face }) => {
    first += count;
    return face ? [...mesh.triangles.subarray(first - count, first)] : [];
  });
}

function paintColors() {
  const context = mesh.errorColors.getContext("2d");
  const image = context.createImageData(256, 1);
  decode(data.errorColors, Uint8Array).forEach((value, index) => {
    image.data[4 * Math.floor(index / 3) + (index % 3)] = value;
  });
  for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
  context.putImageData(image, 0, 0);
}

// The camera of the page itself: it looks at the middle of the face, and zoom is its focal length. At zoom 1 the face,
// turned about the vertical, just stays on the canvas.
function freeCamera(width, height) {
  const distance = DISTANCE_IN_RADII * extent.radius;
  const rotation = rotationFromAngles(view.yaw, view.pitch, view.roll);
  const side = Math.min(height / extent.halfHeight, width / extent.halfWidth);
  const focal = view.zoom * side * (distance - extent.halfWidth);
  const centre = rotate(rotation, extent.centre);
  return {
    rotation,
    translation: [-centre[0], -centre[1], distance - centre[2]],
    lens: [focal / width, focal / height, (2 * view.panX) / width, (2 * view.panY) / height],
    near: distance - 1.01 * extent.radius,
    far: distance + 1.01 * extent.radius,
  };
}

// The camera of a photograph, and where the photograph lies on the canvas: it fits at zoom 1.
function photographCamera(photograph, width, height) {
  const [imageWidth, imageHeight] = photograph.size;
  const scale = view.zoom * Math.min(width / imageWidth, height / imageHeight);
  const K = photograph.intrinsics;
  const rotation = rotationFromQuaternion(photograph.quaternion);
  const place = (x, y) => [
    (2 * (scale * (x - imageWidth / 2) + view.panX)) / width,
    (2 * (scale * (y - imageHeight / 2) + view.panY)) / height,
  ];
  const depth = rotate(rotation, extent.centre)[2] + photograph.translation[2];
  const [left, top] = place(0, 0);
  const [right, bottom] = place(imageWidth, imageHeight);
  return {
    camera: {
      rotation,
      translation: photograph.translation,
      lens: [(2 * scale * K[0][0]) / width, (2 * scale * K[1][1]) / height, ...place(K[0][2], K[1][2])],
      near: Math.max(1, depth - 1.01 * extent.radius),
      far: Math.max(2, depth + 1.01 * extent.radius),
    },
    rectangle: [left, -top, right, -bottom],
  };
}

function draw() {
  awaitsFrame = false;
  if (awaitsDeforming) render.deform();
  awaitsDeforming = false;
  const density = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  const state = {
    mode: document.querySelector("input[name=mode]:checked").value,
    edges: element("edges").checked,
    opacity: 1,
    photograph: null,
  };
  if (view.photograph === null) {
    state.camera = freeCamera(width, height);
  } else {
    Object.assign(state, photographCamera(data.photographs[view.photograph], width, height));
    state.photograph = figures[view.photograph].querySelector("img");
    state.opacity = Number(element("opacity").value) / 100;
  }
  render(state);
  element("legend").hidden = state.mode !== "error";
  element("opacity-control").hidden = view.photograph === null;
  figures.forEach((figure, index) => {
    figure.querySelector("button").setAttribute("aria-pressed", String(index === view.photograph));
  });
  element("readout").textContent = readout();
}

function readout() {
  const zoomed = view.zoom.toFixed(1);
  if (view.photograph !== null) return `over ${data.photographs[view.photograph].name}, zoom ${zoomed}`;
  const [yaw, pitch] = [view.yaw, view.pitch].map((angle) => Math.round(angle) + 0);
  return `yaw ${yaw}°, pitch ${pitch}°, zoom ${zoomed}`.replaceAll("-", "−");
}

function redraw() {
  if (render && !awaitsFrame) {
    awaitsFrame = true;
    requestAnimationFrame(draw);
  }
}

function turn(yaw, pitch) {
  leavePhotograph();
  view.yaw = ((view.yaw + yaw + 540) % 360) - 180;
  view.pitch = Math.max(-90, Math.min(90, view.pitch + pitch));
  redraw();
}

// Zooms about a point of the canvas, px from its middle.
function zoom(factor, x = 0, y = 0) {
  const zoomed = Math.max(ZOOM_RANGE[0], Math.min(ZOOM_RANGE[1], view.zoom * factor));
  view.panX = x + ((view.panX - x) * zoomed) / view.zoom;
  view.panY = y + ((view.panY - y) * zoomed) / view.zoom;
  view.zoom = zoomed;
  redraw();
}

function pan(x, y) {
  view.panX += x;
  view.panY += y;
  redraw();
}

function lookFrom(yaw) {
  Object.assign(view, { yaw, pitch: 0, roll: 0, zoom: 1, panX: 0, panY: 0, photograph: null });
  redraw();
}

// Looks on through the page's own camera, from where the photograph was taken.
function leavePhotograph() {
  if (view.photograph === null) return;
  const { quaternion } = data.photographs[view.photograph];
  lookFrom(0);
  Object.assign(view, anglesFromRotation(rotationFromQuaternion(quaternion)));
}

// Shows a photograph behind the face, zoomed to where the face was found.
function enterPhotograph(index) {
  const { size, box } = data.photographs[index];
  const [left, top, right, bottom] = box;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const scale = Math.min(width / size[0], height / size[1]);
  const wanted = Math.min(width / (right - left), height / (bottom - top)) / AROUND_BOX;
  view.photograph = index;
  if (expressions) expressions.playPhotograph(index);
  view.zoom = Math.max(1, Math.min(ZOOM_RANGE[1], wanted / scale));
  const shift = (middle, side, shown) => {
    // No farther than the photograph reaches, where it covers the canvas.
    const slack = Math.max(0, (scale * view.zoom * side - shown) / 2);
    return Math.max(-slack, Math.min(slack, scale * view.zoom * (side / 2 - middle)));
  };
  view.panX = shift((left + right) / 2, size[0], width);
  view.panY = shift((top + bottom) / 2, size[1], height);
  redraw();
  canvas.scrollIntoView({ block: "nearest" });
}

function listen() {
  const pointers = new Map();
  const middle = () => {
    const points = [...pointers.values()];
    return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  const fromCentre = (x, y) => {
    const box = canvas.getBoundingClientRect();
    return [x - box.left - box.width / 2, y - box.top - box.height / 2];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middle();
    const apart = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const after = middle();
    const [x, y] = [after[0] - before[0], after[1] - before[1]];
    if (pointers.size === 2) {
      pan(x, y);
      if (apart > 0) zoom(spread() / apart, ...fromCentre(...after));
    } else if (event.shiftKey || event.buttons & 6) {
      pan(x, y);
    } else {
      turn(-TURN_PER_PIXEL * x, TURN_PER_PIXEL * y);
    }
  });
  ["pointerup", "pointercancel"].forEach((kind) => {
    canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    zoom(Math.exp(-0.0015 * lines * event.deltaY), ...fromCentre(event.clientX, event.clientY));
  }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => lookFrom(0));
  canvas.addEventListener("keydown", (event) => {
    const modes = [...document.querySelectorAll("input[name=mode]")];
    const act = KEYS[event.key] || (modes[event.key - 1] && (() => modes[event.key - 1].click()));
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  element("controls").addEventListener("input", redraw);
  document.querySelectorAll("button[data-yaw]").forEach((button) => {
    button.addEventListener("click", () => lookFrom(Number(button.dataset.yaw)));
  });
  figures.forEach((figure, index) => {
    figure.querySelector("button").addEventListener("click", () => {
      if (index === view.photograph) leavePhotograph();
      else enterPhotograph(index);
      redraw();
    });
  });
  new ResizeObserver(redraw).observe(canvas);
  // Another program may take the graphics processor away for a while.
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault();
    render = null;
  });
  canvas.addEventListener("webglcontextrestored", start);
}

function start() {
  render = createRenderer(canvas, mesh);
  if (!render) {
    element("failure").hidden = false;
    document.body.classList.add("flat");
    return;
  }
  redraw();
}

async function loadImages() {
  const images = figures.map((figure) => figure.querySelector("img"));
  await Promise.all([...images, ...mesh.textures].map((image) => image.decode()));
}

// Within another page, which names the person itself.
document.documentElement.classList.toggle("embedded", window.parent !== window);
paintColors();
loadImages().then(() => {
  start();
  if (render) listen();
  document.documentElement.dataset.ready = "";
});
