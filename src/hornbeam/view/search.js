// The questions: two searches of one question side by side, their trees walked with the arrow keys.

const shown = { question: 0, column: "value" };
const sides = []; // one a tree that is drawn: { drawing, select, outcome, search }
let colours;

function searches() {
  return DATA.questions[shown.question].trees;
}

function searchName(search) {
  return search.label ? `${search.method}, ${search.label}` : search.method;
}

// Right, wrong, or why neither.
function verdictOf(search) {
  if (search.correct === true) return "right";
  if (search.correct === false) return "wrong";
  return search.answer ? "not judged" : "no answer";
}

function questionName(question, k) {
  const right = question.trees.filter((search) => search.correct === true).length;
  return `${k + 1}. ${firstWords(DATA.texts[question.trees[0].question], 90) || question.id}`
    + ` (${right} of ${question.trees.length} right)`;
}

// The last node of the chosen path, where the answer stands; else the first step.
function answerNode(tree) {
  const last = tree.nodes.findLastIndex((node) => node.chosen);
  return last > 0 ? last : Math.min(1, tree.nodes.length - 1);
}

// --- drawing ------------------------------------------------------------------------------------

function drawSide(side) {
  const { drawing } = side;
  Object.assign(drawing, { tree: side.search, column: shown.column, most: largest(searches(), shown.column),
    name: `Search tree of ${searchName(side.search)}` });
  renderTree(drawing);
}

function chooseSearch(side, k) {
  const search = searches()[k];
  side.search = search;
  side.select.value = k;
  const more = search.size > search.nodes.length ? ` (${search.nodes.length - 1} drawn)` : "";
  const facts = [search.answer ? `answer ${search.answer}` : "", verdictOf(search),
    search.tokens === null ? "" : `${short(search.tokens)} tokens`, `${short(search.size - 1)} nodes${more}`];
  side.outcome.replaceChildren(facts.filter((fact) => fact).join(" · "));
  side.drawing.node = answerNode(search);
  drawSide(side);
  const { host, node, place } = side.drawing; // the answer's row comes into view, the page stays
  host.scrollTo(0, Math.max(0, place.y(node) - host.clientHeight / 2));
}

function fillColours() {
  const names = columnsOf(searches(), "value", "q", "visits", "reward");
  if (!names.includes(shown.column)) shown.column = names[0] ?? "value";
  colours.fill(names, shown.column, largest(searches(), shown.column), "");
  colours.box.hidden = !names.length;
}

// Another question; each side stays with its method where the question was searched by it.
function chooseQuestion(k) {
  shown.question = Math.min(Math.max(k, 0), DATA.questions.length - 1);
  const question = DATA.questions[shown.question];
  const before = sides.map((side) => side.search && searchName(side.search));
  sides.question.value = shown.question;
  sides.before.disabled = shown.question === 0;
  sides.after.disabled = shown.question === DATA.questions.length - 1;
  sides.text.textContent = DATA.texts[question.trees[0].question] || question.id;
  sides.gold.replaceChildren(...(question.gold ? ["Gold answer ", html("b", {}, question.gold)] : []));
  fillColours();
  sides.forEach((side, s) => {
    side.box.hidden = s >= question.trees.length;
    side.select.replaceChildren(...question.trees.map((search, i) => html("option", { value: i },
      `${searchName(search)} (${verdictOf(search)})`)));
    const same = question.trees.findIndex((search) => searchName(search) === before[s]);
    if (!side.box.hidden) chooseSearch(side, same < 0 ? Math.min(s, question.trees.length - 1) : same);
  });
  sides.grid.classList.toggle("one", question.trees.length < 2);
}

// --- controls -----------------------------------------------------------------------------------

function makeSide(s) {
  const side = { drawing: { host: html("div", { class: "drawing" }), node: 0 }, outcome: html("p", { class: "outcome" }) };
  side.select = html("select", { "aria-label": s ? "Second search" : "First search",
    change: () => chooseSearch(side, Number(side.select.value)) });
  const card = textCard(side.drawing);
  side.box = html("div", { class: "side" }, side.select, side.outcome,
    html("div", { class: "card canvas" }, side.drawing.host), card);
  return side;
}

function makePicker() {
  const turn = (by) => () => chooseQuestion(shown.question + by);
  sides.question = html("select", { "aria-label": "Question",
    change: () => chooseQuestion(Number(sides.question.value)) },
  DATA.questions.map((question, k) => html("option", { value: k }, questionName(question, k))));
  sides.before = html("button", { type: "button", "aria-label": "Question before", click: turn(-1) }, "←");
  sides.after = html("button", { type: "button", "aria-label": "Question after", click: turn(1) }, "→");
  return html("div", { class: "picker" }, sides.question, sides.before, sides.after);
}

function makeQuestions() {
  const box = document.getElementById("questions");
  if (!DATA.questions.length) {
    box.append(html("p", { class: "note" }, "No search trees were handed to this page."));
    return;
  }
  colours = colourLegend("column", (column) => {
    shown.column = column;
    fillColours();
    for (const side of sides) if (!side.box.hidden) drawSide(side);
  });
  const key = svg("svg", { width: 30, height: 14, "aria-hidden": "true" },
    svg("path", { class: "edge chosen", d: "M1 7H29", "stroke-width": 3 }));
  colours.box.append(html("span", { class: "path-key" }, key, "chosen path"), html("span", {}, "12× visits"));
  const most = Math.max(...DATA.questions.map((question) => question.trees.length));
  for (let s = 0; s < Math.min(most, 2); s++) sides.push(makeSide(s));
  sides.text = html("p", { class: "question" });
  sides.gold = html("p", { class: "gold" });
  sides.grid = html("div", { class: "sides" }, sides.map((side) => side.box));
  box.append(makePicker(), sides.text, sides.gold, html("div", { class: "colours" }, colours.box), sides.grid,
    html("p", { class: "hint keys" }, "Click a step to read it, or walk with ", html("kbd", {}, "←"), " ",
      html("kbd", {}, "→"), " ", html("kbd", {}, "↑"), " ", html("kbd", {}, "↓"), "; ",
      html("kbd", {}, "Enter"), " goes to its text, ", html("kbd", {}, "Esc"), " back."));
  chooseQuestion(0);
  for (const side of sides) watchWidth(side.drawing.host, () => { if (!side.box.hidden) drawSide(side); });
}

makePlot();
makeQuestions();
