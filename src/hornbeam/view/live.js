// A page that follows its run: asks now and then what is new, and draws that in place.
//
// Served by `hornbeam view --live`. What a person chose stays chosen: a step, a tree, a node, a
// column, an axis, an open table. Who has chosen nothing is shown what is latest.

const EVERY = 2000; // ms between two looks
const live = { box: document.getElementById("live") };

// --- curves -------------------------------------------------------------------------------------

function heldCurves() {
  const grid = document.getElementById("curves");
  const title = (element) => element?.closest("article")?.querySelector("h3").textContent;
  return {
    wanted: document.getElementById("chosen")?.value,
    open: [...document.querySelectorAll("details.table[open]")].map(title),
    focused: grid.contains(document.activeElement) ? title(document.activeElement) : null,
  };
}

function refreshCurves(held) {
  document.getElementById("curves").replaceChildren();
  document.getElementById("any")?.remove();
  redraw.length = 0;
  drawCurves(held.wanted);
  for (const card of document.querySelectorAll("#curves article, #any article")) {
    const title = card.querySelector("h3").textContent;
    if (held.open.includes(title)) card.querySelector("details.table").open = true;
    if (title === held.focused) card.querySelector(".chart").focus({ preventScroll: true });
  }
}

// --- trees --------------------------------------------------------------------------------------

// The step that is looked at, if a person has chosen what to look at.
function heldStep() {
  if (!DATA.steps.length || shown.opened === place()) return null;
  return DATA.steps[shown.step].step;
}

function refreshTrees(step, several) {
  const at = DATA.steps.findIndex((each) => each.step === step);
  const same = at >= 0 && shown.tree < DATA.steps[at].trees.length;
  if (same && several && step >= 0) { // a trained step changes no more: what is drawn of it stays
    shown.step = at;
    parts.slider.max = DATA.steps.length - 1;
    parts.slider.value = at;
    parts.before.disabled = at === 0;
    parts.after.disabled = at === DATA.steps.length - 1;
    drawing.tree = currentTree();
    return;
  }
  const { tree, column } = shown;
  document.getElementById("trees").replaceChildren();
  makeTrees();
  if (!same) return;
  Object.assign(shown, { tree, column });
  chooseStep(at);
}

// --- what is new --------------------------------------------------------------------------------

// Take over the page as it is now: its data, and what stands in it without a script.
function take(text) {
  const next = new DOMParser().parseFromString(text, "text/html");
  const [curves, step, several] = [heldCurves(), heldStep(), DATA.steps.length > 1];
  const [left, top] = [scrollX, scrollY];
  Object.assign(DATA, JSON.parse(next.getElementById("data").textContent));
  for (const id of ["outcome", "facts", "left-out", "costs", "recipe-text"]) {
    document.getElementById(id).replaceChildren(...next.getElementById(id).childNodes);
  }
  live.box.dataset.version = next.getElementById("live").dataset.version;
  document.title = next.title;
  document.querySelector("h1").textContent = next.querySelector("h1").textContent;
  refreshCurves(curves);
  refreshTrees(step, several);
  scrollTo(left, top);
}

async function ask(what) {
  const answer = await fetch(what);
  const text = await answer.text();
  if (answer.ok) return text;
  say("gone", text.trim());
  return null;
}

async function look() {
  try {
    const state = JSON.parse(await ask("state"));
    if (state && state.version !== live.box.dataset.version) {
      const page = await ask("page");
      if (page) take(page);
    }
    if (state) say(state.state, state.line);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // nobody answers
    say("gone", "hornbeam view has ended: the page stays as it is, and follows once it runs again.");
  }
  setTimeout(look, EVERY);
}

function say(state, line) {
  live.box.className = `live ${state}`;
  if (live.box.textContent !== line) live.box.textContent = line;
}

look();
