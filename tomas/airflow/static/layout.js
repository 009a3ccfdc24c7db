/**
 * Pure functions over the dependency graph: layers, positions, critical chain, slack, planned load.
 * A step is `{id, depends_on, bin, start_ms, end_ms, latency_p90_ms, allocation}`.
 */

const CLOSE_MS = 1.5;

/** Layer of each step: the longest path from a step without predecessors. A cycle raises an Error. */
export function layers(steps) {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const depth = new Map();
  const open = new Set();
  const visit = (id) => {
    if (depth.has(id)) return depth.get(id);
    if (open.has(id)) throw new Error(`step ${id} depends on itself`);
    open.add(id);
    const parents = (byId.get(id).depends_on ?? []).filter((parent) => byId.has(parent));
    const value = parents.length ? 1 + Math.max(...parents.map(visit)) : 0;
    open.delete(id);
    depth.set(id, value);
    return value;
  };
  steps.forEach((step) => visit(step.id));
  return depth;
}

/**
 * Layered drawing from left to right (after Sugiyama, Tagawa and Toda 1981): longest-path layers, way
 * points for edges that pass layers, crossings reduced by barycentres, rows pulled towards neighbours.
 *
 * @param size `{width, height, gapX, gapY, margin}` of a node and between nodes, in px.
 * @returns `{nodes: Map id → {x, y, layer}, edges: [{from, to, points}], width, height}`; x, y is the
 *   node's upper left corner, points run from the right side of `from` to the left side of `to`.
 */
export function layout(steps, size) {
  const depth = layers(steps);
  const columns = [];
  const put = (layer, vertex) => (columns[layer] ??= []).push(vertex);
  const vertices = new Map();
  for (const step of steps) {
    const vertex = { id: step.id, layer: depth.get(step.id), up: [], down: [], real: true, order: 0, y: 0 };
    vertices.set(step.id, vertex);
    put(vertex.layer, vertex);
  }
  const chains = [];
  for (const step of steps) {
    for (const parent of step.depends_on ?? []) {
      if (!vertices.has(parent)) continue;
      const chain = [vertices.get(parent)];
      for (let layer = depth.get(parent) + 1; layer < depth.get(step.id); layer += 1) {
        const point = { layer, up: [], down: [], real: false, order: 0, y: 0 };
        put(layer, point);
        chain.push(point);
      }
      chain.push(vertices.get(step.id));
      for (let i = 1; i < chain.length; i += 1) {
        chain[i - 1].down.push(chain[i]);
        chain[i].up.push(chain[i - 1]);
      }
      chains.push({ from: parent, to: step.id, chain });
    }
  }
  orderColumns(columns);
  placeRows(columns, size);
  const nodes = new Map();
  let bottom = 0;
  for (const [id, vertex] of vertices) {
    const x = size.margin + vertex.layer * (size.width + size.gapX);
    nodes.set(id, { x, y: vertex.y, layer: vertex.layer });
    bottom = Math.max(bottom, vertex.y + size.height);
  }
  const edges = chains.map(({ from, to, chain }) => ({ from, to, points: edgePoints(chain, size) }));
  for (const { points } of edges) for (const [, y] of points) bottom = Math.max(bottom, y);
  const width = columns.length ? 2 * size.margin + columns.length * size.width + (columns.length - 1) * size.gapX : 0;
  return { nodes, edges, width, height: bottom + size.margin };
}

function orderColumns(columns) {
  const number = (column) => column.forEach((vertex, index) => (vertex.order = index));
  columns.forEach(number);
  const mean = (near, own) => (near.length ? near.reduce((sum, v) => sum + v.order, 0) / near.length : own);
  const sweep = (column, side) => {
    const wish = new Map(column.map((vertex) => [vertex, mean(vertex[side], vertex.order)]));
    column.sort((a, b) => wish.get(a) - wish.get(b) || a.order - b.order);
    number(column);
  };
  for (let round = 0; round < 6; round += 1) {
    for (let i = 1; i < columns.length; i += 1) sweep(columns[i], "up");
    for (let i = columns.length - 2; i >= 0; i -= 1) sweep(columns[i], "down");
  }
}

function placeRows(columns, size) {
  const heightOf = (vertex) => (vertex.real ? size.height : size.height * 0.3);
  for (const column of columns) {
    let y = 0;
    for (const vertex of column) {
      vertex.y = y;
      y += heightOf(vertex) + size.gapY;
    }
  }
  const centre = (vertex) => vertex.y + heightOf(vertex) / 2;
  const settle = (column, sides) => {
    const wish = column.map((vertex) => {
      const near = sides.flatMap((side) => vertex[side]);
      return near.length ? near.reduce((sum, v) => sum + centre(v), 0) / near.length - heightOf(vertex) / 2 : vertex.y;
    });
    let free = -Infinity;
    column.forEach((vertex, i) => {
      vertex.y = Math.max(wish[i], free);
      free = vertex.y + heightOf(vertex) + size.gapY;
    });
    // Pushing only downwards drifts: give back the mean displacement.
    const drift = column.reduce((sum, vertex, i) => sum + vertex.y - wish[i], 0) / (column.length || 1);
    for (const vertex of column) vertex.y -= drift;
  };
  for (let round = 0; round < 4; round += 1) {
    for (let i = 1; i < columns.length; i += 1) settle(columns[i], ["up"]);
    for (let i = columns.length - 2; i >= 0; i -= 1) settle(columns[i], ["down"]);
  }
  const top = Math.min(...columns.flat().map((vertex) => vertex.y));
  for (const vertex of columns.flat()) vertex.y += size.margin - top;
}

function edgePoints(chain, size) {
  const points = [];
  chain.forEach((vertex, index) => {
    const left = size.margin + vertex.layer * (size.width + size.gapX);
    const middle = vertex.y + (vertex.real ? size.height / 2 : size.height * 0.15);
    if (index > 0) points.push([left, middle]);
    if (index < chain.length - 1) points.push([left + size.width, middle]);
  });
  return points;
}

/** SVG path of a smooth edge through `points`: curves between layers, straight across a passed layer. */
export function edgePath(points) {
  let path = `M${points[0][0]},${points[0][1]}`;
  for (let i = 1; i < points.length; i += 1) {
    const [x0, y0] = points[i - 1];
    const [x1, y1] = points[i];
    const bend = (x1 - x0) / 2;
    path += i % 2 === 1 ? ` C${x0 + bend},${y0} ${x1 - bend},${y1} ${x1},${y1}` : ` L${x1},${y1}`;
  }
  return path;
}

/**
 * The chain of steps that fixes the makespan: backwards from the step that ends last, each time to the
 * dependency that ended last or, where the step waited for room in its bin, to the step that made room.
 *
 * @param handOverMs what the plan counts from a step's end to the start of what waits for it or its room.
 * @returns `{steps: Set id, links: [{from, to, kind: "dependency" | "bin"}]}`
 */
export function criticalChain(steps, handOverMs = 0) {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const found = new Set();
  const links = [];
  const makesWay = (other, step) => Math.abs(other.end_ms + handOverMs - step.start_ms) <= CLOSE_MS;
  const latest = (candidates) => candidates.reduce((a, b) => (a && a.end_ms >= b.end_ms ? a : b), null);
  let step = latest(steps);
  while (step && !found.has(step.id)) {
    found.add(step.id);
    const here = step;
    const dependency = latest((here.depends_on ?? []).map((id) => byId.get(id)).filter(Boolean));
    const waited = !dependency || dependency.end_ms + handOverMs < here.start_ms - CLOSE_MS;
    const neighbour = waited
      ? steps.find((other) => other !== here && other.bin === here.bin && makesWay(other, here))
      : null;
    step = neighbour ?? dependency;
    if (step) links.unshift({ from: step.id, to: here.id, kind: neighbour ? "bin" : "dependency" });
  }
  return { steps: found, links };
}

/**
 * By how much each step can end later without moving the plan's end, in ms: dependencies hold, and the
 * steps of one bin that follow each other keep their order.
 */
export function slack(steps, handOverMs = 0) {
  const end = Math.max(0, ...steps.map((step) => step.end_ms));
  const latestEnd = new Map();
  const later = [...steps].sort((a, b) => b.start_ms - a.start_ms || b.end_ms - a.end_ms);
  for (const step of later) {
    const next = steps.filter(
      (other) =>
        other.id !== step.id &&
        latestEnd.has(other.id) &&
        ((other.depends_on ?? []).includes(step.id) ||
          (other.bin === step.bin && other.start_ms >= step.end_ms - CLOSE_MS)),
    );
    const bound = next.map((other) => latestEnd.get(other.id) - (other.end_ms - other.start_ms) - handOverMs);
    latestEnd.set(step.id, Math.min(end, ...bound));
  }
  return new Map(steps.map((step) => [step.id, Math.max(0, latestEnd.get(step.id) - step.end_ms)]));
}

/**
 * Planned load of one bin and resource at p90 latency, as `[[at_ms, amount], …]`: each amount holds from
 * its instant to the next; the last is 0.
 */
export function plannedLoad(steps, bin, resource) {
  const changes = new Map();
  const change = (at, amount) => changes.set(at, (changes.get(at) ?? 0) + amount);
  for (const step of steps) {
    if (step.bin !== bin) continue;
    const need = step.allocation.final[resource];
    if (!(need > 0)) continue;
    change(step.start_ms, need);
    change(Math.max(step.end_ms, step.start_ms + step.latency_p90_ms), -need);
  }
  let load = 0;
  return [...changes.entries()]
    .sort((a, b) => a[0] - b[0])
    .map(([at, amount]) => {
      load = Math.max(0, load + amount);
      return [at, Math.abs(load) < 1e-9 ? 0 : load];
    });
}

/** Corner points of a step function given as `[[at, amount], …]`, from `begin` to `end`; 0 before its first point. */
export function stairs(points, begin, end) {
  const earlier = points.filter(([at]) => at <= begin);
  let amount = earlier.length ? earlier.at(-1)[1] : 0;
  const corners = [[begin, amount]];
  for (const [at, next] of points.slice(earlier.length)) {
    if (at > end) break;
    corners.push([at, amount], [at, next]);
    amount = next;
  }
  corners.push([end, amount]);
  return corners;
}
