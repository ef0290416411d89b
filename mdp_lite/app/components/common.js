// What every component's script uses; it stands before each of them, in the same function.

// A sentence of TEXTS, which Python puts before this script, with its {names} filled in.
const say = (key, values = {}) =>
  (TEXTS[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

// The element of this component with a data-part attribute.
const part = (name) => element.querySelector(`[data-part="${name}"]`);

// A new element; attributes and properties by name, children as strings or elements.
const make = (tag, settings = {}, ...children) => {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name in one && typeof value !== "string") one[name] = value;
    else one.setAttribute(name, value);
  }
  one.append(...children);  // a string becomes text, never HTML
  return one;
};
