// Draws a face with WebGL 1. Frames and rotations are those of tfface/schema.py: model and camera have x right, y down,
// z away from the viewer, and R = Rz(roll) Rx(pitch) Ry(yaw). Matrices are row-major arrays of nine numbers.

const MESH_VERTEX_SHADER = `
attribute vec3 position;
attribute vec3 normal;
attribute vec4 barycentric;  // and, as the fourth, how far the inside of an opening shows
attribute vec2 uv;
attribute float error;
uniform mat3 rotation;
uniform vec3 translation;
uniform vec4 lens;        // focal lengths and principal point, in half sizes of the canvas
uniform vec2 depthRange;  // nearest and farthest depth
varying vec3 vPoint;
varying vec3 vNormal;
varying vec3 vBarycentric;
varying vec2 vUv;
varying float vError;
varying float vHollow;
void main() {
  vPoint = rotation * position + translation;
  vNormal = rotation * normal;
  vBarycentric = barycentric.xyz;
  vHollow = barycentric.w;
  vUv = uv;
  vError = error;
  vec2 xy = lens.xy * vPoint.xy + lens.zw * vPoint.z;
  float depth = (2.0 * vPoint.z - depthRange.x - depthRange.y) / (depthRange.y - depthRange.x);
  gl_Position = vec4(xy.x, -xy.y, depth * vPoint.z, vPoint.z);
}`;

const MESH_FRAGMENT_SHADER = `
#extension GL_OES_standard_derivatives : enable
precision highp float;
uniform sampler2D surface;
uniform sampler2D errorColors;
uniform int mode;         // 0 shaded, 1 texture, 2 error
uniform float errorMax;
uniform float edges;      // 1 to draw them
uniform float opacity;
varying vec3 vPoint;
varying vec3 vNormal;
varying vec3 vBarycentric;
varying vec2 vUv;
varying float vError;
varying float vHollow;

const vec3 GREY = vec3(0.78, 0.79, 0.81);
const vec3 UNKNOWN = vec3(0.55);
const vec3 INSIDE = vec3(0.24, 0.10, 0.10);  // of a mouth, in the dark
const vec3 KEY_LIGHT = vec3(-0.45, -0.65, -0.61);

vec3 shaded(vec3 albedo) {
  vec3 normal = normalize(gl_FrontFacing ? vNormal : -vNormal);
  vec3 sight = normalize(-vPoint);
  float key = max(dot(normal, KEY_LIGHT), 0.0);
  float head = max(dot(normal, sight), 0.0);
  float gloss = pow(max(dot(normal, normalize(KEY_LIGHT + sight)), 0.0), 32.0);
  return pow(pow(albedo, vec3(2.2)) * (0.10 + 0.55 * key + 0.45 * head) + 0.05 * gloss, vec3(1.0 / 2.2));
}

void main() {
  vec4 texel = texture2D(surface, vUv);
  if (texel.a < 0.02) discard;  // between lashes
  vec3 color;
  if (mode == 1) {
    color = texel.rgb;
  } else if (mode == 2 && vError >= 0.0) {
    color = shaded(texture2D(errorColors, vec2(clamp(vError / errorMax, 0.002, 0.998), 0.5)).rgb);
  } else {
    color = shaded(mode == 2 ? UNKNOWN : GREY);
  }
  color = mix(color, INSIDE, vHollow);
  if (!gl_FrontFacing) color = 0.45 * mix(color, vec3(dot(color, vec3(0.3, 0.6, 0.1))), 0.7);
#ifdef GL_OES_standard_derivatives
  vec3 perPixel = max(fwidth(vBarycentric), 1e-6);
  vec3 toEdge = vBarycentric / perPixel;
  float line = 1.0 - smoothstep(0.4, 1.4, min(min(toEdge.x, toEdge.y), toEdge.z));
  // Where triangles are of a few pixels, their edges would hide the surface.
  line *= clamp(1.0 / (9.0 * max(max(perPixel.x, perPixel.y), perPixel.z)), 0.2, 1.0);
#else
  float line = step(min(min(vBarycentric.x, vBarycentric.y), vBarycentric.z), 0.04);
#endif
  color = mix(color, mode == 1 ? vec3(0.95) : vec3(0.04, 0.08, 0.15), 0.7 * line * edges);
  gl_FragColor = vec4(color, 1.0) * opacity * texel.a;
}`;

const PHOTOGRAPH_VERTEX_SHADER = `
attribute vec2 corner;
uniform vec4 rectangle;  // left, top, right, bottom on the canvas, -1 to 1
varying vec2 vUv;
void main() {
  vUv = corner;
  gl_Position = vec4(mix(rectangle.xy, rectangle.zw, corner), 0.0, 1.0);
}`;

const PHOTOGRAPH_FRAGMENT_SHADER = `
precision mediump float;
uniform sampler2D photograph;
varying vec2 vUv;
void main() {
  gl_FragColor = vec4(texture2D(photograph, vUv).rgb, 1.0);
}`;

function rotationFromAngles(yaw, pitch, roll) {
  const [sy, sp, sr, cy, cp, cr] = [Math.sin, Math.cos].flatMap((f) =>
    [yaw, pitch, roll].map((angle) => f((angle * Math.PI) / 180)),
  );
  return [
    cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy,
    sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy,
    -cp * sy, sp, cp * cy,
  ];
}

function anglesFromRotation(m) {
  const degrees = 180 / Math.PI;
  return {
    yaw: Math.atan2(-m[6], m[8]) * degrees,
    pitch: Math.asin(Math.max(-1, Math.min(1, m[7]))) * degrees,
    roll: Math.atan2(-m[1], m[4]) * degrees,
  };
}

function rotationFromQuaternion([x, y, z, w]) {
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
  ];
}

function rotate(m, [x, y, z]) {
  return [m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z];
}

// Centre and extents of the vertices `shown`: half their height, and their largest distance from the vertical through the
// centre; and the radius of all of the mesh around it.
function measure(positions, shown) {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  shown.forEach((vertex) => low.forEach((_, axis) => {
    low[axis] = Math.min(low[axis], positions[3 * vertex + axis]);
    high[axis] = Math.max(high[axis], positions[3 * vertex + axis]);
  }));
  const centre = low.map((value, axis) => (value + high[axis]) / 2);
  const away = (vertex) => centre.map((value, axis) => positions[3 * vertex + axis] - value);
  let [radius, halfWidth] = [0, 0];
  for (let vertex = 0; 3 * vertex < positions.length; vertex += 1) radius = Math.max(radius, Math.hypot(...away(vertex)));
  shown.forEach((vertex) => {
    const [x, , z] = away(vertex);
    halfWidth = Math.max(halfWidth, Math.hypot(x, z));
  });
  return { centre, radius, halfWidth, halfHeight: (high[1] - low[1]) / 2 };
}

function compile(gl, vertexShader, fragmentShader) {
  const program = gl.createProgram();
  [[gl.VERTEX_SHADER, vertexShader], [gl.FRAGMENT_SHADER, fragmentShader]].forEach(([kind, source]) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source.trim());
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getShaderInfoLog(shader));
    }
  });
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(gl.getProgramInfoLog(program));
  }
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i += 1) {
    const { name } = gl.getActiveUniform(program, i);
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, uniforms, attribute: (name) => gl.getAttribLocation(program, name) };
}

// A texture of an image or canvas; one of a power of two in size may be shrunk smoothly.
function upload(gl, source, shrinks) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, source);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, shrinks ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR);
  if (shrinks) gl.generateMipmap(gl.TEXTURE_2D);
  return texture;
}

// Every triangle gets three vertices of its own, as barycentric coordinates and texture seams ask for.
function corners(mesh) {
  const count = mesh.triangles.length;
  const errors = new Float32Array(count).fill(-1);
  if (mesh.errors) {
    for (let corner = 0; corner < count; corner += 3) {
      const values = [0, 1, 2].map((k) => mesh.errors[mesh.triangles[corner + k]]);
      if (values.every((value) => value >= 0)) errors.set(values, corner);
    }
  }
  return { count, errors, uv: mesh.uv || new Uint16Array(2 * count), ...movingCorners(mesh) };
}

// What changes with an expression: positions, normals, and beside the barycentric coordinates how far an inside shows.
function movingCorners(mesh) {
  const count = mesh.triangles.length;
  const positions = new Float32Array(3 * count);
  const normals = new Int16Array(4 * count);
  const barycentrics = new Uint8Array(4 * count);
  mesh.triangles.forEach((vertex, corner) => {
    for (let axis = 0; axis < 3; axis += 1) {
      positions[3 * corner + axis] = mesh.positions[3 * vertex + axis];
      normals[4 * corner + axis] = mesh.normals[3 * vertex + axis];
    }
    barycentrics[4 * corner + (corner % 3)] = 255;
    if (mesh.hollows && corner >= count - 3 * mesh.numClosing) barycentrics[4 * corner + 3] = mesh.hollows[vertex];
  });
  return { positions, normals, barycentrics };
}

// Makes a drawing function for a canvas, or null where the browser has no WebGL.
//
// mesh: positions [P, 3] mm, normals [P, 3] int16, triangles [F, 3], uv [F, 3, 2] uint16 or null, errors [P] mm or null
// (negative: unknown), errorMax mm, textures: images, errorColors: a canvas of 256 x 1; pieces: the corners one after the
// other as { count, image: number of the texture or null, face: whether they are drawn over photographs }; hollows [P]
// uint8 or null, how far the inside shows at vertices of the last numClosing triangles.
//
// The function draws { mode, edges, opacity, camera: { rotation, translation, lens, near, far }, photograph: an image
// or null, rectangle: where it lies }. Its `deform` takes over positions, normals and hollows that have changed.
function createRenderer(canvas, mesh) {
  const gl = canvas.getContext("webgl", { antialias: true });
  if (!gl) return null;
  gl.getExtension("OES_standard_derivatives");
  const drawn = corners(mesh);
  const face = compile(gl, MESH_VERTEX_SHADER, MESH_FRAGMENT_SHADER);
  const backdrop = compile(gl, PHOTOGRAPH_VERTEX_SHADER, PHOTOGRAPH_FRAGMENT_SHADER);
  const buffered = (values) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    return buffer;
  };
  const attributes = [
    ["position", drawn.positions, 3, gl.FLOAT, 0],
    ["normal", drawn.normals, 3, gl.SHORT, 8],
    ["barycentric", drawn.barycentrics, 4, gl.UNSIGNED_BYTE, 4],
    ["uv", drawn.uv, 2, gl.UNSIGNED_SHORT, 0],
    ["error", drawn.errors, 1, gl.FLOAT, 0],
  ].map(([name, values, ...layout]) => [face.attribute(name), buffered(values), ...layout]);
  const square = buffered(new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]));
  const errorColors = upload(gl, mesh.errorColors, false);
  const surfaces = mesh.textures.map((image) => upload(gl, image, true));
  const photographs = new Map();

  function drawPhotograph(image, rectangle) {
    if (!photographs.has(image)) photographs.set(image, upload(gl, image, false));
    gl.useProgram(backdrop.program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, photographs.get(image));
    gl.uniform1i(backdrop.uniforms.photograph, 0);
    gl.uniform4fv(backdrop.uniforms.rectangle, rectangle);
    gl.bindBuffer(gl.ARRAY_BUFFER, square);
    gl.enableVertexAttribArray(backdrop.attribute("corner"));
    gl.vertexAttribPointer(backdrop.attribute("corner"), 2, gl.FLOAT, false, 0, 0);
    gl.disable(gl.DEPTH_TEST);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  function drawPieces(state) {
    let first = 0;
    mesh.pieces.forEach(({ count, image, face: ofFace }) => {
      gl.bindTexture(gl.TEXTURE_2D, image === null ? errorColors : surfaces[image]);
      if (ofFace || !state.photograph) gl.drawArrays(gl.TRIANGLES, first, count);
      first += count;
    });
  }

  function drawFace(state) {
    const { rotation, translation, lens, near, far } = state.camera;
    gl.useProgram(face.program);
    attributes.forEach(([location, buffer, size, type, stride]) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, size, type, type !== gl.FLOAT, stride, 0);
    });
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, errorColors);
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform1i(face.uniforms.surface, 0);
    gl.uniform1i(face.uniforms.errorColors, 1);
    gl.uniform1i(face.uniforms.mode, { shaded: 0, texture: 1, error: 2 }[state.mode]);
    gl.uniform1f(face.uniforms.errorMax, mesh.errorMax);
    gl.uniform1f(face.uniforms.edges, state.edges ? 1 : 0);
    gl.uniform1f(face.uniforms.opacity, state.opacity);
    // WebGL takes matrices column by column.
    gl.uniformMatrix3fv(face.uniforms.rotation, false, [0, 3, 6, 1, 4, 7, 2, 5, 8].map((k) => rotation[k]));
    gl.uniform3fv(face.uniforms.translation, translation);
    gl.uniform4fv(face.uniforms.lens, lens);
    gl.uniform2f(face.uniforms.depthRange, near, far);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    if (state.opacity < 1) {  // Depth first, so that only what is nearest shines through.
      gl.colorMask(false, false, false, false);
      drawPieces(state);
      gl.colorMask(true, true, true, true);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    drawPieces(state);
    gl.disable(gl.BLEND);
  }

  const draw = (state) => {
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (state.photograph) drawPhotograph(state.photograph, state.rectangle);
    if (state.opacity > 0) drawFace(state);
  };
  draw.deform = () => {
    const moved = movingCorners(mesh);
    [moved.positions, moved.normals, moved.barycentrics].forEach((values, index) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, attributes[index][1]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    });
  };
  return draw;
}
