/** The look of both pages. Colours come from Airflow's Chakra theme, so light and dark mode follow it. */

const CSS = `
:host {
  --fg: var(--chakra-colors-fg, #1a202c);
  --muted: var(--chakra-colors-fg-muted, #5b6472);
  --panel: var(--chakra-colors-bg, #ffffff);
  --inset: color-mix(in srgb, var(--fg) 5%, var(--panel));
  --line: color-mix(in srgb, var(--fg) 13%, var(--panel));
  --strong-line: color-mix(in srgb, var(--fg) 26%, var(--panel));
  --accent: #0e7fc1;
  --critical: #ea580c;
  --ok: var(--chakra-colors-success-solid, #16a34a);
  --bad: var(--chakra-colors-failed-solid, #dc2626);
  --busy: var(--chakra-colors-running-solid, #0891b2);
  --retry: var(--chakra-colors-up_for_retry-solid, #d97706);
  --blocked: var(--chakra-colors-upstream_failed-solid, #d97706);
  --defer: var(--chakra-colors-deferred-solid, #8b5cf6);
  --warn: #c2680a;
  --idle: #8a94a3;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  display: block;
  container-type: inline-size;
}
:host(.dark) { --accent: #4cb3f0; --critical: #fb923c; --warn: #fbbf24; --ok: #22c55e; --bad: #f87171; --busy: #22d3ee; --retry: #fbbf24; --blocked: #fb923c; --defer: #a78bfa; }
* { box-sizing: border-box; }
/* Not on :host, whose font the page's own reset overrides. */
.page { color: var(--fg); font: 13px/1.45 var(--chakra-fonts-body, system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", sans-serif); font-variant-numeric: tabular-nums; text-align: start; }
.page { display: grid; gap: 14px; padding: 4px 2px 24px; grid-template-columns: minmax(0, 1fr); }
h2 { margin: 0; font-size: 18px; line-height: 1.35; font-weight: 600; overflow-wrap: anywhere; }
h3 { margin: 0; font-size: 13px; font-weight: 600; }
p, dl { margin: 0; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
code, .mono { font-family: var(--mono); font-size: 12px; }
.muted { color: var(--muted); }
.small { font-size: 12px; }
.nowrap { white-space: nowrap; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.hidden-label { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.head { display: flex; gap: 8px 12px; align-items: flex-start; justify-content: space-between; flex-wrap: wrap; }
.head > .title { flex: 1 1 420px; min-width: 0; display: grid; gap: 5px; }
.task.clamped { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; }
.head .facts { display: flex; flex-wrap: wrap; gap: 2px 14px; color: var(--muted); font-size: 12px; }
.live { display: flex; align-items: center; gap: 10px; color: var(--muted); font-size: 12px; padding-top: 3px; }
.pill { display: inline-flex; align-items: center; gap: 6px; padding: 1px 9px 1px 8px; border-radius: 999px; font-size: 12px; font-weight: 500; white-space: nowrap;
  border: 1px solid color-mix(in srgb, var(--state) 45%, transparent); background: color-mix(in srgb, var(--state) 13%, transparent); color: var(--fg); }
.pill::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: var(--state); }
.pill.pulse::before { animation: pulse 1.4s ease-in-out infinite; }
@keyframes pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .pill.pulse::before { animation: none; } }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 1px; background: var(--line); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.tile { background: var(--panel); padding: 10px 14px 11px; min-width: 0; }
.tile dt { color: var(--muted); font-size: 12px; white-space: nowrap; }
.tile dd { margin: 2px 0 0; font-size: 19px; line-height: 1.25; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.tile dd.sub { font-size: 12px; font-weight: 400; color: var(--muted); line-height: 1.45; white-space: normal; margin-top: 1px; }
.over { color: var(--warn); } .under { color: var(--ok); }
.progress { display: flex; height: 4px; border-radius: 2px; overflow: hidden; background: var(--line); margin-top: 6px; }
.progress > span { display: block; height: 100%; }

.notice { border: 1px solid color-mix(in srgb, var(--tone) 40%, transparent); border-left: 4px solid var(--tone); background: color-mix(in srgb, var(--tone) 9%, transparent); border-radius: 6px; padding: 9px 14px; display: grid; gap: 2px; overflow-wrap: anywhere; }
.notice.info { --tone: var(--accent); } .notice.warn { --tone: var(--warn); } .notice.bad { --tone: var(--bad); }
.notice b { font-weight: 600; }
.notice ul { margin: 2px 0 0; padding-left: 18px; }
.empty { border: 1px dashed var(--strong-line); border-radius: 8px; padding: 36px 24px; display: grid; gap: 6px; justify-items: center; text-align: center; color: var(--muted); }
.empty h2 { color: var(--fg); font-size: 16px; }
.empty p { max-width: 62ch; overflow-wrap: anywhere; }
button { font: inherit; color: var(--fg); background: var(--panel); border: 1px solid var(--strong-line); border-radius: 6px; padding: 3px 11px; cursor: pointer; }
button:hover { border-color: var(--accent); }
button[aria-pressed="true"], button[aria-selected="true"] { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }

.panel { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; min-width: 0; }
.panel > header { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 18px; padding: 9px 14px; border-bottom: 1px solid var(--line); }
.panel > header .legend { display: flex; flex-wrap: wrap; gap: 2px 14px; color: var(--muted); font-size: 12px; margin-left: auto; }
.legend span { display: inline-flex; align-items: center; gap: 6px; white-space: nowrap; }
.legend svg { display: block; }
.panel .body { padding: 12px 14px; }
.scroll { overflow: auto; overscroll-behavior-x: contain; position: relative; }
svg { display: block; }
svg text { fill: var(--fg); font-size: 12px; }
svg text.muted { fill: var(--muted); }
svg .tiny { font-size: 11px; }

.graph { max-height: 460px; }
.graph svg { margin-inline: auto; }
.node { cursor: pointer; }
.node .box { fill: var(--panel); stroke: var(--strong-line); }
.node:hover .box { stroke: var(--accent); }
.node.critical .box { stroke: var(--critical); stroke-width: 1.75; }
.node.selected .box { stroke: var(--accent); stroke-width: 2.5; }
.node:focus-visible { outline: none; } .node:focus-visible .box { stroke: var(--accent); stroke-width: 2.5; stroke-dasharray: 4 2; }
.node .name { font-weight: 600; }
.edge { fill: none; stroke: var(--strong-line); stroke-width: 1.4; }
.edge.critical { stroke: var(--critical); stroke-width: 2; }
.edge.bin { stroke: var(--critical); stroke-width: 1.5; stroke-dasharray: 2 4; }
.edge.near { stroke: var(--accent); stroke-width: 2; }

.gantt { max-height: 620px; }
.gantt .axis { position: sticky; top: 0; z-index: 1; background: var(--panel); }
.grid { stroke: var(--line); stroke-width: 1; shape-rendering: crispEdges; }
.lane { fill: var(--inset); }
.row { cursor: pointer; }
.row .hit { fill: transparent; }
.row:hover .hit { fill: color-mix(in srgb, var(--accent) 7%, transparent); }
.row.selected .hit { fill: color-mix(in srgb, var(--accent) 13%, transparent); }
.row:focus-visible { outline: none; } .row:focus-visible .hit { stroke: var(--accent); stroke-width: 1.5; }
.planned { fill: color-mix(in srgb, var(--bin) 7%, transparent); stroke: var(--bin); stroke-dasharray: 4 2.5; stroke-width: 1.2; }
.median { fill: color-mix(in srgb, var(--bin) 30%, transparent); }
.whisker { stroke: var(--bin); stroke-width: 1.2; }
.on-path { fill: var(--critical); }
.ran { fill: var(--state); }
.ran.earlier { opacity: .55; }
.waited { stroke: var(--idle); stroke-width: 1; stroke-opacity: .55; }
.now { stroke: var(--accent); stroke-width: 1.3; }
.released { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 1.5 3; }
.free { fill: color-mix(in srgb, var(--muted) 10%, transparent); }
.free-line { fill: none; stroke: var(--muted); stroke-width: 1.3; }
.load { fill: color-mix(in srgb, var(--bin) 36%, transparent); }
.load-line { fill: none; stroke: var(--bin); stroke-width: 1.3; }
.floor { stroke: var(--line); shape-rendering: crispEdges; }
.capacity { stroke: var(--fg); stroke-opacity: .5; stroke-dasharray: 5 3; stroke-width: 1; }

table { border-collapse: separate; border-spacing: 0; width: 100%; }
th { text-align: left; font-weight: 500; color: var(--muted); font-size: 12px; padding: 7px 9px; white-space: nowrap; border-bottom: 1px solid var(--line); background: var(--panel); position: sticky; top: 0; z-index: 1; }
th button { border: 0; padding: 0; background: none; color: inherit; font-weight: 500; }
th button:hover { color: var(--fg); }
th:first-child, td:first-child { padding-left: 14px; } th:last-child, td:last-child { padding-right: 14px; }
td { padding: 7px 9px; font-size: 12.5px; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
tbody tr:last-child > td { border-bottom: 0; }
td.number, th.number { text-align: right; }
td .sub { color: var(--muted); font-size: 12px; display: block; }
tr.step { cursor: pointer; }
tr.step:hover > td { background: color-mix(in srgb, var(--accent) 6%, transparent); }
tr.step.selected > td { background: color-mix(in srgb, var(--accent) 11%, transparent); }
td.name button { border: 0; background: none; padding: 0; font-weight: 600; text-align: left; border-radius: 3px; }
.crit-mark { color: var(--critical); font-size: 12px; font-weight: 500; }
h2 .crit-mark { margin-left: 9px; }
.table.long { max-height: 640px; }
.meter { width: 76px; height: 5px; border-radius: 3px; background: var(--line); overflow: hidden; margin-top: 4px; position: relative; }
.meter > span { display: block; height: 100%; border-radius: 3px; background: var(--fill, var(--accent)); }
td.number .meter { margin-left: auto; }
tr.detail > td { background: var(--inset); white-space: normal; padding: 12px 14px 14px; }
tr.detail .columns { position: sticky; left: 14px; width: calc(100cqw - 46px); }
.columns { display: grid; gap: 14px 28px; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); }
.columns > .wide { grid-column: 1 / -1; }
.columns h3 + .prose { margin-top: 3px; }
.facts-list { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 14px; margin: 4px 0 0; }
.facts-list dt { color: var(--muted); } .facts-list dd { margin: 0; overflow-wrap: anywhere; }
input[type="search"] { font: inherit; color: var(--fg); background: var(--panel); border: 1px solid var(--strong-line); border-radius: 6px; padding: 3px 10px; width: 190px; }
.prose { white-space: pre-line; overflow-wrap: anywhere; max-width: 110ch; }
.strips { display: grid; gap: 6px; padding: 8px 0 12px; }
.bars { display: grid; gap: 12px; }
.bar-line { display: grid; grid-template-columns: 130px minmax(0, 1fr) 210px; gap: 4px 14px; align-items: center; }
.bar-line .track { height: 14px; border-radius: 4px; background: var(--inset); border: 1px solid var(--line); position: relative; overflow: hidden; }
.bar-line .track > .value { position: absolute; inset: 0 auto 0 0; background: var(--fill, var(--accent)); }
.bar-line .track > .mark { position: absolute; top: 0; bottom: 0; width: 2px; background: var(--fg); }
@container (max-width: 620px) {
  .bar-line { grid-template-columns: minmax(0, 1fr); }
  .panel > header .legend { margin-left: 0; }
  .tile dd { font-size: 16px; }
}
`;

let sheet = null;

/** The style sheet, made once per page. */
export function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}

const STATE_COLOURS = {
  success: "var(--ok)",
  succeeded: "var(--ok)",
  running: "var(--busy)",
  restarting: "var(--busy)",
  failed: "var(--bad)",
  out_of_memory: "var(--bad)",
  timeout: "var(--bad)",
  killed: "var(--bad)",
  upstream_failed: "var(--blocked)",
  up_for_retry: "var(--retry)",
  up_for_reschedule: "var(--retry)",
  deferred: "var(--defer)",
};

/** Colour of a state or outcome, as a CSS value; grey for what has not begun. */
export function stateColour(state) {
  return STATE_COLOURS[state] ?? "var(--idle)";
}

const BIN_COLOURS = ["#3b82f6", "#a855f7", "#0d9488", "#db2777", "#ca8a04", "#6366f1", "#0891b2", "#c2410c"];

/** Colour of the bin at `index` in the plan's order of bins. */
export function binColour(index) {
  return BIN_COLOURS[index % BIN_COLOURS.length];
}
