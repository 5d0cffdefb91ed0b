// The cloud of features, epoch by epoch, beside the curves. Both follow one position in time, which may lie between two
// epochs; Python adds epochs while a run goes on, and everything else happens here.

const EPOCH_MS = 550; // the way from one epoch to the next
const REPLAY_MS = 12000; // at most, for a whole run
const REACH = 12; // px around a point in which the pointer finds it
const MUTED = 0.78; // opacity of secondary text
const films = new WeakMap(); // this module runs again on every change of data or theme; the film stays

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".film");
  if (!films.has(root)) films.set(root, new Film(root));
  const film = films.get(root);
  film.update(data);
  return () => {
    if (root.isConnected) return; // a newer call has overtaken this one: the film goes on
    film.close();
    films.delete(root);
  };
}

class Film {
  constructor(root) {
    this.root = root;
    for (const name of ["cloud", "curves", "slide", "play", "epoch", "key", "tip"]) this[name] = root.querySelector(`.${name}`);
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.observer = new ResizeObserver(() => this.ask());
    this.observer.observe(this.cloud);
    this.observer.observe(this.curves);
    this.listen();
  }

  listen() {
    this.slide.oninput = () => this.go(+this.slide.value);
    this.play.onclick = () => (this.replaying ? this.pause() : this.replay());
    const files = { picture: savePicture, curves: saveCurves, features: saveFeatures };
    for (const button of this.root.querySelectorAll("[data-save]")) button.onclick = () => files[button.dataset.save](this);
    const scrub = (event) => this.plot && this.go(Math.round(this.plot.epochAt(event.offsetX)));
    this.curves.onpointerdown = (event) => {
      this.curves.setPointerCapture(event.pointerId);
      scrub(event);
    };
    this.curves.onpointermove = (event) => event.buttons && scrub(event);
    this.cloud.onpointermove = (event) => this.point(event);
    this.cloud.onpointerleave = () => (this.tip.hidden = true);
  }

  update(data) {
    const anew = data.id !== this.data?.id;
    if (anew) {
      this.clouds = new Map();
      this.labels = bytes(data.labels);
      this.following = true;
      this.replaying = false;
    }
    if (!this.labels.length) this.labels = bytes(data.labels);
    this.data = data;
    data.clouds.forEach((cloud, i) => {
      const known = this.clouds.get(cloud.epoch);
      this.clouds.set(cloud.epoch, { ...(known ?? decode(cloud)), view: data.views[i] });
    });
    const epochs = [...this.clouds.keys(), ...data.records.map((record) => record.epoch)];
    this.first = epochs.length ? Math.min(...epochs) : 0;
    this.last = Math.max(0, ...epochs);
    this.slide.min = this.first;
    this.slide.max = data.epochs;
    if (anew) this.at = this.goal = this.last;
    if (this.following && !this.replaying) this.goal = this.last;
    this.key.textContent = legend(data);
    this.ask();
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.observer.disconnect();
  }

  /** To an epoch by hand; the newest one is followed from then on. */
  go(epoch) {
    this.replaying = false;
    this.goal = Math.min(this.last, Math.max(this.first, epoch));
    this.following = this.goal === this.last;
    this.ask();
  }

  replay() {
    this.at = this.first;
    this.goal = this.last;
    this.replaying = this.following = true;
    this.ask();
  }

  pause() {
    this.replaying = this.following = false;
    this.goal = Math.round(this.at);
    this.ask();
  }

  ask() {
    this.frame ||= requestAnimationFrame((now) => {
      this.frame = 0;
      this.move(now);
      this.draw();
      if (this.at !== this.goal) this.ask();
      else this.then = undefined;
    });
  }

  /** Nearer to the goal. By hand it takes one step's time however far it is, in a replay one for each epoch. */
  move(now) {
    const passed = Math.min(100, now - (this.then ?? now));
    this.then = now;
    const way = this.goal - this.at;
    const pace = this.replaying ? Math.max(1 / EPOCH_MS, (this.last - this.first) / REPLAY_MS) : Math.max(1, Math.abs(way)) / EPOCH_MS;
    const still = this.calm.matches && !this.replaying;
    this.at = still || Math.abs(way) <= pace * passed ? this.goal : this.at + Math.sign(way) * pace * passed;
    if (this.at === this.goal) this.replaying = false;
  }

  draw() {
    const style = getComputedStyle(this.root);
    this.look = {
      font: style.fontFamily,
      text: style.getPropertyValue("--st-text-color").trim(),
      back: style.getPropertyValue("--st-background-color").trim(),
      run: this.data.colors.run,
    };
    this.shown = this.between();
    drawCloud(this);
    drawCurves(this);
    this.say();
  }

  /** The cloud at the current position: between two epochs, on the way from one to the other. */
  between() {
    const before = Math.floor(this.at);
    const [a, b] = [this.clouds.get(before), this.clouds.get(before + 1)];
    const part = this.at - before;
    if (!part || !a || !b || this.calm.matches) return this.clouds.get(Math.round(this.at));
    const share = part * part * (3 - 2 * part);
    const mix = (from, to) => from.map((value, i) => (Array.isArray(value) ? mix(value, to[i]) : value + share * (to[i] - value)));
    const z = a.z.map((value, i) => value + share * (b.z[i] - value));
    return { z, predicted: b.predicted, means: mix(a.means, b.means), sigmas: a.sigmas && mix(a.sigmas, b.sigmas), view: mix(a.view, b.view) };
  }

  /** The numbers that go with the position, in words; only when the epoch changes, for the sake of screen readers. */
  say() {
    const epoch = Math.round(this.at);
    this.slide.value = epoch;
    this.slide.disabled = this.play.disabled = this.last === this.first;
    const label = this.replaying ? "❚❚ Pause" : "▶ Replay";
    if (this.play.textContent !== label) this.play.textContent = label;
    const text = `epoch ${epoch} of ${this.data.epochs}`;
    const sentence = `${text}: ${numbers(this.data, epoch)}`;
    if (sentence === this.sentence) return;
    this.sentence = sentence;
    this.epoch.textContent = text;
    this.slide.setAttribute("aria-valuetext", sentence);
    this.cloud.setAttribute("aria-label", `Features of ${this.labels.length.toLocaleString("en")} held-out images, ${sentence}`);
    this.curves.setAttribute("aria-label", `Curves over the epochs; ${sentence}`);
  }

  point(event) {
    const { shown, plane } = this;
    let best = REACH ** 2;
    let found = -1;
    for (let i = 0; shown && plane.x && i < this.labels.length; i++) {
      const far = (plane.x(shown.z[2 * i]) - event.offsetX) ** 2 + (plane.y(shown.z[2 * i + 1]) - event.offsetY) ** 2;
      if (far < best) [best, found] = [far, i];
    }
    this.tip.hidden = found < 0;
    if (found < 0) return;
    this.tip.textContent = `${this.data.classes[this.labels[found]]}, read as ${this.data.classes[shown.predicted[found]]}`;
    const left = Math.min(event.offsetX + 14, plane.width - this.tip.offsetWidth - 4);
    this.tip.style.translate = `${left}px ${event.offsetY - 34}px`;
    this.tip.style.top = `${this.cloud.offsetTop}px`;
    this.tip.style.left = "0";
  }
}

function decode(cloud) {
  const z = Float32Array.from(new Int16Array(bytes(cloud.z).buffer), (value) => value * cloud.scale);
  return { z, predicted: bytes(cloud.predicted), means: cloud.means, sigmas: cloud.sigmas };
}

function legend({ loss, clouds }) {
  if (!clouds.length) return "";
  const where = loss === "lgm" ? "Rings: 1σ and 2σ around the learnt mean of each class." : "A number stands at the mean of its class.";
  return `A dot is a held-out image in the colour of its class, a cross one read as another. ${where}`;
}

function numbers(data, epoch) {
  const record = data.records.find((one) => one.epoch === epoch);
  if (!record) return epoch ? "no numbers were kept" : "before training";
  return series(data)
    .flatMap((panel) => panel.lines.map((line) => `${line.spoken} ${panel.write(record[line.key])}`))
    .join(", ");
}

/** The panels of the curves: a title, how a number is written, and lines. */
function series({ loss, records }) {
  const panels = [
    {
      title: "accuracy",
      write: (share) => percent(share, 1),
      top: 1,
      lines: [
        { key: "validation_accuracy", name: "held-out", spoken: "held-out accuracy" },
        { key: "accuracy", name: "training", spoken: "training accuracy", dash: [5, 4] },
      ],
    },
    {
      title: "training loss (nats)",
      write: (value) => value.toFixed(3),
      lines: [{ key: "loss", name: "", spoken: "training loss" }],
    },
    {
      title: "distance of the two closest means (σ)",
      write: (value) => `${value.toFixed(2)} σ`,
      lines: [{ key: "closest_centers", name: "", spoken: "closest means" }],
    },
  ];
  const known = (line) => records.some((record) => Number.isFinite(record[line.key])) || !records.length;
  return panels
    .filter((panel) => loss === "lgm" || panel.lines[0].key !== "closest_centers")
    .map((panel) => ({ ...panel, lines: panel.lines.filter(known) }))
    .filter((panel) => panel.lines.length);
}

function drawCloud(film) {
  const { shown, look, labels } = film;
  const plane = { ...sharpen(film.cloud, look.font), look };
  film.plane = plane;
  const { g, width, height } = plane;
  if (width < 100) return; // not laid out yet
  if (!shown) {
    const why = film.clouds.size ? "The features after this epoch were not kept." : "The first features come after the first epoch.";
    write(plane, why, width / 2, height / 2, { align: "center" });
    return;
  }
  const [left, bottom] = [34, 22];
  const [cx, cy, half] = shown.view;
  const scale = Math.min(width - left, height - bottom) / (2 * half);
  plane.x = (value) => left + (width - left) / 2 + (value - cx) * scale;
  plane.y = (value) => (height - bottom) / 2 - (value - cy) * scale;
  drawGrid(plane, { left, bottom, scale, cx, cy });
  g.save();
  g.beginPath();
  g.rect(left, 0, width - left, height - bottom);
  g.clip();
  drawPoints(plane, shown, labels, film.data.colors.classes);
  if (shown.sigmas) drawRings(plane, shown, scale);
  shown.means.forEach((mean, k) => drawName(plane, film.data.classes[k], mean));
  g.restore();
}

function drawGrid(plane, { left, bottom, scale, cx, cy }) {
  const { g, look, width, height, x, y } = plane;
  const step = niceStep(70 / scale);
  const [across, up] = [(width - left) / 2 / scale, (height - bottom) / 2 / scale];
  for (let v = Math.ceil((cx - across) / step) * step; v <= cx + across; v += step) {
    line(g, look.text, 1, [[x(v), 0], [x(v), height - bottom]], { alpha: 0.12 });
    if (x(v) > left + 10 && x(v) < width - 10) write(plane, tick(v, step), x(v), height - 6, { align: "center" });
  }
  for (let v = Math.ceil((cy - up) / step) * step; v <= cy + up; v += step) {
    line(g, look.text, 1, [[left, y(v)], [width, y(v)]], { alpha: 0.12 });
    if (y(v) > 8 && y(v) < height - bottom - 6) write(plane, tick(v, step), left - 6, y(v) + 4, { align: "right" });
  }
}

function niceStep(least) {
  const unit = 10 ** Math.floor(Math.log10(least));
  return unit * [1, 2, 5, 10].find((factor) => factor * unit >= least);
}

function tick(value, step) {
  const text = Math.abs(value).toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return value < -step / 2 ? `−${text}` : text;
}

function drawPoints({ g, x, y }, { z, predicted }, labels, classes) {
  classes.forEach((colour, k) => {
    const dots = new Path2D();
    const crosses = new Path2D();
    for (let i = 0; i < labels.length; i++) {
      if (labels[i] !== k) continue;
      const [px, py] = [x(z[2 * i]), y(z[2 * i + 1])];
      if (predicted[i] === k) {
        dots.moveTo(px + 2.4, py);
        dots.arc(px, py, 2.4, 0, 2 * Math.PI);
      } else {
        crosses.moveTo(px - 3, py - 3);
        crosses.lineTo(px + 3, py + 3);
        crosses.moveTo(px - 3, py + 3);
        crosses.lineTo(px + 3, py - 3);
      }
    }
    g.fillStyle = g.strokeStyle = colour;
    g.lineWidth = 1.4;
    g.globalAlpha = 0.7;
    g.fill(dots);
    g.globalAlpha = 0.9;
    g.stroke(crosses);
    g.globalAlpha = 1;
  });
}

function drawRings({ g, look, x, y }, { means, sigmas }, scale) {
  g.strokeStyle = look.text;
  means.forEach((mean, k) => {
    for (const reach of [1, 2]) {
      g.globalAlpha = reach === 1 ? 0.6 : 0.35;
      g.lineWidth = 1.2;
      g.beginPath();
      g.ellipse(x(mean[0]), y(mean[1]), reach * sigmas[k][0] * scale, reach * sigmas[k][1] * scale, 0, 0, 2 * Math.PI);
      g.stroke();
    }
  });
  g.globalAlpha = 1;
}

/** A class's name with a halo: it must not hide the dots around it. */
function drawName({ g, look, x, y }, name, [mx, my]) {
  g.save();
  g.font = `700 15px ${look.font}`;
  g.textAlign = "center";
  g.lineJoin = "round";
  g.lineWidth = 3.5;
  g.strokeStyle = look.back;
  g.fillStyle = look.text;
  g.strokeText(name, x(mx), y(my) + 5);
  g.fillText(name, x(mx), y(my) + 5);
  g.restore();
}

function drawCurves(film) {
  const { data, look, at, last } = film;
  const sheet = { ...sharpen(film.curves, look.font), look };
  if (sheet.width < 100) return; // not laid out yet
  const panels = series(data);
  const box = { left: 44, right: sheet.width - 62, first: film.first, last: Math.max(data.epochs, film.first + 1) };
  const x = (epoch) => box.left + ((epoch - box.first) / (box.last - box.first)) * (box.right - box.left);
  film.plot = { epochAt: (px) => box.first + ((px - box.left) / (box.right - box.left)) * (box.last - box.first) };
  const high = (sheet.height - 34) / panels.length;
  panels.forEach((panel, i) => {
    const area = { ...box, x, top: i * high + 20, bottom: (i + 1) * high - 10 };
    drawPanel(sheet, area, panel, data.records, Math.min(Math.round(at), last));
  });
  drawEpochs(sheet, box, x);
  line(sheet.g, look.text, 1.5, [[x(at), 20], [x(at), sheet.height - 30]], { alpha: MUTED });
}

function drawPanel(sheet, area, panel, records, epoch) {
  const { g, look } = sheet;
  const values = panel.lines.flatMap((one) => records.map((record) => record[one.key])).filter(Number.isFinite);
  const [low, high] = span(panel, values);
  const y = (value) => area.bottom - ((value - low) / (high - low)) * (area.bottom - area.top);
  write(sheet, panel.title, area.left, area.top - 7, { alpha: 1 });
  line(g, look.text, 1, [[area.left, area.bottom], [area.right, area.bottom]], { alpha: 0.5 });
  if (!values.length) return;
  const step = niceStep((high - low) / (panel.top ? 2 : 3));
  for (let v = low; v <= high + 1e-6; v += step) {
    line(g, look.text, 1, [[area.left, y(v)], [area.right, y(v)]], { alpha: 0.12 });
    write(sheet, panel.top ? `${Math.round(100 * v)} %` : tick(v, step), area.left - 6, y(v) + 4, { align: "right" });
  }
  const ends = [];
  for (const one of panel.lines) {
    const points = records.filter((record) => Number.isFinite(record[one.key])).map((record) => [area.x(record.epoch), y(record[one.key])]);
    const colour = one.dash ? look.text : look.run;
    line(g, colour, 2, points, { dash: one.dash, alpha: one.dash ? MUTED : 1 });
    if (points.length === 1) dot(sheet, ...points[0], colour);
    const now = records.find((record) => record.epoch === epoch)?.[one.key];
    if (!Number.isFinite(now)) continue;
    dot(sheet, area.x(epoch), y(now), colour);
    ends.push({ text: panel.write(now), name: one.name, y: y(now) });
  }
  drawReadings(sheet, area, ends);
}

/** Ends of a vertical axis: shares reach up to 100 % from the ten per cent below the lowest, other numbers start at 0. */
function span({ top }, values) {
  if (top) return [Math.min(0.9, Math.floor(10 * Math.min(0.9, ...values)) / 10), top];
  return [Math.min(0, ...values), Math.max(...values, 1e-9) * 1.05];
}

/** The numbers at the current epoch, to the right of their lines and out of each other's way. */
function drawReadings(sheet, area, ends) {
  ends.sort((a, b) => a.y - b.y);
  const needed = ends.map((end) => (end.name ? 30 : 16));
  let free = area.top - 8;
  ends.forEach((end, i) => {
    const rest = needed.slice(i).reduce((sum, one) => sum + one, 0);
    const top = Math.max(free, Math.min(end.y - needed[i] / 2, area.bottom + 10 - rest));
    write(sheet, end.text, area.right + 8, top + 12, { alpha: 1, bold: true });
    if (end.name) write(sheet, end.name, area.right + 8, top + 25);
    free = top + needed[i];
  });
}

function drawEpochs(sheet, box, x) {
  const step = Math.max(1, niceStep((44 / (box.right - box.left)) * (box.last - box.first)));
  const base = sheet.height - 20;
  for (let epoch = Math.ceil(box.first / step) * step; epoch <= box.last; epoch += step) write(sheet, String(epoch), x(epoch), base, { align: "center" });
  write(sheet, "epoch", (box.left + box.right) / 2, sheet.height - 4, { align: "center", alpha: 1 });
}

function dot({ g, look }, x, y, colour) {
  g.fillStyle = colour;
  g.strokeStyle = look.back;
  g.lineWidth = 2;
  g.beginPath();
  g.arc(x, y, 5, 0, 2 * Math.PI);
  g.fill();
  g.stroke();
}

function write({ g, look }, text, left, base, { align = "left", alpha = MUTED, bold = false } = {}) {
  g.save();
  if (bold) g.font = `600 ${g.font}`;
  g.textAlign = align;
  g.fillStyle = look.text;
  g.globalAlpha = alpha;
  g.fillText(text, left, base);
  g.restore();
}

/** Both plots and the sentence that goes with them, as a PNG file. */
function savePicture({ cloud, curves, look, data, sentence }) {
  const ratio = window.devicePixelRatio || 1;
  const sheet = document.createElement("canvas");
  sheet.width = cloud.width + curves.width + 24 * ratio;
  sheet.height = Math.max(cloud.height, curves.height) + 40 * ratio;
  const g = sheet.getContext("2d");
  g.fillStyle = look.back;
  g.fillRect(0, 0, sheet.width, sheet.height);
  g.drawImage(cloud, 0, 0);
  g.drawImage(curves, cloud.width + 24 * ratio, 0);
  g.fillStyle = look.text;
  g.font = `${13 * ratio}px ${look.font}`;
  g.fillText(`${data.title}, ${sentence}`, 12 * ratio, sheet.height - 14 * ratio);
  sheet.toBlob((blob) => download(blob, "train.png"));
}

/** One row an epoch. */
function saveCurves({ data }) {
  const columns = Object.keys(data.records[0] ?? {}).filter((name) => !Array.isArray(data.records[0][name]));
  saveTable("train-curves.csv", columns, data.records.map((record) => columns.map((name) => record[name])));
}

/** One row an image at the epoch shown. */
function saveFeatures({ clouds, goal, labels }) {
  const cloud = clouds.get(Math.round(goal));
  const rows = Array.from(cloud ? labels : [], (label, i) => [goal, i, label, cloud.predicted[i], ...cloud.z.slice(2 * i, 2 * i + 2)]);
  saveTable("train-features.csv", ["epoch", "image", "label", "predicted", "feature_1", "feature_2"], rows);
}

function saveTable(name, columns, rows) {
  download(new Blob([[columns, ...rows].map((row) => `${row.join(",")}\n`).join("")], { type: "text/csv" }), name);
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
