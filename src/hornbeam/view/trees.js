// The trees of a step: drawn left to right with credit as colour, walked with the arrow keys.

const shown = { step: DATA.steps.length - 1, tree: 0, column: "credit" };
const parts = {}; // the elements that change
const drawing = { node: 0 };

// --- reading the data ---------------------------------------------------------------------------

function stepName(step) {
  return step < 0 ? "held-out" : `${DATA.one} ${step}`;
}

function currentTree() {
  return DATA.steps[shown.step].trees[shown.tree];
}

function drawTree() {
  const step = DATA.steps[shown.step];
  Object.assign(drawing, { tree: currentTree(), column: shown.column, most: largest(step.trees, shown.column),
    name: `Tree ${shown.tree + 1} of ${stepName(step.step)}` });
  renderTree(drawing);
}

// --- choosing -----------------------------------------------------------------------------------

function chooseTree(index) {
  shown.tree = index;
  drawing.node = Math.min(1, currentTree().nodes.length - 1);
  parts.question.textContent = DATA.texts[currentTree().question] || currentTree().id;
  drawing.host.scrollTo(0, 0);
  drawTree();
}

function chooseStep(index) {
  shown.step = Math.min(Math.max(index, 0), DATA.steps.length - 1);
  const step = DATA.steps[shown.step];
  const names = columnsOf(step.trees, "credit");
  if (!names.includes(shown.column)) shown.column = names[0] ?? "credit";
  parts.slider.value = shown.step;
  parts.slider.setAttribute("aria-valuetext", stepName(step.step));
  parts.name.textContent = stepName(step.step);
  parts.before.disabled = shown.step === 0;
  parts.after.disabled = shown.step === DATA.steps.length - 1;
  const index2 = Math.min(shown.tree, step.trees.length - 1);
  fillChips(step, index2);
  fillLegend();
  chooseTree(index2);
}

// --- controls -----------------------------------------------------------------------------------

// One choice a tree: its number and what its leaves earned, as a strip of colours.
function fillChips(step, chosen) {
  const more = step.of > step.trees.length ? ` (the first ${step.trees.length} of ${step.of})` : "";
  parts.chips.replaceChildren(html("legend", {}, `Trees of this ${DATA.one}${more}`),
    ...step.trees.map((tree, k) => {
      const leaves = leavesOf(tree).slice(0, 24);
      const wide = leaves.length > 10 ? 4 : 7;
      const bit = (n) => svg("rect", { class: "bit", x: n * wide + 0.5, y: 0.5, width: wide - 1, height: 11, rx: 1 });
      const most = largest(step.trees, shown.column);
      const strip = svg("svg", { width: leaves.length * wide, height: 12, "aria-hidden": "true" },
        leaves.map((i, n) => tint(bit(n), valueOf(tree, i, shown.column), most)));
      return html("label", { class: "chip", title: firstWords(DATA.texts[tree.question], 200) },
        html("input", { type: "radio", name: "tree", value: k, checked: k === chosen,
          "aria-label": `tree ${k + 1}: ${firstWords(DATA.texts[tree.question], 100) || tree.id}`,
          change: () => chooseTree(k) }), String(k + 1), strip);
    }));
}

function fillLegend() {
  const { trees } = DATA.steps[shown.step];
  const credited = trees.some((tree) => tree.columns.advantage);
  const meaning = shown.column !== "credit" ? ""
    : credited ? "what a step earned, as the mean over its paths"
      : "no credit was written: mean reward of the paths through a step";
  parts.legend.fill(columnsOf(trees, "credit"), shown.column, largest(trees, shown.column), meaning);
}

function makeControls(box) {
  const turn = (by) => () => chooseStep(shown.step + by);
  parts.slider = html("input", { type: "range", min: 0, max: DATA.steps.length - 1, "aria-label": DATA.one,
    input: (event) => chooseStep(Number(event.target.value)) });
  parts.before = html("button", { type: "button", "aria-label": "Step before", click: turn(-1) }, "←");
  parts.after = html("button", { type: "button", "aria-label": "Step after", click: turn(1) }, "→");
  parts.name = html("output");
  parts.chips = html("fieldset", { class: "chips" });
  parts.legend = colourLegend("column", (column) => {
    shown.column = column;
    fillChips(DATA.steps[shown.step], shown.tree);
    fillLegend();
    drawTree();
  });
  parts.column = parts.legend.select;
  const only = DATA.steps.length === 1;
  box.append(html("div", { class: "steps" }, parts.name,
    only ? null : [parts.before, parts.slider, parts.after]), parts.chips);
}

// Whether the leaves of a tree came to different ends: there is something to see in it.
function isMixed(tree) {
  const ends = leavesOf(tree).map((i) => valueOf(tree, i, "reward")).filter((v) => v !== null);
  return new Set(ends).size > 1;
}

// Opens on the first mixed tree of the latest step that has one, else on the latest step.
function openTrees() {
  let at = DATA.steps.length - 1;
  while (at > 0 && !DATA.steps[at].trees.some(isMixed)) at--;
  const first = DATA.steps[at].trees.findIndex(isMixed);
  shown.tree = Math.max(first, 0);
  chooseStep(first < 0 ? DATA.steps.length - 1 : at);
  shown.opened = place();
}

// Which node of which tree is looked at.
function place() {
  return `${DATA.steps[shown.step]?.step} ${shown.tree} ${drawing.node} ${shown.column}`;
}

function makeTrees() {
  const box = document.getElementById("trees");
  if (!DATA.steps.length) {
    box.append(html("p", { class: "note" }, "No trees were handed to this report."));
    return;
  }
  makeControls(box);
  parts.question = html("p", { class: "question" });
  drawing.host = html("div", { class: "drawing" });
  const card = textCard(drawing);
  box.append(parts.question, html("div", { class: "show" },
    html("div", {}, html("div", { class: "card canvas" }, parts.legend.box, drawing.host),
      html("p", { class: "hint keys" }, "Click a step to read it, or walk with ", html("kbd", {}, "←"), " ",
        html("kbd", {}, "→"), " ", html("kbd", {}, "↑"), " ", html("kbd", {}, "↓"), "; ",
        html("kbd", {}, "Enter"), " goes to its text, ", html("kbd", {}, "Esc"), " back.")), card));
  openTrees();
  watchWidth(drawing.host, drawTree);
}

makeTrees();
