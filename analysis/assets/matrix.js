const MODES = ["fin", "rst", "half-close", "stall"];

const words = {
  released: () => "ok",
  released_late: (cell) => (cell.released_after_s === undefined ? "late" : `late ${cell.released_after_s.toFixed(1)} s`),
  ran_on: () => "ran on",
  leaked: (cell) => (cell.leaked < 0.5 ? "leaks cache" : `leaks ${cell.leaked.toFixed(0)}/${cell.cancels}`),
  wedged: () => "wedged",
  died: () => "died",
  too_late: () => "too late",
  cannot_tell: () => "?",
};
const bad = (cell) => ["ran_on", "leaked", "wedged", "died"].includes(cell.found);
const key = (place) => JSON.stringify([place.endpoint, place.streaming, place.trigger]);
const answers = (place) => (place.streaming ? "stream" : "whole");

function verdict() {
  const kind = { 0: "good", 4: "bad" }[data.exit_code] ?? "unsure";
  const place = document.getElementById("verdict");
  place.className = kind;
  place.append(
    make("p", { class: "word" }, { good: "✔ Released", bad: "✘ Not released", unsure: "? Cannot tell" }[kind]),
    make("p", {}, data.summary),
    make("p", { class: "note" }, `Exit code ${data.exit_code}; ${data.url}`),
  );
}

function cells() {
  const rows = new Map();
  for (const cell of [...data.cells, ...data.left]) {
    if (!rows.has(key(cell))) rows.set(key(cell), { place: cell, by: {} });
    rows.get(key(cell)).by[cell.mode] = cell;
  }
  const body = make("tbody");
  for (const { place, by } of rows.values()) {
    const row = make("tr", {}, ...[place.endpoint, answers(place), place.trigger].map((text) => make("td", { class: "text" }, text)));
    for (const mode of MODES) {
      const cell = by[mode];
      const word = cell === undefined ? "–" : cell.found === undefined ? "not run" : words[cell.found](cell);
      const title = { class: "text", title: cell?.summary ?? "" };
      row.append(make("td", title, cell?.found !== undefined && bad(cell) ? make("strong", {}, `✘ ${word}`) : word));
    }
    body.append(row);
  }
  const titles = ["endpoint", "answers", "left at", ...MODES].map((text) => make("th", { class: "text", scope: "col" }, text));
  document.getElementById("cells").append(make("table", {}, make("thead", {}, make("tr", {}, ...titles)), body));
}

function list(id, rows, none) {
  const place = document.getElementById(id);
  if (rows.length === 0) place.replaceWith(make("p", { class: "note" }, none));
  else place.append(...rows.flatMap(([name, ...texts]) => [make("dt", {}, name), ...texts.map((text) => make("dd", {}, text))]));
}

theme();
verdict();
cells();
list("bad", data.cells.filter(bad).map((cell) => [`${cell.endpoint}, ${answers(cell)}, ${cell.trigger}, ${cell.mode}`, cell.summary, make("code", {}, cell.alone)]), "Nothing.");
list("endpoints", data.endpoints.map((one) => [one.endpoint, one.served ? "served" : `not served: ${one.said ?? "no answer"}`]), "None was asked.");
