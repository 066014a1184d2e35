const { canaries } = data.timeline;
let { waves, looks } = data.timeline;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1100, HEIGHT = 300, LEFT = 60, RIGHT = 20, TOP = 14, BOTTOM = 34;

const draw = (parent, tag, attributes, text) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
};
const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));

// Ticks at round values: at most `count` of them.
const ticks = (low, high, count) => {
  const span = high - low || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
};

// The frame of a chart: axes, grid, bands of the waves; gives its scales.
function frame(place, label, [from, to], top, unit) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  place.replaceChildren(svg);
  const x = (s) => LEFT + ((s - from) / (to - from || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (v) => HEIGHT - BOTTOM - (v / (top || 1)) * (HEIGHT - TOP - BOTTOM);
  const rows = ticks(0, top || 1, 5);
  for (const value of rows.found) {
    draw(svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) });
    draw(svg, "text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(rows.digits) + unit);
  }
  const columns = ticks(from, to, 10);
  for (const value of columns.found) {
    draw(svg, "text", { x: x(value), y: HEIGHT - 14, "text-anchor": "middle" }, `${value.toFixed(columns.digits)} s`);
  }
  waves.forEach((wave, nth) => {
    if (wave.last_s < from || wave.first_s > to) return;
    const [left, right] = [Math.max(LEFT, x(wave.first_s)), Math.min(WIDTH - RIGHT, x(wave.last_s))];
    const band = draw(svg, "rect", { class: "band", x: left, y: TOP, width: Math.max(1.5, right - left), height: HEIGHT - TOP - BOTTOM });
    draw(band, "title", {}, `wave ${nth + 1}: ${wave.cancels} cancels`);
    draw(svg, "text", { x: left + 3, y: TOP + 10 }, String(nth + 1));
  });
  return { svg, x, y };
}

// A line of steps; it breaks where nothing is known.
function line({ svg, x, y }, kind, [from, to], value) {
  let path = "";
  let before = null;
  const inside = looks.filter((look, at) => (looks[at + 1] ?? look).at_s >= from && (looks[at - 1] ?? look).at_s <= to);
  for (const look of inside) {
    const now = value(look);
    const column = Math.min(WIDTH - RIGHT, Math.max(LEFT, x(look.at_s))).toFixed(1);
    if (now === null || now === undefined) before = null;
    else if (before === null) path += `M${column} ${y(now).toFixed(1)}`;
    else path += `H${column}V${y(now).toFixed(1)}`;
    if (now !== null && now !== undefined) before = now;
  }
  draw(svg, "path", { class: `line ${kind}`, d: path || "M0 0" });
  return inside.length;
}

function legend(place, items) {
  const box = make("div", { class: "legend" });
  for (const [kind, text] of items) {
    const swatch = document.createElementNS(SVG, "svg");
    swatch.setAttribute("viewBox", "0 0 28 10");
    swatch.setAttribute("aria-hidden", "true");
    draw(swatch, "path", { class: `line ${kind}`, d: "M0 5H28" });
    box.append(make("span", {}, swatch, text));
  }
  place.append(box);
}

// Gateway and workers, one above the other: the requests that each page shows.
function pages(span) {
  const place = document.getElementById("pages");
  place.replaceChildren();
  for (const page of data.pages ?? []) {
    const own = document.createElement("div");
    place.append(make("p", { class: "note" }, `${page.server ?? "unknown server"} at ${page.url}: ${page.finding.replaceAll("_", " ")}`), own);
    looks = page.timeline.looks;
    requestsOf(own, span);
  }
  looks = data.timeline.looks;
}

// The same test at the server itself, below: its own looks, canaries and waves.
function direct() {
  if (!data.direct) return;
  const place = document.getElementById("direct");
  const { url, difference, report } = data.direct;
  place.append(make("h2", {}, "The same load directly at the server"), make("p", {}, difference), make("p", { class: "note" }, `${url}: ${report.summary}`));
  const chart = document.createElement("div");
  place.append(chart);
  [looks, waves] = [report.timeline.looks, report.timeline.waves];
  requestsOf(chart, [0, Math.max(1e-3, ...looks.map((look) => look.at_s))]);
  [looks, waves] = [data.timeline.looks, data.timeline.waves];
}

function requestsOf(requests, span) {
  const top = (value) => Math.max(0, ...looks.map((look) => value(look) ?? 0)) * 1.08;
  const held = (look) => (look.running === null && look.waiting === null ? null : (look.running ?? 0) + (look.waiting ?? 0));
  const chart = frame(requests, "Requests that the server holds over time", span, Math.max(1, top(held), top((l) => l.wanted)), "");
  line(chart, "wanted", span, (look) => look.wanted);
  line(chart, "waiting", span, (look) => look.waiting);
  const drawn = line(chart, "running", span, held);
  chart.svg.dataset.looks = drawn;
  legend(requests, [["running", "held by the server: running and waiting"], ["waiting", "of these waiting"], ["wanted", "wanted by the client"]]);
}

function charts(span) {
  const top = (value) => Math.max(0, ...looks.map((look) => value(look) ?? 0)) * 1.08;
  requestsOf(document.getElementById("requests"), span);
  pages(span);
  let chart;
  const cache = document.getElementById("cache");
  if (looks.some((look) => look.kv_used !== null)) {
    const share = (look) => (look.kv_used === null ? null : 100 * look.kv_used);
    chart = frame(cache, "Share of the KV cache in use over time", span, Math.max(1e-3, top(share)), " %");
    chart.svg.dataset.looks = line(chart, "cache", span, share);
  } else cache.replaceChildren(make("p", { class: "note" }, "This server does not show how much of its cache is in use."));
  const alone = document.getElementById("canaries");
  chart = frame(alone, "Time that each canary took", span, Math.max(1e-3, ...canaries.map((c) => c.took_ms)) * 1.08, " ms");
  for (const canary of canaries.filter((c) => c.at_s >= span[0] && c.at_s <= span[1])) {
    const said = canary.answered ? `answered after ${number(canary.took_ms, 1)} ms, first token after ${number(canary.ttft_ms, 1)} ms` : `not answered within ${number(canary.took_ms, 0)} ms`;
    const [x, y] = [chart.x(canary.at_s), chart.y(canary.took_ms)];
    const dot = canary.answered
      ? draw(chart.svg, "circle", { class: "dot", cx: x, cy: y, r: 5 })
      : draw(chart.svg, "path", { class: "dot lost", d: `M${x - 7} ${y - 5}l5 5l-5 5h4l3 -3l3 3h4l-5 -5l5 -5h-4l-3 3l-3 -3z` });
    draw(dot, "title", {}, said);
  }
}

function verdict() {
  const kinds = { released: ["good", "✔ Released"], ran_on: ["bad", "✘ Not let go"], leaked: ["bad", "✘ Leaked"], wedged: ["bad", "✘ Wedged"], died: ["bad", "✘ Died"], cannot_tell: ["unsure", "? Cannot tell"] };
  const [kind, word] = kinds[data.verdict] ?? ["unsure", data.verdict];
  const place = document.getElementById("verdict");
  place.className = kind;
  place.append(
    make("p", { class: "word" }, word),
    make("p", {}, data.summary),
    make("p", {}, make("strong", {}, "Next: "), data.advice),
    make("p", { class: "note" }, `Exit code ${data.exit_code}; server: ${data.server ?? "unknown"}`),
  );
}

function table() {
  const head = ["wave", "cancelled", "cancels", "kept", "spread ms", "released s", "waiting back s", "cache back s", "held per cancel s", "held at rest", "cache at rest %", "canary ms"];
  const body = make("tbody");
  data.waves.forEach((wave, nth) => {
    const cells = [
      `${nth + 1}${wave.quiet ? " (quiet)" : ""}`, wave.phase.replaceAll("_", " "), String(wave.cancels), number(wave.still_held, 0), number(wave.spread_ms), number(wave.released_after_s),
      number(wave.waiting_back_after_s), number(wave.cache_back_after_s), number(wave.held_per_cancel_s), number(wave.held_at_rest, 0),
      number(wave.cache_at_rest === undefined ? null : 100 * wave.cache_at_rest, 3), wave.canary.answered ? number(wave.canary.took_ms, 1) : "no answer",
    ];
    body.append(make("tr", {}, ...cells.map((cell, at) => make("td", at === 1 ? { class: "text" } : {}, cell))));
  });
  const titles = head.map((cell, at) => make("th", at === 1 ? { class: "text", scope: "col" } : { scope: "col" }, cell));
  document.getElementById("waves").append(make("table", {}, make("thead", {}, make("tr", {}, ...titles)), body));
}

function facts() {
  const spread = (s) => (s ? `p50 ${number(s.p50_ms)} ms, p99 ${number(s.p99_ms)} ms (${s.count})` : "–");
  const share = (s) => `${number(s.leaked, 0)} of ${s.cancels}`;
  const counters = { not_shown: "not reported by this server", says_nothing: "says nothing of clients that left in this way", always_zero: "did not move: no alert can stand on it", agrees: "agrees with the client", doubled: "counts twice", off: "is off" };
  const { effect, counter } = data;
  const rows = [
    ["Cancelled", `${data.cancels}; a share of ${number(data.detectable_pct, 1)} % would have shown (95 %)`],
    ...(data.witnesses ?? []).map((of) => [`Witness: ${of.witness.replaceAll("_", " ")}`, `${of.verdict.replaceAll("_", " ")}: ${of.says}`]),
    ...(data.disagreement ? [["Disagreement", data.disagreement]] : []),
    ...(data.resolution_s === undefined ? [] : [["Resolution of released s", `${number(data.resolution_s, 3)} s from one sample to the next, and the server's own refresh on top (${data.refresh})`]]),
    ...(data.direct ? data.direct.report.witnesses.map((of) => [`Directly: ${of.witness.replaceAll("_", " ")}`, `${of.verdict.replaceAll("_", " ")}: ${of.says}`]) : []),
    ["Never came back", `${share(data.leak)} (before the first token ${share(data.leak_before_first_token)}, in the stream ${share(data.leak_streaming)})`],
    ["The server's own counter", `${counters[counter.verdict]}${counter.counted === undefined ? "" : ` (${number(counter.counted, 0)} for ${counter.cancels} cancels)`}`],
    ["Time to first token near a cancel", `${spread(effect.ttft_near)}; without: ${spread(effect.ttft_control)}`],
    ["Gap between tokens near a cancel", `${spread(effect.itl_near)}; without: ${spread(effect.itl_control)}`],
    ["New connections after a cancel", `${effect.new_connections_answered} of ${effect.new_connections} answered; ${effect.survivors_failed} survivors failed`],
  ];
  document.getElementById("facts").append(...rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
}

function spans() {
  const ends = [...looks.map((l) => l.at_s), ...waves.map((w) => w.last_s), ...canaries.map((c) => c.at_s + c.took_ms / 1e3)];
  const whole = [0, Math.max(1e-3, ...ends)];
  const choices = [["Whole test", whole]];
  // A wave with what is before it and behind it, up to the canary.
  if (waves.length > 1) {
    waves.forEach((wave, nth) => {
      const until = canaries[nth + 1]?.at_s ?? whole[1];
      const length = Math.max(0.2, until - wave.first_s);
      choices.push([`Wave ${nth + 1}`, [Math.max(0, wave.first_s - length / 4), Math.min(whole[1], until + length / 10)]]);
    });
  }
  const place = document.getElementById("spans");
  const show = (chosen) => {
    [...place.children].forEach((button, at) => button.setAttribute("aria-pressed", String(at === chosen)));
    charts(choices[chosen][1]);
  };
  if (choices.length > 1) {
    choices.forEach(([name], at) => {
      const button = make("button", { type: "button" }, name);
      button.addEventListener("click", () => show(at));
      place.append(button);
    });
  }
  show(0);
}

theme();
verdict();
spans();
direct();
table();
facts();
