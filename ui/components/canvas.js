// What all components need, put before each of them: a component is one module, and there is no build step.

/** A share in percent, as `percent_text` of lgm/stats/intervals.py: what is not quite 100 % (or 0) does not read as that. */
function percent(share, digits) {
  const [value, least] = [100 * share, 10 ** -digits];
  const near = Math.floor(value * 10 ** digits + 0.5) / 10 ** digits;
  if (value < 100 && near >= 100) return `> ${(100 - least).toFixed(digits)} %`;
  if (value > 0 && near <= 0) return `< ${least.toFixed(digits)} %`;
  return `${near.toFixed(digits)} %`;
}

/** Log-likelihoods and T, for people. */
const nats = (t) => t.toFixed(2).replace("-", "−");

/** The ends of an interval, rounded so that it only grows, as `outward` there. */
const outward = (low, high, digits) => [
  (Math.floor(low * 10 ** digits + 1e-9) / 10 ** digits + 0).toFixed(digits),
  (Math.ceil(high * 10 ** digits - 1e-9) / 10 ** digits + 0).toFixed(digits),
];

function bytes(text) {
  const letters = atob(text);
  const found = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) found[i] = letters.charCodeAt(i);
  return found;
}

/** Bytes that were deflated and put into base64. */
async function inflate(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A canvas at the screen's own resolution, wiped: its context and its size in CSS pixels. */
function sharpen(canvas, font) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = `12px ${font}`;
  return { g, width, height, ratio };
}

/** Image number i of many, each (channels, height, width) bytes, onto a canvas of as many pixels. */
function paint(canvas, images, [channels, height, width], i = 0) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const g = canvas.getContext("2d", { willReadFrequently: true }); // in main memory: too small for a GPU
  if (!images) return g.clearRect(0, 0, width, height);
  const image = g.createImageData(width, height), size = width * height;
  const [red, green, blue] = [0, 1, 2].map((c) => size * (channels * i + Math.min(c, channels - 1)));
  for (let k = 0; k < size; k++) {
    image.data[4 * k] = images[red + k];
    image.data[4 * k + 1] = images[green + k];
    image.data[4 * k + 2] = images[blue + k];
    image.data[4 * k + 3] = 255;
  }
  g.putImageData(image, 0, 0);
}

/** A line through points [x, y]. */
function line(g, colour, thick, points, { dash = [], alpha = 1 } = {}) {
  g.save();
  g.strokeStyle = colour;
  g.lineWidth = thick;
  g.globalAlpha = alpha;
  g.setLineDash(dash);
  g.beginPath();
  for (const point of points) g.lineTo(...point);
  g.stroke();
  g.restore();
}

/** The name of a class on a pill of its colour, centred. */
function tag(g, name, colour, x, y) {
  g.textAlign = "center";
  g.textBaseline = "middle";
  const half = Math.max(9, g.measureText(name).width / 2 + 5);
  g.fillStyle = colour;
  g.beginPath();
  g.roundRect(x - half, y - 9, 2 * half, 18, 9);
  g.fill();
  g.fillStyle = "white";
  g.fillText(name, x, y + 1);
}

