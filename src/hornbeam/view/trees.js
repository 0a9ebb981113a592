// The trees of a step: drawn left to right with credit as colour, walked with the arrow keys.

const PILL = { width: 48, height: 22 };
const ROOT = 14; // the task's own dot
const FORK = 38; // width of a fork
const ANSWER = 58; // where answers end, from the right edge
const shown = { step: DATA.steps.length - 1, tree: 0, node: 0, column: "credit" };
const parts = {}; // the elements that change
let marks = []; // one element a node of the tree that is drawn

// --- reading the data ---------------------------------------------------------------------------

function stepName(step) {
  return step < 0 ? "held-out" : `step ${step}`;
}

function currentTree() {
  return DATA.steps[shown.step].trees[shown.tree];
}

// Children of every node, made once a tree.
function below(tree) {
  if (!tree.below) {
    tree.below = tree.nodes.map(() => []);
    tree.nodes.forEach((node, i) => { if (i) tree.below[node.parent].push(i); });
  }
  return tree.below;
}

function leavesOf(tree) {
  return below(tree).map((c, i) => [c.length, i]).filter(([n, i]) => !n && i).map(([, i]) => i)
    .sort((a, b) => tree.nodes[a].row - tree.nodes[b].row);
}

function valueOf(tree, i, column = shown.column) {
  return tree.columns[column]?.[i] ?? null;
}

// The names of all columns of a step, credit first.
function columnsOf(step) {
  return [...new Set(["credit", ...step.trees.flatMap((tree) => Object.keys(tree.columns))])]
    .filter((name) => step.trees.some((tree) => name in tree.columns));
}

// The largest size in the step, so that its trees can be compared by colour.
function largest(column) {
  let most = 0;
  for (const tree of DATA.steps[shown.step].trees) {
    for (const value of tree.columns[column] ?? []) most = Math.max(most, Math.abs(value ?? 0));
  }
  return most || 1;
}

// Side and strength of a value on the scale, put on an element.
function tint(element, value) {
  element.classList.add(value === null ? "none" : value < 0 ? "neg" : "pos");
  const size = value === null ? 0 : Math.abs(value) / largest(shown.column);
  element.style.setProperty("--t", size.toFixed(3));
  return element;
}

// About two digits, signed: they must fit into a pill.
function worth(value) {
  if (value === null) return "";
  const sign = value > 0 ? "+" : "";
  const size = Math.abs(value);
  if (size >= 1000) return sign + brief(Number(value.toPrecision(2)));
  if (size >= 0.1 || !size) return signed(Number(value.toPrecision(2)));
  const small = largest(shown.column) < 0.1 ? value.toExponential(0) : value.toFixed(2);
  return sign + small.replace(/-/g, "−");
}

function firstWords(text, count) {
  const line = text.split("\n").map((l) => l.trim()).find((l) => l) ?? "";
  return line.length <= count ? line : `${line.slice(0, Math.max(count - 1, 1)).trimEnd()}…`;
}

// --- drawing ------------------------------------------------------------------------------------

// Where each node stands, and how wide the picture is.
function layOut(tree, width) {
  const depth = [];
  tree.nodes.forEach((node, i) => { depth[i] = i ? depth[node.parent] + 1 : 0; });
  const deep = Math.max(1, ...depth);
  const gutter = width >= 560 ? 118 : 44;
  const fit = (width - ROOT - 26 - gutter) / deep;
  const column = Math.min(Math.max(fit, PILL.width + 14), 236);
  const tall = column >= 96 || severalAgents(tree) ? 46 : 32;
  const rows = Math.max(...tree.nodes.map((node) => node.row)) + 1;
  return {
    column, gutter, tall, depth,
    width: Math.max(width, ROOT + 26 + gutter + deep * column),
    height: 26 + rows * tall,
    x: (i) => (i ? ROOT + 26 + (depth[i] - 1) * column : 6),
    y: (i) => 26 + tall * (tree.nodes[i].row + 0.5) - (tall > 40 ? 6 : 0),
  };
}

function severalAgents(tree) {
  return new Set(tree.nodes.slice(1).map((node) => node.agent ?? "")).size > 1;
}

// Where lines leave a node, and where they fork: late, so that they cross no words.
function forkOf(tree, i, place) {
  const edge = place.x(i) + (i ? PILL.width : ROOT);
  const several = below(tree)[i].length > 1;
  return [edge, several ? Math.max(edge, place.x(below(tree)[i][0]) - FORK) : edge];
}

// From the parent's fork to the child's left edge; thicker where more leaves hang on it.
function limb(tree, i, place, many) {
  const parent = tree.nodes[i].parent;
  const [y1, x2, y2] = [place.y(parent), place.x(i), place.y(i)];
  const [, x1] = forkOf(tree, parent, place);
  const bend = (x2 - x1) * 0.55;
  return line(tree, i, `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, many[i]);
}

// The piece before the fork, in the colour of the node that it comes from.
function stem(tree, i, place, many) {
  const [from, to] = forkOf(tree, i, place);
  return to > from ? line(tree, i, `M${from} ${place.y(i)}H${to}`, many[i]) : null;
}

function line(tree, i, d, leaves) {
  const path = svg("path", { class: "limb", d });
  path.style.strokeWidth = Math.min(1.5 + 0.9 * Math.sqrt(leaves - 1), 6).toFixed(1);
  return tint(path, valueOf(tree, i));
}

function leafCounts(tree) {
  const many = tree.nodes.map(() => 0);
  for (let i = tree.nodes.length - 1; i > 0; i--) {
    many[i] ||= 1;
    many[tree.nodes[i].parent] += many[i];
  }
  return many;
}

// What a leaf came to, at the right edge: its answer where there is room, its reward.
function result(tree, i, place) {
  const y = place.y(i);
  const reward = valueOf(tree, i, "reward");
  const node = tree.nodes[i];
  const told = svg("text", { class: "result", x: place.width - 4, y: y + 4 },
    node.error === undefined ? short(reward) : "failed");
  const answer = node.answer === undefined || place.gutter <= ANSWER ? null
    : svg("text", { class: "result answer", x: place.width - ANSWER, y: y + 4 },
      firstWords(DATA.texts[node.answer], 9));
  const from = place.x(i) + PILL.width + 6;
  const to = place.width - place.gutter + 10;
  return [told, answer, to > from ? svg("line", { class: "lead", x1: from, x2: to, y1: y, y2: y }) : null];
}

function label(tree, i) {
  const node = tree.nodes[i];
  if (!i) return `task: ${firstWords(DATA.texts[tree.question], 120)}`;
  const said = node.error ?? node.text;
  const value = valueOf(tree, i);
  const reward = valueOf(tree, i, "reward");
  return [`node ${i}`, node.agent ?? "", value === null ? "" : `${words(shown.column)} ${worth(value)}`,
    node.error === undefined ? "" : "failed", reward === null ? "" : `reward ${short(reward)}`,
    said === undefined ? "" : firstWords(DATA.texts[said], 120)].filter((part) => part).join(", ");
}

function twig(tree, i, place) {
  const node = tree.nodes[i];
  const failed = node.error !== undefined;
  const size = i ? PILL : { width: ROOT, height: ROOT };
  const mates = i ? below(tree)[node.parent] : [0];
  const group = svg("g", {
    class: failed ? "node failed" : "node", role: "treeitem", tabindex: -1, "aria-selected": "false",
    "aria-level": place.depth[i] + 1, "aria-setsize": mates.length,
    "aria-posinset": mates.indexOf(i) + 1, "aria-label": label(tree, i),
    transform: `translate(${place.x(i)} ${place.y(i)})`,
    click: () => choose(i, true),
  });
  const box = (grow, name) => svg("rect", { class: name, x: -grow, y: -size.height / 2 - grow,
    width: size.width + 2 * grow, height: size.height + 2 * grow, rx: size.height / 2 + grow });
  group.append(box(3, "ring"), box(0, "pill"));
  if (i) {
    const value = valueOf(tree, i);
    group.append(svg("text", { class: "worth", x: size.width / 2, y: 4 },
      value === null && failed ? "✕" : worth(value)), caption(tree, i, place));
  }
  return tint(group, valueOf(tree, i));
}

// Below the pill: who spoke where several agents do, and the first words where there is room.
function caption(tree, i, place) {
  const node = tree.nodes[i];
  const text = svg("text", { class: "words", x: 2, y: PILL.height / 2 + 14 });
  const forks = below(tree)[i].length > 1;
  let room = Math.floor((place.column - (forks ? FORK + 4 : 8)) / 6);
  if (severalAgents(tree)) {
    const name = firstWords(node.agent ?? "step", Math.max(room, 8));
    text.append(svg("tspan", { class: "who" }, name), " ");
    room -= name.length + 2;
  }
  const said = node.error ?? node.text;
  if (place.column >= 96 && room > 5 && said !== undefined) text.append(firstWords(DATA.texts[said], room));
  return text;
}

function drawTree() {
  const tree = currentTree();
  const place = layOut(tree, Math.max(parts.wood.clientWidth - parts.pad, 260));
  const many = leafCounts(tree);
  marks = tree.nodes.map((_, i) => twig(tree, i, place));
  const ends = leavesOf(tree).flatMap((i) => result(tree, i, place));
  const head = [["reward", 4], ["answer", ANSWER]].filter(([, from]) => from < place.gutter)
    .map(([name, from]) => svg("text", { class: "tick", x: place.width - from, y: 16, "text-anchor": "end" }, name));
  const picture = svg("svg", { role: "tree", width: place.width, height: place.height,
    "aria-label": `Tree ${shown.tree + 1} of ${stepName(DATA.steps[shown.step].step)}`, keydown: walk },
  head, tree.nodes.map((_, i) => (i ? [stem(tree, i, place, many), limb(tree, i, place, many)] : null)), ends, marks);
  parts.wood.replaceChildren(picture);
  choose(Math.min(shown.node, tree.nodes.length - 1), false);
}

// --- choosing -----------------------------------------------------------------------------------

function choose(i, focus) {
  shown.node = i;
  marks.forEach((mark, k) => {
    mark.setAttribute("aria-selected", String(k === i));
    mark.setAttribute("tabindex", k === i ? 0 : -1);
  });
  if (focus) {
    marks[i].focus({ preventScroll: true });
    marks[i].scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  showStep(parts.step, currentTree(), i);
}

// Right: first child, left: parent, up and down: the neighbour in the same column.
function walk(event) {
  const tree = currentTree();
  const i = shown.node;
  const depth = (k) => Number(marks[k].getAttribute("aria-level"));
  const row = (k) => tree.nodes[k].row;
  const column = tree.nodes.map((_, k) => k).filter((k) => depth(k) === depth(i))
    .sort((a, b) => row(a) - row(b));
  const to = {
    ArrowRight: below(tree)[i][0], ArrowLeft: i ? tree.nodes[i].parent : undefined,
    ArrowDown: column[column.indexOf(i) + 1], ArrowUp: column[column.indexOf(i) - 1],
    Home: 0, End: leavesOf(tree).at(-1),
  }[event.key];
  if (event.key === "Enter" || event.key === " ") {
    parts.step.focus();
    parts.step.scrollIntoView({ block: "nearest" });
  } else if (to !== undefined) choose(to, true);
  else if (!event.key.startsWith("Arrow")) return;
  event.preventDefault();
}

function chooseTree(index) {
  shown.tree = index;
  shown.node = Math.min(1, currentTree().nodes.length - 1);
  parts.question.textContent = DATA.texts[currentTree().question] || currentTree().id;
  parts.wood.scrollTo(0, 0);
  drawTree();
}

function chooseStep(index) {
  shown.step = Math.min(Math.max(index, 0), DATA.steps.length - 1);
  const step = DATA.steps[shown.step];
  const names = columnsOf(step);
  if (!names.includes(shown.column)) shown.column = names[0] ?? "credit";
  parts.slider.value = shown.step;
  parts.slider.setAttribute("aria-valuetext", stepName(step.step));
  parts.name.textContent = stepName(step.step);
  parts.before.disabled = shown.step === 0;
  parts.after.disabled = shown.step === DATA.steps.length - 1;
  parts.column.replaceChildren(...names.map((name) => html("option", { value: name }, words(name))));
  parts.column.value = shown.column;
  const index2 = Math.min(shown.tree, step.trees.length - 1);
  fillChips(step, index2);
  fillLegend();
  chooseTree(index2);
}

// --- controls -----------------------------------------------------------------------------------

// One choice a tree: its number and what its leaves earned, as a strip of colours.
function fillChips(step, chosen) {
  const more = step.of > step.trees.length ? ` (the first ${step.trees.length} of ${step.of})` : "";
  parts.chips.replaceChildren(html("legend", {}, `Trees of this step${more}`),
    ...step.trees.map((tree, k) => {
      const leaves = leavesOf(tree).slice(0, 24);
      const wide = leaves.length > 10 ? 4 : 7;
      const bit = (n) => svg("rect", { class: "bit", x: n * wide + 0.5, y: 0.5, width: wide - 1, height: 11, rx: 1 });
      const strip = svg("svg", { width: leaves.length * wide, height: 12, "aria-hidden": "true" },
        leaves.map((i, n) => tint(bit(n), valueOf(tree, i))));
      return html("label", { class: "chip", title: firstWords(DATA.texts[tree.question], 200) },
        html("input", { type: "radio", name: "tree", value: k, checked: k === chosen,
          "aria-label": `tree ${k + 1}: ${firstWords(DATA.texts[tree.question], 100) || tree.id}`,
          change: () => chooseTree(k) }), String(k + 1), strip);
    }));
}

function fillLegend() {
  const most = largest(shown.column);
  parts.low.textContent = worth(-most);
  parts.high.textContent = worth(most);
  const credited = DATA.steps[shown.step].trees.some((tree) => tree.columns.advantage);
  parts.meaning.textContent = shown.column !== "credit" ? ""
    : credited ? "what a step earned, as the mean over its paths"
      : "no credit was written: mean reward of the paths through a step";
}

function makeControls(box) {
  const turn = (by) => () => chooseStep(shown.step + by);
  parts.slider = html("input", { type: "range", min: 0, max: DATA.steps.length - 1, "aria-label": "Step",
    input: (event) => chooseStep(Number(event.target.value)) });
  parts.before = html("button", { type: "button", "aria-label": "Step before", click: turn(-1) }, "←");
  parts.after = html("button", { type: "button", "aria-label": "Step after", click: turn(1) }, "→");
  parts.name = html("output");
  parts.chips = html("fieldset", { class: "chips" });
  parts.column = html("select", { id: "column", change: (event) => {
    shown.column = event.target.value;
    fillChips(DATA.steps[shown.step], shown.tree);
    fillLegend();
    drawTree();
  } });
  const only = DATA.steps.length === 1;
  box.append(html("div", { class: "steps" }, parts.name,
    only ? null : [parts.before, parts.slider, parts.after]), parts.chips);
}

function makeTrees() {
  const box = document.getElementById("trees");
  if (!DATA.steps.length) {
    box.append(html("p", { class: "note" }, "No trees were handed to this report."));
    return;
  }
  makeControls(box);
  [parts.low, parts.high, parts.meaning] = [html("span"), html("span"), html("span")];
  parts.question = html("p", { class: "question" });
  parts.wood = html("div", { class: "wood" });
  parts.step = html("section", { class: "card step", tabindex: -1, "aria-label": "Text of the chosen step",
    keydown: (event) => { if (event.key === "Escape") choose(shown.node, true); } });
  const legend = html("div", { class: "legend" },
    html("label", { for: "column" }, "Colour", parts.column),
    html("span", { class: "scale" }, parts.low, html("i"), parts.high), parts.meaning);
  box.append(parts.question, html("div", { class: "show" },
    html("div", {}, html("div", { class: "card canvas" }, legend, parts.wood),
      html("p", { class: "hint keys" }, "Click a step to read it, or walk with ", html("kbd", {}, "←"), " ",
        html("kbd", {}, "→"), " ", html("kbd", {}, "↑"), " ", html("kbd", {}, "↓"), "; ",
        html("kbd", {}, "Enter"), " goes to its text, ", html("kbd", {}, "Esc"), " back.")), parts.step));
  const style = getComputedStyle(parts.wood);
  parts.pad = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  chooseStep(DATA.steps.length - 1);
  let wide = parts.wood.clientWidth;
  new ResizeObserver(() => {
    if (parts.wood.clientWidth === wide) return; // its height changes with every tree
    wide = parts.wood.clientWidth;
    drawTree();
  }).observe(parts.wood);
}

makeTrees();
