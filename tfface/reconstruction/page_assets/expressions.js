// Moves the face: sums displacements by their weights, and keeps sliders, the choice of a photograph and the mesh in step.

const PLAY_MS = 450;  // how long one expression takes to become another
const DARKENS = [1.3, 2.5];  // how many times its area at rest a closed opening has where its inside begins and ends to show

// Displacements of a decoded expression set: positions = rest + sum_e w_e scale_e delta_e.
function posed(rest, told, weights) {
  const positions = Float32Array.from(rest);
  let start = 0;
  told.counts.forEach((count, expression) => {
    const factor = weights[expression] * told.scales[expression];
    for (let move = start; factor && move < start + count; move += 1) {
      const vertex = 3 * told.index[move];
      for (let axis = 0; axis < 3; axis += 1) positions[vertex + axis] += factor * told.deltas[3 * move + axis];
    }
    start += count;
  });
  return positions;
}

// Twice the area of a triangle times its normal.
function crossOf(positions, triangles, corner) {
  const [a, b, c] = [0, 1, 2].map((k) => 3 * triangles[corner + k]);
  const [ux, uy, uz] = [0, 1, 2].map((axis) => positions[b + axis] - positions[a + axis]);
  const [vx, vy, vz] = [0, 1, 2].map((axis) => positions[c + axis] - positions[a + axis]);
  return [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
}

// Unit normals of the vertices as the page has them: int16, triangles weighted by their areas. A head has 50,000
// triangles, and a slider moves them in every frame: nothing is allocated in the loop.
function vertexNormals(positions, triangles) {
  const sums = new Float32Array(positions.length);
  for (let corner = 0; corner < triangles.length; corner += 3) {
    const [a, b, c] = [3 * triangles[corner], 3 * triangles[corner + 1], 3 * triangles[corner + 2]];
    const [x, y, z] = [positions[a], positions[a + 1], positions[a + 2]];
    const [ux, uy, uz] = [positions[b] - x, positions[b + 1] - y, positions[b + 2] - z];
    const [vx, vy, vz] = [positions[c] - x, positions[c + 1] - y, positions[c + 2] - z];
    const [nx, ny, nz] = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    sums[a] += nx; sums[a + 1] += ny; sums[a + 2] += nz;
    sums[b] += nx; sums[b + 1] += ny; sums[b + 2] += nz;
    sums[c] += nx; sums[c + 1] += ny; sums[c + 2] += nz;
  }
  const normals = new Int16Array(positions.length);
  for (let i = 0; i < sums.length; i += 3) {
    const length = Math.hypot(sums[i], sums[i + 1], sums[i + 2]) || 1;
    for (let axis = 0; axis < 3; axis += 1) normals[i + axis] = Math.round((32767 * sums[i + axis]) / length);
  }
  return normals;
}

// How much of the inside shows where openings are closed, 0..255 a vertex: lips that part show a dark mouth. What counts
// is the area of the closing triangles around the vertex.
function hollows(rest, positions, triangles, numClosing) {
  const [before, now] = [rest, positions].map((of) => {
    const areas = new Float32Array(of.length / 3);
    for (let corner = triangles.length - 3 * numClosing; corner < triangles.length; corner += 3) {
      const area = Math.hypot(...crossOf(of, triangles, corner));
      for (let k = 0; k < 3; k += 1) areas[triangles[corner + k]] += area;
    }
    return areas;
  });
  return Uint8Array.from(now, (area, vertex) => {
    const share = (area / Math.max(before[vertex], 1e-3) - DARKENS[0]) / (DARKENS[1] - DARKENS[0]);
    return 255 * Math.max(0, Math.min(1, share));
  });
}

// The state of the expressions of a page, or null if it has none. `deform` takes positions, normals and hollows.
function createExpressions(told, mesh, deform) {
  if (!told) return null;
  const [rest, restNormals] = [mesh.positions, mesh.normals];
  const sliders = [...document.querySelectorAll("input[data-slider]")];
  const choice = document.getElementById("expression-of");
  const neutral = told.counts.map(() => 0);
  let weights = neutral;
  let playing = 0;

  function show(wanted) {
    weights = wanted;
    const moves = weights.some((weight) => weight !== 0);
    const positions = moves ? posed(rest, told, weights) : rest;
    const normals = moves ? vertexNormals(positions, mesh.triangles) : restNormals;
    deform(positions, normals, hollows(rest, positions, mesh.triangles, mesh.numClosing));
    sliders.forEach((slider) => {
      const parts = Object.entries(told.sliders[slider.dataset.slider].parts);
      slider.value = parts.reduce((sum, [part, share]) => sum + weights[part] / share, 0) / parts.length;
      slider.setAttribute("aria-valuetext", Number(slider.value).toFixed(2));
    });
  }

  function play(wanted) {
    cancelAnimationFrame(playing);
    const [from, begin] = [weights, performance.now()];
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = (now) => {
      const share = still ? 1 : Math.min(1, Math.max(0, now - begin) / PLAY_MS);
      const eased = share * share * (3 - 2 * share);
      show(share === 1 ? wanted : from.map((weight, part) => weight + eased * (wanted[part] - weight)));
      playing = share === 1 ? 0 : requestAnimationFrame(step);
    };
    playing = requestAnimationFrame(step);
  }

  function playPhotograph(index) {
    if (!told.weights) return;
    if (choice) choice.value = index === null ? "" : String(index);
    play(index === null ? neutral : told.weights[index]);
  }

  sliders.forEach((slider) => {
    slider.addEventListener("input", () => {
      cancelAnimationFrame(playing);
      playing = 0;
      if (choice) choice.value = "";
      const changed = [...weights];
      Object.entries(told.sliders[slider.dataset.slider].parts).forEach(([part, share]) => {
        changed[part] = share * Number(slider.value);
      });
      show(changed);
    });
  });
  if (choice) choice.addEventListener("change", () => playPhotograph(choice.value === "" ? null : Number(choice.value)));
  document.getElementById("neutral").addEventListener("click", () => {
    if (choice) choice.value = "";
    play(neutral);
  });
  return { playPhotograph, isPlaying: () => playing !== 0, weights: () => weights };
}
