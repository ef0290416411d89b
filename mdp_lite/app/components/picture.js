// The picture to edit, and where it may change. props.value is
// {picture, mask: {where, png, feather}, examples, problem}; see picture.py.

let picture = null, feather = 0, wanted = 0, isDrawing = false;

const buttons = [...element.querySelectorAll("[data-tool]")];
const plain = (value) => JSON.parse(JSON.stringify(value ?? null));

// The part "where" of the value: a tool that has painted nothing yet is still everywhere.
const readWhere = () => {
  if (painting.tool === "find") return "found";
  return canPaint() && isMarked(readAlpha(painting.mask)) ? "painted" : "everywhere";
};

// Give the mask as it is now to Python: gradio's own "change" follows from a new value.
const setValue = (problem) => {
  const where = readWhere();
  const png = where === "painted" ? exportMask(painting.mask) : null;
  props.value = {...plain(props.value), mask: {where, png, feather}, problem};
};

// The same after a person changed it. An earlier problem is over, unless it is given.
const publish = (problem = null) => {
  setValue(problem);
  showProblem(problem);
  trigger("input");
  drawControls();
};

const showProblem = (text) => {
  part("problem").textContent = text ?? "";
  part("problem").hidden = !text;
};

// Say that a file is being read; the function that ends it, unless a later file is being read.
const showBusy = (name) => {
  if (props.value?.problem) props.value = {...plain(props.value), problem: null};
  showProblem(null);
  const line = make("span", {}, say("busy", {name}));
  part("busy").replaceChildren(line);
  part("busy").hidden = false;
  return () => {
    if (line.isConnected) part("busy").hidden = true;
  };
};

// Draw the overlay once before the next frame, however many changes there were.
const drawSoon = () => {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    drawOverlay();
  });
};

const drawOverlay = () => {
  const canvas = part("canvas"), {mask, tool, gesture, cursor, hover} = painting;
  if (!mask || !fitOverlay(canvas)) return;
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  if (tool === "everywhere") return;
  const colour = getComputedStyle(element).getPropertyValue("--color-accent").trim() || "#2563eb";
  drawMarks(canvas, mask, softenAlpha(mask, readAlpha(mask), feather), colour);
  const isRound = tool === "brush" || tool === "eraser", point = cursor ?? hover;
  if (gesture && !isRound) drawShape(canvas, mask, gesture);
  if (point && canPaint()) drawCursor(canvas, mask, point, brushPixels(), isRound);
};

// One sentence on what holds now.
const describeState = (alpha, isSome) => {
  const share = isSome ? describeShare(alpha) : 0;
  if (painting.tool === "everywhere") return say("state_everywhere");
  if (painting.tool === "find") return say(isSome ? "state_found" : "state_find", {share});
  return say(isSome ? "state_painted" : "state_waiting", {share});
};

// Only what does something now can be clicked.
const drawControls = () => {
  const {mask, tool} = painting, alpha = readAlpha(mask), isSome = isMarked(alpha);
  for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.tool === tool));
  part("more").hidden = tool === "everywhere" && mask.undo.length === 0;
  enable("invert", isSome && tool !== "everywhere");
  enable("clear", isSome && tool !== "everywhere");
  enable("undo", mask.undo.length > 0);
  part("canvas").classList.toggle("paints", canPaint());
  part("state").textContent = describeState(alpha, isSome);
  drawSliders();
  drawSoon();
};

// A button that becomes useless gives the focus on, so that the keyboard does not lose its way.
const enable = (name, isUseful) => {
  if (!isUseful && document.activeElement === part(name)) part("canvas").focus();
  part(name).disabled = !isUseful;
};

const drawSliders = () => {
  const {tool, size} = painting, longer = Math.max(picture.width, picture.height);
  part("size-row").hidden = tool !== "brush" && tool !== "eraser";
  part("feather-row").hidden = tool === "everywhere";
  part("feather").max = Math.max(feather, Math.min(props.limits.feather, Math.round(longer / 4)));
  part("feather").value = feather;
  showCount("size", Math.max(1, Math.round(size * longer)));
  showCount("feather", feather);
};

// The number beside a slider, and how far its track is filled.
const showCount = (name, count) => {
  const text = say("pixels", {count}), {min, max, value} = part(name);
  part(name).style.setProperty("--done", `${100 * (value - min) / (max - min)}%`);
  part(`${name}-out`).textContent = text;
  part(name).setAttribute("aria-valuetext", text);
};

const chooseTool = (tool) => {
  cancelGesture();
  painting.tool = tool;
  if (tool !== "find" && tool !== "everywhere") part("canvas").focus({preventScroll: true});
  publish();
};

// Change the whole mask by a button; what it was can be undone.
const changeMask = (change) => {
  cancelGesture();
  const before = readAlpha(painting.mask);
  rememberMask(painting.mask, before);
  restoreMask(painting.mask, change(before));
  settleTool();
};

// A found mask that is changed by hand is a painted one.
const settleTool = () => {
  if (!PAINTS.includes(painting.tool)) painting.tool = "brush";
  if (!isMarked(readAlpha(painting.mask))) wipeMask(painting.mask);
  publish();
};

const undo = () => {
  if (cancelGesture() || painting.mask.undo.length === 0) return;
  restoreMask(painting.mask, painting.mask.undo.pop());
  settleTool();
};

const clearMask = () => {
  cancelGesture();
  rememberMask(painting.mask, readAlpha(painting.mask));
  wipeMask(painting.mask);
  painting.tool = "everywhere";
  publish();
};

const setSize = (share) => {
  painting.size = Math.min(0.5, Math.max(0.01, share));
  part("size").value = Math.round(100 * painting.size);
  drawControls();
};

const shortcuts = {
  i: () => part("invert").click(),
  "[": () => setSize(painting.size / 1.25),
  "]": () => setSize(painting.size * 1.25),
};

// Keys count only while the focus is in this card, and not in a field of text.
const listenToShortcuts = () => part("card").addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z" && !event.shiftKey) {
    event.preventDefault();
    undo();
  }
  if (key === "escape" && cancelGesture()) event.preventDefault();  // and the view stays large
  const isCommand = event.ctrlKey || event.metaKey || event.altKey;
  if (isCommand && !event.getModifierState("AltGraph")) return;  // which some need to type [
  const button = buttons.find((one) => one.dataset.key.toLowerCase() === key);
  if (button) chooseTool(button.dataset.tool);
  else shortcuts[key]?.();
});

const removePicture = () => {
  part("large").close();
  const mask = {where: "everywhere", png: null, feather: 0};
  props.value = {...plain(props.value), picture: null, mask, problem: null};
  trigger("clear");
  draw();
  part("choose").focus();
};

const drawExamples = (examples) => {
  part("examples").hidden = examples.length === 0;
  part("thumbs").replaceChildren(...examples.map(({id, url, label}) => {
    const image = make("img", {src: url, alt: "", loading: "lazy"});
    const button = make("button", {type: "button", class: "thumb"}, image, make("span", {}, label));
    button.addEventListener("click", () => trigger("example_select", {id}));
    return button;
  }));
};

const drawPicture = () => {
  const {url, name, width, height} = picture, image = part("image");
  image.src = url;
  image.alt = say("alt", {name});
  part("name").textContent = name;
  part("name").title = name;
  part("dimensions").textContent = say("dimensions", {width, height});
  part("frame").style.setProperty("--ratio", String(width / height));
};

// The mask that Python sent. Reading its picture takes time: a later value may overtake it.
const drawMask = async ({where, png, feather: pixels}) => {
  const turn = ++wanted, {mask} = painting;
  feather = pixels ?? 0;
  mask.undo = [];
  wipeMask(mask);
  painting.gesture = null;
  const painted = PAINTS.includes(painting.tool) ? painting.tool : "brush";
  painting.tool = {found: "find", painted}[where] ?? "everywhere";
  if (png) await importMask(mask, png).catch(() => console.warn("mask cannot be read"));
  if (turn !== wanted || mask !== painting.mask) return;
  if (painting.tool === painted) setValue(null);  // pixels instead of the address of a file
  drawControls();
};

// Draw what Python sent.
const draw = () => {
  const value = plain(props.value) ?? {};
  part("busy").hidden = true;
  showProblem(value.problem);
  drawExamples(value.examples ?? []);
  const isOther = JSON.stringify(value.picture ?? null) !== JSON.stringify(picture);
  if (value.problem && picture && !isOther) return publish(value.problem);  // a bad file costs no painting
  picture = value.picture ?? null;
  part("empty").hidden = picture !== null;
  part("card").hidden = picture === null;
  if (picture === null) {
    painting.mask = null;
    return;
  }
  if (isOther) {
    drawPicture();
    painting.mask = createMask(picture);
    painting.tool = "everywhere";
  }
  drawMask(value.mask ?? {});
};

const listenToControls = () => {
  for (const one of buttons) one.addEventListener("click", () => chooseTool(one.dataset.tool));
  part("invert").addEventListener("click", () => changeMask(invertAlpha));
  part("clear").addEventListener("click", clearMask);
  part("undo").addEventListener("click", undo);
  part("remove").addEventListener("click", removePicture);
  part("size").addEventListener("input", (event) => setSize(event.target.value / 100));
  part("feather").addEventListener("input", (event) => {
    feather = Number(event.target.value);
    showCount("feather", feather);
    drawSoon();
  });
  part("feather").addEventListener("change", () => publish());
};

painting.onDraw = drawSoon;
painting.onEnd = (before) => {
  rememberMask(painting.mask, before);
  settleTool();
};
fillTexts();
listenToControls();
listenToShortcuts();
listenToLarger();
listenToFiles();
listenToPointer(part("canvas"));
listenToKeys(part("canvas"));
new ResizeObserver(drawSoon).observe(part("canvas"));
watch("value", draw);
draw();
