/** Pure functions that turn numbers into the words of the page. Milliseconds, GB = 2^30 bytes, cores. */

const MINUS = "\u2212";
const NONE = "\u2013";

const known = (value) => value !== null && value !== undefined && Number.isFinite(Number(value));

const digits = (value, places) => Number(value).toFixed(places);

/** A duration of `value` milliseconds: `840 ms`, `1.24 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`. */
export function duration(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  const sign = value < 0 ? MINUS : "";
  if (size < 999.5) return `${sign}${Math.round(size)} ms`;
  if (size < 9995) return `${sign}${digits(size / 1000, 2)} s`;
  if (size < 59950) return `${sign}${digits(size / 1000, 1)} s`;
  const seconds = Math.round(size / 1000);
  const pad = (part) => String(part).padStart(2, "0");
  if (seconds < 3600) return `${sign}${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${sign}${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

/** A signed difference of `value` milliseconds: `+1.20 s`, `−300 ms`, `±0 ms`. */
export function difference(value) {
  if (!known(value)) return NONE;
  if (Math.abs(value) < 0.5) return "\u00b10 ms";
  return value > 0 ? `+${duration(value)}` : duration(value);
}

/** An amount of memory in GB, always in GB so that columns compare: `0.25 GB`, `<0.01 GB`. */
export function gigabytes(value) {
  if (!known(value)) return NONE;
  if (value > 0 && value < 0.005) return "<0.01 GB";
  return `${digits(value, value < 9.995 ? 2 : 1)} GB`;
}

/** A file size of `value` bytes: `512 B`, `1.5 MB`. */
export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = Number(value);
  let unit = 0;
  while (size >= 1023.5 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${digits(size, unit === 0 || size >= 99.5 ? 0 : 1)} ${units[unit]}`;
}

/** An amount of cores: `1 core`, `0.5 cores`. */
export function cores(value) {
  if (!known(value)) return NONE;
  const text = trimmed(value);
  return `${text} ${text === "1" ? "core" : "cores"}`;
}

/** At most two decimals, without trailing zeros. */
export function trimmed(value) {
  return known(value) ? String(Number(digits(value, 2))) : NONE;
}

/** A share between 0 and 1 in whole percent. */
export function percent(value) {
  return known(value) ? `${Math.round(value * 100)} %` : NONE;
}

/** The four resources in one line; GPU parts only where there are any. */
export function resources(amount) {
  if (!amount) return NONE;
  const parts = [cores(amount.cpu_cores), gigabytes(amount.cpu_mem_gb)];
  if (amount.gpu_sm > 0) parts.push(`${trimmed(amount.gpu_sm)} % GPU`);
  if (amount.gpu_mem_gb > 0) parts.push(`${gigabytes(amount.gpu_mem_gb)} GPU`);
  return parts.join(" \u00b7 ");
}

/** `singular` or its plural with the count: `1 step`, `4 steps`. */
export function count(number, singular, plural = `${singular}s`) {
  return `${number} ${number === 1 ? singular : plural}`;
}

/** A state of Airflow or an outcome of a record in words. */
export function stateWords(state) {
  return String(state ?? "planned").replaceAll("_", " ");
}

/** Time of day of an ISO instant, in the reader's own zone. */
export function clock(iso) {
  return iso ? new Date(iso).toLocaleTimeString([], { hour12: false }) : NONE;
}

/** Estimated width in pixels of `text` at `size` px; East Asian characters take a full em. */
export function textWidth(text, size = 12) {
  let ems = 0;
  for (const character of text) ems += wide(character) ? 1 : 0.56;
  return ems * size;
}

/** `text` cut with an ellipsis so that it fits `width` pixels at `size` px. */
export function truncate(text, width, size = 12) {
  if (textWidth(text, size) <= width) return text;
  let kept = "";
  for (const character of text) {
    if (textWidth(`${kept}${character}\u2026`, size) > width) break;
    kept += character;
  }
  return `${kept}\u2026`;
}

function wide(character) {
  const code = character.codePointAt(0);
  return (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xffdc) || code >= 0x1f300;
}

const TICK_STEPS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3,
  3600e3, 7200e3, 14400e3, 43200e3, 86400e3,
];

/** Tick positions in ms within [`begin`, `end`], evenly spaced on round values, 0 among them, about `wanted`. */
export function ticks(begin, end, wanted = 6) {
  const least = (end - begin) / Math.max(1, wanted);
  const step = TICK_STEPS_MS.find((candidate) => candidate >= least) ?? Math.ceil(least / 86400e3) * 86400e3;
  const found = [];
  for (let i = Math.ceil(begin / step - 1e-6); i * step <= end + step * 1e-6; i += 1) found.push(i * step + 0);
  return found;
}

/** A tick's label: short, with its unit. */
export function tickLabel(value) {
  if (value === 0) return "0";
  if (value < 0) return `${MINUS}${tickLabel(-value)}`;
  if (value < 1000) return `${value} ms`;
  if (value < 60e3) return `${trimmed(value / 1000)} s`;
  if (value < 3600e3) {
    const rest = (value % 60e3) / 1000;
    return rest ? `${Math.floor(value / 60e3)}:${String(rest).padStart(2, "0")} min` : `${value / 60e3} min`;
  }
  const minutes = (value % 3600e3) / 60e3;
  return minutes ? `${Math.floor(value / 3600e3)}:${String(minutes).padStart(2, "0")} h` : `${value / 3600e3} h`;
}

/** A linear scale from [begin, end] ms to [from, to] px. */
export function scale(begin, end, from, to) {
  const factor = end > begin ? (to - from) / (end - begin) : 0;
  return (value) => from + (value - begin) * factor;
}
