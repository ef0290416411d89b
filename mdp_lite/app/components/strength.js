// How far the edit may go: "keep the picture" at one end, "follow the words" at the other.

const KEYBOARD_PAUSE = 500;  // ms after the last arrow key; a drag ends when it is let go
const range = part("range");
const waiting = { timer: null, dragging: false };

part("label").textContent = say("label");
part("low").textContent = say("low");
part("high").textContent = say("high");
part("note").textContent = say("window");

const write = () => {
  const percent = Math.round(100 * range.value);
  part("output").textContent = `${percent} %`;
  range.setAttribute("aria-valuetext", say("value", { percent }));
};

const draw = () => {
  range.value = props.value.strength;
  part("note").hidden = props.value.steer !== "window";
  write();
};

const release = () => {
  clearTimeout(waiting.timer);
  trigger("release");
};

range.addEventListener("pointerdown", () => { waiting.dragging = true; });
range.addEventListener("input", () => {
  props.value = { strength: Number(range.value), steer: "strength" };
  part("note").hidden = true;
  write();
  clearTimeout(waiting.timer);
  if (!waiting.dragging) waiting.timer = setTimeout(release, KEYBOARD_PAUSE);
});
for (const name of ["pointerup", "pointercancel"]) {  // a touch that scrolls the page cancels
  range.addEventListener(name, () => {
    if (waiting.dragging) setTimeout(release, 0);
    waiting.dragging = false;
  });
}
watch("value", draw);
draw();
