// The words that the model knows, as chips to click: each goes into the prompt that was used last.

const SHOWN_GROUPS = 3;  // before "more" is pressed
const LOOK = 300;  // ms between looks at the prompts: gradio changes them without an event
const ids = () => props.value?.prompts ?? ["source-prompt", "prompt"];
const state = { target: "prompt", open: false, texts: new Map(), caret: new Map(), timers: new Map() };
const groups = () => props.value?.known ?? [];
const learned = () => props.value?.learned ?? [];
let vocabulary = new Set(), groupOf = new Map();

const readWords = () => {
  vocabulary = new Set(groups().flatMap(([, words]) => words.map(normalise)));
  groupOf = new Map(groups().flatMap(([name, words], i) => (name ? words.map((word) => [normalise(word), i]) : [])));
};

const targetPrompt = () => findPrompt(state.target) ?? ids().map(findPrompt).find(Boolean);

// The words of the target prompt that are in groups, with the number of their group.
const listGrouped = (text) =>
  splitWords(text).flatMap((one) => {
    const group = groupOf.get(one.word);
    return group === undefined ? [] : [{ ...one, group }];
  });

// Of a group's words in a text, the one nearest to the caret.
const findOfGroup = (text, group, caret) =>
  listGrouped(text).filter((one) => one.group === group).sort((a, b) => distance(a, caret) - distance(b, caret))[0];

const distance = (one, caret) => Math.max(one.start - caret, caret - one.end, 0);

// A comma separates a word from one of an earlier group ("house, night"), not from one that it
// describes ("red house"): groups of things come before groups of what describes them.
const needsComma = (text, caret, group) => {
  const last = splitWords(text.slice(0, caret)).at(-1);
  const before = last && groupOf.get(last.word);
  return group !== undefined && before !== undefined && before <= group;
};

const changeText = (text, caret, word) => {
  const group = groupOf.get(normalise(word));
  const same = group === undefined ? null : findOfGroup(text, group, caret);
  if (same && same.word === normalise(word)) return { ...removeWord(text, same), done: "removed" };
  if (same) return { ...replaceWord(text, same, word), done: "replaced", old: same.word };
  return { ...insertWord(text, caret, word, needsComma(text, caret, group)), done: "inserted" };
};

const nameOf = (prompt) => prompt.block.querySelector("label span, [data-testid=block-info]")?.textContent.trim() || prompt.id;

const use = (word) => {
  const prompt = targetPrompt();
  if (!prompt) return;
  const text = prompt.area.value;
  const caret = Math.min(state.caret.get(prompt.id) ?? text.length, text.length);
  const change = changeText(text, caret, word);
  prompt.area.value = change.text;
  prompt.area.setSelectionRange(change.caret, change.caret);
  state.caret.set(prompt.id, change.caret);
  prompt.area.dispatchEvent(new Event("input", { bubbles: true }));  // gradio reads it so
  prompt.area.dispatchEvent(new Event("change", { bubbles: true }));
  part("heard").textContent = say(change.done, { word, old: change.old ?? "", prompt: nameOf(prompt) });
};

const drawChip = (word) => {
  const chip = make("button", { type: "button", class: "chip", "aria-pressed": "false", tabIndex: -1 }, word);
  chip.dataset.word = word;
  return chip;
};

const drawGroup = ([name, words], i) => {
  const title = name ? say(name) : say("other_words"), id = `words-group-${i}`;
  const row = make("div", { class: "group", role: "group", "aria-labelledby": id },
    make("span", { class: "name", id }, title), make("div", { class: "chips" }, ...words.map(drawChip)));
  row.hidden = !state.open && i >= SHOWN_GROUPS;
  return row;
};

const draw = () => {
  readWords();
  part("root").hidden = !groups().length;
  part("title").textContent = say("title");
  part("groups").replaceChildren(...groups().map(drawGroup));
  drawMore();
  drawTarget();
  for (const prompt of ids().map(findPrompt).filter(Boolean)) {
    if (vocabulary.size) markPrompt(prompt, vocabulary, learned(), false);
    else clearMarks(prompt);
  }
};

const drawMore = () => {
  const hidden = groups().slice(SHOWN_GROUPS).reduce((sum, [, words]) => sum + words.length, 0);
  part("more").hidden = !hidden;
  part("more").textContent = state.open ? say("fewer") : say("more", { count: hidden });
  part("more").setAttribute("aria-expanded", String(state.open));
  [...part("groups").children].forEach((row, i) => { row.hidden = !state.open && i >= SHOWN_GROUPS; });
  setTabStop(visibleChips()[0]);
};

// Which prompt the chips write into, and which of them it holds.
const drawTarget = () => {
  const prompt = targetPrompt();
  if (!prompt) return;
  part("target").textContent = say("target", { prompt: nameOf(prompt) });
  const words = new Set(splitWords(prompt.area.value).map((one) => one.word));
  for (const chip of element.querySelectorAll(".chip")) {
    chip.setAttribute("aria-pressed", String(words.has(normalise(chip.dataset.word))));
  }
};

const visibleChips = () => [...element.querySelectorAll(".group:not([hidden]) .chip")];

// One chip is in the tab order; arrow keys move from there.
const setTabStop = (chip) => {
  element.querySelectorAll(".chip").forEach((one) => { one.tabIndex = -1; });
  if (chip) chip.tabIndex = 0;
};

const KEYS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
const moveFocus = (event) => {
  const chips = visibleChips(), i = chips.indexOf(event.target);
  if (i < 0 || !(event.key in KEYS)) return;
  event.preventDefault();
  const next = chips[Math.min(Math.max(i + KEYS[event.key], 0), chips.length - 1)];
  setTabStop(next);
  next.focus();
};

const promptOf = (target) => {
  const id = ids().find((one) => target.closest?.(`#${CSS.escape(one)}`));
  return id && target.tagName === "TEXTAREA" ? findPrompt(id) : null;
};

const remember = (prompt) => {
  if (state.target !== prompt.id) state.target = prompt.id;
  state.caret.set(prompt.id, prompt.area.selectionStart);
};

// A change of a prompt: at once without the word that is being written, then with it.
const look = (prompt, typing) => {
  state.texts.set(prompt.id, prompt.area.value);
  clearTimeout(state.timers.get(prompt.id));
  if (vocabulary.size) markPrompt(prompt, vocabulary, learned(), typing);
  if (typing) state.timers.set(prompt.id, setTimeout(() => look(prompt, false), PAUSE));
  drawTarget();
};

const listeners = {
  focusin: (event) => { const prompt = promptOf(event.target); if (prompt) { remember(prompt); drawTarget(); } },
  focusout: (event) => { const prompt = promptOf(event.target); if (prompt) { remember(prompt); look(prompt, false); } },
  keyup: (event) => { const prompt = promptOf(event.target); if (prompt) remember(prompt); },
  pointerup: (event) => { const prompt = promptOf(event.target); if (prompt) remember(prompt); },
  input: (event) => { const prompt = promptOf(event.target); if (prompt) { look(prompt, event.isTrusted); } },
};

const lookForChanges = () => {
  if (!element.isConnected) return stop();
  for (const prompt of ids().map(findPrompt).filter(Boolean)) {
    const isFresh = !prompt.block.querySelector(`.${LINE}`);
    if (isFresh || state.texts.get(prompt.id) !== prompt.area.value) look(prompt, false);
  }
};

const timer = setInterval(lookForChanges, LOOK);
const stop = () => {
  clearInterval(timer);
  for (const [name, call] of Object.entries(listeners)) document.removeEventListener(name, call);
};

for (const [name, call] of Object.entries(listeners)) document.addEventListener(name, call);
part("groups").addEventListener("click", (event) => { const chip = event.target.closest(".chip"); if (chip) { setTabStop(chip); use(chip.dataset.word); } });
part("groups").addEventListener("mousedown", (event) => event.preventDefault());  // the prompt keeps the focus
part("groups").addEventListener("keydown", moveFocus);
part("more").addEventListener("click", () => { state.open = !state.open; drawMore(); });
watch("value", draw);
draw();
