// How a picture comes in: chosen, dropped or pasted anywhere on the page, or from the camera.

// The input of the hidden gr.File. Gradio takes it away while it has a file, and makes another one
// as soon as Python has read the file and set its value to None. Null after so many seconds.
const findInput = async (seconds, old = null) => {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end;) {
    const input = document.querySelector("#picture-file input[type=file]");
    if (input && input !== old) return input;
    await new Promise((go) => setTimeout(go, 50));
  }
  return null;
};

// Give a file to gradio, so that it checks the upload, and the server decodes it.
const giveFile = async (file) => {
  if (!file) return;
  const {bytes} = props.limits;
  if (file.size > bytes) return showProblem(say("too_large", {limit: Math.round(bytes / 2 ** 20)}));
  const end = showBusy(file.name), input = await findInput(10);
  if (!input) {
    end();
    return showProblem(say("no_input"));
  }
  const carrier = new DataTransfer();
  carrier.items.add(file);
  input.files = carrier.files;
  input.dispatchEvent(new Event("change", {bubbles: true}));
  await findInput(120, input);
  end();
};

// Call a function on an event of the whole page until this component leaves it.
const listenToPage = (name, call) => {
  const listen = (event) => {
    if (element.isConnected) call(event);
    else document.removeEventListener(name, listen);
  };
  document.addEventListener(name, listen);
};

// Whether a file comes from outside; a picture of this page that is dragged is none.
let isOwnDrag = false;
const hasFiles = (event) => !isOwnDrag && event.dataTransfer?.types.includes("Files");

// A file may be dropped anywhere; while it is dragged, the page says so.
const listenToDrops = () => {
  const veil = part("veil");
  listenToPage("dragstart", () => { isOwnDrag = true; });
  listenToPage("dragend", () => { isOwnDrag = false; });
  listenToPage("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  listenToPage("dragleave", (event) => {
    if (event.relatedTarget === null) veil.hidden = true;  // it left the window
  });
  listenToPage("drop", (event) => {
    veil.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    giveFile(event.dataTransfer.files[0]);
  });
};

// Pasting a picture works everywhere; text that is pasted into a field stays text.
const listenToPaste = () => listenToPage("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  const isField = event.target.closest?.("input, textarea, [contenteditable]");
  if (!file || (isField && event.clipboardData.types.includes("text/plain"))) return;
  event.preventDefault();
  giveFile(file);
});

const listenToInput = (name) => part(name).addEventListener("change", (event) => {
  giveFile(event.target.files[0]);
  event.target.value = "";  // so that the same file can be chosen again
});

const closeBooth = () => {
  part("video").srcObject?.getTracks().forEach((track) => track.stop());
  part("video").srcObject = null;
  part("booth").close();
};

// Show what the camera sees. Without permission a sentence says what to do.
const openBooth = async () => {
  const problem = part("booth-problem");
  problem.hidden = true;
  part("snap").disabled = true;
  part("booth").showModal();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({video: {width: 1280}});
    if (!part("booth").open) return stream.getTracks().forEach((track) => track.stop());
    part("video").srcObject = stream;
    await part("video").play();
    part("snap").disabled = false;
  } catch {
    problem.textContent = say("no_camera");
    problem.hidden = false;
  }
};

const takePicture = () => {
  const video = part("video"), canvas = make("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const give = (blob) => giveFile(new File([blob], "camera.jpg", {type: "image/jpeg"}));
  canvas.toBlob(give, "image/jpeg", 0.95);
  closeBooth();
};

// Phones have their own camera app; a page without https gets no camera from a browser.
const listenToCamera = () => {
  const isPhone = window.matchMedia("(pointer: coarse)").matches;
  const booth = !isPhone && navigator.mediaDevices?.getUserMedia;
  part("camera").hidden = !booth && !isPhone;
  part("camera").addEventListener("click", () => {
    if (booth) openBooth();
    else part("phone-camera").click();
  });
  part("snap").addEventListener("click", takePicture);
  part("leave-booth").addEventListener("click", closeBooth);
  part("booth").addEventListener("cancel", closeBooth);
};

const listenToFiles = () => {
  for (const name of ["choose", "other"]) {
    part(name).addEventListener("click", () => part("file").click());
  }
  part("zone").addEventListener("click", (event) => {
    if (!event.target.closest("button")) part("file").click();
  });
  ["file", "phone-camera"].forEach(listenToInput);
  listenToDrops();
  listenToPaste();
  listenToCamera();
};
