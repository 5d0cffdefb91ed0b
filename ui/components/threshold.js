// Histogram and ROC curve with one threshold T through both, and the images nearest to T. What moves while dragging is
// computed here, from the scores themselves and by the filter's own rule (removed is score <= T); Python hears of T
// once, on release.

const PAD = { left: 46, right: 14, top: 26, bottom: 40 }; // px around both plots
const SLOT = 0.07; // share of an axis set apart: for scores below it (histogram), for FPR 0 (logarithmic ROC)
const BINS = 40; // of the likelihood axis
const SETTLE = 400; // ms after the last key press at which T counts as released
const MUTED = 0.78; // opacity of secondary text
const THUMBNAILS = 12; // in each column of the gallery
const ALL = "all of them, nearest to T first";
const views = new WeakMap(); // this module runs again on every change of data or theme; the view stays

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".detect");
  if (!views.has(root)) views.set(root, new View(root));
  const view = views.get(root);
  view.update(data, (t) => setTriggerValue("threshold", t));
  return () => {
    if (root.isConnected) return; // a newer call has overtaken this one: the view goes on
    view.close();
    views.delete(root);
  };
}

class View {
  constructor(root) {
    this.root = root;
    this.histogram = root.querySelector(".histogram");
    this.roc = root.querySelector(".roc");
    this.slide = root.querySelector(".slide");
    this.exact = root.querySelector(".exact");
    this.gallery = new Gallery(root.querySelector(".gallery"));
    this.held = null; // the canvas or input that the hand is on
    this.observer = new ResizeObserver(() => this.ask());
    this.observer.observe(this.histogram);
    this.observer.observe(this.roc);
    this.listen();
  }

  update(data, send) {
    this.send = send;
    if (data.id !== this.data?.id) {
      this.clean = decode(data.clean);
      this.poison = decode(data.poison);
      this.collided = decode(data.collided);
      this.curves = [rocCurve(this.clean, this.poison), rocCurve(this.clean, this.collided)];
      this.groups = {
        poison: group(data.classes.poison, this.poison, data),
        clean: group(data.classes.clean, this.clean, data),
      };
    }
    for (const [role, packed] of Object.entries(data.pictures)) this.unpack(this.groups[role], packed);
    if (data.threshold !== this.data?.threshold && !this.held) this.t = data.threshold;
    this.data = data;
    this.showQuick();
    this.describe();
    this.ask();
  }

  /** The images come after the first picture; those of clean data perhaps with a later call, once they are read. */
  async unpack(members, packed) {
    if (!packed || members.asked) return;
    members.asked = true;
    members.pixels = await inflate(packed);
    if (Object.values(this.groups).includes(members)) this.ask(); // else other data came meanwhile, or the end
  }

  close() {
    this.groups = {};
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.observer.disconnect();
  }

  ask() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const style = getComputedStyle(this.root);
    const look = {
      font: style.fontFamily,
      text: style.getPropertyValue("--st-text-color").trim(),
      back: style.getPropertyValue("--st-background-color").trim(),
      ...this.data.colors,
    };
    const axis = this.chosen("scale") === "nats" ? natsAxis(this) : likelihoodAxis(this);
    const rates = rateAxis(this.chosen("rates") === "log", this.clean.length);
    drawHistogram(this, sheet(this.histogram, look), axis);
    drawRoc(this, sheet(this.roc, look), rates);
    this.axis = axis;
    this.rates = rates;
    this.readOut();
    this.gallery.show(this);
    this.slide.disabled = this.exact.disabled = false; // what is moved before now would start from anywhere
  }

  chosen(name) {
    return this.root.querySelector(`input[name=${name}]:checked`).value;
  }

  at(t) {
    const caught = upTo(this.poison, t);
    const wrong = upTo(this.clean, t);
    return { caught, wrong, tpr: caught / this.poison.length, fpr: wrong / this.clean.length };
  }

  readOut() {
    const { caught, wrong, tpr, fpr } = this.at(this.t);
    const removed = caught + wrong;
    const relative = Math.min(1, Math.exp(this.t - this.data.peak));
    this.say("relative", `likelihood ${small(relative)} of peak`);
    this.say("tpr", percent(tpr, 1));
    this.say("caught", `${share(caught, this.poison.length)}`);
    this.say("fpr", percent(fpr, 2));
    this.say("wrong", `${share(wrong, this.clean.length)}`);
    this.say("nominal", percent(nominal(this.data, this.t), 2));
    this.say("precision", removed ? percent(caught / removed, 1) : "–");
    this.say("removed", removed ? `${count(caught)} poisons of ${count(removed)} removed` : "nothing is removed");
    if (this.root.getRootNode().activeElement !== this.exact) this.exact.value = plain(this.t);
    if (this.held !== this.slide) this.slide.value = this.axis.to(this.t);
    this.slide.setAttribute("aria-valuetext", this.sentence());
    for (const button of this.root.querySelectorAll(".quick button"))
      button.setAttribute("aria-pressed", upTo(this.clean, +button.value) === wrong);
  }

  say(name, text) {
    tell(this.root.querySelector(`[data-out=${name}]`), text);
  }

  sentence() {
    const { caught, wrong } = this.at(this.t);
    return (
      `T ${nats(this.t)} nats: ${count(caught)} of ${count(this.poison.length)} poisons caught, ` +
      `${count(wrong)} of ${count(this.clean.length)} clean images thrown away`
    );
  }

  describe() {
    const groups = `${count(this.clean.length)} clean images and ${count(this.poison.length)} poisons`;
    this.histogram.setAttribute("aria-label", `Histogram of the likelihood of ${groups}, cut by the threshold T`);
    this.gallery.paint(this.data.colors);
    this.roc.setAttribute("aria-label", `ROC curve over ${groups}, AUC ${this.data.auc}, with T as a point`);
  }

  showQuick() {
    const buttons = this.data.quick.map(({ rate, threshold }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${rate * 100} %`;
      button.value = threshold;
      button.setAttribute("aria-label", `Threshold for at most ${rate * 100} % FPR`);
      return button;
    });
    const before = [...this.root.querySelectorAll(".quick button")].map((button) => button.value);
    if (String(before) === String(buttons.map((button) => button.value))) return; // keeps the keyboard focus
    this.root.querySelector(".quick").replaceChildren(...buttons);
  }

  // The hand.

  listen() {
    this.drag(this.histogram, (x, y, width) => this.axis.from((x - PAD.left) / (width - PAD.left - PAD.right)));
    this.drag(this.roc, (x, y) => nearestOnRoc(this, x, y));
    this.slide.oninput = () => {
      clearTimeout(this.timer);
      this.held = this.slide;
      this.move(this.axis.from(+this.slide.value));
    };
    this.slide.onchange = () => this.settle();
    this.exact.onchange = () => {
      if (!this.exact.value) return this.ask();
      this.t = Math.min(this.data.high, Math.max(this.data.floor, +this.exact.value));
      this.ask();
      this.settle();
    };
    this.root.querySelector(".quick").onclick = (event) => {
      if (event.target.tagName !== "BUTTON") return;
      this.t = +event.target.value;
      this.ask();
      this.release();
    };
    for (const radio of this.root.querySelectorAll("input[type=radio]")) radio.onchange = () => this.ask();
    this.root.querySelector(".save").onclick = () => savePicture(this);
  }

  drag(canvas, thresholdAt) {
    const follow = (event) => {
      const box = canvas.getBoundingClientRect();
      this.move(thresholdAt(event.clientX - box.left, event.clientY - box.top, box.width));
    };
    let before;
    canvas.onpointerdown = (event) => {
      if (event.button) return;
      clearTimeout(this.timer);
      canvas.setPointerCapture(event.pointerId);
      this.held = canvas;
      before = this.t;
      follow(event);
    };
    canvas.onpointermove = (event) => this.held === canvas && follow(event);
    canvas.onpointerup = () => this.held === canvas && this.release();
    canvas.onpointercancel = () => {
      this.held = null; // the finger turned out to scroll the page
      this.t = before;
      this.ask();
    };
  }

  move(t) {
    const { floor, high } = this.data;
    this.t = Math.min(high, Math.max(floor, Math.round(t * 1e4) / 1e4)); // a value that survives the trip to the URL
    this.ask();
  }

  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.release(), SETTLE);
  }

  release() {
    this.held = null;
    this.root.querySelector(".spoken").textContent = this.sentence();
    if (this.t !== this.data.threshold) this.send(this.t);
  }
}

// The gallery.

/** Three columns of images: the poisons caught and missed and the clean images thrown away, nearest to T first. */
class Gallery {
  constructor(root) {
    const column = (name, role) => new Column(root.querySelector(`.${name}`), role);
    this.caught = column("caught", "poison");
    this.missed = column("missed", "poison");
    this.wrong = column("wrong", "clean");
  }

  paint(colors) {
    for (const { root, role } of [this.caught, this.missed, this.wrong]) root.style.setProperty("--role", colors[role]);
  }

  show({ t, poison, clean, collided, groups }) {
    const [caught, wrong, colliding] = [poison, clean, collided].map((scores) => upTo(scores, t));
    const missed = poison.length - caught;
    this.caught.head(caught, poison.length, [`${count(colliding)} of them collide`, nearestOf(caught)]);
    this.missed.head(missed, poison.length, [`${count(collided.length - colliding)} of them collide`, nearestOf(missed)]);
    this.wrong.head(wrong, clean.length, [nearestOf(wrong, groups.clean.scores.length) ?? (wrong ? ALL : "")]);
    this.caught.fill(groups.poison, lastOf(groups.poison.scores, caught));
    this.missed.fill(groups.poison, firstOf(groups.poison.scores, caught));
    this.wrong.fill(groups.clean, lastOf(groups.clean.scores, Math.min(wrong, groups.clean.scores.length)));
  }
}

/** Its figures are made once and filled anew as T moves. */
class Column {
  constructor(root, role) {
    this.root = root;
    this.role = role;
    this.total = root.querySelector(".count");
    this.note = root.querySelector("small");
    this.none = root.querySelector(".none");
    this.faces = Array.from({ length: THUMBNAILS }, () => new Face(role));
    root.querySelector(".faces").append(...this.faces.map((face) => face.figure));
  }

  head(hits, n, notes) {
    tell(this.total, `${count(hits)} of ${count(n)} ${this.role === "poison" ? "poisons" : "clean"}`);
    tell(this.note, notes.filter(Boolean).join(" · "));
  }

  fill(members, chosen) {
    this.none.hidden = chosen.length > 0;
    this.faces.forEach((face, place) => face.show(members, chosen[place]));
  }
}

class Face {
  constructor(role) {
    this.role = role;
    this.figure = document.createElement("figure");
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    const caption = document.createElement("figcaption");
    this.lines = Array.from({ length: 3 }, () => document.createElement("span"));
    caption.append(...this.lines);
    this.figure.append(this.canvas, caption);
  }

  /** The member at position i; nobody if it is undefined. */
  show(members, i) {
    if (this.members === members && this.i === i && this.pixels === members.pixels) return; // as in the last frame
    [this.members, this.i, this.pixels] = [members, i, members.pixels];
    this.figure.classList.toggle("absent", i === undefined);
    if (i === undefined) return;
    const [claimed, seen] = [members.labels, members.predicted].map((group) => members.names[group[i]]);
    const words = [`claims ${claimed}`, `seen as ${seen}`, `${nats(members.scores[i])} nats`];
    words.forEach((text, k) => tell(this.lines[k], text));
    this.canvas.setAttribute("aria-label", [this.role, ...words].join(", "));
    paint(this.canvas, this.pixels, members.shape, i);
  }
}

/** Those of a group that can be shown, by ascending score: poisons all, clean images only the least likely. */
function group({ labels, predicted }, scores, { names, shape }) {
  const members = { labels: bytes(labels), predicted: bytes(predicted), pixels: null, names, shape };
  return { ...members, scores: scores.subarray(0, members.labels.length) };
}

/** Positions of the members up to `end` closest to T: the last ones, of equal scores the earlier first. */
function lastOf(scores, end) {
  const found = [];
  while (end && found.length < THUMBNAILS) {
    const start = below(scores, scores[end - 1]);
    for (let i = start; i < end && found.length < THUMBNAILS; i++) found.push(i);
    end = start;
  }
  return found;
}

/** Positions of the members from `start` closest to T: the first ones. */
function firstOf(scores, start) {
  return Array.from({ length: Math.min(THUMBNAILS, scores.length - start) }, (_, i) => start + i);
}

/** Which of so many are shown, if not all of them. */
function nearestOf(hits, shown = hits) {
  if (hits <= THUMBNAILS) return null;
  const among = hits > shown ? ` among the ${count(shown)} least likely` : "";
  return `here the ${THUMBNAILS} nearest to T${among}`;
}

/** Set a text; the same one again would cost a layout. */
function tell(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// Numbers.

/** Ascending scores from base64 of little-endian float32. */
function decode(text) {
  return new Float32Array(bytes(text).buffer);
}

/** How many of the ascending scores are at most t. */
function upTo(sorted, t) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= t) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Corners of the ROC curve as [fpr, tpr] pairs. */
function rocCurve(clean, poison) {
  const corners = [[0, 0]];
  if (!poison.length) return corners;
  for (const t of poison) {
    const [fpr, tpr] = [upTo(clean, t) / clean.length, upTo(poison, t) / poison.length];
    const previous = corners.at(-1);
    if (previous[1] === tpr) continue;
    // Scores of clean images that lie strictly below t go first; those equal to it go together with the poison.
    corners.push([below(clean, t) / clean.length, previous[1]], [fpr, tpr]);
  }
  corners.push([1, 1]);
  return corners;
}

function below(sorted, t) {
  let n = upTo(sorted, t);
  while (n && sorted[n - 1] === t) n--;
  return n;
}

/** The nominal FPR at t, between the table's entries on a logarithmic scale. */
function nominal({ nominal: table, peak }, t) {
  if (t >= peak) return 1;
  const position = ((t - table.start) / (peak - table.start)) * (table.log.length - 1);
  if (position < 0) return 0;
  const i = Math.min(Math.floor(position), table.log.length - 2);
  return Math.exp(table.log[i] + (position - i) * (table.log[i + 1] - table.log[i]));
}

// Words.

const count = (n) => n.toLocaleString("en-US");
const plain = (t) => String(+t.toPrecision(6)); // all the digits that T has, and that a link carries

/** A positive number of any size in two significant digits. */
function small(value) {
  if (value < 1e-300) return "< 10⁻³⁰⁰"; // of a T far below, nothing is left
  if (value >= 0.001) return value.toPrecision(2);
  const [digits, power] = value.toExponential(1).split("e-");
  return `${digits} · 10⁻${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}

/** "44 of 60 (60–83 %)": a share at this T, with its 95 % Wilson interval, which takes T as given. */
function share(hits, n) {
  const z2 = 1.959964 ** 2;
  const [p, scale] = [hits / n, 1 + z2 / n];
  const half = Math.sqrt((z2 * p * (1 - p)) / n + (z2 / (2 * n)) ** 2);
  const [low, high] = [-1, 1].map((sign) => Math.min(1, Math.max(0, (p + z2 / (2 * n) + sign * half) / scale)));
  return `${count(hits)} of ${count(n)} (${outward(100 * low, 100 * high, high - low < 0.02 ? 2 : 0).join("–")} %)`;
}

// Axes: `to` gives a position in 0..1, `from` is its inverse.

/**
 * Log-likelihood, spaced by distance from the class mean, sqrt(2 (high - t)): in even steps of nats, all that matters
 * would crowd at the right end.
 */
function natsAxis({ data, clean, poison }) {
  const { floor, low, high, bins } = data;
  const slot = floor < low ? SLOT : 0; // to the left of the axis, everything below `low`
  const reach = Math.sqrt(2 * (high - low));
  const at = (share) => high - (reach * (1 - share)) ** 2 / 2;
  const to = (t) =>
    t < low
      ? (slot * (t - floor)) / (low - floor)
      : slot + (1 - slot) * (1 - Math.sqrt(2 * Math.max(0, high - t)) / reach);
  const from = (u) => (u < slot ? floor + (u / slot) * (low - floor) : at((u - slot) / (1 - slot)));
  const edges = Array.from({ length: bins + 1 }, (_, i) => at(i / bins));
  const bars = histogramBars(data, clean, poison, edges, to);
  const [tail] = histogramBars(data, clean, poison, [-Infinity, low], to);
  if (slot) bars.unshift({ ...tail, left: 0, right: slot * 0.7 });
  const whole = (t) => t.toFixed(0).replace("-", "−");
  const ticks = [];
  for (let t = Math.floor(high); t > low; t--) {
    const step = high - t < 6 ? 1 : high - t < 30 ? 5 : 10;
    if (t % step === 0) ticks.push({ u: to(t), text: whole(t) });
  }
  if (slot) ticks.push({ u: slot * 0.35, text: `< ${whole(low)}` });
  return { to, from, bars, ticks, slot, title: "log p(f(x) | claimed label), nats; spaced by distance from the mean" };
}

function likelihoodAxis({ data, clean, poison }) {
  const to = (t) => Math.min(1, Math.exp(t - data.peak));
  const from = (u) => data.peak + Math.log(Math.max(u, 1e-300));
  const edges = Array.from({ length: BINS + 1 }, (_, i) => (i === BINS ? data.high : from(i / BINS)));
  edges[0] = -Infinity;
  const bars = histogramBars(data, clean, poison, edges, to);
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((u) => ({ u, text: String(u) }));
  return { to, from, bars, ticks, slot: 0, title: "likelihood relative to the peak; exp(log p − log p at the mean)" };
}

/** Share of each group in (edges[i], edges[i + 1]], and the share of clean images were features exactly Gaussian. */
function histogramBars(data, clean, poison, edges, to) {
  const part = (scores, i) => (upTo(scores, edges[i + 1]) - upTo(scores, edges[i])) / scores.length;
  return edges.slice(1).map((edge, i) => ({
    from: edges[i],
    to: edge,
    left: to(edges[i]),
    right: to(edge),
    clean: part(clean, i),
    poison: part(poison, i),
    expected: nominal(data, edge) - nominal(data, edges[i]),
  }));
}

function rateAxis(logarithmic, n) {
  if (!logarithmic) {
    const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((u) => ({ u, text: `${u * 100} %` }));
    return { to: (fpr) => fpr, from: (u) => u, ticks };
  }
  const decades = Math.ceil(Math.log10(n));
  const to = (fpr) => (fpr > 0 ? SLOT + (1 - SLOT) * (1 + Math.log10(fpr) / decades) : 0);
  const from = (u) => (u < SLOT / 2 ? 0 : 10 ** (decades * ((u - SLOT) / (1 - SLOT) - 1)));
  const ticks = [{ u: 0, text: "0" }];
  for (let k = decades; k >= 0; k--) ticks.push({ u: to(10 ** -k), text: `${+(100 / 10 ** k).toPrecision(1)} %` });
  return { to, from, ticks, slot: SLOT };
}

/** T of the point on the ROC curve nearest to a pixel: nearest in FPR or nearest in TPR, whichever is closer. */
function nearestOnRoc(view, x, y) {
  const { clean, poison, roc, rates } = view;
  const [width, height] = [roc.clientWidth - PAD.left - PAD.right, roc.clientHeight - PAD.top - PAD.bottom];
  const fpr = rates.from((x - PAD.left) / width);
  const tpr = 1 - (y - PAD.top) / height;
  const distance = (t) => {
    const point = view.at(t);
    return Math.hypot(PAD.left + rates.to(point.fpr) * width - x, PAD.top + (1 - point.tpr) * height - y);
  };
  const candidates = [removing(clean, fpr, view.data), removing(poison, tpr, view.data)];
  return candidates.sort((a, b) => distance(a) - distance(b))[0];
}

/** T that removes this share of a group. */
function removing(sorted, rate, { floor, high }) {
  const n = Math.round(rate * sorted.length);
  if (n <= 0) return floor;
  return n >= sorted.length ? high : Math.ceil(sorted[n - 1] * 1e4) / 1e4;
}

// Drawing.

/** A canvas to plot on: a context, and the ways from shares of the axis to CSS pixels. */
function sheet(canvas, look) {
  const { g, width, height } = sharpen(canvas, look.font);
  const x = (u) => PAD.left + u * (width - PAD.left - PAD.right);
  return { g, look, width, x, top: PAD.top, bottom: height - PAD.bottom };
}

function drawHistogram(view, plot, axis) {
  const { g, look, x, top, bottom } = plot;
  const [from, cut] = [x(0), x(Math.min(1, Math.max(0, axis.to(view.t))))]; // a link's T may lie far outside
  const middle = top + (bottom - top) * 0.56;
  const clean = scale(Math.max(...axis.bars.map((bar) => Math.max(bar.clean, bar.expected))), middle, top + 40);
  const poison = scale(Math.max(...axis.bars.map((bar) => bar.poison)), middle, bottom - 20);
  shade(plot, from, cut);
  drawShareTicks(plot, clean);
  drawShareTicks(plot, poison);
  line(g, look.text, 1, [[x(0), middle], [x(1), middle]], { alpha: 0.6 });
  const border = x(axis.slot * 0.85);
  if (axis.slot) line(g, look.text, 1, [[border, top], [border, bottom]], { dash: [2, 3], alpha: 0.6 });
  drawBars(plot, axis.bars, "clean", view.clean, view.t, middle, clean.y);
  drawBars(plot, axis.bars, "poison", view.poison, view.t, middle, poison.y);
  const expected = axis.bars.flatMap((bar) => [bar.left, bar.right].map((u) => [x(u), clean.y(bar.expected)]));
  line(g, look.text, 1.5, expected, { dash: [4, 3], alpha: MUTED });
  const inner = x(axis.slot) + 8;
  key(plot, look.clean, `clean: share of ${count(view.clean.length)} in each bin`, inner, top + 14);
  key(plot, null, "if features were exactly Gaussian", inner, top + 30);
  key(plot, look.poison, `poisons: share of ${count(view.poison.length)} in each bin`, inner, bottom - 8);
  drawTicks(plot, axis.ticks, axis.title, false);
  drawLine(view, plot, cut, middle);
  if (view.data.own !== null) diamond(plot, x(axis.to(view.data.own)), middle, -8);
}

/** A share axis that starts at `zero` and reaches the largest share at `end`. */
function scale(largest, zero, end) {
  const rough = largest / 2.2 || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [5, 2, 1].find((factor) => factor * unit <= rough);
  const ticks = Array.from({ length: Math.floor(largest / step) }, (_, i) => (i + 1) * step);
  return { ticks, y: (value) => zero + (value / largest) * (end - zero) };
}

function drawShareTicks({ g, look, x }, { ticks, y }) {
  for (const value of ticks) {
    line(g, look.text, 1, [[x(0), y(value)], [x(1), y(value)]], { alpha: 0.15 });
    write(g, look, `${+(100 * value).toPrecision(2)} %`, x(0) - 6, y(value) + 4, { align: "right" });
  }
}

/** Bars outlined in full, filled as far as T removes them. */
function drawBars({ g, look, x }, bars, group, scores, t, middle, y) {
  const filled = bars.filter((bar) => bar[group]);
  const outlined = filled.every((bar) => x(bar.right) - x(bar.left) > 6);
  g.save();
  g.lineWidth = 1;
  g.fillStyle = g.strokeStyle = look[group];
  for (const bar of filled) {
    const [left, wide] = [x(bar.left) + 1, Math.max(1, x(bar.right) - x(bar.left) - 2)];
    const height = (share) => {
      const exact = y(share) - middle;
      return Math.sign(exact) * Math.max(1.5, Math.abs(exact)); // a single image must not vanish
    };
    const removed = (upTo(scores, Math.min(t, bar.to)) - upTo(scores, bar.from)) / scores.length;
    g.globalAlpha = outlined ? 0.35 : 0.5;
    g.fillRect(left, middle, wide, height(bar[group]));
    g.globalAlpha = 1;
    if (removed > 0) g.fillRect(left, middle, wide, height(removed));
    if (outlined) g.strokeRect(left, middle, wide, height(bar[group]));
  }
  g.restore();
}

function drawLine(view, { g, look, x, top, bottom }, cut, middle) {
  line(g, look.text, 2, [[cut, top - 4], [cut, bottom]]);
  const text = `T = ${nats(view.t)}`;
  const half = g.measureText(text).width / 2 + 7;
  const center = Math.min(x(1) - half + PAD.right, Math.max(half, cut));
  g.fillStyle = look.text;
  g.beginPath();
  g.roundRect(center - half, 2, 2 * half, 20, 5);
  g.fill();
  write(g, { ...look, text: look.back }, text, center, 16, { align: "center", alpha: 1 });
  if (center - half - 70 > 0) write(g, look, "← removed", center - half - 6, 16, { align: "right" });
  if (center + half + 50 < x(1)) write(g, look, "kept →", center + half + 6, 16);
  knob(g, look, cut, middle);
}

function drawRoc(view, plot, rates) {
  const { g, look, x, top, bottom } = plot;
  const y = (tpr) => bottom - tpr * (bottom - top);
  for (const tpr of [0, 0.25, 0.5, 0.75, 1]) {
    line(g, look.text, 1, [[x(0), y(tpr)], [x(1), y(tpr)]], { alpha: tpr ? 0.15 : 0.6 });
    write(g, look, `${tpr * 100} %`, x(0) - 6, y(tpr) + 4, { align: "right" });
  }
  for (const { u } of rates.ticks) line(g, look.text, 1, [[x(u), top], [x(u), bottom]], { alpha: 0.15 });
  write(g, look, "TPR: poisons caught", x(0) - PAD.left + 4, 14);
  drawTicks(plot, rates.ticks, "FPR: clean images thrown away", true);
  const path = (corners) => corners.map(([fpr, tpr]) => [x(rates.to(fpr)), y(tpr)]);
  const chance = Array.from({ length: 101 }, (_, i) => rates.from(i / 100));
  line(g, look.text, 1, path(chance.map((rate) => [rate, rate])), { dash: [1, 3], alpha: MUTED });
  const someCollide = view.collided.length && view.collided.length < view.poison.length;
  if (someCollide) line(g, look.poison, 1.5, path(view.curves[1]), { dash: [5, 4] });
  line(g, look.poison, 2.5, path(view.curves[0]));
  drawRocKey(view, plot, someCollide);
  const { fpr, tpr } = view.at(view.t);
  const point = [x(rates.to(fpr)), y(tpr)];
  line(g, look.text, 1, [[point[0], bottom], point, [x(0), point[1]]], { dash: [4, 3], alpha: MUTED });
  if (view.data.own !== null) {
    const own = view.at(view.data.own);
    diamond(plot, x(rates.to(own.fpr)), y(own.tpr), 21);
  }
  knob(g, look, ...point);
}

function drawRocKey(view, { g, look, x, bottom }, someCollide) {
  const { auc, auc_collided: aucCollided } = view.data;
  const rows = [{ text: `all ${count(view.poison.length)}: AUC ${auc}`, dash: [], thick: 2.5 }];
  if (someCollide)
    rows.push({ text: `${count(view.collided.length)} that collide: ${aucCollided}`, dash: [5, 4], thick: 1.5 });
  const wide = Math.max(...rows.map((row) => g.measureText(row.text).width)) + 44;
  const [left, first] = [x(1) - wide - 4, bottom - 18 * rows.length - 8];
  g.fillStyle = look.back;
  g.globalAlpha = 0.85;
  g.fillRect(left, first, wide, 18 * rows.length + 4);
  g.globalAlpha = 1;
  rows.forEach((row, i) => {
    const base = first + 15 + 18 * i;
    line(g, look.poison, row.thick, [[left + 8, base - 4], [left + 32, base - 4]], { dash: row.dash });
    write(g, look, row.text, left + 38, base, { alpha: 1 });
  });
}

function drawTicks({ g, look, x, bottom, width }, ticks, title, thin) {
  let free = Infinity;
  for (const { u, text } of [...ticks].sort((a, b) => b.u - a.u)) {
    const half = g.measureText(text).width / 2;
    const center = Math.min(width - half, x(u));
    line(g, look.text, 1, [[x(u), bottom], [x(u), bottom + 4]], { alpha: 0.6 });
    if (center + half > free) continue; // no room beside its right neighbour
    write(g, look, text, center, bottom + 16, { align: "center" });
    free = center - half - (thin ? 4 : 8);
  }
  const fitting = g.measureText(title).width < x(1) - x(0) ? title : title.split(";")[0];
  write(g, look, fitting, (x(0) + x(1)) / 2, bottom + 34, { align: "center", alpha: 1 });
}

function shade({ g, look, top, bottom }, left, right) {
  g.fillStyle = look.text;
  g.globalAlpha = 0.06;
  g.fillRect(left, top, right - left, bottom - top);
  g.globalAlpha = 1;
}

function write(g, look, text, left, base, { align = "left", alpha = MUTED } = {}) {
  g.save();
  g.textAlign = align;
  g.fillStyle = look.text;
  g.globalAlpha = alpha;
  g.fillText(text, left, base);
  g.restore();
}

/** A line of the key: a swatch of this colour, or a dashed line where there is none. */
function key({ g, look }, colour, text, left, base) {
  if (colour) {
    g.fillStyle = colour;
    g.fillRect(left, base - 9, 12, 10);
  } else line(g, look.text, 1.5, [[left - 2, base - 4], [left + 14, base - 4]], { dash: [4, 3], alpha: MUTED });
  write(g, look, text, left + 18, base, { alpha: 1 });
}

function knob(g, look, x, y) {
  g.fillStyle = look.back;
  g.strokeStyle = look.text;
  g.lineWidth = 2.5;
  g.beginPath();
  g.arc(x, y, 7.5, 0, 2 * Math.PI);
  g.fill();
  g.stroke();
}

/** The user's own poison; its name stands `lower` px below its centre. */
function diamond({ g, look, width }, x, y, lower) {
  g.save();
  g.fillStyle = look.poison;
  g.strokeStyle = look.text;
  g.lineWidth = 2;
  g.beginPath();
  for (const [dx, dy] of [[0, -9], [9, 0], [0, 9], [-9, 0]]) g.lineTo(x + dx, y + dy);
  g.closePath();
  g.fill();
  g.stroke();
  g.lineWidth = 4;
  g.strokeStyle = look.back;
  g.fillStyle = look.text;
  g.textAlign = x > width - 70 ? "right" : "left";
  const left = x + (g.textAlign === "left" ? 13 : -13);
  g.strokeText("yours", left, y + lower);
  g.fillText("yours", left, y + lower);
  g.restore();
}

/** Both plots and the sentence that goes with them, as a PNG file. */
function savePicture(view) {
  const { histogram, roc, root } = view;
  const ratio = window.devicePixelRatio || 1;
  const sheet = document.createElement("canvas");
  sheet.width = histogram.width + roc.width;
  sheet.height = Math.max(histogram.height, roc.height) + 56 * ratio;
  const g = sheet.getContext("2d");
  const style = getComputedStyle(root);
  g.fillStyle = style.getPropertyValue("--st-background-color");
  g.fillRect(0, 0, sheet.width, sheet.height);
  g.drawImage(histogram, 0, 0);
  g.drawImage(roc, histogram.width, 0);
  g.fillStyle = style.getPropertyValue("--st-text-color");
  g.font = `${13 * ratio}px ${style.fontFamily}`;
  g.fillText(`${view.sentence()}.`, 12 * ratio, sheet.height - 32 * ratio);
  g.fillText(view.data.title, 12 * ratio, sheet.height - 12 * ratio);
  sheet.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "detect.png";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
