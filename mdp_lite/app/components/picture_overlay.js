// The overlay: the mask over the picture in the page's accent colour, and the shape being drawn.

const OPACITY = 0.65, STRIPE = 10;  // px: stripes show the mask on a picture of the accent's colour

// Give the canvas as many pixels as the screen has there; false if it can't be seen.
const fitOverlay = (canvas) => {
  const {width, height} = canvas.getBoundingClientRect();
  const dense = Math.min(window.devicePixelRatio || 1, 2048 / Math.max(width, height, 1));
  const size = [Math.round(width * dense), Math.round(height * dense)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  return size[0] > 0 && size[1] > 0;
};

// Light diagonal stripes as a pattern that repeats.
const makeStripes = (pen, dense) => {
  const tile = make("canvas"), side = Math.round(STRIPE * dense);
  tile.width = tile.height = side;
  const one = tile.getContext("2d");
  one.strokeStyle = "rgb(255 255 255 / 45%)";
  one.lineWidth = 1.5 * dense;
  for (const shift of [-side, 0, side]) {
    one.moveTo(shift - dense, side + dense);
    one.lineTo(shift + side + dense, -dense);
  }
  one.stroke();
  return pen.createPattern(tile, "repeat");
};

// Paint what the mask marks, softened, in the accent colour.
const drawMarks = (canvas, mask, alpha, colour) => {
  const pen = canvas.getContext("2d"), {width, height} = canvas;
  const soft = make("canvas");
  soft.width = mask.width;
  soft.height = mask.height;
  writeAlpha(soft.getContext("2d"), alpha, mask.width, mask.height);
  pen.clearRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.globalAlpha = OPACITY;
  pen.drawImage(soft, 0, 0, width, height);
  pen.globalAlpha = 1;
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = colour;
  pen.fillRect(0, 0, width, height);
  pen.globalCompositeOperation = "source-atop";
  pen.fillStyle = makeStripes(pen, width / canvas.getBoundingClientRect().width);
  pen.fillRect(0, 0, width, height);
  pen.globalCompositeOperation = "source-over";
};

// A line that is seen on every picture: white, with dark below it.
const strokeTwice = (pen, dense, dashes) => {
  pen.setLineDash([]);
  pen.strokeStyle = "rgb(0 0 0 / 70%)";
  pen.lineWidth = 3.5 * dense;
  pen.stroke();
  pen.setLineDash(dashes.map((one) => one * dense));
  pen.strokeStyle = "#fff";
  pen.lineWidth = 1.5 * dense;
  pen.stroke();
  pen.setLineDash([]);
};

// The box or lasso that is being drawn; points are in pixels of the mask.
const drawShape = (canvas, mask, {tool, points}) => {
  const pen = canvas.getContext("2d"), zoom = canvas.width / mask.width;
  const dense = canvas.width / canvas.getBoundingClientRect().width;
  pen.beginPath();
  if (tool === "box") {
    pen.rect(...measureBox(mask, points[0], points.at(-1)).map((one) => one * zoom));
  } else {
    for (const point of points) pen.lineTo(point.x * zoom, point.y * zoom);
  }
  strokeTwice(pen, dense, [6, 4]);
};

// The brush's circle, or a cross for the tools that draw shapes.
const drawCursor = (canvas, mask, point, size, isRound) => {
  const pen = canvas.getContext("2d"), zoom = canvas.width / mask.width;
  const dense = canvas.width / canvas.getBoundingClientRect().width;
  const x = point.x * zoom, y = point.y * zoom, arm = 9 * dense;
  pen.beginPath();
  if (isRound) pen.arc(x, y, Math.max(2 * dense, size * zoom / 2), 0, 2 * Math.PI);
  else {
    pen.moveTo(x - arm, y);
    pen.lineTo(x + arm, y);
    pen.moveTo(x, y - arm);
    pen.lineTo(x, y + arm);
  }
  strokeTwice(pen, dense, []);
};
