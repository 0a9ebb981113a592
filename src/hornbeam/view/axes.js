// What every plot shares: room at its edges, round values on its axes, rules and labels.

const EDGE = { left: 46, right: 14, top: 12, bottom: 24 };

// About `count` round values that cover low..high.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((size) => size >= rough * 0.999);
  const out = [];
  for (let k = Math.floor(low / step); k * step < high + step * 0.999; k++) out.push(k * step);
  return out;
}

// 1, 2 and 5 times the powers of ten from low to high.
function logTicks(low, high) {
  const out = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    out.push(...[1, 2, 5].map((m) => m * power).filter((v) => v >= low && v <= high));
  }
  return out;
}

// Rules and labels of both axes. `scale`: x and y to pixels, xTicks, yTicks, height.
function frame(scale, width, percents) {
  const parts = [];
  for (const v of scale.yTicks) {
    const y = scale.y(v);
    parts.push(svg("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }));
    const label = percents ? `${Math.round(100 * v)} %` : brief(Number(v.toPrecision(10)));
    parts.push(svg("text", { class: "tick", x: EDGE.left - 6, y: y + 4, "text-anchor": "end" }, label));
  }
  for (const v of scale.xTicks) {
    const at = { class: "tick", x: scale.x(v), y: scale.height - 6, "text-anchor": "middle" };
    parts.push(svg("text", at, brief(Number(v.toPrecision(10)))));
  }
  return parts;
}

function setPicture(picture, width, height, parts) {
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.setAttribute("width", width);
  picture.setAttribute("height", height);
  picture.replaceChildren(...parts);
}
