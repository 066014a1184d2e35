'use strict';
(() => {
const data = JSON.parse(document.getElementById('data').textContent);
// What was asked for is no metric of a run, but what sweeps go along.
const ASKED = 'asked';
const runs = new Map(data.runs.map((run) => [String(run.id), run]));
const state = { theme: data.theme, view: 'charts', run: null, chosen: new Set(), stat: 'p50', hidden: new Set(), own: [], axes: { x: [ASKED, 'avg'], y: ['output_token_throughput', 'avg'] } };
const byId = (id) => document.getElementById(id);
let charts = [];

// ---------------------------------------------------------------- elements and numbers

function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'text') node.textContent = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null));
  return node;
}

function number(value) {
  if (typeof value !== 'number' || !isFinite(value)) return '–';
  const size = Math.abs(value);
  const digits = size === 0 || size >= 1000 ? 0 : Math.min(9, Math.max(0, 3 - Math.floor(Math.log10(size))));
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}

function say(text) {
  byId('said').hidden = !text;
  byId('said').textContent = text || '';
}

// ---------------------------------------------------------------- scales

function linearTicks(low, high, wanted) {
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((nice) => nice * power).find((nice) => nice >= raw * 0.999) || power * 10;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at <= Math.floor(high / step + 1e-9) && ticks.length < 100; at += 1) {
    ticks.push([at * step + 0, (at * step + 0).toLocaleString('en-US', { minimumFractionDigits: Math.min(digits, 9), maximumFractionDigits: Math.min(digits, 9) })]);
  }
  return ticks;
}

function logTicks(low, high, wanted) {
  const of = (parts) => {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const part of parts) {
        const value = part * 10 ** power;
        if (value >= low && value <= high) ticks.push([value, number(value)]);
      }
    }
    return ticks;
  };
  const fine = of([1, 2, 5]);
  return fine.length <= wanted ? fine : of([1]);
}

/** The range of an axis for values within an extent; `zoom` wins. */
function range(axis, [low, high], zoom) {
  if (zoom) return zoom;
  if (axis.names) return [-0.6, axis.names.length - 0.4];
  if (!isFinite(low) || !isFinite(high)) return [0, 1];
  if (axis.log) {
    if (!(low > 0)) low = Math.max(high, 1) / 1e4;
    return [low / 1.15, Math.max(high, low * 1.001) * 1.15];
  }
  if (axis.zero) { low = Math.min(low, 0); high = Math.max(high, 0); }
  if (high - low < 1e-12 * Math.max(1, Math.abs(high))) {
    const room = high === 0 ? 1 : Math.abs(high) * 0.1;
    if (!(axis.zero && low === 0)) low -= room;
    high += room;
  }
  const margin = (high - low) * 0.04;
  return [axis.zero && low === 0 ? 0 : (low >= 0 ? Math.max(0, low - margin) : low - margin), axis.zero && high === 0 ? 0 : high + margin];
}

function scale(axis, [low, high], from, to, wanted) {
  const log = Boolean(axis.log);
  const share = log ? (value) => Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value) => (value - low) / (high - low);
  const place = (value) => from + share(value) * (to - from);
  const value = (pixel) => {
    const part = (pixel - from) / (to - from);
    return log ? low * (high / low) ** part : low + part * (high - low);
  };
  let ticks;
  if (axis.names) ticks = axis.names.map((name, at) => [at, name]);
  else if (axis.ticks) ticks = axis.ticks;
  else ticks = log ? logTicks(low, high, wanted) : linearTicks(low, high, wanted);
  return { low, high, from, to, place, value, ticks: ticks.filter(([at]) => at >= low && at <= high) };
}

function extent(mark, point) {
  const [x, y, x2 = 0, y2 = 0] = point;
  switch (mark) {
    case 'band': case 'whiskers': return [x, x, Math.min(y, y2), Math.max(y, y2)];
    case 'bars': return [x, x2, 0, y];
    case 'spans': return [x, x2, y, y];
    case 'area': return [x, x, Math.min(0, y), Math.max(0, y)];
    case 'ellipses': case 'faintellipses': return [x - x2, x + x2, y - y2, y + y2];
    default: return [x, x, y, y];
  }
}

// ---------------------------------------------------------------- one chart

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.off = new Set();
    this.zoom = null;
    this.focus = null;
    this.canvas = el('canvas', { tabindex: 0, role: 'img', 'data-chart': figure.name, 'aria-label': this.described(),
      onpointermove: (event) => this.moved(event), onpointerleave: () => { if (!this.from) this.show(null); },
      onpointerdown: (event) => this.pressed(event), onpointerup: (event) => this.released(event),
      onpointercancel: () => this.dropped(), ondblclick: () => this.reset(), onkeydown: (event) => this.key(event) });
    this.tip = el('div', { class: 'tip', role: 'status', hidden: true });
    this.ring = el('div', { class: 'ring', hidden: true });
    this.drag = el('div', { class: 'drag', hidden: true });
    this.plot = el('div', { class: 'plot' }, this.canvas, this.ring, this.drag, this.tip);
    this.values = el('div', { class: 'scroll', hidden: true });
    const tools = [
      el('button', { type: 'button', text: 'Reset zoom', onclick: () => this.reset() }),
      el('button', { type: 'button', text: 'Values', 'aria-pressed': 'false', onclick: (event) => this.table(event.currentTarget) }),
      el('button', { type: 'button', text: 'PNG', onclick: () => this.save() }),
      el('button', { type: 'button', text: 'Hide', 'aria-label': `Hide ${figure.title}`, onclick: () => { state.hidden.add(figure.name); render(); } }),
    ];
    this.node = el('figure', { 'data-figure': figure.name }, el('figcaption', {}, el('strong', { text: figure.title }), tools),
      this.plot, this.legend(), figure.notes.map((note) => el('p', { class: 'note', text: note })), this.values);
  }

  described() {
    const count = this.figure.series.reduce((sum, series) => sum + series.points.length, 0);
    return `${this.figure.title}: ${this.figure.y.label || this.figure.y.names?.length + ' rows'} against ${this.figure.x.label}, ${count} marks. Arrow keys go from point to point, plus and minus zoom, 0 resets.`;
  }

  colour(series) {
    const theme = data.themes[state.theme];
    return typeof series.ink === 'number' ? theme.series[series.ink % theme.series.length] : theme[series.ink];
  }

  legend() {
    const named = this.figure.series.filter((series) => series.name);
    if (!named.length) return null;
    this.swatches = [];
    return el('div', { class: 'legend', role: 'group', 'aria-label': 'Series' }, named.map((series) => {
      const swatch = el('span', { class: 'swatch' });
      this.swatches.push([swatch, series]);
      const button = el('button', { type: 'button', 'aria-pressed': 'true', onclick: () => {
        // Lines without a name of their own go with the marks of their colour.
        const same = this.figure.series.filter((other) => other === series || (!other.name && other.ink === series.ink));
        const hide = !this.off.has(series);
        same.forEach((other) => (hide ? this.off.add(other) : this.off.delete(other)));
        button.setAttribute('aria-pressed', String(!hide));
        this.draw();
      } }, swatch, series.name);
      return button;
    }));
  }

  shown() { return this.figure.series.filter((series) => !this.off.has(series)); }

  layout(width, height, context) {
    const { figure } = this;
    const all = [[Infinity, -Infinity], [Infinity, -Infinity], [Infinity, -Infinity]];
    const widen = (at, axis, low, high) => {
      for (const value of [low, high]) {
        if (isFinite(value) && (!axis.log || value > 0)) { all[at][0] = Math.min(all[at][0], value); all[at][1] = Math.max(all[at][1], value); }
      }
    };
    for (const series of this.shown()) {
      for (const point of series.points) {
        const [x0, x1, y0, y1] = extent(series.mark, point);
        widen(0, figure.x, x0, x1);
        if (series.right) widen(2, figure.y2, y0, y1); else widen(1, figure.y, y0, y1);
      }
    }
    for (const guide of figure.guides) widen(guide.upright ? 0 : 1, guide.upright ? figure.x : figure.y, guide.from, guide.to);
    const ranges = [range(figure.x, all[0], this.zoom?.[0]), range(figure.y, all[1], this.zoom?.[1]), figure.y2 ? range(figure.y2, all[2], this.zoom?.[2]) : null];
    const widest = (axis, at) => Math.max(20, ...scale(axis, ranges[at], height, 0, 6).ticks.map(([, text]) => context.measureText(this.short(text)).width));
    const left = widest(figure.y, 1) + (figure.y.label ? 34 : 14);
    const right = width - (figure.y2 ? widest(figure.y2, 2) + 34 : 14);
    const bottom = height - (figure.x.ticks ? 78 : 44);
    return {
      x: scale(figure.x, ranges[0], left, right, Math.floor((right - left) / 80)),
      y: scale(figure.y, ranges[1], bottom, 10, 6),
      y2: figure.y2 ? scale(figure.y2, ranges[2], bottom, 10, 6) : null,
    };
  }

  short(text) { return text.length > 28 ? `${text.slice(0, 14)}…${text.slice(-13)}` : text; }

  draw() {
    const { canvas, figure } = this;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const c = canvas.getContext('2d');
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.font = '12px "DejaVu Sans", system-ui, sans-serif';
    const theme = data.themes[state.theme];
    const at = this.at = this.layout(width, height, c);
    const { x, y, y2 } = at;
    c.fillStyle = theme.background;
    c.fillRect(0, 0, width, height);
    c.strokeStyle = theme.grid;
    c.fillStyle = theme.text;
    c.textBaseline = 'middle';
    c.textAlign = 'right';
    for (const [value, text] of y.ticks) {
      const down = y.place(value);
      c.beginPath(); c.moveTo(x.from, down); c.lineTo(x.to, down); c.stroke();
      c.fillText(this.short(text), x.from - 6, down);
    }
    if (y2) {
      c.textAlign = 'left';
      for (const [value, text] of y2.ticks) c.fillText(text, x.to + 6, y2.place(value));
    }
    let free = -Infinity;
    for (const [value, text] of x.ticks) {
      const along = x.place(value);
      c.beginPath(); c.moveTo(along, y.from); c.lineTo(along, y.to); c.stroke();
      const turned = Boolean(figure.x.ticks);
      const half = turned ? 9 : c.measureText(text).width / 2 + 6;
      if (along - half < free) continue;
      free = along + half;
      c.save();
      c.translate(along, y.from + 12);
      if (turned) { c.rotate(-Math.PI / 4); c.textAlign = 'right'; } else c.textAlign = 'center';
      c.fillText(this.short(text), 0, 0);
      c.restore();
    }
    c.textAlign = 'center';
    c.fillText(figure.x.label, (x.from + x.to) / 2, height - 9);
    const upright = (text, along, down) => { c.save(); c.translate(along, down); c.rotate(-Math.PI / 2); c.fillText(text, 0, 0); c.restore(); };
    upright(figure.y.label, 10, (y.from + y.to) / 2);
    if (y2) upright(figure.y2.label, width - 9, (y.from + y.to) / 2);
    c.save();
    c.beginPath(); c.rect(x.from - 6, y.to - 6, x.to - x.from + 12, y.from - y.to + 12); c.clip();
    let marks = 0;
    this.labels = [];
    for (const series of this.shown()) marks += this.series(c, series, at);
    let row = 0;
    for (const guide of figure.guides) row = this.guide(c, guide, at, theme, row);
    c.restore();
    c.strokeStyle = theme.text;
    c.beginPath(); c.moveTo(x.from, y.to); c.lineTo(x.from, y.from); c.lineTo(x.to, y.from); c.stroke();
    (this.swatches || []).forEach(([swatch, series]) => { swatch.style.background = this.colour(series); });
    canvas.dataset.marks = marks;
    canvas.dataset.zoomed = this.zoom ? 'true' : 'false';
  }

  guide(c, guide, { x, y }, theme, row) {
    c.save();
    c.fillStyle = c.strokeStyle = theme.text;
    if (guide.to > guide.from) {
      c.globalAlpha = 0.08;
      if (guide.upright) c.fillRect(x.place(guide.from), y.to, x.place(guide.to) - x.place(guide.from), y.from - y.to);
      else c.fillRect(x.from, y.place(guide.to), x.to - x.from, y.place(guide.from) - y.place(guide.to));
    } else {
      c.globalAlpha = 0.6;
      c.setLineDash([7, 5]);
      const at = guide.upright ? x.place(guide.from) : y.place(guide.from);
      c.beginPath();
      if (guide.upright) { c.moveTo(at, y.from); c.lineTo(at, y.to); } else { c.moveTo(x.from, at); c.lineTo(x.to, at); }
      c.stroke();
      c.globalAlpha = 0.9;
      if (guide.upright) {
        c.textAlign = at > (x.from + x.to) / 2 ? 'right' : 'left';
        c.fillText(guide.text, at + (c.textAlign === 'right' ? -5 : 5), y.to + 8 + 15 * row);
        row += 1;
      } else { c.textAlign = 'right'; c.fillText(guide.text, x.to - 4, at - 8); }
    }
    c.restore();
    return row;
  }

  series(c, series, { x, y: left, y2 }) {
    const y = series.right ? y2 : left;
    const colour = this.colour(series);
    const points = series.points.filter((point) => isFinite(point[0]) && isFinite(point[1]));
    c.save();
    c.strokeStyle = c.fillStyle = colour;
    c.lineWidth = 2;
    const path = (step) => {
      c.beginPath();
      points.forEach(([px, py], at) => {
        const along = x.place(px), down = y.place(py);
        if (at === 0) c.moveTo(along, down);
        else { if (step) c.lineTo(along, y.place(points[at - 1][1])); c.lineTo(along, down); }
      });
    };
    switch (series.mark) {
      case 'dashed': c.setLineDash([7, 5]); path(false); c.stroke(); break;
      case 'line': path(false); c.stroke(); break;
      case 'step': path(true); c.stroke(); break;
      case 'area':
        path(true); c.lineWidth = 1.3; c.stroke();
        if (points.length) {
          c.lineTo(x.place(points[points.length - 1][0]), y.place(0)); c.lineTo(x.place(points[0][0]), y.place(0));
          c.globalAlpha = 0.25; c.fill();
        }
        break;
      case 'band':
        c.beginPath();
        points.forEach(([px, py], at) => (at ? c.lineTo(x.place(px), y.place(py)) : c.moveTo(x.place(px), y.place(py))));
        [...points].reverse().forEach(([px, , , py]) => c.lineTo(x.place(px), y.place(py)));
        c.globalAlpha = 0.22; c.fill();
        break;
      case 'bars':
        c.globalAlpha = 0.85;
        for (const [px, py, px2] of points) {
          const from = x.place(px), wide = x.place(px2) - from;
          c.fillRect(from + (wide > 4 ? 0.7 : 0), y.place(py), Math.max(0.5, wide - (wide > 4 ? 1.4 : 0)), y.place(0) - y.place(py));
        }
        break;
      case 'spans': {
        const tall = Math.min(14, Math.max(1, (y.from - y.to) / Math.max(1, y.high - y.low) * 0.7));
        for (const [px, py, px2] of points) c.fillRect(x.place(px), y.place(py) - tall / 2, Math.max(0.7, x.place(px2) - x.place(px)), tall);
        break;
      }
      case 'whiskers':
        c.lineWidth = 1;
        for (const [px, low, , high] of points) {
          const along = x.place(px);
          c.beginPath();
          c.moveTo(along - 4, y.place(low)); c.lineTo(along + 4, y.place(low)); c.moveTo(along, y.place(low)); c.lineTo(along, y.place(high));
          c.moveTo(along - 4, y.place(high)); c.lineTo(along + 4, y.place(high)); c.stroke();
        }
        break;
      case 'ellipses': case 'faintellipses':
        if (series.mark === 'faintellipses') c.setLineDash([6, 4]);
        for (const [px, py, rx, ry] of points) {
          c.beginPath();
          c.ellipse(x.place(px), y.place(py), Math.abs(x.place(px + rx) - x.place(px)), Math.abs(y.place(py + ry) - y.place(py)), 0, 0, 7);
          c.globalAlpha = 0.15; c.fill(); c.globalAlpha = 0.8; c.stroke();
        }
        break;
      default: {
        if (series.mark === 'joined') { path(false); c.stroke(); }
        const labelled = points.length < 60;
        const radius = points.length > 2000 ? 1.8 : points.length > 300 ? 2.5 : 4;
        c.globalAlpha = points.length > 300 ? 0.7 : 0.95;
        for (const point of points) {
          const along = x.place(point[0]), down = y.place(point[1]);
          this.marker(c, series, along, down, series.mark === 'joined' ? 5 : radius);
          if (labelled && typeof point[4] === 'string') this.label(c, this.short(point[4]), along, down, { x, y });
        }
      }
    }
    c.restore();
    return points.length;
  }

  /** A label beside its point: where it covers no other and stays inside; else the pointer tells. */
  label(c, text, along, down, { x, y }) {
    const wide = c.measureText(text).width, tall = 13;
    for (const [dx, dy] of [[7, -8], [-7 - wide, -8], [7, 10], [-7 - wide, 10]]) {
      const box = [along + dx, down + dy - tall / 2, along + dx + wide, down + dy + tall / 2];
      if (box[0] < x.from || box[2] > x.to + 4 || box[1] < y.to - 4 || box[3] > y.from) continue;
      if (this.labels.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
      this.labels.push(box);
      c.save(); c.fillStyle = data.themes[state.theme].text; c.globalAlpha = 1; c.textAlign = 'left';
      c.fillText(text, box[0], down + dy); c.restore();
      return;
    }
  }

  marker(c, series, x, y, r) {
    const shape = series.mark === 'diamonds' ? 3 : typeof series.ink === 'number' ? series.ink % 5 : 0;
    c.beginPath();
    if (series.mark === 'crosses') {
      c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x + r, y - r); c.lineTo(x - r, y + r); c.lineWidth = 1.6; c.stroke();
      return;
    }
    if (shape === 0) c.arc(x, y, r, 0, 7);
    else if (shape === 1) c.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
    else if (shape === 2) { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.15, y + r * 0.8); c.lineTo(x - r * 1.15, y + r * 0.8); }
    else if (shape === 3) { c.moveTo(x, y - r * 1.3); c.lineTo(x + r * 1.3, y); c.lineTo(x, y + r * 1.3); c.lineTo(x - r * 1.3, y); }
    else { c.moveTo(x, y + r * 1.2); c.lineTo(x + r * 1.15, y - r * 0.8); c.lineTo(x - r * 1.15, y - r * 0.8); }
    c.closePath(); c.fill();
  }

  // ------------------------------------------------ hover, zoom, keys

  spot(series, point) {
    const { x, y, y2 } = this.at;
    const vertical = series.right ? y2 : y;
    let along = x.place(point[0]), down = vertical.place(point[1]);
    if (series.mark === 'bars' || series.mark === 'spans') along = (along + x.place(point[2])) / 2;
    if (series.mark === 'band' || series.mark === 'whiskers') down = vertical.place((point[1] + point[3]) / 2);
    return [along, down];
  }

  inside([along, down]) {
    const { x, y } = this.at;
    return along >= x.from - 2 && along <= x.to + 2 && down <= y.from + 2 && down >= y.to - 2;
  }

  nearest(px, py) {
    let best = null;
    const flat = new Set(['line', 'dashed', 'step', 'area', 'bars', 'band']);
    for (const series of this.shown()) {
      for (const point of series.points) {
        const spot = this.spot(series, point);
        if (!this.inside(spot)) continue;
        const dx = spot[0] - px, dy = spot[1] - py;
        // Curves and bars are met by their x, points by both.
        const distance = Math.hypot(dx, flat.has(series.mark) ? dy * 0.3 : dy);
        if (!best || distance < best.distance) best = { distance, series, point, spot };
      }
    }
    return best && best.distance < 60 ? best : null;
  }

  show(found) {
    this.focus = found;
    this.tip.hidden = this.ring.hidden = !found;
    if (!found) return;
    const { series, point, spot } = found;
    const { figure } = this;
    const vertical = series.right ? figure.y2 : figure.y;
    const name = (axis, value) => (axis.names ? axis.names[Math.round(value)] ?? number(value) : number(value));
    const lines = [];
    if (series.name) lines.push(series.name);
    if (typeof point[4] === 'string') lines.push(point[4]);
    const pair = (from, to) => `${number(from)} to ${number(to)}`;
    const xs = series.mark === 'bars' || series.mark === 'spans' ? pair(point[0], point[2]) : name(figure.x, point[0]);
    const ys = series.mark === 'band' || series.mark === 'whiskers' ? pair(point[1], point[3]) : name(vertical, point[1]);
    lines.push(`${figure.x.label || 'x'}: ${figure.x.names ? name(figure.x, (point[0] + (point[2] ?? point[0])) / 2) : xs}`, `${vertical.label || 'y'}: ${ys}`);
    this.tip.textContent = lines.join('\n');
    this.ring.style.left = `${spot[0]}px`;
    this.ring.style.top = `${spot[1]}px`;
    const right = spot[0] > this.canvas.clientWidth / 2;
    this.tip.style.left = right ? 'auto' : `${spot[0] + 14}px`;
    this.tip.style.right = right ? `${this.canvas.clientWidth - spot[0] + 14}px` : 'auto';
    this.tip.style.top = `${Math.max(0, spot[1] - 12)}px`;
  }

  local(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  moved(event) {
    if (!this.at) return;
    const [px, py] = this.local(event);
    if (!this.from) { this.show(this.nearest(px, py)); return; }
    const [fx, fy] = this.from;
    Object.assign(this.drag.style, { left: `${Math.min(fx, px)}px`, top: `${Math.min(fy, py)}px`, width: `${Math.abs(px - fx)}px`, height: `${Math.abs(py - fy)}px` });
    this.drag.hidden = Math.abs(px - fx) < 4 && Math.abs(py - fy) < 4;
  }

  pressed(event) {
    if (event.button !== 0 || !this.at) return;
    this.from = this.local(event);
    try { this.canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that is no longer there */ }
  }

  released(event) {
    if (!this.from) return;
    const [fx, fy] = this.from, [px, py] = this.local(event);
    this.dropped();
    const run = this.nearest(px, py)?.point[5];
    if (run !== undefined && Math.hypot(px - fx, py - fy) < 8) { state.run = run; state.view = 'overview'; render(); return; }
    if (Math.abs(px - fx) < 8 || Math.abs(py - fy) < 8) return;
    this.zoomTo([Math.min(fx, px), Math.max(fx, px)], [Math.max(fy, py), Math.min(fy, py)]);
  }

  dropped() { this.from = null; this.drag.hidden = true; }

  zoomTo(xs, ys) {
    const { x, y, y2 } = this.at;
    this.zoom = [xs.map(x.value), ys.map(y.value), y2 ? ys.map(y2.value) : null];
    this.show(null);
    this.draw();
  }

  reset() { this.zoom = null; this.show(null); this.draw(); }

  key(event) {
    if (!this.at || event.ctrlKey || event.metaKey || event.altKey) return;
    const { x, y } = this.at;
    const scaled = (factor) => {
      const [cx, cy] = this.focus ? this.focus.spot : [(x.from + x.to) / 2, (y.from + y.to) / 2];
      const about = (from, to, centre) => [centre + (from - centre) * factor, centre + (to - centre) * factor];
      this.zoomTo(about(x.from, x.to, cx), about(y.from, y.to, cy));
    };
    switch (event.key) {
      case 'ArrowLeft': case 'ArrowRight': this.walk(event.key === 'ArrowRight' ? 1 : -1); break;
      case '+': case '=': scaled(0.6); break;
      case '-': scaled(1 / 0.6); break;
      case '0': case 'Escape': this.reset(); break;
      default: return;
    }
    event.preventDefault();
  }

  walk(by) {
    const all = this.shown().flatMap((series) => series.points.map((point) => ({ series, point, spot: this.spot(series, point) })))
      .filter((found) => this.inside(found.spot)).sort((a, b) => a.spot[0] - b.spot[0] || a.spot[1] - b.spot[1]);
    if (!all.length) return;
    const at = this.focus ? all.findIndex((found) => found.point === this.focus.point && found.series === this.focus.series) : -1;
    this.show(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))]);
  }

  table(button) {
    const open = this.values.hidden;
    this.values.hidden = !open;
    button.setAttribute('aria-pressed', String(open));
    if (!open || this.values.firstChild) return;
    const most = 500;
    const rows = this.figure.series.flatMap((series) => series.points.map((point) => [series, point])).slice(0, most);
    this.values.append(el('table', {}, el('caption', { text: `${this.figure.title}${rows.length === most ? `, the first ${most} marks` : ''}` }),
      el('thead', {}, el('tr', {}, ['Series', this.figure.x.label || 'x', this.figure.y.label || 'y', 'to x', 'to y', 'Label'].map((text) => el('th', { scope: 'col', text })))),
      el('tbody', {}, rows.map(([series, point]) => el('tr', {}, [series.name, number(point[0]), number(point[1]), point[2] ? number(point[2]) : '', point[3] ? number(point[3]) : '', point[4] || ''].map((text) => el('td', { text })))))));
  }

  save() { saved(this.canvas, `${this.figure.name}.png`); }
}

function saved(canvas, name) {
  canvas.toBlob((blob) => {
    const link = el('a', { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

/** One picture of all charts of the view, one below the other. */
function saveAll() {
  const drawn = charts.filter((chart) => chart.canvas.width);
  if (!drawn.length) return;
  const ratio = window.devicePixelRatio || 1, title = Math.round(28 * ratio);
  const sheet = el('canvas');
  sheet.width = Math.max(...drawn.map((chart) => chart.canvas.width));
  sheet.height = drawn.reduce((sum, chart) => sum + chart.canvas.height + title, 0);
  const c = sheet.getContext('2d'), theme = data.themes[state.theme];
  c.fillStyle = theme.background;
  c.fillRect(0, 0, sheet.width, sheet.height);
  c.fillStyle = theme.text;
  c.font = `bold ${Math.round(14 * ratio)}px "DejaVu Sans", system-ui, sans-serif`;
  let down = 0;
  for (const { canvas, figure } of drawn) {
    c.fillText(figure.title, 8 * ratio, down + title * 0.7);
    c.drawImage(canvas, 0, down + title);
    down += title + canvas.height;
  }
  saved(sheet, 'charts.png');
}

const resized = new ResizeObserver((entries) => entries.forEach((entry) => charts.find((chart) => chart.canvas === entry.target)?.draw()));

function grid(figures) {
  const shown = figures.filter((figure) => !state.hidden.has(figure.name));
  const made = shown.map((figure) => new Chart(figure));
  made.forEach((chart) => { charts.push(chart); resized.observe(chart.canvas); });
  const back = figures.length - shown.length;
  return [
    el('p', { class: 'bar' },
      back ? el('button', { type: 'button', text: `Show ${back} hidden chart${back > 1 ? 's' : ''}`, onclick: () => { state.hidden.clear(); render(); } }) : null,
      shown.length ? el('button', { type: 'button', id: 'all', text: 'All charts as one PNG', onclick: saveAll }) : null),
    el('div', { class: 'grid' }, made.map((chart) => chart.node)),
  ];
}

function skippedList(skipped) {
  if (!skipped || !skipped.length) return null;
  return el('details', {}, el('summary', { text: `Charts with nothing to show: ${skipped.length}` }), el('ul', {}, skipped.map(([name, why]) => el('li', { text: `${name}: ${why}` }))));
}

// ---------------------------------------------------------------- views of one run

const STATS = ['avg', 'min', 'p50', 'p90', 'p95', 'p99', 'max', 'std', 'count'];

function overview(run) {
  const table = el('table', { id: 'metrics' }, el('caption', { text: 'Metrics' }),
    el('thead', {}, el('tr', {}, el('th', { scope: 'col', text: 'Metric' }), el('th', { scope: 'col', class: 'text', text: 'Unit' }), STATS.map((stat) => el('th', { scope: 'col', text: stat })))),
    el('tbody', {}, run.metrics.map(([, name, unit, , stats]) => el('tr', {}, el('th', { scope: 'row', text: name }), el('td', { class: 'text', text: unit }), STATS.map((stat) => el('td', { text: stat in stats ? number(stats[stat]) : '' }))))));
  return [
    el('h2', { text: run.name }),
    el('dl', {}, run.facts.flatMap(([name, value]) => [el('dt', { text: name }), el('dd', { text: value })])),
    shardsPanel(run.shards),
    el('h2', { text: 'Figures' }), el('div', { class: 'scroll' }, table),
    Object.entries(run.blocks).map(([name, block]) => el('details', { open: name !== 'input_config' }, el('summary', { text: name.replace(/_/g, ' ') }), el('dl', {}, flat(block).flatMap(([key, value]) => [el('dt', { text: key }), el('dd', { text: value })])))),
  ];
}

// The processes that sent a run together: what each has sent, and how far it can be trusted.
const SHARDS = [
  ['Shard', (s) => s.index], ['Machine', (s) => (s.node && s.node !== s.host ? `${s.node} (${s.host})` : s.host), 'text'],
  ['Requests', (s) => number(s.requests)], ['Share (%)', (s) => number(s.share_pct)],
  ['Held', (s) => (s.held_asked ? `${number(s.held_avg)} of ${s.held_asked}` : '')],
  ['Timers late p99 (ms)', (s) => late(s.timer_lateness)], ['Sends late p99 (ms)', (s) => late(s.send_lateness)], ['Reads late p99 (ms)', (s) => late(s.receive_delay)],
  ['Clock ± (us)', (s) => number(s.clock_bound_us)], ['Throttled (ms)', (s) => number(s.throttled_us / 1e3)], ['Started late (us)', (s) => number(s.start_late_us)],
  ['Driver', (s) => s.io_driver, 'text'], ['State', (s) => (!s.complete ? 'incomplete' : s.client_was_bottleneck ? `bottleneck: ${(s.reasons || []).join('; ')}` : 'complete'), 'long'],
];

function late(of) {
  return of && typeof of.p99 === 'number' ? number(of.p99 / 1e3) : '–';
}

function shardsPanel(shards) {
  if (!shards) return null;
  const rows = [...(shards.table || [])];
  const lost = shards.missing || [];
  const span = SHARDS.length - 1;
  const table = el('table', { id: 'shards' }, el('caption', { text: `Shards: ${rows.length} of ${shards.shards} are here` }),
    el('thead', {}, el('tr', {}, SHARDS.map(([name, , kind]) => el('th', { scope: 'col', class: kind, text: name })))),
    el('tbody', {},
      rows.map((shard) => el('tr', { class: shard.complete && !shard.client_was_bottleneck ? null : 'worse' }, SHARDS.map(([, of, kind]) => el('td', { class: kind, text: String(of(shard)) })))),
      lost.map((shard) => el('tr', { class: 'worse lost' }, el('td', { text: String(shard.index) }), el('td', { class: 'long', colspan: span, text: lostWords(shard) })))));
  const facts = [['Clock', shards.clock === 'rendezvous' ? `the leader's, to ${number(shards.clock_bound_us)} us` : shards.clock === 'mixed' ? "the leader's of some shards, the own wall clock of the others" : 'the wall clock of each shard']];
  if (typeof shards.start_skew_ms === 'number') facts.push(['First requests within', `${number(shards.start_skew_ms)} ms`]);
  if (typeof shards.tail_s === 'number') facts.push(['Tail (first shard done to last)', `${number(shards.tail_s)} s`]);
  if (shards.loss) facts.push(['Load', `${number(shards.loss.rate_before)} requests/s up to ${number(shards.loss.at_sec)} s, when the first shard was lost, ${number(shards.loss.rate_after)} after; nothing is scaled up`]);
  (shards.notes || []).forEach((note) => facts.push(['Note', note]));
  return el('section', {}, el('h2', { text: 'Shards' }), el('div', { class: 'scroll' }, table),
    el('dl', {}, facts.flatMap(([name, value]) => [el('dt', { text: name }), el('dd', { text: value })])));
}

function lostWords(shard) {
  const there = shard.requests ? `${number(shard.requests)} of its requests are here` : 'none of its requests is here';
  const sent = typeof shard.sent === 'number' ? `, ${number(shard.sent)} were sent by its last account` : '';
  const last = typeof shard.last_number === 'number' ? `, the last known is number ${shard.last_number}` : '';
  const { first, step, block } = shard.segment;
  return `${shard.host ? `${shard.host}: ` : ''}${shard.reason}. Its numbers: ${block} from ${first}, and again every ${step}; ${there}${sent}${last}.${lostByLeader(shard)}`;
}

function lostByLeader(shard) {
  if (!shard.lost_how) return '';
  const at = typeof shard.lost_sec === 'number' ? ` at ${number(shard.lost_sec)} s` : '';
  const beat = shard.last_beat;
  const counted = beat ? `; its last sign of life counted ${number(beat.due)} begun, ${number(beat.finished)} answered, ${number(beat.failed)} failed, ${number(beat.cancelled)} cancelled` : '';
  return ` The leader lost it${at}: ${shard.lost_how}${counted}.`;
}

function flat(value, path = '') {
  if (value === null || typeof value !== 'object') return [[path || 'value', typeof value === 'number' ? number(value) : String(value)]];
  const entries = Object.entries(value);
  if (!entries.length) return [[path || 'value', 'none']];
  return entries.flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key));
}

const COLUMNS = [
  ['number', 'Nr'], ['outcome', 'Outcome', 'text'], ['start_s', 'Start (s)'], ['latency_ms', 'Latency (ms)'], ['ttft_ms', 'TTFT (ms)'], ['itl_ms', 'ITL (ms)'],
  ['isl', 'ISL'], ['osl', 'OSL'], ['turn', 'Turn'], ['id', 'Request id', 'text'], ['conversation', 'Conversation', 'text'], ['why', 'What happened', 'long'],
];
const PAGE = 50;

function requestsView(run) {
  const rows = run.requests;
  const view = run.view || (run.view = { text: '', outcome: '', sort: 'start_s', down: false, page: 0, warmup: false });
  const body = el('tbody'), count = el('span', { role: 'status', id: 'found' });
  const heads = COLUMNS.map(([key, name]) => el('th', { scope: 'col' }, el('button', { type: 'button', text: name, onclick: () => {
    view.down = view.sort === key ? !view.down : false;
    view.sort = key; view.page = 0; fill();
  } })));
  const step = (by) => { view.page += by; fill(); };
  const back = el('button', { type: 'button', text: 'Back', onclick: () => step(-1) });
  const next = el('button', { type: 'button', text: 'Next', id: 'next', onclick: () => step(1) });
  function fill() {
    const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let at = 0; at < rows.id.length; at += 1) {
      if (view.outcome && rows.outcome[at] !== view.outcome) continue;
      if (!view.warmup && rows.warmup[at]) continue;
      if (words.length) {
        const text = `${rows.number[at]} ${rows.id[at]} ${rows.conversation[at]} ${rows.outcome[at]} ${rows.why[at] || ''}`.toLowerCase();
        if (!words.every((word) => text.includes(word))) continue;
      }
      found.push(at);
    }
    const column = rows[view.sort], sign = view.down ? -1 : 1;
    found.sort((a, b) => {
      const x = column[a], y = column[b];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === 'number' ? x - y : x < y ? -1 : x > y ? 1 : 0);
    });
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    view.page = Math.min(pages - 1, Math.max(0, view.page));
    body.replaceChildren(...found.slice(view.page * PAGE, (view.page + 1) * PAGE).map((at) => el('tr', {}, COLUMNS.map(([key, , kind]) => {
      const value = rows[key][at];
      return el('td', { class: kind, text: value === null ? '' : kind ? value : number(value) });
    }))));
    heads.forEach((head, at) => {
      if (COLUMNS[at][0] === view.sort) head.setAttribute('aria-sort', view.down ? 'descending' : 'ascending'); else head.removeAttribute('aria-sort');
    });
    count.textContent = `${found.length.toLocaleString('en-US')} requests, page ${view.page + 1} of ${pages}`;
    back.disabled = view.page === 0;
    next.disabled = view.page >= pages - 1;
  }
  const search = el('input', { type: 'search', id: 'search', placeholder: 'id, number, conversation, error', 'aria-label': 'Search requests', oninput: (event) => { view.text = event.target.value; view.page = 0; fill(); } });
  search.value = view.text;
  const outcome = el('select', { 'aria-label': 'Outcome', id: 'outcome', onchange: (event) => { view.outcome = event.target.value; view.page = 0; fill(); } },
    [['', 'all outcomes'], ['ok', 'ok'], ['failed', 'failed'], ['cancelled', 'cancelled']].map(([value, text]) => el('option', { value, text })));
  outcome.value = view.outcome;
  const warmup = el('input', { type: 'checkbox', onchange: (event) => { view.warmup = event.target.checked; view.page = 0; fill(); } });
  warmup.checked = view.warmup;
  fill();
  return [
    el('h2', { text: `Requests of ${run.name}` }),
    rows.left_out ? el('p', { class: 'note', text: `The first ${rows.id.length.toLocaleString('en-US')} requests; ${rows.left_out.toLocaleString('en-US')} more are in profile_export.jsonl.` }) : null,
    el('div', { class: 'bar' }, search, outcome, rows.warmup.some(Boolean) ? el('label', {}, warmup, ' with warm-up') : null, back, next, count),
    el('div', { class: 'scroll' }, el('table', { id: 'requests' }, el('thead', {}, el('tr', {}, heads)), body)),
  ];
}

// ---------------------------------------------------------------- comparison

function distribution(chosen, key, title, label) {
  const series = chosen.map((run, at) => {
    const rows = run.requests;
    const values = rows[key].filter((value, row) => value !== null && rows.outcome[row] === 'ok' && !rows.warmup[row]).sort((a, b) => a - b);
    const step = Math.max(1, Math.floor(values.length / 800));
    const points = [];
    for (let rank = 0; rank < values.length; rank += step) points.push([values[rank], (rank + 1) / values.length * 100]);
    if (values.length) points.push([values[values.length - 1], 100]);
    return { name: run.name, ink: at, mark: 'line', right: false, points };
  }).filter((one) => one.points.length);
  if (!series.length) return null;
  return { name: `compare_${key}`, title, x: { label }, y: { label: 'Share of requests (%)', zero: true }, series, guides: [], notes: ['Answered requests: how many per cent took at most so long.'] };
}

/** The value of a statistic of a run; scalars have one alone. */
function valueOf(run, [tag, stat]) {
  if (tag === ASKED) {
    const asked = Number(run.facts.find(([name]) => name === 'Concurrency')?.[1]);
    return isFinite(asked) ? asked : undefined;
  }
  const row = run.metrics.find((one) => one[0] === tag);
  return row ? row[4][stat] ?? ('p50' in row[4] ? undefined : row[4].avg) : undefined;
}

/** A chart of the user's: a point per ticked run. */
function ownFigure({ x, y }, chosen, tags, at) {
  const title = ([tag, stat], unit) => {
    const [, name, of] = tags.get(tag) || [tag, tag, ''];
    return tag === ASKED || !unit ? `${name}${tag === ASKED ? '' : ` ${stat}`}` : `${name} ${stat} (${of})`;
  };
  const points = chosen.map((run) => [valueOf(run, x), valueOf(run, y), 0, 0, run.name, String(run.id)])
    .filter(([along, down]) => along !== undefined && down !== undefined).sort((a, b) => a[0] - b[0]);
  return { name: `own_${at + 1}`, title: `${title(y)} against ${title(x)}`, x: { label: title(x, true) }, y: { label: title(y, true), zero: true },
    series: [{ name: '', ink: 0, mark: 'joined', right: false, points }], guides: [], notes: points.length ? ['A click on a point opens its run.'] : ['No ticked run has both figures.'] };
}

/** Where charts of the user's own are put together. */
function builder(tags) {
  const axis = (key) => {
    const metric = el('select', { id: `${key}-metric`, 'aria-label': `Metric along ${key}`, onchange: (event) => { state.axes[key][0] = event.target.value; } },
      [...tags.values()].map(([tag, name]) => el('option', { value: tag, text: name })));
    metric.value = state.axes[key][0];
    const stat = el('select', { id: `${key}-stat`, 'aria-label': `Statistic along ${key}`, onchange: (event) => { state.axes[key][1] = event.target.value; } }, STATS.map((text) => el('option', { value: text, text })));
    stat.value = state.axes[key][1];
    return [`${key.toUpperCase()} `, metric, stat];
  };
  return el('div', { class: 'bar', role: 'group', 'aria-label': 'A chart of your own' }, axis('x'), axis('y'),
    el('button', { type: 'button', id: 'add', text: 'Add chart', onclick: () => { state.own.push({ x: [...state.axes.x], y: [...state.axes.y] }); render(); } }),
    state.own.length ? el('button', { type: 'button', text: 'Remove the last', onclick: () => { state.own.pop(); render(); } }) : null);
}

async function compareView(main) {
  const chosen = [...state.chosen].map((id) => runs.get(id)).filter(Boolean);
  if (chosen.length < 2) {
    main.append(el('h2', { text: 'Compare' }), el('p', { text: 'Tick two or more runs at the left.' }));
    return;
  }
  const stat = el('select', { 'aria-label': 'Statistic', id: 'stat', onchange: (event) => { state.stat = event.target.value; render(); } }, STATS.map((text) => el('option', { value: text, text })));
  stat.value = state.stat;
  const tags = new Map();
  chosen.forEach((run) => run.metrics.forEach((row) => { if (!tags.has(row[0])) tags.set(row[0], row); }));
  const value = (run, tag) => valueOf(run, [tag, state.stat]);
  const charted = new Map([[ASKED, [ASKED, 'Concurrency asked for', '']], ...tags]);
  const rows = [...tags.values()].map(([tag, name, unit, larger]) => {
    const base = value(chosen[0], tag);
    return el('tr', {}, el('th', { scope: 'row', text: unit ? `${name} (${unit})` : name }), chosen.map((run, at) => {
      const own = value(run, tag);
      const cell = el('td', { text: own === undefined ? '' : number(own) });
      if (at && own !== undefined && base) {
        const change = (own / base - 1) * 100;
        const good = larger ? change > 0 : change < 0;
        const judged = typeof larger === 'boolean' && Math.abs(change) >= 0.05;
        cell.append(' ', el('span', { class: !judged ? '' : good ? 'better' : 'worse', text: `${change >= 0 ? '+' : ''}${change.toFixed(1)}%` }));
      }
      return cell;
    }));
  });
  main.append(el('h2', { text: `${chosen.length} runs side by side` }), el('div', { class: 'bar' }, el('label', {}, 'Statistic ', stat), el('span', { class: 'note', text: `Changes against ${chosen[0].name}; scalars show their only value.` })));
  const own = [
    distribution(chosen, 'ttft_ms', 'Time to first token: share of requests', 'Time to first token (ms)'),
    distribution(chosen, 'latency_ms', 'Request latency: share of requests', 'Request latency (ms)'),
    distribution(chosen, 'itl_ms', 'Inter token latency: share of requests', 'Inter token latency (ms)'),
  ].filter(Boolean);
  const place = el('div');
  main.append(el('h2', { text: 'A chart of your own' }), builder(charted), place);
  own.unshift(...state.own.map((axes, at) => ownFigure(axes, chosen, charted, at)));
  main.append(el('h2', { text: 'Metrics' }), el('div', { class: 'scroll' }, el('table', { id: 'compared' }, el('thead', {}, el('tr', {}, el('th', { scope: 'col', text: 'Metric' }), chosen.map((run) => el('th', { scope: 'col', text: run.name })))), el('tbody', {}, rows))));
  let drawn = data.compare || { figures: [], skipped: [] };
  if (data.live) {
    try { drawn = await fetched(`api/compare?ids=${chosen.map((run) => run.id).join(',')}`); } catch (error) { say(String(error.message || error)); drawn = { figures: [], skipped: [] }; }
    if (!place.isConnected) return;
  }
  place.append(...grid([...own, ...drawn.figures]).filter(Boolean));
  const skipped = skippedList(drawn.skipped);
  if (skipped) place.append(skipped);
  if (!data.live && drawn.figures.length) place.prepend(el('p', { class: 'note', text: 'Your own charts and distributions are of the ticked runs; the other charts show all runs of this page.' }));
}

// ---------------------------------------------------------------- the page

const VIEWS = [['charts', 'Charts'], ['overview', 'Tables'], ['requests', 'Requests'], ['compare', 'Compare']];

async function render() {
  const main = byId('main');
  charts.forEach((chart) => resized.unobserve(chart.canvas));
  charts = [];
  main.replaceChildren();
  side();
  [...byId('views').children].forEach((button, at) => {
    if (VIEWS[at][0] === state.view) button.setAttribute('aria-current', 'page'); else button.removeAttribute('aria-current');
  });
  if (state.view === 'compare') {
    const missing = [...state.chosen].filter((id) => !runs.get(id)?.metrics);
    try { await Promise.all(missing.map(load)); } catch (error) { say(String(error.message || error)); }
    if (state.view !== 'compare' || main.firstChild) return;
    await compareView(main);
    return;
  }
  const id = state.run;
  if (id === null) { main.append(el('p', { text: data.live ? 'No runs yet; they appear here as they end.' : 'There are no runs.' })); return; }
  if (!runs.get(id).metrics) {
    main.append(el('p', { text: `Reading ${runs.get(id).name} …` }));
    try { await load(id); } catch (error) { say(String(error.message || error)); return; }
    if (state.run !== id || state.view === 'compare') return;
    main.replaceChildren();
  }
  const run = runs.get(id);
  if (run.incomplete) main.append(el('p', { class: 'worse', id: 'incomplete', role: 'status', text: `The run is incomplete: ${run.incomplete}` }));
  if (state.view === 'charts') {
    main.append(el('h2', { text: run.name }), ...grid(run.figures).filter(Boolean));
    const skipped = skippedList(run.skipped);
    if (skipped) main.append(skipped);
  } else main.append(...(state.view === 'overview' ? overview(run) : requestsView(run)).flat().filter(Boolean));
}

function side() {
  const list = [...runs.values()].map((run) => {
    const id = String(run.id);
    const box = el('input', { type: 'checkbox', 'aria-label': `Compare ${run.name}`, 'data-choose': id, onchange: (event) => {
      if (event.target.checked) state.chosen.add(id); else state.chosen.delete(id);
      render();
    } });
    box.checked = state.chosen.has(id);
    const open = el('button', { type: 'button', 'data-run': id, text: run.name, title: run.folder || run.name, onclick: () => {
      state.run = id;
      if (state.view === 'compare') state.view = 'charts';
      render();
    } });
    if (state.run === id) open.setAttribute('aria-current', 'page');
    return el('li', {}, box, open);
  });
  const focused = document.activeElement?.dataset?.choose;
  byId('side').replaceChildren(el('p', { class: 'note', text: `${runs.size} run${runs.size === 1 ? '' : 's'}; tick two to compare` }), el('ul', {}, list));
  if (focused) document.querySelector(`[data-choose="${CSS.escape(focused)}"]`)?.focus();
}

function theme(name) {
  state.theme = name;
  document.documentElement.dataset.theme = name;
  byId('theme').textContent = name === 'dark' ? 'Light colours' : 'Dark colours';
  charts.forEach((chart) => chart.draw());
}

async function fetched(path) {
  const answer = await fetch(path);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || `the server said ${answer.status}`);
  return body;
}

async function load(id) {
  const run = await fetched(`api/run?id=${encodeURIComponent(id)}`);
  runs.set(id, { ...run, folder: runs.get(id)?.folder });
}

async function poll() {
  try {
    const list = await fetched('api/runs');
    let fresh = false;
    for (const { id, name, folder } of list) {
      const known = runs.get(String(id));
      if (!known) { runs.set(String(id), { id: String(id), name, folder }); fresh = true; } else if (known.name !== name) { known.name = name; fresh = true; }
    }
    say('');
    if (state.run === null && runs.size) { state.run = [...runs.keys()][0]; render(); } else if (fresh) side();
  } catch (error) { say(`The dashboard does not answer: ${error.message || error}`); }
  setTimeout(poll, 2000);
}

byId('views').append(...VIEWS.map(([key, text]) => el('button', { type: 'button', 'data-view': key, text, onclick: () => { state.view = key; render(); } })));
byId('theme').addEventListener('click', () => theme(state.theme === 'dark' ? 'light' : 'dark'));
byId('menu').addEventListener('click', () => {
  const open = byId('side').hidden;
  byId('side').hidden = !open;
  byId('menu').setAttribute('aria-expanded', String(open));
});
state.run = runs.size ? [...runs.keys()][0] : null;
if (!data.live && runs.size > 1) runs.forEach((_, id) => state.chosen.add(id));
if (!data.live && runs.size > 1 && data.compare) state.view = 'compare';
theme(state.theme);
render();
if (data.live) poll();
})();
