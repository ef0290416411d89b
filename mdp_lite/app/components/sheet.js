// The sheet: pictures in a table with axes, and one of them large beside it. Python sends its value
// (sheet_value.py); sheet_table.js draws the table. Events: select {id} uses the settings of a
// picture, like {id, liked} stars it.

const HOLD_MS = 250, HOVER_MS = 120;
let active = null;  // the id of the picture that Tab goes to
let large = null;  // the id of the picture in the panel
let chosen = null;  // the id of the picture whose settings are used
let filtered = false;  // whether only favourites are shown
let pressed = { timer: 0, showing: false, shown: false };  // a press on a picture, see startPress
let hovered = 0;  // the timer of a picture under the pointer
let drawn = null;  // props.value.number of the sheet that is drawn

const listFavourites = () => props.value?.favourites ?? [];
const listCells = () => (props.value?.cells ?? []).flat().filter(Boolean);
const find = (id) => [...listCells(), ...listFavourites()].find((one) => one.id === id);
const buttonOf = (id) => part("grid").querySelector(`.pick[data-id="${CSS.escape(id)}"]`);
const idOf = (target) => target.closest?.(".pick")?.dataset.id ?? null;

// ---- favourites -------------------------------------------------------------------------------

const showLiked = () => {
  for (const star of element.querySelectorAll("[data-star]")) {
    star.setAttribute("aria-pressed", String(find(star.dataset.star)?.liked ?? false));
  }
  part("like").setAttribute("aria-pressed", String(find(large)?.liked ?? false));
  part("filter").textContent = say("favourites", { count: listFavourites().length });
  part("filter").setAttribute("aria-pressed", String(filtered));
};

// The star turns at once; Python answers with the whole value.
const like = (id) => {
  const cell = find(id);
  if (!cell) return;
  const liked = !cell.liked, change = (one) => (one?.id === id ? { ...one, liked } : one);
  const others = listFavourites().filter((one) => one.id !== id);
  props.value = {
    ...props.value, cells: props.value.cells.map((line) => line.map(change)),
    favourites: liked ? [...others, { ...cell, liked }] : others,
  };
  trigger("like", { id, liked });
  if (filtered) redraw();
  else showLiked();
};

// ---- the large picture ------------------------------------------------------------------------

const showLarge = (id) => {
  const cell = id === null ? null : find(id);
  large = cell ? id : null;
  part("large").hidden = part("close").hidden = !cell;
  part("hint").hidden = Boolean(cell);
  showPanel();
  if (!cell) return;
  part("after").src = cell.url;
  part("before").src = cell.source_url;
  part("after").alt = cell.label;
  part("label").textContent = cell.label;
  part("details").replaceChildren(...cell.details.map((line) => make("li", {}, line)));
  part("use").textContent = say(cell.loads ? "use" : "no_use");
  part("use").disabled = !cell.loads;
  part("like").setAttribute("aria-pressed", String(cell.liked));
  showBefore(false);
};

// A narrow page has no room for a panel that only says what it is for.
const showPanel = () => {
  part("panel").hidden = large === null && element.clientWidth < 720;
};

const showBefore = (past) => {
  part("frame").classList.toggle("past", past);
  part("which").textContent = say(past ? "before" : "after");
};

const choose = (id) => {
  showLarge(id);
  if (!find(id)?.loads) return;
  chosen = id;
  for (const one of part("grid").querySelectorAll("td:has(.pick)")) {
    one.setAttribute("aria-selected", String(one.querySelector(".pick").dataset.id === id));
  }
  trigger("select", { id });
};

// ---- pointer: hover shows, hold shows before, a click uses; a first touch only shows ----------

const startPress = (event) => {
  const id = idOf(event.target);
  if (!id || event.button) return;
  const showing = event.pointerType !== "touch" || large === id;
  const show = () => { pressed.shown = true; showLarge(id); showBefore(true); };
  clearTimeout(pressed.timer);
  pressed = { timer: setTimeout(show, HOLD_MS), showing, shown: false };
  awaitRelease();
};

// The pointer may be let go anywhere on the page.
const awaitRelease = () => {
  for (const name of ["pointerup", "pointercancel"]) {
    window.addEventListener(name, endPress, { once: true });
  }
};

const endPress = () => { clearTimeout(pressed.timer); showBefore(false); };

const click = (event) => {
  const star = event.target.closest("[data-star]"), id = idOf(event.target);
  if (star) return like(star.dataset.star);
  if (!id || pressed.shown) return;  // the end of a hold is no click
  activate(id);
  if (pressed.showing || event.detail === 0) choose(id);  // detail 0: by the keyboard
  else showLarge(id);
};

const hover = (event) => {
  const id = idOf(event.target);
  clearTimeout(hovered);
  if (id && event.pointerType === "mouse") hovered = setTimeout(() => showLarge(id), HOVER_MS);
};

// ---- keyboard: the grid pattern of ARIA -------------------------------------------------------

const activate = (id) => {
  active = id;
  for (const one of part("grid").querySelectorAll(".pick")) {
    one.tabIndex = one.dataset.id === id ? 0 : -1;
  }
};

// Where a key leads from a picture: past empty cells, never over an edge.
const neighbour = (id, key, far) => {
  const lines = viewed().cells, y = lines.findIndex((line) => line.some((one) => one?.id === id));
  if (y < 0) return null;
  const x = lines[y].findIndex((one) => one?.id === id);
  const line = (far ? lines.flat() : lines[y]).filter(Boolean);
  const found = {
    ArrowRight: lines[y].slice(x + 1).find(Boolean),
    ArrowLeft: lines[y].slice(0, x).findLast(Boolean),
    ArrowDown: lines.slice(y + 1).map((one) => one[x]).find(Boolean),
    ArrowUp: lines.slice(0, y).map((one) => one[x]).findLast(Boolean),
    Home: line[0],
    End: line.at(-1),
  };
  return found[key]?.id ?? null;
};

const onKey = (event) => {
  const id = idOf(event.target);
  if (!id || event.altKey || event.metaKey) return;
  const next = neighbour(id, event.key, event.ctrlKey), key = event.key.toLowerCase();
  if (next || event.key.startsWith("Arrow")) event.preventDefault();  // the page does not scroll
  if (next) return activate(next), buttonOf(next).focus();
  if (event.ctrlKey || event.repeat) return;
  if (key === "f") like(id);
  if (key === "b") { showLarge(id); showBefore(true); }
};

const closeLarge = () => {
  if (part("panel").contains(document.activeElement) && active) buttonOf(active)?.focus();
  showLarge(null);  // last, because the focus shows it
};

// ---- drawing ----------------------------------------------------------------------------------

const redraw = () => {
  const focused = idOf(document.activeElement ?? element);
  drawTable();
  const first = part("grid").querySelector(".pick")?.dataset.id ?? null;
  activate(active && buttonOf(active) ? active : first);
  if (focused && active) buttonOf(active).focus();
  showLiked();
};

const drawNew = () => {
  const value = props.value;
  filtered = false;
  part("empty").hidden = Boolean(value);
  part("whole").hidden = !value;
  if (!value) return;
  element.style.setProperty("--ratio", String(value.ratio ?? 1));
  part("title").textContent = value.title;
  part("grid").setAttribute("aria-label", say("grid", { title: value.title }));
  part("download").hidden = !value.download;
  part("download").href = value.download ?? "#";
  part("notes").replaceChildren(...value.notes.map((line) => make("li", {}, line)));
  redraw();
  showLarge(null);
};

// A star that Python confirms leaves the table, its pictures and the focus as they are.
const draw = () => {
  const same = props.value && drawn !== null && props.value.number === drawn;
  drawn = props.value?.number ?? null;
  if (!same) return drawNew();
  if (filtered) redraw();
  else showLiked();
};

const writeTexts = () => {
  for (const name of ["empty", "none", "hint", "keys", "like", "hold", "download"]) {
    part(name).textContent = say(name);
  }
  part("panel").setAttribute("aria-label", say("panel"));
  part("close").setAttribute("aria-label", say("close"));
};

const listen = () => {
  const grid = part("grid"), hold = part("hold");
  grid.addEventListener("click", click);
  grid.addEventListener("pointerover", hover);
  grid.addEventListener("pointerleave", () => clearTimeout(hovered));
  grid.addEventListener("pointerdown", startPress);
  grid.addEventListener("contextmenu", (event) => { if (pressed.shown) event.preventDefault(); });
  grid.addEventListener("focusin", (event) => {
    const id = idOf(event.target);
    if (id && event.target.matches(":focus-visible")) { activate(id); showLarge(id); }
  });
  for (const one of [part("frame"), hold]) {
    one.addEventListener("pointerdown", () => { showBefore(true); awaitRelease(); });
  }
  hold.addEventListener("keydown", (event) => { if (" Enter".includes(event.key)) showBefore(true); });
  element.addEventListener("keydown", onKey);
  document.addEventListener("keydown", (event) => {  // also when only the pointer is here
    if (event.key !== "Escape" || large === null) return;
    event.preventDefault();  // Escape does one thing: it does not stop a run too
    closeLarge();
  });
  element.addEventListener("keyup", () => showBefore(false));
  part("use").addEventListener("click", () => choose(large));
  part("like").addEventListener("click", () => like(large));
  part("close").addEventListener("click", closeLarge);
  part("filter").addEventListener("click", () => { filtered = !filtered; redraw(); });
  new ResizeObserver(() => { if (props.value) { fitCells(); showPanel(); } }).observe(element);
};

writeTexts();
listen();
draw();
watch("value", draw);
