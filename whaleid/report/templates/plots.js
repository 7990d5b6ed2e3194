// Draws the plots of a prediction's page as SVG. Each function `draw…` takes the columns of the plot's table and the
// threshold; it returns the legend (names and looks) and the shapes. `data` and `at` are those of prediction.js.
"use strict";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [560, 330, 56, 14, 12, 48];
const TENTHS = [0, 0.2, 0.4, 0.6, 0.8, 1].map(x => [x, x.toFixed(1)]);
const SHAPES = new Set(["svg", "line", "polyline", "rect", "circle", "text"]);
const short = x => String(+x.toPrecision(4));
const thousands = x => x.toLocaleString("en");
const sum = xs => xs.reduce((a, b) => a + b, 0);

function element(name, attributes = {}, ...children) {
  const space = SHAPES.has(name) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const node = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children); // a string becomes text, never HTML
  return node;
}

function text(x, y, content, attributes = {}) {
  return element("text", { x, y, "text-anchor": "middle", ...attributes }, String(content));
}

/** Axes between the pixels `top` and `bottom`; X and Y take values to pixels. A tick is a value and its text. */
function axes({ x = [0, 1], y = [0, 1], xticks = TENTHS, yticks = TENTHS, xname = "", yname = "", top = TOP,
  bottom = HEIGHT - BOTTOM }) {
  const X = value => LEFT + ((value - x[0]) / (x[1] - x[0])) * (WIDTH - LEFT - RIGHT);
  const Y = value => bottom - ((value - y[0]) / (y[1] - y[0])) * (bottom - top);
  const middle = (top + bottom) / 2;
  const shapes = [
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, xname),
    text(14, middle, yname, { transform: `rotate(-90 14 ${middle})` }),
  ];
  for (const [value, name] of yticks) {
    shapes.push(element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: Y(value), y2: Y(value) }));
    shapes.push(text(LEFT - 7, Y(value) + 4, name, { "text-anchor": "end" }));
  }
  for (const [value, ...lines] of xticks)
    shapes.push(...lines.map((name, i) => text(X(value), bottom + 17 + 14 * i, name)));
  return { X, Y, shapes, top, bottom };
}

function line({ X, Y }, xs, ys, look) {
  return element("polyline", { class: `line ${look}`, points: xs.map((x, i) => `${X(x)},${Y(ys[i])}`).join(" ") });
}

function dot({ X, Y }, x, y, look) {
  return element("circle", { class: `dot ${look}`, cx: X(x), cy: Y(y), r: 5 });
}

function upright({ X, top, bottom }, x, look) {
  return element("line", { class: `line dots ${look}`, x1: X(x), x2: X(x), y1: top, y2: bottom });
}

function bar({ X, Y }, left, right, value, look, name = "") {
  const shape = { class: `bar ${look}`, x: X(left), width: X(right) - X(left), y: Y(value), height: Y(0) - Y(value) };
  const rect = element("rect", shape);
  return name ? [rect, text(X((left + right) / 2), Y(value) - 5, name, { class: look })] : [rect];
}

/** Up to five ticks for counts. */
function wholeTicks(most) {
  const size = 10 ** Math.floor(Math.log10(Math.max(most, 3) / 3));
  const step = [1, 2, 5, 10].map(n => n * size).find(n => most / n <= 4);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => [i * step, thousands(i * step)]);
}

function drawThreshold({ threshold: xs, ...curves }, threshold) {
  const area = axes({ xname: "threshold", yname: "MAP@5" });
  const looks = { map5_known: ["known", "blue dashdot"], map5_unknown: ["unknown", "orange dash"],
    map5: ["overall", "ink thick"] };
  const kinds = Object.keys(looks).filter(key => key in curves);
  const legend = [...kinds.map(key => looks[key]), [`auto ${short(data.auto)}`, "ink dot"]];
  const shapes = kinds.map(key => line(area, xs, curves[key], looks[key][1]));
  shapes.push(upright(area, data.auto, "ink"), dot(area, at(xs, data.auto), at(curves.map5, data.auto), "ink auto"));
  if (threshold !== null) {
    const value = at(curves.map5, threshold);
    shapes.push(upright(area, threshold, "orange"), dot(area, threshold, value, "orange chosen"));
    legend.push([`threshold ${short(threshold)}: ${value.toFixed(3)}`, "orange dot"]);
  }
  return [legend, [...area.shapes, ...shapes]];
}

function drawUnknownShare({ unknown_share: xs, map5, all_new_whale }, threshold) {
  const area = axes({ xname: "share of queries of no known whale", yname: "MAP@5" });
  const [declared, value] = [data.unknown_share, at(data.figures.map5, threshold)[0]];
  const shapes = [line(area, xs, all_new_whale, "orange dash"), line(area, xs, map5, "ink thick"),
    upright(area, declared, "ink"), dot(area, declared, value, "ink")];
  const legend = [["this prediction", "ink thick"], ["new_whale for all", "orange dash"],
    [`declared ${short(declared)}: ${value}`, "ink dot"]];
  return [legend, [...area.shapes, ...shapes]];
}

function drawReliability(rows) {
  const most = Math.max(1, ...rows.queries);
  const area = axes({ yname: "share that is right", bottom: 200 });
  const below = axes({ y: [0, most], yticks: [[0, 0], [most, thousands(most)]], xticks: [], yname: "queries",
    xname: "probability of the best whale", top: 232, bottom: 300 });
  const shapes = [...area.shapes, ...below.shapes, line(area, [0, 1], [0, 1], "grey dots")];
  ["orange dash", "blue"].forEach((look, calibrated) => {
    const held = [...rows.calibrated.keys()].filter(i => rows.calibrated[i] === calibrated);
    shapes.push(line(area, held.map(i => rows.probability[i]), held.map(i => rows.right[i]), look));
    for (const i of held) {
      const left = (rows.least[i] + rows.most[i]) / 2 + 0.045 * (calibrated - 1);
      shapes.push(dot(area, rows.probability[i], rows.right[i], look));
      shapes.push(...bar(below, left, left + 0.045, rows.queries[i], look));
    }
  });
  return [[["perfect", "grey dots"], ["before calibration", "orange dash"], ["after", "blue"]], shapes];
}

function drawScores(rows, threshold) {
  const limit = threshold ?? data.auto;
  const groups = [["known_right", "known, best whale right", "blue"],
    ["known_wrong", "known, best whale wrong", "orange"], ["unknown", "unknown", "grey"]];
  const shapes = groups.flatMap(([key, name, look], i) => {
    const most = Math.max(1, ...rows[key]);
    const last = i === 2 ? { xname: "probability of the best whale" } : { xticks: [] };
    const area = axes({ y: [0, most], yticks: wholeTicks(most), yname: "queries", top: 24 + 92 * i,
      bottom: 98 + 92 * i, ...last });
    const title = text(WIDTH - RIGHT, area.top - 7, `${name}: ${thousands(sum(rows[key]))}`,
      { class: look, "text-anchor": "end" });
    const bins = rows[key].flatMap((n, bin) => bar(area, rows.least[bin], rows.most[bin], n, look));
    return [...area.shapes, title, ...bins, upright(area, limit, "ink at")];
  });
  return [[[`threshold ${short(limit)}`, "ink dots"]], shapes];
}

function drawRanks({ rank, queries, whales_alone }) {
  const most = Math.max(1, ...queries, ...whales_alone);
  const area = axes({ x: [-0.5, 5.5], y: [0, 1.1 * most], xticks: rank.map((number, i) => [i, number || "beyond"]),
    yticks: wholeTicks(most), xname: "rank of the truth", yname: "queries" });
  const percent = n => `${Math.round((100 * n) / Math.max(1, sum(queries)))}%`;
  const bars = (counts, side, look) =>
    counts.flatMap((n, i) => bar(area, i + side, i + side + 0.38, n, look, percent(n)));
  const legend = [["with new_whale", "blue bar"], ["whales alone", "grey bar"]];
  return [legend, [...area.shapes, ...bars(queries, -0.39, "blue"), ...bars(whales_alone, 0.01, "grey")]];
}

function drawPhotos({ least, most, queries, map5 }) {
  const names = least.map((n, i) => (n === most[i] ? n : `${n}–${most[i]}`));
  const area = axes({ x: [-0.5, Math.max(1, names.length) - 0.5], y: [0, 1.08], yname: "MAP@5", bottom: HEIGHT - 58,
    xticks: names.map((name, i) => [i, name, thousands(queries[i])]),
    xname: "photos of the whale to compare with; below, queries" });
  const bars = map5.flatMap((value, i) => bar(area, i - 0.35, i + 0.35, value, "blue", value.toFixed(2)));
  return [[], [...area.shapes, ...bars]];
}

const DRAW = { threshold: drawThreshold, unknown_share: drawUnknownShare, reliability: drawReliability,
  scores: drawScores, ranks: drawRanks, photos: drawPhotos };

/** An entry of a legend: a small picture of how it is drawn, and its name. */
function entry([name, look]) {
  const kinds = look.split(" ");
  const shape = kinds.includes("dot")
    ? element("circle", { class: look, cx: 13, cy: 6, r: 5 })
    : kinds.includes("bar")
      ? element("rect", { class: look, x: 8, width: 10, y: 1, height: 10 })
      : element("line", { class: `line ${look}`, x1: 0, x2: 26, y1: 6, y2: 6 });
  return element("span", {}, element("svg", { viewBox: "0 0 26 12", class: "swatch" }, shape), name);
}

/** A table of columns by name. */
function table(columns) {
  const [names, values] = [Object.keys(columns), Object.values(columns)];
  const row = i => element("tr", {}, ...values.map(column => element("td", {}, short(column[i]))));
  return element("table", {}, element("thead", {}, element("tr", {}, ...names.map(name => element("th", {}, name)))),
    element("tbody", {}, ...values[0].map((_, i) => row(i))));
}

function drawPlot(figure, columns, threshold) {
  const [legend, shapes] = DRAW[figure.dataset.plot](columns, threshold);
  const title = figure.querySelector("h3").textContent;
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title }, ...shapes);
  figure.querySelector(".plot").replaceChildren(element("div", { class: "legend" }, ...legend.map(entry)), svg);
  const fold = figure.querySelector("details");
  if (fold.open) fold.querySelector("div").replaceChildren(table(columns));
}
