// The same edit as a command and as Python, each with a button that copies it.

for (const name of ["shell", "python"]) {
  part(`${name}-title`).textContent = say(name);
  part(name).setAttribute("aria-label", say(name));
  const button = element.querySelector(`[data-copy="${name}"]`);
  button.textContent = say("copy");
  button.setAttribute("aria-label", `${say("copy")}: ${say(name)}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(part(name).textContent);
    button.textContent = say("copied");
    setTimeout(() => { button.textContent = say("copy"); }, 2000);
  });
}

const draw = () => {
  for (const name of ["shell", "python"]) part(name).textContent = props.value?.[name] || say("empty");
};
watch("value", draw);
draw();
