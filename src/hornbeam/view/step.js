// The text of one step: what was put in, what was sampled, what followed, what it earned.

function passage(title, place, bad = false) {
  if (place === undefined) return [];
  const text = DATA.texts[place];
  if (!text) return [];
  return [html("h4", {}, title), html("pre", { class: bad ? "bad" : null }, text)];
}

function fold(title, place) {
  if (place === undefined || !DATA.texts[place]) return [];
  return [html("details", {}, html("summary", {}, title), html("pre", {}, DATA.texts[place]))];
}

// Names and values, side by side; what is not known is left out.
function factList(pairs) {
  const known = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return html("dl", { class: "facts" },
    known.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, String(value))]));
}

function showTask(box, tree) {
  const more = tree.size > tree.nodes.length ? ` (${tree.nodes.length} drawn)` : "";
  box.replaceChildren(html("h3", {}, "The task"),
    factList([["id", tree.id], ["nodes", `${tree.size - 1}${more}`], ["leaves drawn", leavesOf(tree).length]]),
    ...passage("Question", tree.question), ...passage("Other fields", tree.task));
}

function showStep(box, drawing) {
  const { tree, node: i, column, most } = drawing;
  if (!i) {
    showTask(box, tree);
    return;
  }
  const node = tree.nodes[i];
  const value = valueOf(tree, i, column);
  const badge = tint(html("span", { class: "badge" }, value === null ? "–" : worth(value, most)), value, most);
  const title = html("h3", {}, `Node ${i}${node.agent ? `, ${node.agent}` : ""} `, badge);
  const columns = Object.keys(tree.columns).filter((name) => valueOf(tree, i, name) !== null);
  box.replaceChildren(title,
    ...passage("Why it failed", node.error, true),
    ...fold(`What was put in${node.read ? ` (${short(node.read)} tokens)` : ""}`, node.prompt),
    ...passage(`What was sampled${node.sampled ? ` (${short(node.sampled)} tokens)` : ""}`, node.text),
    ...(node.calls ?? []).flatMap(([tool, given, result, error]) => [
      ...passage(`Asked of ${tool}`, given), ...passage("Came back", result),
      ...passage("The tool failed", error, true)]),
    ...passage("Answer", node.answer),
    html("h4", {}, "Numbers"),
    factList([...columns.map((name) => [words(name), short(valueOf(tree, i, name))]),
      ["mean log-prob", node.logprob === undefined ? "" : short(node.logprob)],
      ["finish", node.finish], ["scope", node.scope], ["prefix of", node.prefix],
      ...(DATA.steps ? [["episode", node.episode ?? 0], ["policy version", node.version ?? 0]]
        : [["chosen path", node.chosen ? "yes" : "no"]])]));
}
