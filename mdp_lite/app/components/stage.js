// The result: empty, waiting, running with a preview, or done with a bar between before and after.

const shown = { state: "", deadline: 0, preview: null };
const RUNNING = ["queued", "running"];

part("hint").textContent = say("empty");
part("use").textContent = say("use");
part("split").setAttribute("aria-label", say("split"));

// The frame has the picture's shape and is as large as the view allows.
const fit = () => {
  const after = part("after");
  const view = part("view").getBoundingClientRect();
  if (!after.naturalWidth || !view.width) return;
  const scale = Math.min(view.width / after.naturalWidth, view.height / after.naturalHeight);
  part("frame").style.width = `${Math.round(scale * after.naturalWidth)}px`;
  part("frame").style.height = `${Math.round(scale * after.naturalHeight)}px`;
};

const split = () => {
  const share = part("split").value;
  part("after").style.clipPath = `inset(0 0 0 ${share}%)`;
  part("bar").style.left = `${share}%`;
};

const setPicture = (name, url, alt) => {
  const image = part(name);
  if (url && image.getAttribute("src") !== url) image.src = url;
  if (!url) image.removeAttribute("src");
  image.alt = alt || "";
};

const showFrame = (value) => {
  const there = Boolean(value.right);
  part("frame").hidden = !there;
  part("hint").hidden = there;
  if (!there) return;
  setPicture("before", value.left, value.left_label);
  setPicture("after", value.right, value.right_label);
  for (const [tag, text] of [["before-tag", value.left && value.left_label], ["after-tag", value.right_label]]) {
    part(tag).textContent = text || "";
    part(tag).hidden = !text;
  }
  const pair = Boolean(value.left);
  for (const name of ["bar", "split"]) part(name).hidden = !pair;
  if (pair) split();
  else part("after").style.clipPath = "none";
  fit();
};

const showPreview = (preview) => {
  part("preview").hidden = !preview;
  part("preview").alt = preview ? say("preview") : "";
  if (!preview) return;
  part("preview").src = preview;
  part("frame").hidden = part("hint").hidden = true;
};

const showProgress = (value) => {
  const bar = part("progress");
  const running = RUNNING.includes(value.state);
  bar.hidden = !running;
  if (!running) return;
  if (value.share === null || value.share === undefined) bar.removeAttribute("value");
  else bar.value = value.share;
  bar.setAttribute("aria-label", value.label || say("starting"));
};

const tick = () => {
  const left = Math.round((shown.deadline - Date.now()) / 1000);
  const counts = RUNNING.includes(shown.state) && shown.deadline > 0 && left > 0;
  part("left").textContent = counts ? say("left", { time: left < 90 ? `${left} s` : `${Math.ceil(left / 60)} min` }) : "";
};

const showNotes = (value) => {
  part("notes").replaceChildren(...(value.notes || []).map((one) => make("li", {}, one)));
};

const showActions = (value) => {
  const done = value.state === "done" && Boolean(value.download || value.id);
  part("actions").hidden = !done;
  if (!done) return;
  part("download").hidden = !value.download;
  if (value.download) part("download").href = value.download;
  part("download").textContent = say("download");
  part("use").hidden = !value.id;
};

// Marks the page as running, so that Edit becomes Stop, also before the server has answered.
const markPage = (state) => {
  const running = RUNNING.includes(state);
  if (running === document.body.classList.contains("mdp-running")) return;
  document.body.classList.toggle("mdp-running", running);
  const focused = document.activeElement?.closest("#edit, #stop");
  if (focused) document.querySelector(running ? "#stop" : "#edit")?.focus({ preventScroll: true });
};

const draw = () => {
  const value = props.value || { state: "empty" };
  shown.state = value.state;
  shown.deadline = value.seconds ? Date.now() + 1000 * value.seconds : 0;
  part("stage").dataset.state = value.state;
  const running = RUNNING.includes(value.state);
  shown.preview = running ? value.preview || shown.preview : null;
  showPreview(shown.preview);
  if (!running) showFrame(value);
  part("hint").textContent = say(value.state === "loaded" ? "loaded" : running ? "soon" : "empty");
  part("shade").hidden = !running || (!shown.preview && part("frame").hidden);
  part("shade").textContent = say(shown.preview ? "preview" : "old");
  part("label").textContent = value.label || "";
  showProgress(value);
  showActions(value);
  showNotes(value);
  tick();
  markPage(value.state);
  element.dispatchEvent(new CustomEvent("mdp-stage", { bubbles: true, detail: value }));
};

part("split").addEventListener("input", split);
part("after").addEventListener("load", fit);
part("use").addEventListener("click", () => trigger("apply", { id: props.value.id }));
new ResizeObserver(fit).observe(part("view"));
setInterval(tick, 500);
// The page's own script shows at once that a click was heard; the server's first word comes later.
element.addEventListener("mdp-start", () => {
  props.value = { ...(props.value || {}), state: "queued", label: say("starting"), share: null, seconds: null, preview: null, notes: [] };
  draw();
});
element.addEventListener("mdp-stopping", () => { part("label").textContent = say("stopping"); });
watch("value", draw);
draw();
