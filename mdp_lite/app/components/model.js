// The model: what it can do, and a menu of models if there are several. The menu is a listbox that
// opens under its button: arrows, Home, End and letters move in it, Enter chooses, Escape closes.

const menu = { active: 0, typed: "", cleared: 0 };
const read = () => ({ models: [], current: null, offer: null, error: "", can_use_hub: false, ...(props.value || {}) });
const options = () => [...part("list").children];
const isOpen = () => part("menu").matches(":popover-open");

part("label").textContent = say("label");
part("hub-label").textContent = say("hub");
part("hub-hint").textContent = say("hub_hint");
part("hub-id").placeholder = say("hub_example");
part("hub-add").textContent = say("hub_add");
part("list").setAttribute("aria-label", say("choose"));
part("list").id = `${element.id || "model"}-list`;
part("open").setAttribute("aria-controls", part("list").id);

const makeOption = (model, k, current) => {
  const one = make(
    "li", { role: "option", id: `${part("list").id}-${k}`, "data-id": model.id },
    make("b", {}, model.id), make("i", {}, model.mark), make("small", {}, model.about), make("small", {}, model.sizes),
  );
  one.setAttribute("aria-selected", String(model.id === current));
  one.addEventListener("click", () => choose(model.id));
  one.addEventListener("pointermove", () => move(k));
  return one;
};

// Marks the option that Enter chooses; a screen reader reads it.
const move = (k) => {
  const every = options();
  menu.active = Math.max(0, Math.min(k, every.length - 1));
  every.forEach((one, i) => one.classList.toggle("active", i === menu.active));
  const active = every[menu.active];
  part("list").setAttribute("aria-activedescendant", active ? active.id : "");
  active?.scrollIntoView({ block: "nearest" });
};

const placeMenu = () => {
  const button = part("open").getBoundingClientRect();
  const { style, offsetWidth, offsetHeight } = part("menu");
  style.left = `${Math.max(12, Math.min(button.left, innerWidth - offsetWidth - 12))}px`;
  const below = button.bottom + 4;
  style.top = `${Math.max(8, Math.min(below, innerHeight - offsetHeight - 8))}px`;
};

const open = () => {
  const { models, current } = read();
  part("menu").showPopover();
  placeMenu();
  part("list").focus();
  move(models.findIndex((one) => one.id === current));
};

const close = () => {
  if (isOpen()) part("menu").hidePopover();
  part("open").focus();
};

const setBusy = (busy, words = "") => {
  element.querySelector(".model").setAttribute("aria-busy", String(busy));
  part("spoken").textContent = words;
};

const choose = (id) => {
  close();
  if (id === read().current) return;
  part("current").textContent = id;
  setBusy(true, say("switching", { name: id }));
  trigger("select", { id });
};

// Letters find the next model whose name begins with them.
const find = (letter) => {
  const now = Date.now();
  menu.typed = now - menu.cleared > 700 ? letter : menu.typed + letter;
  menu.cleared = now;
  const names = options().map((one) => one.dataset.id.toLowerCase());
  const start = menu.typed.length === 1 ? menu.active + 1 : menu.active;
  const order = names.map((_, i) => (start + i) % names.length);
  const found = order.find((i) => names[i].startsWith(menu.typed.toLowerCase()));
  if (found !== undefined) move(found);
};

const pressKey = (event) => {
  const steps = { ArrowDown: menu.active + 1, ArrowUp: menu.active - 1, Home: 0, End: options().length - 1 };
  if (event.key in steps) move(steps[event.key]);
  else if (event.key === "Enter" || event.key === " ") choose(options()[menu.active].dataset.id);
  else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) find(event.key);
  else return;
  event.preventDefault();
};

const drawOffer = ({ offer, current }) => {
  const there = Boolean(offer) && offer.id !== current;
  part("offer").hidden = !there;
  if (!there) return;
  part("offer-text").textContent = offer.text;
  part("offer-use").textContent = say("use", { name: offer.id });
};

const draw = () => {
  const value = read();
  const model = value.models.find((one) => one.id === value.current);
  const several = value.models.length > 1 || value.can_use_hub;
  setBusy(false, part("spoken").textContent && model ? say("chosen", { name: model.id }) : "");
  part("open").hidden = !several;
  part("name").hidden = several;
  part("name").textContent = part("current").textContent = model ? model.id : "";
  part("open").setAttribute("aria-label", say("open", { name: model ? model.id : "" }));
  part("about").textContent = model ? `${model.about}. ${model.sizes}.` : "";
  part("list").replaceChildren(...value.models.map((one, k) => makeOption(one, k, value.current)));
  if (isOpen()) move(menu.active);
  part("hub").hidden = !value.can_use_hub;
  part("error").hidden = !value.error;
  part("error").textContent = value.error;
  drawOffer(value);
};

part("open").addEventListener("click", () => (isOpen() ? close() : open()));
part("open").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  event.preventDefault();
  open();
});
part("list").addEventListener("keydown", pressKey);
part("menu").addEventListener("toggle", (event) => part("open").setAttribute("aria-expanded", String(event.newState === "open")));
part("menu").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  close();
});
part("hub").addEventListener("submit", (event) => {
  event.preventDefault();
  const hub = part("hub-id").value.trim();
  if (!hub) return;
  close();
  setBusy(true, say("fetching", { name: hub }));
  trigger("submit", { hub });
});
part("offer-use").addEventListener("click", () => choose(read().offer.id));
addEventListener("resize", () => isOpen() && placeMenu());
addEventListener("scroll", () => isOpen() && placeMenu(), { passive: true });
watch("value", draw);
draw();
