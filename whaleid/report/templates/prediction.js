// Shows a prediction at any threshold. All values come from the page's own JSON; `element` of plots.js writes them as
// text. Labels and photos are in the page already.
const data = JSON.parse(document.getElementById("data").textContent);
const { figures, queries, solution } = data;
const FIVE = 5;
const NEW = -2; // the place of a truth that is new_whale; -1 is a whale beyond the first five

const short = x => String(+x.toPrecision(4));
const thousands = x => x.toLocaleString("en");
/** Three digits, as Python writes a figure that its JSON file has rounded to six. */
function digits(x) {
  const rounded = +x.toPrecision(6);
  // Python rounds halves to even, toFixed rounds them up: 0.3125 is 0.312. Only odd sixteenths are such halves.
  return ((rounded * 16) % 2 === 1 ? (2 * Math.round(rounded * 500)) / 1000 : rounded).toFixed(3);
}

const format = (key, x) => (key.startsWith("threshold") ? short(x) : digits(x));

// ---- ranks and figures at a threshold; null is auto: each validation query has the threshold of its own fold

const above = (probabilities, threshold) => probabilities.filter(p => p > threshold).length;
// without a threshold (phash), whatever has a probability ranks before new_whale
const applied = (threshold, auto) => threshold ?? auto ?? 0;

/** The rank of the truth, 0 beyond five. */
function rank(place, probabilities, threshold) {
  const before = above(probabilities, threshold);
  const number = place === NEW ? before + 1 : place < 0 ? 0 : place + (place < before ? 1 : 2);
  return number > FIVE ? 0 : number;
}

function ranksAt(threshold, rows) {
  return rows.place.map((place, i) => rank(place, rows.probabilities[i], applied(threshold, rows.auto[i])));
}

function mean(values, rows, weights) {
  if (!rows.length) return undefined;
  let [sum, total] = [0, 0];
  for (const row of rows) {
    const weight = weights ? weights[row] : 1;
    sum += weight * values[row];
    total += weight;
  }
  return sum / total;
}

/** Mix two means; a kind without queries leaves its share to the other. */
function mixed(first, second, share) {
  if (first === undefined) return second;
  return second === undefined ? first : (1 - share) * first + share * second;
}

const rowsWhere = (column, value) => column.flatMap((each, row) => (each === value ? [row] : []));
const [known, unknown, duplicate] = ["known", "unknown", "duplicate"].map(kind => rowsWhere(queries.kind, kind));
const [newWhale, newWhaleTrain] = ["new_whale", "new_whale_train"].map(role => rowsWhere(queries.role, role));
const fresh = rowsWhere(solution.leaked, 0);
const balanced = queries.queries_of_whale.map(n => 1 / n); // every whale counts the same

/** The figures of `metrics.bootstrap` and of the solution; undefined where there are no queries of the kind. */
function measured(threshold) {
  const ranks = ranksAt(threshold, queries);
  const gain = rank => (rank ? 1 / rank : 0);
  const [gains, first] = [ranks.map(gain), ranks.map(rank => Number(rank === 1))];
  const submitted = ranksAt(threshold, solution).map(gain);
  const noDuplicates = mixed(mean(gains, known), mean(gains, unknown), data.shares.unknown);
  const [baks, baus] = [mean(first, known, balanced), mean(first, unknown, balanced)];
  return {
    ranks,
    gains,
    map5: mixed(noDuplicates, mean(gains, duplicate), data.shares.duplicate),
    map5_no_duplicates: noDuplicates,
    map5_known: mean(gains, known),
    map5_unknown: mean(gains, unknown),
    map5_duplicates: mean(gains, duplicate),
    map5_new_whale: mean(gains, newWhale),
    map5_new_whale_train: mean(gains, newWhaleTrain),
    top1: mean(first, known),
    top5: mean(ranks.map(rank => Number(rank > 0)), known),
    baks,
    baus,
    baks_baus: baks === undefined || baus === undefined ? undefined : Math.sqrt(baks * baus),
    solution_map5: mean(submitted, [...submitted.keys()]),
    solution_map5_no_duplicates: mean(submitted, fresh),
  };
}

/** The ends of the 95 % interval of a figure; off the grid of thresholds none was computed. */
function interval(key, threshold) {
  if (`${key}_low` in figures) return [figures[`${key}_low`], figures[`${key}_high`]];
  const intervals = data.intervals[key] ?? [];
  if (threshold === null) return intervals.at(-1); // auto follows the grid
  const step = Math.round(threshold * (intervals.length - 2));
  return step / (intervals.length - 2) === threshold ? intervals[step] : undefined;
}

const intervalText = (key, threshold) => interval(key, threshold)?.map(end => format(key, end)).join(" to ") ?? "";

// ---- tiles, bars, table of figures

const entries = (names, now) => names.filter(([key]) => now[key] !== undefined);

function tiles(now, threshold) {
  return entries(data.tiles, now).map(([key, name]) =>
    element("div", { class: "tile", "data-key": key }, element("span", {}, name),
      element("b", {}, format(key, now[key])), element("small", {}, intervalText(key, threshold) || "\u00a0")));
}

function numbers(key, now, threshold) {
  return [format(key, now[key]), intervalText(key, threshold)].map(text => element("td", { class: "number" }, text));
}

function bars(now, threshold) {
  return entries(data.bars, now).map(([key, name]) => {
    const own = key.startsWith("baseline") ? "" : "own";
    const track = element("div", { class: "track" }, element("i", { class: own, style: `width:${100 * now[key]}%` }));
    const ends = interval(key, threshold)?.map(end => 100 * end);
    if (ends) track.append(element("i", { class: "interval", style: `left:${ends[0]}%;width:${ends[1] - ends[0]}%` }));
    return element("tr", { "data-key": key }, element("td", {}, key === "map5" ? element("b", {}, name) : name),
      element("td", { class: "bar" }, track), ...numbers(key, now, threshold));
  });
}

function figureRows(now, threshold) {
  return data.names.flatMap(([heading, group]) => {
    const rows = entries(group, now).map(([key, name, meaning]) =>
      element("tr", { "data-key": key }, element("td", {}, name), ...numbers(key, now, threshold),
        element("td", { class: "meaning" }, meaning)));
    return rows.length ? [element("tr", { class: "heading" }, element("th", { colspan: 4 }, heading)), ...rows] : [];
  });
}

// ---- contact sheets: the page has a query, its whales and new_whale in each strip; new_whale moves

function mark(cell, kind, text) {
  cell.className = `cell ${kind}`.trim();
  cell.querySelector("b").textContent = text;
}

function drawStrip({ cells, query, whales, newWhale, place, probabilities, auto, graded }, threshold) {
  const at = applied(threshold, auto);
  const first = above(probabilities, at);
  const texts = probabilities.map(digits).toSpliced(first, 0, data.auto === null ? "–" : digits(at));
  const ranked = whales.toSpliced(first, 0, newWhale).slice(0, FIVE);
  const truth = rank(place, probabilities, at);
  if (!graded) mark(query, "query", "query");
  else if (truth) mark(query, truth === 1 ? "query right" : "query", `${truth === 1 ? "✓ " : ""}rank ${truth}`);
  else mark(query, "query wrong", "✗ missed");
  ranked.forEach((cell, i) => {
    const kind = !graded ? "" : i + 1 === truth ? "right" : truth && i + 1 > truth ? "after" : "wrong";
    mark(cell, kind, (kind === "right" ? "✓ " : kind ? "✗ " : "") + texts[i]);
  });
  cells.replaceChildren(query, ...ranked);
}

const sheets = [...document.querySelectorAll("[data-sheet]")].map(sheet => {
  const { place, probabilities, auto, graded } = data.sheets[sheet.dataset.sheet];
  const strips = [...sheet.querySelectorAll(".cells")].map((cells, i) => {
    const [query, ...whales] = cells.children;
    const newWhale = whales.pop();
    return { cells, query, whales, newWhale, place: place[i], probabilities: probabilities[i], auto: auto[i],
      graded: graded[i] };
  });
  return { fold: sheet.closest("details"), strips };
});

function drawSheet({ fold, strips }, threshold) {
  // a folded sheet may be long: it is drawn once it opens
  if (!fold || fold.open) strips.forEach(strip => drawStrip(strip, threshold));
}

function leaksText(threshold) {
  const ranks = ranksAt(threshold, solution).filter((_, i) => solution.leaked[i]);
  const counts = [ranks.filter(rank => rank === 1), ranks].map(each => thousands(each.length));
  return ranks.length ? `The truth, where it is known, ranks first in ${counts[0]} of ${counts[1]}.` : "";
}

// ---- the control, and what moves with it

const [slider, value, auto, output] = ["slider", "value", "auto", "now"].map(id => document.getElementById(id));
const fill = (id, content) => document.getElementById(id)?.replaceChildren(...content);
const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
const atAuto = measured(null);
let chosen = null;

function show(threshold) {
  chosen = threshold;
  const now = { ...figures, ...measured(threshold) };
  if (slider && now.map5 !== undefined) now.threshold_cost = atAuto.map5 - now.map5;
  fill("tiles", tiles(now, threshold));
  fill("bars", bars(now, threshold));
  fill("figures", figureRows(now, threshold));
  fill("leaks", [leaksText(threshold)]);
  each("[data-plot]", figure => drawPlot(figure, now, threshold));
  sheets.forEach(sheet => drawSheet(sheet, threshold));
  if (!slider) return;
  slider.value = threshold ?? data.auto;
  // what a person is typing stays as it is
  if (threshold === null || document.activeElement !== value) value.value = threshold ?? data.auto;
  auto.setAttribute("aria-pressed", threshold === null);
  const overall = now.map5 ?? now.solution_map5;
  output.textContent = overall === undefined ? "" : `MAP@5 ${digits(overall)}`;
}

for (const input of slider ? [slider, value] : [])
  input.addEventListener("input", () => {
    if (input.value !== "" && input.validity.valid) show(input.valueAsNumber);
  });
auto?.addEventListener("click", () => show(null));
each("details", fold => fold.addEventListener("toggle", () => show(chosen)));
show(null);
