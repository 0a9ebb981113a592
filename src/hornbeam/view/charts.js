// The curves: one panel a question, drawn at its real width, read by pointer or arrow keys.

// What a row cost, for the axis of total tokens: sampled, prompt computed, run by the trainer.
function tokensOf(row) {
  const trained = row.tokens_unique ?? row.tokens_flat ?? 0;
  return (row.sampled_tokens ?? 0) + (row.prompt_tokens_computed ?? 0) + trained;
}

const PANELS = [
  { title: "Held-out accuracy", kind: "eval", keys: ["accuracy"], percent: true, stages: true },
  { title: "Training reward", kind: "train", keys: ["reward"], smooth: true },
  { title: "Groups of a step", kind: "train", keys: ["mixed_groups", "unmixed_groups"] },
  { title: "Failed runs of a step", kind: "train", keys: ["failed"] },
  { title: "Answers cut off at max_tokens", kind: "train", keys: ["cut_off"], percent: true },
  { title: "Tool calls that failed", kind: "train",
    keys: ["tool_errors", "unknown_tools", "unreadable_calls", "wrong_arguments"] },
  { title: "Loss", kind: "train", keys: ["loss"], smooth: true },
  { title: "KL to the reference", kind: "train", keys: ["kl"], smooth: true },
  { title: "Entropy", kind: "train", keys: ["entropy"], smooth: true },
  { title: "Tokens of a step: growing", kind: "train",
    keys: ["sampled_tokens", "prompt_tokens_computed", "prompt_tokens_cached"] },
  { title: "Tokens of a step: training", kind: "train", keys: ["tokens_unique", "tokens_flat"] },
  { title: "Wall seconds of a step", kind: "train", keys: ["seconds_grow", "seconds_train"] },
  { title: "Wall seconds of a step: idle", kind: "train",
    keys: ["seconds_engine_idle", "seconds_trainer_idle", "seconds_rows_empty"] },
  { title: "Warm start: loss", kind: "sft", keys: ["loss"], smooth: true },
];

// What stands beside the reward: its parts and figures of functions, three curves a panel.
function besides(title, lead) {
  const keys = [...new Set(DATA.metrics.filter((row) => row.kind === "train").flatMap(Object.keys))]
    .filter((key) => key.startsWith(lead) && !key.endsWith(".count") && key !== "step_rewards");
  return keys.flatMap((_, k) => (k % 3 ? [] : [{ title, kind: "train", keys: keys.slice(k, k + 3), smooth: true }]));
}
PANELS.splice(2, 0, ...besides("Parts of the reward", "reward."),
  ...besides("Figures of the reward", "figure."), ...besides("Rewards of steps, a run", "step_reward"));

// Rewards between 0 and 1 are no accuracy: their rows say what they are.
let graded;
function grade() {
  graded = DATA.metrics.find((row) => row.kind === "eval" && row.figure);
  if (graded) Object.assign(PANELS[0], { title: `Held-out ${graded.figure}`, percent: false });
}
const called = (key) => (graded && key === "accuracy" ? graded.figure : words(key));
const level = (value) => (graded ? short(value) : percent(value));

let axis = "step";
const X = Symbol("x"); // where a row stands on both axes: no name of a number is the same
const redraw = []; // one function a panel

// --- data ---------------------------------------------------------------------------------------

// Rows of one kind with x for both axes; tokens add up over training rows in the order written.
function rowsOf(kind) {
  let tokens = 0;
  let count = 0;
  const out = [];
  for (const row of DATA.metrics) {
    if (row.kind !== "eval") tokens += tokensOf(row);
    if (row.kind === kind) out.push({ ...row, [X]: { step: row.step ?? count++, tokens } });
  }
  return out;
}

// Mean of the last `width` values; null stays null.
function trailing(values, width) {
  return values.map((value, i) => {
    if (value === null) return null;
    const near = values.slice(Math.max(0, i - width + 1), i + 1).filter((v) => v !== null);
    return near.reduce((sum, v) => sum + v, 0) / near.length;
  });
}

function seriesOf(panel, rows) {
  const width = panel.smooth && rows.length >= 20 ? Math.round(rows.length / 10) : 1;
  return panel.keys
    .filter((key) => rows.some((row) => row[key] !== undefined))
    .map((key) => {
      const raw = rows.map((row) => row[key] ?? null);
      return { key, raw, line: width > 1 ? trailing(raw, width) : raw, width };
    });
}

// --- drawing ------------------------------------------------------------------------------------

const HEIGHT = 188;

function scales(panel, rows, series, width) {
  const ys = series.flatMap((s) => s.raw).filter((v) => v !== null);
  let low = Math.min(...ys);
  let high = Math.max(...ys);
  if (low > 0 && low < 0.6 * high) low = 0;
  if (panel.percent || Math.abs(high - low) < 1e-9) low = Math.min(low, 0);
  if (high === low) high = low + 1;
  const yTicks = ticks(low, high, 4);
  const xs = rows.map((row) => row[X][axis]);
  const first = Math.min(...xs);
  const last = Math.max(...xs, first + 1e-9);
  const [bottom, top] = [yTicks[0], yTicks[yTicks.length - 1]];
  const inner = width - EDGE.left - EDGE.right;
  const tall = HEIGHT - EDGE.top - EDGE.bottom;
  const every = ticks(first, last, Math.max(2, Math.floor(inner / 80)));
  return {
    height: HEIGHT,
    yTicks,
    xTicks: every.filter((v) => v >= first && v <= last && (axis !== "step" || v % 1 === 0)),
    x: (v) => EDGE.left + ((v - first) / (last - first)) * inner,
    y: (v) => EDGE.top + (1 - (v - bottom) / (top - bottom)) * tall,
  };
}

function curve(rows, values, scale, className) {
  let path = "";
  let pen = "M";
  rows.forEach((row, i) => {
    if (values[i] === null) { pen = "M"; return; }
    path += `${pen}${scale.x(row[X][axis]).toFixed(1)} ${scale.y(values[i]).toFixed(1)}`;
    pen = "L";
  });
  return svg("path", { class: className, d: path });
}

// Start, warm start and final: a shape and a word each; the warm start's level as a dashed line.
function stageMarks(rows, scale, width) {
  const parts = [];
  const right = width - EDGE.right;
  rows.forEach((row) => {
    if (row.accuracy === undefined) return;
    const [x, y] = [scale.x(row[X][axis]), scale.y(row.accuracy)];
    const dot = { class: "mark", cx: x, cy: y, r: 3.5 };
    if (row.stage === "start") {
      parts.push(svg("rect", { class: "mark hollow", x: x - 4, y: y - 4, width: 8, height: 8 }));
      parts.push(svg("text", { class: "said", x: x + 9, y: y + 4 }, `start ${level(row.accuracy)}`));
    } else if (row.stage === "warm start") {
      const label = `warm start ${level(row.accuracy)}`;
      parts.push(svg("line", { class: "level", x1: EDGE.left, x2: right, y1: y, y2: y }));
      parts.push(svg("path", { class: "mark", d: `M${x} ${y - 6}l6 6l-6 6l-6-6z` }));
      parts.push(svg("text", { class: "said", x: right, y: y + 15, "text-anchor": "end" }, label));
    } else if (row.stage === "final") {
      const label = `final ${level(row.accuracy)}`;
      const beside = y < EDGE.top + 14 ? y + 18 : y - 9; // below where there is no room above
      parts.push(svg("circle", { ...dot, r: 5 }));
      parts.push(svg("text", { class: "said", x: right, y: beside, "text-anchor": "end" }, label));
    } else parts.push(svg("circle", dot));
  });
  return parts;
}

function paint(picture, panel, rows, series) {
  const width = Math.max(picture.parentNode.clientWidth, 240);
  const scale = scales(panel, rows, series, width);
  const parts = frame(scale, width, panel.percent);
  series.forEach((s, k) => {
    if (s.width > 1) parts.push(curve(rows, s.raw, scale, `raw s${k}`));
    if (!panel.stages) parts.push(curve(rows, s.line, scale, `curve s${k}`));
  });
  if (panel.stages) { // before the warm start nothing was trained by reward: no line to it
    const past = series[0].line.map((v, i) => (rows[i].stage === "start" ? null : v));
    parts.push(curve(rows, past, scale, "curve s0"), ...stageMarks(rows, scale, width));
  }
  setPicture(picture, width, HEIGHT, parts);
  return scale;
}

// --- one panel ----------------------------------------------------------------------------------

function addPanel(grid, panel) {
  const rows = rowsOf(panel.kind).filter((row) => panel.keys.some((key) => row[key] !== undefined));
  const series = seriesOf(panel, rows);
  if (!rows.length || !series.length) return null;
  const say = panel.percent ? percent : short;
  const where = html("span", { class: "where" });
  const values = series.map(() => html("b"));
  const keys = series.map((s, k) => html("span", { class: "key" },
    svg("svg", { width: 22, height: 10, "aria-hidden": "true" },
      svg("path", { class: `curve s${k}`, d: "M1 5H21" })),
    `${called(s.key)} `, values[k]));
  const picture = svg("svg", { class: "chart", tabindex: 0, role: "img" });
  const note = series[0].width > 1 ? `line: mean of the last ${series[0].width} steps` : "";
  const card = html("article", { class: panel.stages ? "card wide" : "card" },
    html("h3", {}, panel.title),
    html("p", { class: "reading", "aria-live": "polite" }, where, keys),
    html("div", { class: "plot" }, picture),
    html("p", { class: "note small" }, note),
    table(panel, rows, series, say));
  grid.append(card);

  let scale;
  let at = rows.length - 1;
  const read = (i, cursor) => {
    at = Math.min(Math.max(i, 0), rows.length - 1);
    const row = rows[at];
    const stage = row.stage && row.stage !== "train" ? `${row.stage}, ` : "";
    where.textContent = stage + (axis === "step" ? `step ${short(row[X].step)}`
      : `${brief(row[X].tokens)} tokens`);
    series.forEach((s, k) => { values[k].textContent = say(s.raw[at]); });
    picture.setAttribute("aria-label", `${panel.title}. ${card.querySelector(".reading").textContent}`
      + ". Arrow keys read other steps; all values stand in the table below.");
    picture.querySelectorAll(".cursor").forEach((old) => old.remove());
    if (!cursor) return;
    const x = scale.x(row[X][axis]);
    picture.append(svg("line", { class: "cursor", x1: x, x2: x, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
    series.forEach((s, k) => {
      if (s.raw[at] === null) return;
      picture.append(svg("circle", { class: `cursor dot s${k}`, cx: x, cy: scale.y(s.raw[at]), r: 4 }));
    });
  };
  const draw = () => { scale = paint(picture, panel, rows, series); read(at, false); };
  listen(picture, rows, read, () => at, () => scale);
  new ResizeObserver(draw).observe(card);
  redraw.push(draw);
  draw();
  return card;
}

function listen(picture, rows, read, at, scale) {
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * picture.viewBox.baseVal.width;
    const far = (i) => Math.abs(scale().x(rows[i][X][axis]) - x);
    let best = 0;
    for (let i = 1; i < rows.length; i++) if (far(i) <= far(best)) best = i;
    read(best, true);
  });
  picture.addEventListener("pointerleave", () => read(rows.length - 1, false));
  picture.addEventListener("focus", () => read(at(), true));
  picture.addEventListener("blur", () => read(rows.length - 1, false));
  picture.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: at() - 1, ArrowRight: at() + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    read(to, true);
  });
}

// The same values as a table, made when it is opened.
function table(panel, rows, series, say) {
  const box = html("details", { class: "table" }, html("summary", {}, "Values as a table"));
  box.addEventListener("toggle", () => {
    if (box.children.length > 1) return;
    const staged = rows.some((row) => row.stage);
    const heads = ["step", "tokens", ...(staged ? ["stage"] : []), ...series.map((s) => called(s.key))];
    box.append(html("table", {}, html("caption", {}, panel.title),
      html("thead", {}, html("tr", {}, heads.map((h) => html("th", { scope: "col" }, h)))),
      html("tbody", {}, rows.map((row, i) => html("tr", {},
        html("th", { scope: "row" }, short(row[X].step)), html("td", {}, brief(row[X].tokens)),
        staged ? html("td", {}, row.stage ?? "") : null,
        series.map((s) => html("td", {}, say(s.raw[i]))))))));
  });
  return box;
}

// --- all panels ---------------------------------------------------------------------------------

// Whether a number of a kind of rows is not the same in all of them; how time goes by is no news.
function moves(kind, key) {
  const seen = DATA.metrics.filter((row) => row.kind === kind && typeof row[key] === "number");
  return key !== "seconds" && new Set(seen.map((row) => row[key])).size > 1;
}

// Any number of any row can be drawn: one more panel with a choice.
function addChosen(grid, wanted) {
  const named = new Map(); // what a choice means: its name may hold anything
  for (const { kind, ...row } of DATA.metrics) {
    for (const key of Object.keys(row)) {
      const title = `${kind}: ${words(key)}`;
      if (typeof row[key] === "number" && key !== "step") named.set(`${title}|${kind}|${key}`, { title, kind, key });
    }
  }
  if (!named.size) return;
  const drawn = (name) => PANELS.some((p) => p.kind === named.get(name).kind && p.keys.includes(named.get(name).key));
  const all = [...named.keys()].sort();
  const moving = all.filter((name) => moves(named.get(name).kind, named.get(name).key));
  const fresh = moving.find((name) => !drawn(name)) ?? moving[0];
  const choice = html("select", { id: "chosen" },
    all.map((name) => html("option", { value: name }, named.get(name).title)));
  choice.value = all.includes(wanted) ? wanted : fresh ?? all[0];
  const place = html("div", { class: "grid" });
  const show = () => {
    const { title, kind, key } = named.get(choice.value);
    place.replaceChildren();
    redraw.length = fixed;
    addPanel(place, { title, kind, keys: [key] });
  };
  const fixed = redraw.length;
  choice.addEventListener("change", show);
  grid.after(html("div", { id: "any" }, html("p", { class: "bar pick" },
    html("label", { for: "chosen" }, "Any other number"), choice), place));
  show();
}

function drawCurves(wanted) {
  const grid = document.getElementById("curves");
  grade();
  const cards = PANELS.map((panel) => addPanel(grid, panel)).filter((card) => card);
  if (!cards.length) {
    grid.append(html("p", { class: "note" }, "No measurements were handed to this report."));
  }
  document.getElementById("axis").hidden = !cards.length;
  addChosen(grid, wanted);
}

document.getElementById("axis").addEventListener("change", (event) => {
  axis = event.target.value;
  for (const draw of redraw) draw();
});
drawCurves();
