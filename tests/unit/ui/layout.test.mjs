import assert from "node:assert/strict";
import { test } from "node:test";

import { criticalChain, edgePath, layers, layout, plannedLoad, slack, stairs } from "../../../tomas/airflow/static/layout.js";

const SIZE = { width: 100, height: 40, gapX: 30, gapY: 10, margin: 5 };

function step(id, after, start, end, bin = "a", cores = 1) {
  return {
    id, depends_on: after, bin, start_ms: start, end_ms: end, latency_p90_ms: end - start,
    allocation: { final: { cpu_cores: cores, cpu_mem_gb: 1, gpu_sm: 0, gpu_mem_gb: 0 } },
  };
}

const DIAMOND = [
  step("load", [], 0, 100),
  step("left", ["load"], 100, 400),
  step("right", ["load"], 100, 250, "b"),
  step("join", ["left", "right"], 400, 500),
];

test("a layer is the longest path", () => {
  const found = layers([...DIAMOND, step("late", ["load", "join"], 500, 600)]);
  assert.deepEqual([...found.values()], [0, 1, 1, 2, 3]);
});

test("a cycle is an error, a predecessor outside the plan is not", () => {
  assert.throws(() => layers([step("x", ["y"], 0, 1), step("y", ["x"], 0, 1)]), /depends on itself/);
  assert.equal(layers([step("x", ["gone"], 0, 1)]).get("x"), 0);
});

test("nodes never overlap, edges run from right sides to left sides", () => {
  let random = 7;
  const next = (below) => (random = (random * 1103515245 + 12345) % 2147483648) % below;
  for (let round = 0; round < 20; round += 1) {
    const steps = Array.from({ length: 30 }, (_, i) => {
      const parents = i < 4 ? [] : [...new Set([`s${next(i)}`, `s${next(i)}`])];
      return step(`s${i}`, parents, 0, 1);
    });
    const { nodes, edges, width, height } = layout(steps, SIZE);
    const placed = [...nodes.values()];
    for (const [i, a] of placed.entries()) {
      assert.ok(a.x >= 0 && a.y >= 0 && a.x + SIZE.width <= width && a.y + SIZE.height <= height);
      for (const b of placed.slice(i + 1)) {
        assert.ok(Math.abs(a.x - b.x) >= SIZE.width || Math.abs(a.y - b.y) >= SIZE.height, "overlap");
      }
    }
    for (const { from, to, points } of edges) {
      assert.deepEqual(points[0], [nodes.get(from).x + SIZE.width, nodes.get(from).y + SIZE.height / 2]);
      assert.deepEqual(points.at(-1), [nodes.get(to).x, nodes.get(to).y + SIZE.height / 2]);
      assert.equal(points.length, 2 * (nodes.get(to).layer - nodes.get(from).layer));
    }
  }
});

test("the drawing is the same for the same plan", () => {
  assert.deepEqual(layout(DIAMOND, SIZE), layout(DIAMOND, SIZE));
});

test("an empty plan has an empty drawing", () => {
  assert.deepEqual(layout([], SIZE).edges, []);
  assert.equal(criticalChain([]).steps.size, 0);
});

test("a path bends between layers and runs straight across a passed layer", () => {
  assert.equal(edgePath([[0, 0], [10, 5]]), "M0,0 C5,0 5,5 10,5");
  assert.match(edgePath([[0, 0], [10, 5], [20, 5], [30, 0]]), /^M0,0 C.* L20,5 C.*30,0$/);
});

test("the critical chain follows what ended last", () => {
  const chain = criticalChain(DIAMOND);
  assert.deepEqual([...chain.steps].sort(), ["join", "left", "load"]);
  assert.deepEqual(chain.links.map((link) => link.kind), ["dependency", "dependency"]);
});

test("a step that waits for room hangs on the step that leaves it", () => {
  const chain = criticalChain([step("first", [], 0, 300), step("second", [], 300, 500), step("short", [], 0, 50, "b")]);
  assert.deepEqual(chain.links, [{ from: "first", to: "second", kind: "bin" }]);
});

test("slack is zero on the critical chain and the gap elsewhere", () => {
  const found = slack(DIAMOND);
  assert.deepEqual(Object.fromEntries(found), { load: 0, left: 0, right: 150, join: 0 });
});

test("slack keeps the order inside a bin", () => {
  const found = slack([step("a", [], 0, 100), step("b", [], 100, 200), step("c", [], 0, 50, "other")]);
  assert.equal(found.get("a"), 0);
  assert.equal(found.get("c"), 150);
});

test("planned load adds up per bin and ends at zero", () => {
  const load = plannedLoad([step("x", [], 0, 200, "a", 1), step("y", [], 100, 300, "a", 0.5), step("z", [], 0, 900, "b", 4)], "a", "cpu_cores");
  assert.deepEqual(load, [[0, 1], [100, 1.5], [200, 0.5], [300, 0]]);
  assert.deepEqual(plannedLoad(DIAMOND, "a", "gpu_sm"), []);
});

test("load lasts to the p90, also where the planned end is earlier", () => {
  const early = { ...step("x", [], 0, 100), latency_p90_ms: 180 };
  assert.deepEqual(plannedLoad([early], "a", "cpu_cores"), [[0, 1], [180, 0]]);
});

test("stairs run from the begin to the end", () => {
  assert.deepEqual(stairs([[-80, 3], [-60, 2], [10, 1]], -50, 20), [[-50, 2], [10, 2], [10, 1], [20, 1]]);
  assert.deepEqual(stairs([[0, 2], [50, 1]], 0, 100), [[0, 2], [50, 2], [50, 1], [100, 1]]);
  assert.deepEqual(stairs([[20, 2], [500, 1]], 0, 100), [[0, 0], [20, 0], [20, 2], [100, 2]]);
});

test("the time that Airflow takes between two steps is part of the critical chain, not slack", () => {
  const steps = [step("first", [], 0, 300), step("room", [], 800, 1000), step("last", ["room"], 1500, 1600)];
  const chain = criticalChain(steps, 500);
  assert.deepEqual([...chain.steps].sort(), ["first", "last", "room"]);
  assert.deepEqual(chain.links.map((link) => link.kind), ["bin", "dependency"]);
  assert.deepEqual([...slack(steps, 500).values()], [0, 0, 0]);
  assert.equal(criticalChain(steps).steps.has("first"), false);
});
