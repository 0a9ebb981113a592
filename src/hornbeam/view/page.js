"use strict";
// What all parts of a page use: the data, elements without markup, short numbers.
// Every text of a run is set as a text node; nothing here turns a string into markup.

const DATA = JSON.parse(document.getElementById("data").textContent);

// An HTML element: attributes by name, functions as listeners, strings as text.
function html(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

// The same for SVG.
function svg(name, attributes = {}, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function build(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== undefined && value !== null && value !== false) {
      element.setAttribute(key, value === true ? "" : value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

// 1234567 -> 1,234,567; 0.123456 -> 0.123; minus signs are real ones.
function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  let text;
  if (Number.isInteger(value) || size >= 1000) text = Math.round(value).toLocaleString("en");
  else if (size < 0.001) text = value.toExponential(1);
  else text = String(Number(value.toPrecision(3)));
  return text.replace(/-/g, "−");
}

function signed(value) {
  return (value > 0 ? "+" : "") + short(value);
}

// For axes: 12,000 -> 12k, 3,400,000 -> 3.4M.
function brief(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`.replace("-", "−");
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`.replace("-", "−");
  return short(value);
}

function percent(value) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`;
}

function words(key) {
  if (key === "seconds") return "wall seconds since the start";
  return key.replace(/_/g, " ");
}

addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details[id]")) fold.open = true;
});
