// What belongs to no component: the click that is heard at once, errors beside their fields, keys.
// gradio calls this function when the page is loaded.
() => {
  const find = (selector) => document.querySelector(selector);
  const say = (name) => find("#stage .stage")?.dispatchEvent(new CustomEvent(name, { bubbles: true }));
  const isNarrow = () => matchMedia("(max-width: 999px)").matches;
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  const start = () => {
    clearErrors();
    say("mdp-start");
    if (isNarrow()) find("#stage")?.scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "start" });
  };

  const clearErrors = () => document.querySelectorAll(".mdp-error").forEach((one) => one.remove());

  // The field that an error speaks of, and everything folded around it opened.
  const findField = (names) => {
    for (const name of names) {
      const field = find(`#${name.replaceAll("_", "-")}`);
      if (field) return field;
    }
    return find("#run");
  };

  const openFolds = (field) => {
    for (let one = field.parentElement; one; one = one.parentElement) {
      one.querySelector(":scope > button.label-wrap:not(.open)")?.click();
    }
  };

  const showError = (value) => {
    clearErrors();
    const field = findField(value.fields || []);
    if (!field) return;
    if (!field.offsetParent) openFolds(field);
    const message = document.createElement("p");
    message.className = "mdp-error";
    message.setAttribute("role", "alert");
    message.textContent = value.error;
    field.after(message);
    field.querySelector("input, textarea, button")?.focus({ preventScroll: true });
    message.scrollIntoView({ block: isNarrow() ? "center" : "nearest" });  // at once: start() may still scroll
  };

  // An error may be mended in another field than the one beside which it stands.
  find("#inputs")?.addEventListener("input", clearErrors);

  // The text under work keeps the focus, so that nothing moves between the press and the click.
  document.addEventListener("mousedown", (event) => {
    if (event.target.closest("#edit, #stop")) event.preventDefault();
  }, true);

  let lastError = null;
  document.addEventListener("mdp-stage", (event) => {
    const value = event.detail;
    if (value.token) sessionStorage.setItem("mdp-lite-visit", value.token);
    if (!value.error) clearErrors();
    else if (value.error_id !== lastError) showError(value);
    lastError = value.error_id ?? lastError;
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("#edit, #stop");
    if (button?.id === "edit") start();
    if (button?.id === "stop") say("mdp-stopping");
  }, true);

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("textarea, input[type=text], input:not([type])");
    if (event.key !== "Enter" || event.isComposing || event.shiftKey) return;
    if (typing?.closest("#prompt, #source-prompt")) start();  // gradio submits the text
    else if (event.ctrlKey || event.metaKey) find("#edit")?.click();
  }, true);

  // Escape stops a run, unless it has left something else first: a menu, a dialog, a shape.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    const busy = find("dialog[open]") || event.target.closest("#picture [data-part=canvas]");
    if (document.body.classList.contains("mdp-running") && !busy) find("#stop")?.click();
  });
}
