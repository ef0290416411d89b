// Painting by pointer and by keyboard. A gesture is one stroke, box or lasso from begin to end;
// picture.js says what follows: painting.onEnd after each, painting.onDraw for a new overlay.

const PAINTS = ["brush", "eraser", "box", "lasso"];
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

// mask, tool and size (share of the longer side) are set by picture.js; cursor is the keyboard's.
const painting = {
  mask: null, tool: "everywhere", size: 0.12, gesture: null, cursor: null, hover: null,
  onEnd: () => {}, onDraw: () => {},
};

const brushPixels = () =>
  Math.max(1.5, painting.size * Math.max(painting.mask.width, painting.mask.height));

const canPaint = () => painting.mask !== null && PAINTS.includes(painting.tool);

const beginGesture = (point, pointer = null) => {
  painting.gesture = {
    tool: painting.tool, points: [point], before: readAlpha(painting.mask), pointer,
  };
  extendGesture([point]);
};

const extendGesture = (points) => {
  const {gesture, mask} = painting, {tool} = gesture;
  for (const point of points) {
    if (tool === "brush" || tool === "eraser") {
      drawStroke(mask, gesture.points.at(-1), point, brushPixels(), tool === "eraser");
    }
    gesture.points.push(point);
  }
  painting.onDraw();
};

const endGesture = () => {
  const {gesture, mask} = painting;
  painting.gesture = null;
  if (gesture.tool === "box") fillBox(mask, gesture.points[0], gesture.points.at(-1));
  if (gesture.tool === "lasso") fillOutline(mask, gesture.points);
  painting.onEnd(gesture.before);
};

// As if it had not begun.
const cancelGesture = () => {
  if (!painting.gesture) return false;
  restoreMask(painting.mask, painting.gesture.before);
  painting.gesture = null;
  painting.onDraw();
  return true;
};

// Where an event is, in pixels of the mask.
const locate = (canvas, event) => {
  const box = canvas.getBoundingClientRect(), {width, height} = painting.mask;
  return {
    x: (event.clientX - box.left) / box.width * width,
    y: (event.clientY - box.top) / box.height * height,
  };
};

const listenToPointer = (canvas) => {
  canvas.addEventListener("pointerdown", (event) => {
    if (painting.gesture?.pointer === null) cancelGesture();  // a shape begun by keyboard
    if (!canPaint() || event.button !== 0 || painting.gesture) return;
    canvas.setPointerCapture(event.pointerId);
    painting.cursor = null;
    beginGesture(locate(canvas, event), event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canPaint()) return;
    painting.hover = event.pointerType === "touch" ? null : locate(canvas, event);
    if (painting.gesture?.pointer !== event.pointerId) return painting.onDraw();
    const steps = event.getCoalescedEvents?.() ?? [];  // all positions since the last frame
    extendGesture((steps.length ? steps : [event]).map((one) => locate(canvas, one)));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (painting.gesture?.pointer === event.pointerId) endGesture();
  });
  canvas.addEventListener("pointercancel", (event) => {  // a second finger moves the page instead
    if (painting.gesture?.pointer === event.pointerId) cancelGesture();
  });
  canvas.addEventListener("pointerleave", () => {
    painting.hover = null;
    painting.onDraw();
  });
};

// Move the keyboard's cursor by half a brush, or with Shift by one pixel.
const moveCursor = ([right, down], isFine) => {
  const {mask} = painting, step = isFine ? 1 : Math.max(1, Math.round(brushPixels() / 2));
  const from = painting.cursor ?? {x: mask.width / 2, y: mask.height / 2};
  const clamp = (value, limit) => Math.min(limit, Math.max(0, value));
  painting.cursor = {
    x: clamp(from.x + right * step, mask.width), y: clamp(from.y + down * step, mask.height),
  };
  if (painting.gesture) extendGesture([painting.cursor]);
  else painting.onDraw();
};

// Space paints with a brush while it is down; it begins and ends a box or lasso.
const pressSpace = () => {
  const {mask, tool} = painting;
  painting.cursor ??= {x: mask.width / 2, y: mask.height / 2};
  if (!painting.gesture) beginGesture(painting.cursor);
  else if (tool === "box" || tool === "lasso") endGesture();
};

const listenToKeys = (canvas) => {
  canvas.addEventListener("keydown", (event) => {
    if (!canPaint() || event.ctrlKey || event.metaKey || event.altKey) return;
    const byPointer = painting.gesture && painting.gesture.pointer !== null;
    if (byPointer || !(event.key in ARROWS || event.key === " ")) return;
    event.preventDefault();  // the page does not scroll
    if (event.key !== " ") moveCursor(ARROWS[event.key], event.shiftKey);
    else if (!event.repeat) pressSpace();
  });
  const letGo = () => {
    const {gesture} = painting;
    if (gesture && gesture.pointer === null && !["box", "lasso"].includes(gesture.tool)) endGesture();
  };
  canvas.addEventListener("keyup", (event) => event.key === " " && letGo());
  canvas.addEventListener("blur", () => {
    letGo();
    if (painting.gesture?.pointer === null) cancelGesture();  // a box or lasso by keyboard
    painting.cursor = null;
    painting.onDraw();
  });
};
