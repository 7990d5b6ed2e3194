// Shows a prediction at a threshold: its figures, its plots, and new_whale at its rank on the contact sheets. All values
// come from the page's own JSON and are written as text.
const data = JSON.parse(document.getElementById("data").textContent);
const snap = threshold => Math.round(threshold * data.steps) / data.steps;

/** The entry of a list at a threshold; null is auto, the last. A list of one holds for all. */
function at(list, threshold) {
  const step = threshold === null ? list.length : Math.round(threshold * data.steps);
  return list[Math.min(step, list.length - 1)];
}

/** The columns of a plot's table at a threshold. */
function columnsAt(columns, threshold) {
  const pairs = Object.entries(columns);
  return Object.fromEntries(pairs.map(([key, x]) => [key, Array.isArray(x[0]) ? at(x, threshold) : x]));
}

function drawBar(track, [value, ...ends]) {
  const [bar, interval] = track.children;
  bar.style.width = `${100 * value}%`;
  interval.hidden = ends.length === 0;
  interval.style.left = `${100 * ends[0]}%`;
  interval.style.width = `${100 * (ends[1] - ends[0])}%`;
}

/** Move new_whale to its rank among the whales of a query, and mark which labels are right. */
function drawStrip({ cells, query, whales, newWhale, truth, auto, probabilities }, threshold) {
  const limit = threshold ?? auto;
  const above = probabilities.filter(p => p > limit).length;
  const ranked = whales.toSpliced(above, 0, newWhale).slice(0, 5);
  if (data.auto !== null) newWhale.querySelector("b").textContent = limit.toFixed(3);
  cells.replaceChildren(query, ...ranked);
  if (truth === "") return; // not known
  const rank = 1 + ranked.findIndex(cell => cell.querySelector("span").textContent === truth); // 0 beyond five
  query.querySelector("b").textContent = rank ? `rank ${rank}` : "missed";
  query.className = `cell query ${rank === 1 ? "right" : rank ? "" : "wrong"}`;
  ranked.forEach((cell, i) => {
    cell.className = `cell ${i + 1 === rank ? "right" : rank && i + 1 > rank ? "after" : "wrong"}`;
  });
}

const strips = [...document.querySelectorAll("[data-strip]")].map(cells => {
  const [query, ...whales] = cells.children;
  const fold = cells.closest("details");
  return { cells, query, newWhale: whales.pop(), whales, fold, ...JSON.parse(cells.dataset.strip) };
});
const [slider, value, auto] = ["slider", "value", "auto"].map(id => document.getElementById(id));
const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
let chosen = null;

function show(threshold) {
  chosen = threshold;
  const figure = key => at(data.figures[key], threshold);
  each("[data-value]", place => place.replaceChildren(figure(place.dataset.value)[0]));
  each("[data-interval]", place => place.replaceChildren(figure(place.dataset.interval).slice(1).join(" to ")));
  each("[data-bar]", track => drawBar(track, figure(track.dataset.bar)));
  each("#leaks", place => place.replaceChildren(at(data.leaks, threshold)));
  each("[data-plot]", place => drawPlot(place, columnsAt(data.tables[place.dataset.plot], threshold), threshold));
  // a folded sheet may be long: it is drawn once it opens
  strips.filter(({ fold }) => !fold || fold.open).forEach(strip => drawStrip(strip, threshold));
  if (!slider) return;
  slider.value = threshold ?? data.auto;
  // what a person is typing stays as it is
  if (threshold === null || document.activeElement !== value) value.value = threshold ?? data.auto;
  auto.setAttribute("aria-pressed", threshold === null);
}

for (const input of slider ? [slider, value] : [])
  input.addEventListener("input", () => {
    if (input.value !== "" && input.validity.valid) show(snap(input.valueAsNumber));
  });
value?.addEventListener("change", () => {
  value.value = chosen ?? data.auto;
});
auto?.addEventListener("click", () => show(null));
each("details", fold => fold.addEventListener("toggle", () => show(chosen)));
show(null);
