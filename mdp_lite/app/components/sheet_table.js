// How a sheet draws its table of pictures; sheet.js is the rest of it.

const MIN_CELL = 96, GOOD_CELL = 150, MAX_CELL = 220;  // pixels across a picture

// What is shown: the sheet itself, or the favourites in lines as long as the sheet's.
const viewed = () => {
  if (!filtered) return props.value;
  const all = listFavourites(), lines = [];
  const across = Math.max(3, ...props.value.cells.map((line) => line.length));
  for (let k = 0; k < all.length; k += across) lines.push(all.slice(k, k + across));
  return { columns: [], rows: lines.map(() => ({ label: "" })), cells: lines };
};

const listFacts = (cell) => {
  const known = (name, key, value) => (value == null ? [] : [say(key, { [name]: value })]);
  return [
    ...known("rows", "rows", cell.rows),
    ...known("seconds", cell.about ? "about" : "seconds", cell.seconds?.toFixed(1)),
    cell.psnr == null ? say("same") : say("psnr", { psnr: cell.psnr.toFixed(1) }),
  ];
};

// The name is read aloud always, and shown where no column head says the same.
const drawPicture = (cell, named) => make("button",
  { class: "pick", type: "button", "data-id": cell.id, tabIndex: -1 },
  make("img", { src: cell.url, alt: "", loading: "lazy", draggable: false }),
  make("span", { class: named ? "name" : "read" }, cell.label),
  make("span", { class: "facts" }, ...listFacts(cell).flatMap((one) => [make("span", {}, one), " "])));

const drawStar = (cell) => make("button", {
  class: "icon star", type: "button", "data-star": cell.id, tabIndex: -1,
  "aria-label": say("like_named", { label: cell.label }), "aria-pressed": String(cell.liked),
}, part("star").content.cloneNode(true));

const drawCell = (cell, named) => {
  if (!cell) return make("td", {});
  const selected = String(cell.id === chosen);
  return make("td", { "aria-selected": selected }, drawPicture(cell, named), drawStar(cell));
};

const drawTable = () => {
  const view = viewed(), headed = view.rows.some((row) => row.label);
  const corner = headed ? [make("td", {})] : [];
  const heads = view.columns.map((one) => make("th", { scope: "col" }, one.label));
  const lines = view.cells.map((line, k) => make("tr", {},
    ...(headed ? [make("th", { scope: "row" }, view.rows[k].label)] : []),
    ...line.map((cell) => drawCell(cell, !heads.length))));
  const top = heads.length ? [make("thead", {}, make("tr", {}, ...corner, ...heads))] : [];
  part("grid").replaceChildren(...top, make("tbody", {}, ...lines));
  part("none").hidden = !filtered || lines.length > 0;
  part("box").hidden = lines.length === 0;
  fitCells();
};

// As large as fits the width, and the height of the window if that is large enough. A table that
// fits the width stands open, and its heads stick to the window; another one scrolls in its box.
const fitCells = () => {
  const lines = [...part("grid").querySelectorAll("tbody tr")], box = part("box");
  if (!lines.length || !box.clientWidth) return;
  const across = Math.max(...lines.map((line) => line.querySelectorAll("td").length));
  const head = lines[0].querySelector("th")?.offsetWidth ?? 0;
  const wide = (box.clientWidth - head) / across - 8;
  const texts = 56, heads = 40;  // pixels below a picture, and above all of them
  const high = ((0.85 * innerHeight - heads) / lines.length - texts) * (props.value.ratio ?? 1);
  const size = Math.floor(Math.max(MIN_CELL, Math.min(MAX_CELL, wide, Math.max(high, GOOD_CELL))));
  part("grid").style.setProperty("--cell", `${size}px`);
  box.classList.toggle("open", size <= wide);
};
