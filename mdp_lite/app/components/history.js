// The results of the visit as a strip of thumbnails, newest first; one of them is shown.

const STAR = "M12 4l2.5 5.2 5.5.7-4 3.9 1 5.7-5-2.8-5 2.8 1-5.7-4-3.9 5.5-.7z";
const tiles = new Map();  // the element of each result, by its id
const roving = { id: null };  // the only result that Tab reaches; arrows move to the others
const choosing = { active: false, ids: [] };  // two results that are to be compared
const drawn = { current: null, first: true };

const read = () => ({ items: [], current: null, pair: null, ...(props.value || {}) });
const findItem = (id) => read().items.find((one) => one.id === id);

const fillTexts = () => {
  for (const one of element.querySelectorAll("[data-text]")) one.textContent = say(one.dataset.text);
  for (const one of element.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
  for (const one of element.querySelectorAll("[data-tip]")) one.title = say(one.dataset.tip);
};

// What a screen reader says of a result.
const describe = (item, current) => {
  const words = [say("item", item), item.label, say("seconds", item)];
  if (item.liked) words.push(say("liked"));
  if (item.id === current) words.push(say("shown"));
  return words.join(". ");
};

const makeStar = () => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  path.setAttribute("d", STAR);
  svg.append(path);
  return make("span", { class: "tag star", "data-tile": "star" }, svg);
};

const makeTile = (item) => {
  const image = make("img", { src: item.thumb, alt: "", draggable: false });
  const tile = make(
    "li", { role: "option", "data-id": String(item.id) }, image,
    make("span", { class: "tag number" }, String(item.id)),
    make("span", { class: "tag check", "data-tile": "check" }), makeStar(),
  );
  tile.addEventListener("click", () => pressTile(item.id));
  tile.addEventListener("focus", () => focusTile(item.id));
  listenToPointer(tile, item.id);
  return tile;
};

const drawTile = (item, value) => {
  const tile = tiles.get(item.id) ?? makeTile(item);
  tiles.set(item.id, tile);
  const current = item.id === value.current;
  const chosen = choosing.active ? choosing.ids.includes(item.id) : (value.pair ?? []).includes(item.id);
  tile.setAttribute("aria-label", describe(item, value.current));
  tile.setAttribute("aria-selected", String(choosing.active ? chosen : current));
  tile.dataset.current = String(current && !value.pair);
  tile.dataset.chosen = String(chosen);
  tile.dataset.paired = String(chosen && !choosing.active);
  tile.tabIndex = item.id === roving.id ? 0 : -1;
  const check = tile.querySelector("[data-tile=check]");
  check.hidden = !choosing.active && !chosen;
  check.textContent = chosen && !choosing.active ? "AB"[value.pair.indexOf(item.id)] : chosen ? "✓" : "";
  tile.querySelector("[data-tile=star]").hidden = !item.liked;
  return tile;
};

const drawStrip = (value) => {
  const ids = value.items.map((one) => one.id);
  for (const [id, tile] of tiles) {
    if (ids.includes(id)) continue;
    tile.remove();
    tiles.delete(id);
  }
  if (!ids.includes(roving.id)) roving.id = ids.includes(value.current) ? value.current : ids[0] ?? null;
  value.items.forEach((item, k) => {
    const tile = drawTile(item, value);
    if (part("strip").children[k] !== tile) part("strip").insertBefore(tile, part("strip").children[k] ?? null);
  });
};

const drawTools = (value) => {
  const none = value.items.length === 0;
  part("empty").hidden = !none;
  part("area").hidden = part("tools").hidden = none;
  part("undo").disabled = !value.can_undo;
  part("redo").disabled = !value.can_redo;
  part("compare").disabled = value.items.length < 2;
  part("compare").setAttribute("aria-pressed", String(choosing.active));
  part("archive").href = value.archive ?? "";
  part("strip").setAttribute("aria-multiselectable", String(choosing.active));
  part("caption").textContent = writeCaption(value);
};

const writeCaption = (value) => {
  if (choosing.active) return say(choosing.ids.length ? "choose_other" : "choose_two");
  const item = findItem(menu.id ?? value.current);
  if (value.pair && menu.id === null) return say("paired", { one: value.pair[0], other: value.pair[1] });
  return item ? `${say("item", item)} (${item.label}, ${say("seconds", item)})` : "";
};

const draw = () => {
  const value = read();
  if (value.items.length < 2 || choosing.ids.some((id) => !findItem(id))) Object.assign(choosing, { active: false, ids: [] });
  if (menu.id !== null && !findItem(menu.id)) closeMenu();
  drawStrip(value);
  drawTools(value);
  if (menu.id !== null) fillMenu(findItem(menu.id));
  if (value.current !== drawn.current) announce(value);
  Object.assign(drawn, { current: value.current, first: false });
};

// The current result comes into sight, and a screen reader says which one it is.
const announce = (value) => {
  const tile = tiles.get(value.current);
  roving.id = value.current ?? roving.id;
  for (const [id, one] of tiles) one.tabIndex = id === roving.id ? 0 : -1;
  if (!tile) return;
  scrollTo(tile);
  if (!drawn.first) part("spoken").textContent = describe(findItem(value.current), value.current);
};

// Scrolls the strip, and never the page.
const scrollTo = (tile) => {
  const strip = part("strip");
  const left = tile.offsetLeft - strip.offsetLeft;
  if (left < strip.scrollLeft) strip.scrollLeft = left - 8;
  const over = left + tile.offsetWidth - strip.clientWidth;
  if (over > strip.scrollLeft) strip.scrollLeft = over + 8;
};

const focusTile = (id) => {
  roving.id = id;
  for (const [one, tile] of tiles) tile.tabIndex = one === id ? 0 : -1;
  scrollTo(tiles.get(id));
  if (tiles.get(id).matches(":focus-visible")) openMenu(id);
};

const pressTile = (id) => {
  if (menu.held) return;  // a long press opened the menu
  if (choosing.active) choose(id);
  else trigger("select", { id });
};

const startChoosing = (id) => {
  const ids = id === undefined ? [] : [id];
  Object.assign(choosing, { active: true, ids });
  draw();
  part("spoken").textContent = part("caption").textContent;
  tiles.get(roving.id)?.focus();
};

const stopChoosing = () => {
  Object.assign(choosing, { active: false, ids: [] });
  draw();
};

const choose = (id) => {
  const there = choosing.ids.includes(id);
  choosing.ids = there ? choosing.ids.filter((one) => one !== id) : [...choosing.ids, id];
  const ids = choosing.ids;
  if (ids.length < 2) return draw();
  stopChoosing();
  trigger("option_select", { ids });
};

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

const listenToStrip = () => part("strip").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const ids = read().items.map((one) => one.id);
  const where = ids.indexOf(roving.id);
  const work = {
    Enter: () => pressTile(roving.id), " ": () => pressTile(roving.id), Delete: () => removeItem(roving.id),
  }[event.key];
  if (event.key in STEPS) {
    const next = Math.max(0, Math.min(where + STEPS[event.key], ids.length - 1));
    tiles.get(ids[next])?.focus();
  } else if (work) {
    menu.held = false;
    work();
  } else if (event.key === "Escape" && choosing.active) stopChoosing();
  else return;
  event.preventDefault();
  event.stopPropagation();  // the page has other meanings for Enter and Escape
});

const ask = (open) => {
  part("ask").hidden = !open;
  part("clear").setAttribute("aria-expanded", String(open));
  part(open ? "cancel" : "clear").focus();
};

const listenToTools = () => {
  part("undo").addEventListener("click", () => trigger("undo"));
  part("redo").addEventListener("click", () => trigger("retry"));
  part("compare").addEventListener("click", () => (choosing.active ? stopChoosing() : startChoosing()));
  part("clear").addEventListener("click", () => ask(part("ask").hidden));
  part("cancel").addEventListener("click", () => ask(false));
  part("really").addEventListener("click", () => { ask(false); trigger("clear"); });
  part("ask").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    ask(false);
  });
};

// Ctrl+Z undoes on the whole page, but a text field and the painting have their own undo.
const listenToUndo = () => document.addEventListener("keydown", function undo(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", undo);
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.defaultPrevented) return;
  if (event.target.closest?.("input:not([type=range], [type=checkbox], [type=radio]), textarea, [contenteditable], #picture [data-part=card]")) return;
  const name = event.shiftKey ? "retry" : "undo";
  if (!read()[event.shiftKey ? "can_redo" : "can_undo"]) return;
  event.preventDefault();
  trigger(name);
});

fillTexts();
part("clear").setAttribute("aria-expanded", "false");
listenToMenu();
listenToStrip();
listenToTools();
listenToUndo();
watch("value", draw);
draw();
