// Unknown words of a prompt, marked as one types: underlined in place, and named in a line below.

const PAUSE = 700;  // ms without a key after which the word at the caret counts as written
const LINE = "mdp-unknown";
const METRICS = [
  "fontFamily", "fontSize", "fontWeight", "fontStyle", "letterSpacing", "wordSpacing", "lineHeight",
  "textTransform", "textIndent", "paddingTop", "paddingRight", "paddingBottom", "paddingLeft", "tabSize",
];

// The block of a prompt by its id, looked up each time: gradio may draw it again.
const findPrompt = (id) => {
  const block = document.getElementById(id), area = block?.querySelector("textarea");
  return area ? { id, block, area } : null;
};

// The line below a prompt. It stays there when it is empty, so that screen readers hear its changes.
const findLine = ({ block }) => {
  const line = block.querySelector(`.${LINE}`);
  if (line) return line;
  const fresh = make("p", { class: LINE, role: "status", "aria-live": "polite" });
  Object.assign(fresh.style, { margin: "4px 0 0", fontSize: "14px", lineHeight: "20px", color: "var(--body-text-color)" });
  block.append(fresh);
  return fresh;
};

// The underlines: the same text, transparent, over the textarea, which keeps the clicks.
const findOverlay = ({ block, area }) => {
  const known = block.querySelector(".mdp-underlines");
  if (known?.parentElement === area.parentElement) return known;
  known?.remove();
  const overlay = make("div", { class: "mdp-underlines", "aria-hidden": "true" });
  Object.assign(overlay.style, {
    position: "absolute", pointerEvents: "none", overflow: "hidden", color: "transparent", whiteSpace: "pre-wrap",
    overflowWrap: "break-word", boxSizing: "border-box", zIndex: "1", margin: "0", textAlign: "start",
  });
  if (getComputedStyle(area.parentElement).position === "static") area.parentElement.style.position = "relative";
  area.parentElement.append(overlay);
  area.addEventListener("scroll", () => { overlay.scrollTop = area.scrollTop; });
  new ResizeObserver(() => layOver(overlay, area)).observe(area);
  return overlay;
};

// The overlay's place and letters are those of the textarea; its scroll bar takes width, too.
const layOver = (overlay, area) => {
  const style = getComputedStyle(area);
  for (const name of METRICS) overlay.style[name] = style[name];
  overlay.style.left = `${area.offsetLeft + area.clientLeft}px`;
  overlay.style.top = `${area.offsetTop + area.clientTop}px`;
  overlay.style.width = `${area.clientWidth}px`;
  overlay.style.height = `${area.clientHeight}px`;
  overlay.style.direction = style.direction;
  overlay.scrollTop = area.scrollTop;
};

const underline = (text) => {
  const one = make("span", { class: "mdp-underline" }, text);
  one.style.textDecoration = "underline wavy 1px var(--mdp-unknown, #d9480f)";
  one.style.textUnderlineOffset = "2px";
  one.style.textDecorationSkipInk = "none";
  return one;
};

const drawUnderlines = (prompt, unknown) => {
  const overlay = findOverlay(prompt), text = prompt.area.value, parts = [];
  let end = 0;
  for (const one of unknown) {
    parts.push(text.slice(end, one.start), underline(text.slice(one.start, one.end)));
    end = one.end;
  }
  overlay.replaceChildren(...parts, text.slice(end), "\n");  // else a last empty line has no height
  layOver(overlay, prompt.area);
};

const isAtCaret = (area, one) =>
  document.activeElement === area && area.selectionStart > one.start && area.selectionStart <= one.end;

// Marks a prompt. typing: the word at the caret is not finished, so it is not marked yet.
const markPrompt = (prompt, vocabulary, learned, typing) => {
  const found = findUnknown(prompt.area.value, vocabulary, learned);
  const unknown = typing ? found.filter((one) => !isAtCaret(prompt.area, one)) : found;
  drawUnderlines(prompt, unknown);
  const names = [...new Set(unknown.map((one) => one.word))];
  const text = names.length ? say("unknown", { words: listNames(names) }) : "";
  const line = findLine(prompt);
  if (line.textContent !== text) line.textContent = text;  // else a screen reader says it again
};

const NAMED = 5;
const listNames = (names) => {
  const shown = names.slice(0, NAMED).map((one) => `“${[...one].slice(0, 40).join("")}”`).join(", ");
  return names.length > NAMED ? say("named_more", { words: shown, count: names.length - NAMED }) : shown;
};

const clearMarks = (prompt) => {
  prompt.block.querySelector(`.${LINE}`)?.remove();
  prompt.block.querySelector(".mdp-underlines")?.remove();
};
