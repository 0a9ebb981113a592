// Accuracy against cost: methods as lines, budgets as points with whiskers, three costs to choose.

const COSTS = { policy_tokens: "policy tokens", total_tokens: "total tokens", seconds: "seconds" };
const MARKS = 5; // circle, square, diamond, triangle, open circle
const plot = { axis: "total_tokens", log: true, anytime: false, hidden: new Set(), at: null, near: null };

// --- data ---------------------------------------------------------------------------------------

// All points that can stand on an axis: { m, k, x, y, point }, methods in order, cheapest first.
function spots(axis) {
  return DATA.methods.flatMap((method, m) => method.points
    .map((point, k) => ({ m, k, x: point[axis], y: point.accuracy, point }))
    .filter((s) => s.x !== undefined && s.y !== undefined && (s.x > 0 || !plot.log))
    .sort((a, b) => a.x - b.x));
}

function seen() {
  return spots(plot.axis).filter((s) => !plot.hidden.has(s.m));
}

// Curves of answers as a function of spend; they are counted in total tokens only.
function curves(shown) {
  if (!plot.anytime || plot.axis !== "total_tokens") return [];
  return shown.filter((s) => s.point.anytime)
    .map((s) => ({ ...s, curve: s.point.anytime.filter(([x]) => x > 0 || !plot.log) }));
}

function name(spot) {
  const { name: method } = DATA.methods[spot.m];
  return spot.point.label ? `${method}, ${spot.point.label}` : method;
}

function interval(thing, say) {
  return thing.low === undefined || thing.high === undefined ? ""
    : ` (${say(thing.low)} to ${say(thing.high)})`;
}

// A point in words: what, how good, at what cost, against the baseline.
function readingOf({ point }) {
  const costs = Object.entries(COSTS).filter(([key]) => point[key] !== undefined)
    .map(([key, unit]) => `${brief(Number(point[key].toPrecision(4)))} ${unit}`);
  const parts = [`${percent(point.accuracy)}${interval(point, (v) => (100 * v).toFixed(1))}`, ...costs];
  const points = (v) => signed(Number((100 * v).toFixed(1)));
  if (point.against && point.against.difference !== undefined) {
    const p = point.against.p === undefined ? "" : `, p ${short(point.against.p)}`;
    parts.push(`against the baseline ${points(point.against.difference)}${interval(point.against, points)}${p}`);
  }
  if (point.oracle !== undefined) parts.push(`oracle ${percent(point.oracle)}`);
  return parts.join(" · ");
}

// --- drawing ------------------------------------------------------------------------------------

// A mark of a method: its shape by the method's number. Five shapes and six colours do not repeat
// together before the thirtieth.
function spotMark(m, x, y, size = 4.5) {
  const shape = m % MARKS;
  const look = { class: `spot m${m % 6}${shape === 4 ? " open" : ""}` };
  if (shape === 1) return svg("rect", { ...look, x: x - size, y: y - size, width: 2 * size, height: 2 * size });
  if (shape === 2) return svg("path", { ...look, d: `M${x} ${y - 1.4 * size}l${1.4 * size} ${1.4 * size}l${-1.4 * size} ${1.4 * size}l${-1.4 * size} ${-1.4 * size}z` });
  if (shape === 3) return svg("path", { ...look, d: `M${x} ${y - 1.3 * size}l${1.3 * size} ${2.2 * size}h${-2.6 * size}z` });
  return svg("circle", { ...look, cx: x, cy: y, r: size });
}

// Pixels for accuracy and for the chosen cost, over what is shown.
function plotScale(shown, width, height) {
  const lines = curves(shown).flatMap((s) => s.curve);
  const ys = [...shown.flatMap(({ y, point }) => [y, point.low ?? y, point.high ?? y]), ...lines.map(([, y]) => y)];
  const xs = [...shown.map((s) => s.x), ...lines.map(([x]) => x)];
  const yTicks = ticks(Math.max(Math.min(...ys), 0), Math.min(Math.max(...ys, 0.01), 1), 5);
  const [bottom, top] = [yTicks[0], Math.max(yTicks.at(-1), yTicks[0] + 0.01)];
  const way = plot.log ? Math.log : (v) => v;
  let [low, high] = [Math.min(...xs), Math.max(...xs)];
  if (plot.log) [low, high] = low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
  else [low, high] = [0, 1.04 * high || 1];
  const inner = width - EDGE.left - EDGE.right;
  const x = (v) => EDGE.left + ((way(v) - way(low)) / (way(high) - way(low))) * inner;
  const most = Math.max(2, Math.floor(inner / 80));
  let xTicks = plot.log ? logTicks(low, high) : ticks(low, high, most).filter((v) => v <= high);
  if (xTicks.length > most) xTicks = xTicks.filter((v) => /^1(0*$|e)|^0\.0*1$/.test(String(Number(v.toPrecision(3)))));
  const tall = height - EDGE.top - EDGE.bottom;
  return { x, y: (v) => EDGE.top + (1 - (v - bottom) / (top - bottom)) * tall, xTicks, yTicks, height };
}

function whisker({ m, x, point }, scale) {
  if (point.low === undefined || point.high === undefined) return null;
  const [at, low, high] = [scale.x(x), scale.y(point.low), scale.y(point.high)];
  return svg("path", { class: `whisker m${m % 6}`,
    d: `M${at} ${low}V${high}M${at - 4} ${low}h8M${at - 4} ${high}h8` });
}

// An answer stands until the next one: a staircase.
function staircase({ m, curve }, scale) {
  const d = curve.map(([x, y], k) => (k ? `H${scale.x(x).toFixed(1)}V${scale.y(y).toFixed(1)}`
    : `M${scale.x(x).toFixed(1)} ${scale.y(y).toFixed(1)}`)).join("");
  return svg("path", { class: `anytime m${m % 6}`, d });
}

function drawPlot() {
  const { picture, empty } = plot;
  const shown = seen();
  const width = Math.max(picture.parentNode.clientWidth, 240);
  const height = width < 560 ? 320 : 400;
  picture.style.display = shown.length ? "" : "none";
  empty.hidden = shown.length > 0;
  if (!shown.length) return;
  const scale = plotScale(shown, width, height);
  const groups = DATA.methods.map((_, m) => {
    const own = shown.filter((s) => s.m === m);
    const d = own.map((s, k) => `${k ? "L" : "M"}${scale.x(s.x).toFixed(1)} ${scale.y(s.y).toFixed(1)}`).join("");
    const faded = plot.near !== null && plot.near !== m;
    return svg("g", { class: faded ? "faded" : null }, own.map((s) => whisker(s, scale)),
      curves(own).map((s) => staircase(s, scale)),
      own.length > 1 ? svg("path", { class: `track m${m % 6}`, d }) : null,
      own.map((s) => spotMark(m, scale.x(s.x), scale.y(s.y))));
  });
  const at = { class: "axis-name", x: width - EDGE.right, y: height + 12, "text-anchor": "end" };
  const unit = svg("text", at, `${COSTS[plot.axis]} a question${plot.log ? ", log scale" : ""}`);
  setPicture(picture, width, height + 18, [...frame(scale, width, true), ...groups, unit]);
  plot.scale = scale;
  plot.shown = shown;
  readSpot(plot.at);
}

// --- reading ------------------------------------------------------------------------------------

// Say what a point holds, and ring it; without one, say how to read.
function readSpot(spot) {
  const { shown, scale, picture, reading } = plot;
  picture.querySelectorAll(".halo").forEach((old) => old.remove());
  const found = spot && shown.find((s) => s.m === spot.m && s.k === spot.k);
  plot.at = found ?? null;
  if (!found) {
    reading.replaceChildren("Point at a budget, or walk with the arrow keys, to read it. Whiskers are 95 % intervals.");
  } else {
    reading.replaceChildren(html("b", {}, name(found)), html("span", {}, readingOf(found)));
    picture.append(svg("circle", { class: "halo", cx: scale.x(found.x), cy: scale.y(found.y), r: 9 }));
  }
  picture.setAttribute("aria-label", `Accuracy against ${COSTS[plot.axis]}. ${reading.textContent}`
    + " All values stand in the table below.");
}

// Left and right: budgets of a method; up and down: the nearest budget of the next method.
function walkSpots(event) {
  const { shown } = plot;
  const at = plot.at ?? shown[0];
  const own = shown.filter((s) => s.m === at.m);
  const place = own.findIndex((s) => s.k === at.k);
  const methods = [...new Set(shown.map((s) => s.m))];
  const beside = (by) => {
    const next = shown.filter((s) => s.m === methods[methods.indexOf(at.m) + by]);
    const far = (s) => Math.abs(plot.scale.x(s.x) - plot.scale.x(at.x));
    return next.sort((a, b) => far(a) - far(b))[0];
  };
  const keys = { ArrowLeft: () => own[place - 1], ArrowRight: () => own[place + 1], Home: () => own[0],
    End: () => own.at(-1), ArrowUp: () => beside(-1), ArrowDown: () => beside(1) };
  if (!keys[event.key]) return;
  event.preventDefault();
  readSpot(plot.at ? keys[event.key]() ?? at : at);
}

function pointAt(event) {
  const { picture, shown, scale } = plot;
  const box = picture.getBoundingClientRect();
  const far = (s) => Math.hypot(scale.x(s.x) - event.clientX + box.left, scale.y(s.y) - event.clientY + box.top);
  const best = shown.reduce((a, b) => (far(b) < far(a) ? b : a));
  readSpot(far(best) < 60 ? best : null);
}

// --- controls -----------------------------------------------------------------------------------

function methodChips() {
  const box = html("fieldset", { class: "methods" }, html("legend", {}, "Methods shown"));
  DATA.methods.forEach((method, m) => {
    const fade = (near) => () => { plot.near = near; drawPlot(); };
    box.append(html("label", { class: "method", mouseenter: fade(m), mouseleave: fade(null) },
      html("input", { type: "checkbox", checked: true, change: (event) => {
        if (event.target.checked) plot.hidden.delete(m);
        else plot.hidden.add(m);
        drawPlot();
      } }),
      svg("svg", { width: 30, height: 14, "aria-hidden": "true" },
        svg("path", { class: `track m${m % 6}`, d: "M1 7H29" }), spotMark(m, 15, 7)), method.name));
  });
  return box;
}

function plotOptions() {
  const log = html("input", { type: "checkbox", id: "log", checked: plot.log,
    change: () => { plot.log = log.checked; drawPlot(); } });
  const has = DATA.methods.some((method) => method.points.some((point) => point.anytime));
  const anytime = html("input", { type: "checkbox", id: "anytime", change: () => {
    plot.anytime = anytime.checked;
    drawPlot();
  } });
  plot.fit = () => { anytime.disabled = plot.axis !== "total_tokens"; };
  return html("fieldset", { class: "switch wanted" }, html("legend", {}, "Look of the plot"),
    html("label", {}, log, "log scale"),
    has ? html("label", {}, anytime, "anytime curves, dashed (over total tokens)") : null);
}

function chooseAxis(axis) {
  plot.axis = axis;
  plot.fit();
  drawPlot();
}

function makePlot() {
  const box = document.getElementById("plot");
  const radios = [...document.querySelectorAll("#axis input")];
  plot.log = false; // while looking for axes, so that none is missed
  for (const radio of radios) radio.disabled = !spots(radio.value).length;
  const first = ["total_tokens", "policy_tokens", "seconds"].find((axis) => spots(axis).length);
  if (!first) {
    box.append(html("p", { class: "note" }, "No point has an accuracy and a cost."));
    document.getElementById("axis").hidden = true;
    return;
  }
  radios.find((radio) => radio.value === first).checked = true;
  const xs = spots(first).map((s) => s.x);
  plot.log = Math.min(...xs) > 0 && Math.max(...xs) >= 8 * Math.min(...xs);
  plot.reading = html("p", { class: "reading", "aria-live": "polite" });
  plot.empty = html("p", { class: "note", hidden: true }, "No method is shown; tick one.");
  plot.picture = svg("svg", { class: "chart", tabindex: 0, role: "img", pointermove: pointAt, keydown: walkSpots,
    pointerdown: pointAt, focus: () => readSpot(plot.at ?? plot.shown[0]) });
  const card = html("article", { class: "card" }, methodChips(), plot.reading, plot.empty,
    html("div", { class: "plot" }, plot.picture), plotOptions());
  box.append(card);
  document.getElementById("axis").addEventListener("change", (event) => chooseAxis(event.target.value));
  chooseAxis(first);
  watchWidth(card, drawPlot);
}

// --- the table ----------------------------------------------------------------------------------

// A click on a head sorts by it, a second one turns the order round; what has no value stays last.
function sortTable(table) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  const body = table.tBodies[0];
  const value = (row, k) => (k ? Number(row.cells[k].dataset.value ?? NaN) : row.cells[0].textContent);
  heads.forEach((head, k) => head.querySelector("button").addEventListener("click", () => {
    const down = k ? head.getAttribute("aria-sort") !== "descending" : head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => {
      const [x, y] = [value(a, k), value(b, k)];
      if (!k) return x.localeCompare(y, "en", { numeric: true }) * (down ? -1 : 1);
      return Number.isNaN(x) - Number.isNaN(y) || (x - y) * (down ? -1 : 1) || 0;
    };
    body.append(...[...body.rows].sort(order));
  }));
}

const pointsTable = document.getElementById("points");
if (pointsTable) sortTable(pointsTable);
