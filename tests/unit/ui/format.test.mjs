import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../../tomas/airflow/static/format.js";

test("durations carry the unit that suits their size", () => {
  const cases = [
    [0, "0 ms"], [840.4, "840 ms"], [999.6, "1.00 s"], [1240, "1.24 s"], [12_340, "12.3 s"], [59_949, "59.9 s"],
    [59_960, "1 min 00 s"], [125_000, "2 min 05 s"], [3_720_000, "1 h 02 min"], [null, "\u2013"], [undefined, "\u2013"], [NaN, "\u2013"],
  ];
  for (const [value, words] of cases) assert.equal(format.duration(value), words);
});

test("differences are signed", () => {
  assert.equal(format.difference(1200), "+1.20 s");
  assert.equal(format.difference(-300), "\u2212300 ms");
  assert.equal(format.difference(0.2), "\u00b10 ms");
  assert.equal(format.difference(null), "\u2013");
});

test("memory stays in GB so that a column compares", () => {
  assert.equal(format.gigabytes(0.25), "0.25 GB");
  assert.equal(format.gigabytes(0.001), "<0.01 GB");
  assert.equal(format.gigabytes(0), "0.00 GB");
  assert.equal(format.gigabytes(15.96), "16.0 GB");
});

test("bytes, cores, resources", () => {
  assert.equal(format.bytes(512), "512 B");
  assert.equal(format.bytes(1536), "1.5 KB");
  assert.equal(format.bytes(1024 ** 3), "1.0 GB");
  assert.equal(format.cores(1), "1 core");
  assert.equal(format.cores(0.5), "0.5 cores");
  assert.equal(format.resources({ cpu_cores: 2, cpu_mem_gb: 4, gpu_sm: 50, gpu_mem_gb: 8 }), "2 cores \u00b7 4.00 GB \u00b7 50 % GPU \u00b7 8.00 GB GPU");
  assert.equal(format.resources({ cpu_cores: 2, cpu_mem_gb: 4, gpu_sm: 0, gpu_mem_gb: 0 }), "2 cores \u00b7 4.00 GB");
});

test("text is cut to its room, wide characters counted as wide", () => {
  assert.equal(format.truncate("short", 200), "short");
  const cut = format.truncate("image_classification", 60, 12);
  assert.ok(cut.endsWith("\u2026") && format.textWidth(cut, 12) <= 60);
  assert.equal(format.textWidth("图像", 12), 24);
  assert.ok(format.truncate("对一批图片进行分类", 60, 12).length < 6);
});

test("ticks are round, even, within the span, and near the wanted number", () => {
  for (const span of [3, 90, 840, 1_000, 9_999, 61_000, 3_600_000, 5 * 86_400_000]) {
    const found = format.ticks(0, span, 6);
    assert.equal(found[0], 0);
    assert.ok(found.at(-1) <= span * 1.000001);
    assert.ok(found.length >= 2 && found.length <= 7, `${span}: ${found}`);
    const step = found[1] - found[0];
    found.forEach((at, i) => assert.ok(Math.abs(at - i * step) < 1e-6));
  }
});

test("ticks reach back before the release and keep zero", () => {
  assert.deepEqual(format.ticks(-4800, 21_000, 6), [0, 5000, 10_000, 15_000, 20_000]);
  assert.deepEqual(format.ticks(-5200, 9000, 6), [-5000, 0, 5000]);
  assert.equal(format.tickLabel(-5000), "\u22125 s");
});

test("tick labels", () => {
  const cases = [[0, "0"], [500, "500 ms"], [2500, "2.5 s"], [60_000, "1 min"], [90_000, "1:30 min"], [5_400_000, "1:30 h"]];
  for (const [value, words] of cases) assert.equal(format.tickLabel(value), words);
});

test("a scale maps its ends; an empty span maps to its start", () => {
  const x = format.scale(0, 2000, 100, 300);
  assert.deepEqual([x(0), x(1000), x(2000)], [100, 200, 300]);
  assert.equal(format.scale(0, 0, 100, 300)(5), 100);
  assert.equal(format.scale(-1000, 1000, 0, 100)(0), 50);
});
