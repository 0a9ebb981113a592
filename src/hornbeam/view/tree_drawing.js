// One tree in an element: drawn left to right with a column as colour, walked with the arrow keys.
//
// A drawing is an object: { host, name, tree, column, most, node, shows, enter }. `most` is the largest
// size on its scale of colours, `node` the chosen node, `shows(drawing)` is called when one is chosen,
// `enter()` goes to its text. Drawing adds `marks`, one element a node.

const PILL = { width: 48, height: 22 };
const ROOT = 14; // the task's own dot
const FORK = 38; // width of a fork
const ANSWER = 58; // where answers end, from the right edge

// --- reading the data ---------------------------------------------------------------------------

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

function valueOf(tree, i, column) {
  return tree.columns[column]?.[i] ?? null;
}

// The names of all columns of some trees, `first` first.
function columnsOf(trees, ...first) {
  return [...new Set([...first, ...trees.flatMap((tree) => Object.keys(tree.columns))])]
    .filter((name) => trees.some((tree) => name in tree.columns));
}

// The largest size in some trees, so that they can be compared by colour.
function largest(trees, column) {
  let most = 0;
  for (const tree of trees) {
    for (const value of tree.columns[column] ?? []) most = Math.max(most, Math.abs(value ?? 0));
  }
  return most || 1;
}

// Side and strength of a value on the scale, put on an element.
function tint(element, value, most) {
  element.classList.add(value === null ? "none" : value < 0 ? "neg" : "pos");
  element.style.setProperty("--t", value === null ? "0.000" : (Math.abs(value) / most).toFixed(3));
  return element;
}

// About two digits, signed: they must fit into a pill.
function worth(value, most) {
  if (value === null) return "";
  const sign = value > 0 ? "+" : "";
  const size = Math.abs(value);
  if (size >= 1000) return sign + brief(Number(value.toPrecision(2)));
  if (size >= 0.1 || !size) return signed(Number(value.toPrecision(2)));
  const small = most < 0.1 ? value.toExponential(0) : value.toFixed(2);
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
  const least = severalAgents(tree) || tree.columns.visits ? 150 : 108; // words stand under a pill
  const column = Math.min(Math.max(fit, least), 236);
  const tall = 46;
  const rows = Math.max(...tree.nodes.map((node) => node.row)) + 1;
  return {
    column, gutter, tall, depth,
    width: Math.max(width, ROOT + 26 + gutter + deep * column),
    height: 26 + rows * tall,
    x: (i) => (i ? ROOT + 26 + (depth[i] - 1) * column : 6),
    y: (i) => 26 + tall * (tree.nodes[i].row + 0.5) - 6,
  };
}

function severalAgents(tree) {
  return new Set(tree.nodes.slice(1).map((node) => node.agent ?? "")).size > 1;
}

// Where lines leave a node, and where they fork: late, so that they cross no words.
function forkOf(tree, i, place) {
  const right = place.x(i) + (i ? PILL.width : ROOT);
  const several = below(tree)[i].length > 1;
  return [right, several ? Math.max(right, place.x(below(tree)[i][0]) - FORK) : right];
}

// From the parent's fork to the child's left edge; thicker where more hangs on it.
function edgeAfterFork(drawing, i, place, wide) {
  const parent = drawing.tree.nodes[i].parent;
  const [y1, x2, y2] = [place.y(parent), place.x(i), place.y(i)];
  const [, x1] = forkOf(drawing.tree, parent, place);
  const bend = (x2 - x1) * 0.55;
  return edgePath(drawing, i, `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, wide[i]);
}

// The piece before the fork, in the colour of the node that it comes from.
function edgeBeforeFork(drawing, i, place, wide) {
  const [from, to] = forkOf(drawing.tree, i, place);
  if (to <= from) return null;
  const path = edgePath(drawing, i, `M${from} ${place.y(i)}H${to}`, wide[i]);
  if (!below(drawing.tree)[i].some((k) => drawing.tree.nodes[k].chosen)) path.classList.remove("chosen");
  return path;
}

function edgePath(drawing, i, d, wide) {
  const path = svg("path", { class: drawing.tree.nodes[i].chosen ? "edge chosen" : "edge", d });
  path.style.strokeWidth = wide.toFixed(1);
  return tint(path, valueOf(drawing.tree, i, drawing.column), drawing.most);
}

// How thick the edge to each node is: by its share of visits, else by the leaves below it.
function widths(tree) {
  const { visits } = tree.columns;
  if (visits) {
    const most = Math.max(...visits.slice(1).map((n) => n ?? 0), 1);
    return visits.map((n) => 1.5 + 4.5 * Math.sqrt((n ?? 0) / most));
  }
  const many = tree.nodes.map(() => 0);
  for (let i = tree.nodes.length - 1; i > 0; i--) {
    many[i] ||= 1;
    many[tree.nodes[i].parent] += many[i];
  }
  return many.map((n) => Math.min(1.5 + 0.9 * Math.sqrt(Math.max(n - 1, 0)), 6));
}

// What a leaf came to, at the right edge: its answer where there is room, its reward.
function result(tree, i, place) {
  const y = place.y(i);
  const node = tree.nodes[i];
  const reward = tree.columns.reward ? short(valueOf(tree, i, "reward")) : "";
  const outcome = svg("text", { class: "result", x: place.width - 4, y: y + 4 },
    node.error === undefined ? reward : "failed");
  const beside = place.width - (outcome.textContent ? ANSWER : 4);
  const room = Math.min(Math.floor((place.gutter - (outcome.textContent ? ANSWER : 4)) / 6.5), 16);
  const answer = node.answer === undefined || room < 3 ? null
    : svg("text", { class: "result answer", x: beside, y: y + 4 }, firstWords(DATA.texts[node.answer], room));
  const from = place.x(i) + PILL.width + 6;
  const to = place.width - place.gutter + 10;
  return [outcome, answer, to > from ? svg("line", { class: "lead", x1: from, x2: to, y1: y, y2: y }) : null];
}

function heads(tree, place) {
  const names = tree.columns.reward ? [["reward", 4], ["answer", ANSWER]] : [["answer", 4]];
  return names.filter(([, from]) => from < place.gutter)
    .map(([name, from]) => svg("text", { class: "tick", x: place.width - from, y: 16, "text-anchor": "end" }, name));
}

// What a step says: why it failed, its text; its calls where that is nothing else.
function spoken(node) {
  const text = DATA.texts[node.error ?? node.text] ?? "";
  if (node.error !== undefined || !node.calls || !/^\s*(<tool_call>|$)/.test(text)) return text;
  return node.calls.map(([tool, given]) => `${tool} ${DATA.texts[given]}`).join(", ");
}

function label(drawing, i) {
  const { tree, column, most } = drawing;
  const node = tree.nodes[i];
  if (!i) return `task: ${firstWords(DATA.texts[tree.question], 120)}`;
  const value = valueOf(tree, i, column);
  const reward = valueOf(tree, i, "reward");
  const visits = valueOf(tree, i, "visits");
  return [`node ${i}`, node.agent ?? "", value === null ? "" : `${words(column)} ${worth(value, most)}`,
    visits === null || column === "visits" ? "" : `${short(visits)} visits`,
    node.error === undefined ? "" : "failed", node.chosen ? "on the chosen path" : "",
    reward === null || column === "reward" ? "" : `reward ${short(reward)}`,
    firstWords(spoken(node), 120)].filter((part) => part).join(", ");
}

function nodeMark(drawing, i, place) {
  const { tree, most } = drawing;
  const node = tree.nodes[i];
  const failed = node.error !== undefined;
  const size = i ? PILL : { width: ROOT, height: ROOT };
  const mates = i ? below(tree)[node.parent] : [0];
  const group = svg("g", {
    class: ["node", failed ? "failed" : "", node.chosen ? "chosen" : ""].join(" ").trim(),
    role: "treeitem", tabindex: -1, "aria-selected": "false",
    "aria-level": place.depth[i] + 1, "aria-setsize": mates.length,
    "aria-posinset": mates.indexOf(i) + 1, "aria-label": label(drawing, i),
    transform: `translate(${place.x(i)} ${place.y(i)})`,
    click: () => choose(drawing, i, true),
  });
  const box = (grow, name) => svg("rect", { class: name, x: -grow, y: -size.height / 2 - grow,
    width: size.width + 2 * grow, height: size.height + 2 * grow, rx: size.height / 2 + grow });
  group.append(box(4, "ring"), box(0, "pill"));
  const value = valueOf(tree, i, drawing.column);
  if (i) {
    group.append(svg("text", { class: "worth", x: size.width / 2, y: 4 },
      value === null && failed ? "✕" : worth(value, most)), caption(tree, i, place));
  }
  return tint(group, value, most);
}

// Below the pill: who spoke where several agents do, visits, and the first words.
function caption(tree, i, place) {
  const node = tree.nodes[i];
  const text = svg("text", { class: "words", x: 2, y: PILL.height / 2 + 14 });
  const forks = below(tree)[i].length > 1;
  let room = Math.floor((place.column - (forks ? FORK + 4 : 8)) / 6);
  const visits = valueOf(tree, i, "visits");
  const before = [visits === null ? "" : `${short(visits)}×`, severalAgents(tree) ? node.agent ?? "step" : ""];
  before.filter((part) => part).forEach((part, k) => {
    if (k && room < 4) return; // visits stand, the name has no room
    const name = firstWords(part, k ? room : Math.max(room, 8));
    text.append(svg("tspan", { class: "who" }, name), " ");
    room -= name.length + 2;
  });
  const said = spoken(node);
  if (room > 5 && said) text.append(firstWords(said, room));
  return text;
}

function renderTree(drawing) {
  const { tree, host } = drawing;
  const style = getComputedStyle(host);
  const pad = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  const place = layOut(tree, Math.max(host.clientWidth - pad, 260));
  const wide = widths(tree);
  drawing.marks = tree.nodes.map((_, i) => nodeMark(drawing, i, place));
  const ends = leavesOf(tree).flatMap((i) => result(tree, i, place));
  const order = tree.nodes.map((_, i) => i).slice(1) // the chosen path lies over the others
    .sort((a, b) => Number(!!tree.nodes[a].chosen) - Number(!!tree.nodes[b].chosen));
  const edges = order.map((i) => [edgeBeforeFork(drawing, i, place, wide), edgeAfterFork(drawing, i, place, wide)]);
  host.replaceChildren(svg("svg", { role: "tree", width: place.width, height: place.height,
    "aria-label": drawing.name, keydown: (event) => walk(drawing, event) }, heads(tree, place), edges, ends, drawing.marks));
  drawing.place = place;
  choose(drawing, Math.min(drawing.node, tree.nodes.length - 1), false);
}

// Draw again whenever the element has another width; its height changes with every tree.
function watchWidth(host, draw) {
  let wide = host.clientWidth;
  new ResizeObserver(() => {
    if (host.clientWidth === wide) return;
    wide = host.clientWidth;
    draw();
  }).observe(host);
}

// --- choosing -----------------------------------------------------------------------------------

function choose(drawing, i, focus) {
  drawing.node = i;
  drawing.marks.forEach((mark, k) => {
    mark.setAttribute("aria-selected", String(k === i));
    mark.setAttribute("tabindex", k === i ? 0 : -1);
  });
  if (focus) {
    drawing.marks[i].focus({ preventScroll: true });
    drawing.marks[i].scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  drawing.shows(drawing);
}

// Right: first child, left: parent, up and down: the neighbour in the same column.
function walk(drawing, event) {
  const { tree, node: i } = drawing;
  const { depth } = drawing.place;
  const row = (k) => tree.nodes[k].row;
  const column = tree.nodes.map((_, k) => k).filter((k) => depth[k] === depth[i])
    .sort((a, b) => row(a) - row(b));
  const to = {
    ArrowRight: below(tree)[i][0], ArrowLeft: i ? tree.nodes[i].parent : undefined,
    ArrowDown: column[column.indexOf(i) + 1], ArrowUp: column[column.indexOf(i) - 1],
    Home: 0, End: leavesOf(tree).at(-1),
  }[event.key];
  if (event.key === "Enter" || event.key === " ") drawing.enter();
  else if (to !== undefined) choose(drawing, to, true);
  else if (!event.key.startsWith("Arrow")) return;
  event.preventDefault();
}

// The card beside a drawing that shows the text of its chosen step; Escape goes back to the drawing.
function textCard(drawing) {
  const card = html("section", { class: "card step", tabindex: -1, "aria-label": "Text of the chosen step",
    keydown: (event) => { if (event.key === "Escape") choose(drawing, drawing.node, true); } });
  drawing.shows = () => showStep(card, drawing);
  drawing.enter = () => {
    card.focus();
    card.scrollIntoView({ block: "nearest" });
  };
  return card;
}

// Which column gives the colour: a choice, the two ends of its scale, and what it means.
function colourLegend(id, change) {
  const [low, high, meaning] = [html("span"), html("span"), html("span")];
  const select = html("select", { id, change: () => change(select.value) });
  const box = html("div", { class: "legend" }, html("label", { for: id }, "Colour", select),
    html("span", { class: "scale" }, low, html("i"), high), meaning);
  const fill = (names, column, most, text) => {
    select.replaceChildren(...names.map((name) => html("option", { value: name }, words(name))));
    select.value = column;
    low.textContent = worth(-most, most);
    high.textContent = worth(most, most);
    meaning.textContent = text;
  };
  return { box, select, fill };
}
