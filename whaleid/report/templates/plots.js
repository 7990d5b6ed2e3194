// Draws the plots of a prediction's page as SVG. Each function `draw…` takes the figures at a threshold; it returns the
// legend (names and looks), the shapes, and the header and rows of the table behind the plot. The values and their
// arithmetic are those of prediction.js, which runs after this file.
"use strict";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [560, 330, 56, 14, 12, 48];
const TENTHS = [0, 0.2, 0.4, 0.6, 0.8, 1].map(x => [x, x.toFixed(1)]);
const SHAPES = new Set(["svg", "line", "polyline", "rect", "circle", "text"]);

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

function interpolated(x, xs, ys) {
  const right = Math.max(1, xs.findIndex(each => each >= x));
  const share = (x - xs[right - 1]) / (xs[right] - xs[right - 1]);
  return (1 - share) * ys[right - 1] + share * ys[right];
}

/** The header and the rows of a table that is stored by column. */
function byRow(columns) {
  const names = Object.keys(columns);
  return [names, columns[names[0]].map((_, i) => names.map(name => columns[name][i]))];
}

function drawThreshold(now, threshold) {
  const area = axes({ xname: "threshold", yname: "MAP@5" });
  const curve = data.curves.threshold;
  const { threshold: xs, map5 } = curve;
  const looks = { map5_known: ["known", "blue dashdot"], map5_unknown: ["unknown", "orange dash"],
    map5: ["overall", "ink thick"] };
  const kinds = Object.keys(looks).filter(key => key in curve);
  const legend = [...kinds.map(key => looks[key]), [`auto ${short(data.auto)}`, "ink dot"]];
  const shapes = kinds.map(key => line(area, xs, curve[key], looks[key][1]));
  shapes.push(upright(area, data.auto, "ink"), dot(area, data.auto, interpolated(data.auto, xs, map5), "ink auto"));
  if (threshold !== null) {
    const value = interpolated(threshold, xs, map5);
    shapes.push(upright(area, threshold, "orange"), dot(area, threshold, value, "orange chosen"));
    legend.push([`threshold ${short(threshold)}: ${digits(value)}`, "orange dot"]);
  }
  return [legend, [...area.shapes, ...shapes], ...byRow(curve)];
}

function drawUnknownShare(now) {
  const area = axes({ xname: "share of queries of no known whale", yname: "MAP@5" });
  const { unknown_share: xs, all_new_whale } = data.curves.unknown_share;
  const at = share => mixed(mixed(now.map5_known, now.map5_unknown, share), now.map5_duplicates, data.shares.duplicate);
  const [declared, map5] = [data.shares.unknown, xs.map(at)];
  const shapes = [line(area, xs, all_new_whale, "orange dash"), line(area, xs, map5, "ink thick"),
    upright(area, declared, "ink"), dot(area, declared, at(declared), "ink")];
  const legend = [["this prediction", "ink thick"], ["new_whale for all", "orange dash"],
    [`declared ${short(declared)}: ${digits(at(declared))}`, "ink dot"]];
  return [legend, [...area.shapes, ...shapes], ...byRow({ unknown_share: xs, map5, all_new_whale })];
}

function drawReliability() {
  const rows = data.curves.reliability;
  const most = Math.max(1, ...rows.queries);
  const area = axes({ yname: "share that is right", bottom: 200 });
  const below = axes({ y: [0, most], yticks: [[0, 0], [most, thousands(most)]], xticks: [], yname: "queries",
    xname: "probability of the best whale", top: 232, bottom: 300 });
  const shapes = [...area.shapes, ...below.shapes, line(area, [0, 1], [0, 1], "grey dots")];
  ["orange dash", "blue"].forEach((look, calibrated) => {
    const held = rowsWhere(rows.calibrated, calibrated);
    shapes.push(line(area, held.map(i => rows.probability[i]), held.map(i => rows.right[i]), look));
    for (const i of held) {
      const left = (rows.least[i] + rows.most[i]) / 2 + 0.045 * (calibrated - 1);
      shapes.push(dot(area, rows.probability[i], rows.right[i], look));
      shapes.push(...bar(below, left, left + 0.045, rows.queries[i], look));
    }
  });
  return [[["perfect", "grey dots"], ["before calibration", "orange dash"], ["after", "blue"]], shapes, ...byRow(rows)];
}

function drawScores(now, threshold) {
  const rows = data.curves.scores;
  const at = threshold ?? data.auto;
  const groups = [["known_right", "known, best whale right", "blue"],
    ["known_wrong", "known, best whale wrong", "orange"], ["unknown", "unknown", "grey"]];
  const shapes = groups.flatMap(([key, name, look], i) => {
    const most = Math.max(1, ...rows[key]);
    const last = i === 2 ? { xname: "probability of the best whale" } : { xticks: [] };
    const area = axes({ y: [0, most], yticks: wholeTicks(most), yname: "queries", top: 24 + 92 * i,
      bottom: 98 + 92 * i, ...last });
    const total = thousands(rows[key].reduce((a, b) => a + b, 0));
    const title = text(WIDTH - RIGHT, area.top - 7, `${name}: ${total}`, { class: look, "text-anchor": "end" });
    const bins = rows[key].flatMap((n, bin) => bar(area, rows.least[bin], rows.most[bin], n, look));
    return [...area.shapes, title, ...bins, upright(area, at, "ink at")];
  });
  return [[[`threshold ${short(at)}`, "ink dots"]], shapes, ...byRow(rows)];
}

function drawRanks(now) {
  const order = [1, 2, 3, 4, 5, 0];
  const counted = ranks => order.map(rank => ranks.filter(each => each === rank).length);
  const answered = counted(known.map(row => now.ranks[row]));
  const alone = counted(known.map(row => queries.place[row] + 1)); // -1, beyond five, becomes 0
  const most = Math.max(1, ...answered, ...alone);
  const area = axes({ x: [-0.5, 5.5], y: [0, 1.1 * most], xticks: order.map((of, i) => [i, of || "beyond"]),
    yticks: wholeTicks(most), xname: "rank of the truth", yname: "queries" });
  const percent = n => `${Math.round((100 * n) / Math.max(1, known.length))}%`;
  const bars = (counts, side, look) =>
    counts.flatMap((n, i) => bar(area, i + side, i + side + 0.38, n, look, percent(n)));
  const shapes = [...area.shapes, ...bars(answered, -0.39, "blue"), ...bars(alone, 0.01, "grey")];
  const legend = [["with new_whale", "blue bar"], ["whales alone", "grey bar"]];
  return [legend, shapes, ...byRow({ rank: order, queries: answered, whales_alone: alone })];
}

function drawPhotos(now) {
  const { least, most, queries: numbers } = data.curves.photos;
  const names = least.map((n, i) => (n === most[i] ? String(n) : `${n}–${most[i]}`));
  const map5 = least.map((_, i) => mean(now.gains, rowsWhere(queries.photo_class, i)));
  const area = axes({ x: [-0.5, Math.max(1, names.length) - 0.5], y: [0, 1.08], yname: "MAP@5", bottom: HEIGHT - 58,
    xticks: names.map((name, i) => [i, name, thousands(numbers[i])]),
    xname: "photos of the whale to compare with; below, queries" });
  const bars = map5.flatMap((value, i) => bar(area, i - 0.35, i + 0.35, value, "blue", value.toFixed(2)));
  return [[], [...area.shapes, ...bars], ...byRow({ photos: names, queries: numbers, map5 })];
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

function table(header, rows) {
  const cell = value => element("td", { class: "n" }, typeof value === "number" ? short(value) : value);
  const head = element("thead", {}, element("tr", {}, ...header.map(name => element("th", {}, name))));
  return element("table", {}, head, element("tbody", {}, ...rows.map(row => element("tr", {}, ...row.map(cell)))));
}

function drawPlot(figure, now, threshold) {
  const [legend, shapes, header, rows] = DRAW[figure.dataset.plot](now, threshold);
  const title = figure.querySelector("h3").textContent;
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title }, ...shapes);
  figure.querySelector(".plot").replaceChildren(element("div", { class: "legend" }, ...legend.map(entry)), svg);
  const fold = figure.querySelector("details");
  if (fold.open) fold.querySelector("div").replaceChildren(table(header, rows));
}
