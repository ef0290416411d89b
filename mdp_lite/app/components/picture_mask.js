// The mask: a canvas of the picture's own size, at most props.limits.side on the longer side.
// Its alpha is the mask: 255 may change, 0 stays. Nothing here knows the page.

const VISIBLE = 64;  // of 255: a mask that is fainter everywhere marks nothing
const MAX_UNDO = 30;

// An empty mask for a picture of this size; scale is mask pixels for each pixel of the picture.
const createMask = ({width, height}) => {
  const scale = Math.min(1, props.limits.side / Math.max(width, height));
  const canvas = make("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  return {canvas, pen, width: canvas.width, height: canvas.height, scale, undo: []};
};

// The alpha of every pixel, row by row.
const readAlpha = (mask) => {
  const {data} = mask.pen.getImageData(0, 0, mask.width, mask.height);
  const alpha = new Uint8ClampedArray(data.length / 4);
  for (let i = 0; i < alpha.length; i++) alpha[i] = data[4 * i + 3];
  return alpha;
};

// White pixels with this alpha.
const writeAlpha = (pen, alpha, width, height) => {
  const image = new ImageData(width, height);
  image.data.fill(255);
  for (let i = 0; i < alpha.length; i++) image.data[4 * i + 3] = alpha[i];
  pen.putImageData(image, 0, 0);
};

const restoreMask = (mask, alpha) => writeAlpha(mask.pen, alpha, mask.width, mask.height);

const wipeMask = (mask) => mask.pen.clearRect(0, 0, mask.width, mask.height);

const isMarked = (alpha) => alpha.some((value) => value >= VISIBLE);

// The marked share of the picture as a text in percent; a small one is never "0".
const describeShare = (alpha) => {
  const share = 100 * alpha.reduce((sum, value) => sum + value, 0) / (255 * alpha.length);
  return share > 0 && share < 1 ? "<1" : String(Math.round(share));
};

// Remember how the mask was, so that undo can bring it back.
const rememberMask = (mask, alpha) => {
  mask.undo.push(alpha);
  if (mask.undo.length > MAX_UNDO) mask.undo.shift();
};

const invertAlpha = (alpha) => alpha.map((value) => 255 - value);

// A line from one point to the next with round ends; eraser takes away instead.
const drawStroke = (mask, from, to, size, erases) => {
  const {pen} = mask;
  pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
  pen.strokeStyle = "#fff";
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = size;
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y);
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
};

// The box between two corners, on whole pixels: left, top, width, height.
const measureBox = (mask, a, b) => {
  const low = (one, other) => Math.max(0, Math.floor(Math.min(one, other)));
  const high = (one, other, limit) => Math.min(limit, Math.ceil(Math.max(one, other)));
  const left = low(a.x, b.x), top = low(a.y, b.y);
  return [left, top, high(a.x, b.x, mask.width) - left, high(a.y, b.y, mask.height) - top];
};

const fillBox = (mask, a, b) => {
  mask.pen.fillStyle = "#fff";
  mask.pen.fillRect(...measureBox(mask, a, b));
};

const fillOutline = (mask, points) => {
  const {pen} = mask;
  pen.fillStyle = "#fff";
  pen.beginPath();
  for (const point of points) pen.lineTo(point.x, point.y);
  pen.closePath();
  pen.fill();
};

// Means over 2 * radius + 1 pixels along rows; beyond the border the last pixel goes on.
// The result is turned (columns become rows), so that two calls blur both directions.
const blurRows = (alpha, width, height, radius) => {
  const out = new Float32Array(alpha.length), count = 2 * radius + 1;
  for (let y = 0; y < height; y++) {
    const start = y * width, first = alpha[start], last = alpha[start + width - 1];
    let sum = first * radius;
    for (let x = 0; x <= radius; x++) sum += x < width ? alpha[start + x] : last;
    for (let x = 0; x < width; x++) {
      out[x * height + y] = sum / count;
      const enters = x + radius + 1, leaves = x - radius;
      sum += enters < width ? alpha[start + enters] : last;
      sum -= leaves >= 0 ? alpha[start + leaves] : first;
    }
  }
  return out;
};

// How the mask fades over feather pixels of the picture inside its edge: what pipeline/masks.py
// computes when it pastes the edit, so that the overlay shows the edge as it will be.
const softenAlpha = (mask, alpha, feather) => {
  const radius = Math.round(feather * mask.scale);
  if (radius < 1) return alpha;
  const inside = new Uint8Array(alpha.length), result = new Uint8ClampedArray(alpha.length);
  for (let i = 0; i < alpha.length; i++) inside[i] = alpha[i] ? 255 : 0;
  const turned = blurRows(inside, mask.width, mask.height, radius);
  const soft = blurRows(turned, mask.height, mask.width, radius);
  for (let i = 0; i < alpha.length; i++) result[i] = Math.min(alpha[i], 2 * soft[i] - 255);
  return result;  // which clamps to 0..255
};

// A PNG as a data URL, white on black; null if nothing is marked.
const exportMask = (mask) => {
  if (!isMarked(readAlpha(mask))) return null;
  const copy = make("canvas");
  copy.width = mask.width;
  copy.height = mask.height;
  const pen = copy.getContext("2d");
  pen.fillRect(0, 0, copy.width, copy.height);  // black
  pen.drawImage(mask.canvas, 0, 0);
  return copy.toDataURL("image/png");
};

// Read a mask picture, white on black, from its address into the mask.
const importMask = async (mask, address) => {
  const image = new Image();
  image.src = address;
  await image.decode();
  const copy = make("canvas");
  copy.width = mask.width;
  copy.height = mask.height;
  const pen = copy.getContext("2d", {willReadFrequently: true});
  pen.drawImage(image, 0, 0, mask.width, mask.height);
  const {data} = pen.getImageData(0, 0, mask.width, mask.height);
  restoreMask(mask, readAlpha(mask).map((_, i) => data[4 * i] * data[4 * i + 3] / 255));
};
