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

// The card over the whole window: a modal dialog, so that the rest of the page is out of reach.
const toggleLarger = () => {
  const card = part("card");
  if (card.open) return card.close();
  card.removeAttribute("role");
  card.showModal();
  part("larger").textContent = say("smaller");
  drawSoon();
};

const listenToLarger = () => {
  const card = part("card");
  part("larger").addEventListener("click", toggleLarger);
  card.addEventListener("close", () => {
    card.setAttribute("role", "group");
    part("larger").textContent = say("larger");
    drawSoon();
  });
};
