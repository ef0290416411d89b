// Sentences about the picture that was given: what will happen to it, what the model can't do.

const draw = () => {
  part("lines").replaceChildren(...(props.value || []).map((line) => make("li", {}, line)));
};
watch("value", draw);
draw();
