// The small menu of one result: below its thumbnail, while it has the focus or the mouse is on it.

const HOLD_MS = 500;  // a press that is longer opens the menu on a touch screen
const CLOSE_MS = 250;  // the way of the mouse from a thumbnail to its menu
const MIN_CAPTION = 120;  // pixels
const menu = { id: null, timer: null, press: null, held: false };

const openMenu = (id) => {
  clearTimeout(menu.timer);
  const item = findItem(id);
  const tile = tiles.get(id);
  if (!item || !tile || choosing.active) return;
  menu.id = id;
  part("menu").hidden = false;
  part("menu").setAttribute("aria-label", say("menu", { id }));
  part("caption").textContent = writeCaption(read());
  fillMenu(item);
  placeMenu(tile);
};

const fillMenu = (item) => {
  const like = act("like");
  like.setAttribute("aria-pressed", String(item.liked));
  like.setAttribute("aria-label", say("like"));
  act("download").href = `${item.url}?download=1`;
  act("pair").disabled = read().items.length < 2;
};

// Below its thumbnail, but inside the strip.
const placeMenu = (tile) => {
  const box = part("menu");
  const middle = tile.offsetLeft - part("strip").scrollLeft + (tile.offsetWidth - box.offsetWidth) / 2;
  const last = part("area").clientWidth - box.offsetWidth;
  const left = Math.max(0, Math.min(middle, last));
  box.style.left = `${left}px`;
  placeCaption(left, last - left, box.offsetWidth);
};

// The caption is on that side of the menu that has more room, if it has enough.
const placeCaption = (left, right, width) => {
  const caption = part("caption");
  caption.style.visibility = Math.max(left, right) < MIN_CAPTION ? "hidden" : "";
  caption.style.paddingLeft = right >= left ? `${left + width + 8}px` : "";
  caption.style.paddingRight = right >= left ? "" : `${right + width + 8}px`;
};

const closeMenu = () => {
  clearTimeout(menu.timer);
  menu.id = null;
  part("menu").hidden = true;
  part("caption").removeAttribute("style");
  part("caption").textContent = writeCaption(read());
};

const closeMenuSoon = () => {
  clearTimeout(menu.timer);
  menu.timer = setTimeout(() => {
    if (!part("area").querySelector(":focus-visible")) closeMenu();  // not where a mouse clicked
  }, CLOSE_MS);
};

const act = (name) => element.querySelector(`[data-act="${name}"]`);

// What the buttons of the menu do with the result that it belongs to.
const acts = {
  like: (id) => trigger("like", { id }),
  pair: (id) => { closeMenu(); startChoosing(id); },
  apply: (id) => { closeMenu(); trigger("apply", { id }); },
  delete: (id) => removeItem(id),
};

// Deletes a result; the focus goes to its neighbour, so that the keyboard stays in the strip.
const removeItem = (id) => {
  const ids = read().items.map((one) => one.id);
  const where = ids.indexOf(id);
  const next = ids[where + 1] ?? ids[where - 1];
  const focused = part("area").contains(document.activeElement);
  closeMenu();
  trigger("delete", { id });
  if (next === undefined) return;
  roving.id = next;
  if (focused) tiles.get(next)?.focus();
};

const listenToMenu = () => {
  for (const [name, work] of Object.entries(acts)) {
    act(name).addEventListener("click", () => menu.id !== null && work(menu.id));
  }
  part("menu").addEventListener("pointerenter", () => clearTimeout(menu.timer));
  part("area").addEventListener("pointerleave", closeMenuSoon);
  part("area").addEventListener("focusout", closeMenuSoon);
  part("strip").addEventListener("scroll", () => menu.id !== null && placeMenu(tiles.get(menu.id)));
  part("menu").addEventListener("keydown", moveInMenu);
};

const moveInMenu = (event) => {
  const buttons = [...part("menu").children].filter((one) => !one.disabled);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) {
    event.preventDefault();
    const where = buttons.indexOf(document.activeElement) + step;
    buttons[(where + buttons.length) % buttons.length].focus();
  }
  if (event.key === "Escape" && menu.id !== null) {
    event.preventDefault();
    event.stopPropagation();  // Escape stops a run elsewhere on the page
    tiles.get(menu.id)?.focus();
  }
};

// A mouse opens the menu by being there; a finger by a long press, which is then no click.
const listenToPointer = (tile, id) => {
  tile.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && openMenu(id));
  tile.addEventListener("pointerdown", (event) => {
    menu.held = false;
    clearTimeout(menu.press);
    if (event.pointerType === "mouse") return;
    menu.press = setTimeout(() => { menu.held = true; openMenu(id); }, HOLD_MS);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
    tile.addEventListener(end, () => clearTimeout(menu.press));
  }
  tile.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    openMenu(id);
    if (!event.pointerType || event.detail === 0) act("like").focus();  // the key, not a press
  });
};
