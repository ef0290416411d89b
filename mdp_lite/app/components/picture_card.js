// The card around the picture: its sentences, and its view over the whole window.

const fillTexts = () => {
  for (const one of element.querySelectorAll("[data-text]")) one.textContent = say(one.dataset.text);
  for (const one of element.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", say(one.dataset.label));
  }
  for (const one of buttons) {
    const {tool, key} = one.dataset;
    if (key) one.title = say("tip", {label: say(tool), key});
    if (key) one.setAttribute("aria-keyshortcuts", key);
  }
  part("invert").title = say("tip", {label: say("invert"), key: "I"});
  part("undo").title = say("undo_tip");
  part("size-row").title = say("size_tip");
  part("feather-row").title = say("feather_tip");
};

// The card over the whole window: it moves into a modal dialog, so that the rest of the page is out
// of reach, and Escape leaves it.
const toggleLarger = () => {
  const large = part("large");
  if (large.open) return large.close();
  large.append(part("card"));
  large.showModal();
  part("larger").textContent = say("smaller");
  part("larger").focus();
  drawSoon();
};

const listenToLarger = () => {
  part("larger").addEventListener("click", toggleLarger);
  part("large").addEventListener("close", () => {
    part("large").before(part("card"));
    part("larger").textContent = say("larger");
    part("larger").focus();
    drawSoon();
  });
};
