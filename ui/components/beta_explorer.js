// Beta explorer: receives the poisons of one pair for all betas and iterations once, and then answers every move of
// both sliders in the browser. Nothing goes to the server until beta is released; of the iteration it never hears.

const states = new WeakMap(); // survives re-invocation: this function is called again whenever data or theme change
const DIFFERENCE_GAIN = 3;
const WAY_MS = 1500; // a played way, from its first frame to its last
const TERMS = 3; // of what is minimised: to the target's features, to the base, and what a knowing attacker pays
const FAINT = 0.25; // opacity of the way that is still ahead

const floats = (text) => new Float32Array(bytes(text).buffer);

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".lab");
  let s = states.get(root);
  if (!s) states.set(root, (s = { dragging: false, playing: null, frame: 0, at: null, running: 0, clouds: new Map() }));
  if (s.data !== data) {
    s.data = data;
    s.decoded = decode(data);
    s.clouds.clear();
    if (!s.dragging) s.index = data.index;
  }
  const range = root.querySelector(".beta input");
  const play = root.querySelector(".play");
  range.max = data.betas.length - 1;
  range.value = s.index;
  range.disabled = !s.decoded.ready || data.betas.length < 2;
  root.classList.toggle("pending", !s.decoded.ready);
  root.classList.toggle("story", data.story);

  const ask = () => { if (!s.frame) s.frame = requestAnimationFrame(() => { s.frame = 0; draw(root, s); }); };
  const commit = () => { s.dragging = false; if (!data.story) setStateValue("beta", data.betas[s.index]); };
  const stop = () => { clearInterval(s.playing); s.playing = null; play.textContent = "▶ play"; };
  const start = () => {
    let step = -1;
    play.textContent = "❚❚ pause";
    s.playing = setInterval(() => {
      if (s.index + step < 0 || s.index + step >= data.betas.length) step = -step;
      range.value = s.index += step;
      ask();
    }, 450);
  };
  range.oninput = () => { if (s.playing) stop(); s.dragging = true; s.index = +range.value; ask(); };
  range.onchange = commit;
  play.hidden = !data.story;
  play.onclick = () => (s.playing ? stop() : start());
  if (data.story && s.playing === null && !s.greeted) {
    s.greeted = true;
    play.textContent = "▶ play";
    if (!calm() && s.decoded.ready) start();
  }
  const anew = () => { s.clouds.clear(); s.look = null; ask(); };
  s.watch ??= new ResizeObserver(anew);
  s.watch.observe(root);
  for (const [name, net] of Object.entries(data.nets))
    root.querySelector(`.plane.${name} figcaption`).textContent = `${name === "lgm" ? "LGM" : "Softmax"} features${net.seen}`;
  scrubber(root, s, ask);
  legends(root, data);
  pair(root, s);
  anew(); // the theme may have changed
  unpack(s, ask);
  return () => {
    if (root.isConnected) return; // a newer call has overtaken this one: it goes on
    stop();
    halt(s);
    cancelAnimationFrame(s.frame);
    s.watch.disconnect();
    states.delete(root);
  };
}

function decode(data) {
  const nets = {};
  for (const [name, net] of Object.entries(data.nets)) {
    const p = net.poisons;
    nets[name] = {
      ...net,
      cloud: floats(net.cloud),
      labels: bytes(net.labels),
      p: p && {
        ...p,
        images: bytes(p.images), path: floats(p.path), terms: floats(p.terms),
        path_score: p.path_score && floats(p.path_score), path_predicted: p.path_predicted && bytes(p.path_predicted),
      },
    };
  }
  const [channels, height, width] = data.shape;
  return {
    nets, values: channels * height * width, // of an image
    base: bytes(data.base), target: bytes(data.target), ready: Object.values(nets).every((n) => n.p),
  };
}

// The images on the way come deflated, each as its change modulo 256. Every answer of the server repeats them; they are
// unpacked once for each pair.
async function unpack(s, done) {
  const packed = Object.entries(s.data.nets).map(([name, net]) => [name, net.poisons?.path_images]);
  const id = packed.join(), frames = s.data.iterations.length;
  if (s.packed === id) return;
  Object.assign(s, { packed: id, way: null, at: null });
  halt(s);
  if (!packed.every(([, text]) => text)) return;
  const images = await Promise.all(packed.map(([, text]) => inflate(text)));
  if (s.packed !== id) return; // another pair has come meanwhile
  s.way = Object.fromEntries(packed.map(([name], i) => [name, summed(images[i], frames, s.decoded.values)]));
  done();
}

function summed(images, frames, size) {
  for (let at = size; at < images.length; at += size) {
    if ((at / size) % frames === 0) continue; // the first image of another beta
    for (let i = at; i < at + size; i++) images[i] += images[i - size];
  }
  return images;
}

// The second slider: over the frames of the way. s.at is the frame on show, null at the end, whatever beta is.
function scrubber(root, s, ask) {
  const range = root.querySelector(".scrub input"), button = root.querySelector(".run");
  const last = () => s.data.iterations.length - 1;
  const go = (frame) => { s.at = frame < last() ? frame : null; };
  range.oninput = () => { halt(s); go(+range.value); ask(); };
  button.onclick = () => {
    if (s.running) halt(s);
    else if (calm()) go((s.at ?? -1) + 1);
    else play();
    ask();
  };
  const play = () => {
    const from = s.at ?? 0;
    let start = null; // the first frame that is drawn, however late
    const tick = (now) => {
      start ??= now;
      go(from + Math.floor(((now - start) / WAY_MS) * last()));
      s.running = s.at === null ? 0 : requestAnimationFrame(tick);
      draw(root, s);
    };
    s.running = requestAnimationFrame(tick);
  };
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function halt(s) {
  cancelAnimationFrame(s.running);
  s.running = 0;
}

// What both sliders stand at, in words. The second one waits for the images on the way.
function controls(root, s) {
  const { betas, iterations } = s.data, last = iterations.length - 1, frame = s.at ?? last;
  const beta = root.querySelector(".beta"), scrub = root.querySelector(".scrub"), button = scrub.querySelector("button");
  beta.querySelector("output").textContent = String(betas[s.index]);
  beta.querySelector(".more").hidden = !(s.data.more && s.decoded.ready);
  beta.querySelector("input").setAttribute("aria-valuetext", `beta ${betas[s.index]}`);
  const range = scrub.querySelector("input"), words = `${iterations[frame]} of ${iterations[last]}`;
  range.max = last;
  range.value = frame;
  range.setAttribute("aria-valuetext", `iteration ${words}`);
  range.disabled = button.disabled = !s.way || !last;
  scrub.querySelector("output").textContent = s.decoded.ready ? words : "";
  button.textContent = s.running ? "❚❚ pause" : calm() ? "▶ step" : "▶ play";
}

const tile = (root, name) => root.querySelector(`.tile.${name}`);

function say(figure, text) {
  const output = figure.querySelector("output");
  if (output.dataset.said === text) return; // a word of it may be explaining itself
  output.dataset.said = text;
  const [before, after] = text.split("collides"), word = figure.closest(".lab").querySelector(".collides").content;
  output.replaceChildren(before, ...(after === undefined ? [] : [word.cloneNode(true), after]));
  figure.querySelector("canvas").setAttribute("aria-label", `${figure.querySelector("figcaption").textContent}: ${text}`);
}

// The two images that no slider changes.
function pair(root, { data, decoded }) {
  picture(tile(root, "base"), decoded.base, data.shape, data.colors.base);
  say(tile(root, "base"), `${data.classes[data.base_label]}: what the poison claims to be`);
  picture(tile(root, "target"), decoded.target, data.shape, data.colors.target);
  say(tile(root, "target"), `${data.classes[data.target_label]}: what the attacker wants misread`);
}

function draw(root, s) {
  const { data, decoded } = s;
  s.look ??= look(root);
  controls(root, s);
  for (const [name, net] of Object.entries(decoded.nets)) {
    const figure = tile(root, name), poison = shown(s, name);
    if (poison) {
      picture(figure, poison.image, data.shape, data.colors.poison);
      difference(tile(root, `${name}-d`), poison.image, decoded.base, data.shape);
      say(figure, verdict(poison, data));
      say(tile(root, `${name}-d`), `L2 ${poison.l2.toFixed(2)} · L∞ ${poison.linf.toFixed(2)}`);
    } else {
      picture(figure, decoded.base, data.shape, "transparent");
      say(figure, "crafting …");
    }
    plane(root.querySelector(`.plane.${name}`), s, name, poison);
    if (name === "lgm") gauge(root.querySelector(".gauge"), s, poison);
  }
  if (decoded.ready) {
    terms(root.querySelector(".terms canvas"), s);
    bars(root.querySelector(".bars"), s);
  }
}

// The poison that both sliders ask for: at the end with its own numbers, before that as it was recorded on the way.
function shown(s, name) {
  const { nets, values } = s.decoded, { p } = nets[name], i = s.index;
  if (!p) return null;
  if (s.at === null) {
    const image = p.images.subarray(values * i, values * (i + 1));
    return { image, z: p.z[i], score: p.score?.[i], predicted: p.predicted[i], l2: p.l2[i], linf: p.linf[i] };
  }
  const k = i * s.data.iterations.length + s.at, image = s.way[name].subarray(values * k, values * (k + 1));
  return {
    image, z: [...p.path.subarray(2 * k, 2 * k + 2)], score: p.path_score?.[k], predicted: p.path_predicted[k],
    l2: Math.sqrt(p.terms[TERMS * k + 1]), linf: largestChange(image, s.decoded.base),
  };
}

function largestChange(image, base) {
  let largest = 0;
  for (let i = 0; i < base.length; i++) largest = Math.max(largest, Math.abs(image[i] - base[i]));
  return largest / 255;
}

function verdict(poison, data) {
  const seen = `seen as ${data.classes[poison.predicted]}${poison.predicted === data.target_label ? ", collides" : ""}`;
  if (poison.score === undefined) return `${seen}; no density to filter by`;
  return `${seen}; ${poison.score <= data.threshold ? "removed by the filter" : "passes the filter"}`;
}

// log p(f(x) | claimed label) of the LGM poison in nats, against the threshold T. The scale is even in sigmas, the root of
// nats below the peak: clean images crowd near the peak, and that is where T lies.
function gauge(figure, s, poison) {
  const canvas = figure.querySelector("canvas"), { peak } = s.decoded.nets.lgm;
  if (!canvas.clientWidth) return;
  const { ink, font } = s.look, { g, width, height } = sharpen(canvas, font), T = s.data.threshold;
  const low = Math.min(T - 8, -30), left = 6, right = width - 6, y = height * 0.52;
  const X = (v) => right - Math.sqrt((peak - Math.max(low, Math.min(peak, v))) / (peak - low)) * (right - left);
  g.fillStyle = s.data.colors.poison + "55"; g.fillRect(left, y - 9, X(T) - left, 18);
  g.fillStyle = s.data.colors.clean + "55"; g.fillRect(X(T), y - 9, right - X(T), 18);
  g.font = "11px " + font; g.fillStyle = ink; g.textBaseline = "top";
  g.strokeStyle = ink; g.lineWidth = 2;
  g.beginPath(); g.moveTo(X(T), y - 16); g.lineTo(X(T), y + 12); g.stroke();
  const name = `T = ${nats(T)}`, half = g.measureText(name).width / 2, middle = Math.max(left + half, Math.min(X(T), right - half));
  g.textAlign = "center"; g.fillText(name, middle, y + 14);
  // The ends of the scale, where T leaves room for them.
  const lowest = `≤ ${low.toFixed(0)}`, best = peak.toFixed(1), gap = half + 8;
  g.textAlign = "left"; if (left + g.measureText(lowest).width < middle - gap) g.fillText(lowest, left, y + 14);
  g.textAlign = "right"; if (right - g.measureText(best).width > middle + gap) g.fillText(best, right, y + 14);
  g.textBaseline = "bottom";
  g.textAlign = "left"; g.fillText("removed", left, y - 13);
  g.textAlign = "right"; g.fillText("kept", right, y - 13);
  const output = figure.querySelector("output");
  if (poison) {
    mark(g, X(poison.score), y, s.data.colors.poison, ink);
    output.textContent = `log p(f(x) | ${s.data.classes[s.data.base_label]}) = ${nats(poison.score)} nats`;
  } else output.textContent = "";
  canvas.setAttribute("aria-label", `Likelihood gauge, threshold ${nats(T)} nats. ${output.textContent}`);
}

function picture(figure, pixels, shape, border) {
  const canvas = figure.querySelector("canvas");
  paint(canvas, pixels, shape);
  canvas.style.borderColor = border;
}

// Grey images: white where nothing changed, orange where brighter, blue where darker. Colour: grey where nothing changed.
function difference(figure, pixels, base, shape) {
  const [channels, ...sides] = shape, shown = new Uint8ClampedArray(3 * pixels.length / channels);
  if (channels === 1) {
    const size = pixels.length;
    for (let i = 0; i < size; i++) {
      const d = Math.max(-255, Math.min(255, (pixels[i] - base[i]) * DIFFERENCE_GAIN));
      const colour = d > 0 ? [255, 255 - d * 0.63, 255 - d] : [255 + d, 255 + d * 0.55, 255];
      colour.forEach((value, c) => { shown[c * size + i] = value; });
    }
  } else for (let i = 0; i < pixels.length; i++) shown[i] = 128 + (pixels[i] - base[i]) * DIFFERENCE_GAIN;
  paint(figure.querySelector("canvas"), shown, [3, ...sides]);
}

// Asked for once a theme: computed styles are slow to read while the page changes.
function look(root) {
  const styles = getComputedStyle(root), css = (name) => styles.getPropertyValue(name).trim();
  return { ink: css("--st-text-color"), paper: css("--st-background-color"), font: css("--st-font") };
}

function plane(figure, s, name, poison) {
  const canvas = figure.querySelector("canvas"), net = s.decoded.nets[name];
  if (!canvas.clientWidth) return;
  const { g, width, height, ratio } = sharpen(canvas, s.look.font);
  const [left, right, bottom, top] = net.extent;
  const scale = Math.min(width / (right - left), height / (top - bottom));
  const X = (x) => width / 2 + (x - (left + right) / 2) * scale, Y = (y) => height / 2 - (y - (bottom + top) / 2) * scale;
  if (!s.clouds.has(name)) s.clouds.set(name, cloud(s, net, { X, Y, scale, width, height, ratio }));
  g.drawImage(s.clouds.get(name), 0, 0, width, height);
  if (poison) {
    const last = s.data.iterations.length - 1, at = s.index * (last + 1) * 2, here = s.at ?? last;
    g.strokeStyle = s.data.colors.poison;
    g.lineWidth = 2.5;
    const way = (from, to, opacity) => {
      g.globalAlpha = opacity;
      g.beginPath();
      for (let f = from; f <= to; f++) g.lineTo(X(net.p.path[at + 2 * f]), Y(net.p.path[at + 2 * f + 1]));
      g.stroke();
    };
    way(here, last, FAINT);
    way(0, here, 1);
  }
  const { ink, paper } = s.look;
  if (poison) mark(g, X(poison.z[0]), Y(poison.z[1]), s.data.colors.poison, ink);
  // Hollow and over it: a poison lies on one of the two, if it is good, and both must be seen.
  hollow(g, X(net.base_z[0]), Y(net.base_z[1]), "circle", s.data.colors.base, paper);
  hollow(g, X(net.target_z[0]), Y(net.target_z[1]), "square", s.data.colors.target, paper);
  const words = poison ? `poison at ${poison.z.map((v) => v.toFixed(1)).join(", ")}` : "poison not made yet";
  canvas.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent}: base at ${net.base_z.map((v) => v.toFixed(1)).join(", ")}, target at ${net.target_z.map((v) => v.toFixed(1)).join(", ")}, ${words}`);
}

function mark(g, x, y, fill, edge) {
  g.fillStyle = fill; g.strokeStyle = edge; g.lineWidth = 2;
  g.beginPath();
  g.moveTo(x, y - 9); g.lineTo(x + 9, y); g.lineTo(x, y + 9); g.lineTo(x - 9, y); g.closePath();
  g.fill(); g.stroke();
}

// An outline wider than a poison, on a halo of the page's colour.
function hollow(g, x, y, shape, colour, paper) {
  g.beginPath();
  if (shape === "circle") g.arc(x, y, 11, 0, 2 * Math.PI);
  else g.rect(x - 11, y - 11, 22, 22);
  for (const [style, width] of [[paper, 4.5], [colour, 2.5]]) { g.strokeStyle = style; g.lineWidth = width; g.stroke(); }
}

// The background that no slider moves: points, rings, class numbers, the ring at which the filter cuts.
function cloud({ data, look: { ink, font } }, net, { X, Y, scale, width, height, ratio }) {
  const canvas = new OffscreenCanvas(Math.max(1, width * ratio), Math.max(1, height * ratio)), g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.globalAlpha = 0.5;
  for (let i = 0; i < net.labels.length; i++) {
    g.fillStyle = data.colors.classes[net.labels[i]];
    g.fillRect(X(net.cloud[2 * i]) - 1, Y(net.cloud[2 * i + 1]) - 1, 2, 2);
  }
  g.globalAlpha = 1;
  const ring = (k, radius, dash, colour, wide) => {
    g.setLineDash(dash); g.strokeStyle = colour; g.lineWidth = wide;
    const [x, y] = net.means[k], [across, up] = net.sigma.map((sigma) => radius * sigma * scale);
    g.beginPath(); g.ellipse(X(x), Y(y), across, up, 0, 0, 2 * Math.PI); g.stroke();
  };
  if (net.cut !== null) {
    ring(data.base_label, 1, [], ink + "66", 1);
    ring(data.base_label, 2, [], ink + "66", 1);
    ring(data.base_label, net.cut, [5, 4], data.colors.clean, 2);
  }
  g.setLineDash([]);
  g.font = "700 12px " + font;
  net.means.forEach(([x, y], k) => tag(g, data.classes[k], data.colors.classes[k], X(x), Y(y)));
  return canvas;
}

const DASHES = [[], [6, 4], [2, 3]]; // of the lines of the terms

// The terms of one network's objective at a frame, with their weights.
function weighted(s, net, frame) {
  const at = TERMS * (s.index * s.data.iterations.length + frame), [collision, perturbation, hinge] = net.p.terms.subarray(at, at + TERMS);
  return [collision, s.data.betas[s.index] * perturbation, hinge];
}

// How large each term is where both sliders stand: a bar a network, on one scale.
function bars(figure, s) {
  const rows = Object.entries(s.decoded.nets).map(([name, net]) => [name, weighted(s, net, s.at ?? s.data.iterations.length - 1)]);
  const sum = (values) => values.reduce((a, b) => a + b, 0), longest = Math.max(...rows.map(([, values]) => sum(values)), 1e-12);
  const digits = (value) => (value === 0 ? "0" : value.toPrecision(2));
  for (const [name, values] of rows) {
    const row = figure.querySelector(`.${name}`);
    [...row.querySelectorAll("i")].forEach((part, term) => {
      part.style.width = `${(100 * values[term]) / longest}%`;
      part.style.setProperty("--of", s.data.colors[name]);
    });
    const shown = values.slice(0, s.data.gamma ? TERMS : 2).map(digits);
    row.querySelector("output").textContent = `${shown.join(" + ")} = ${digits(sum(values))}`;
  }
}

function terms(canvas, s) {
  if (!canvas.clientWidth) return;
  const { data, decoded, look: { ink, font } } = s, { g, width, height } = sharpen(canvas, font);
  const at = data.iterations, frames = at.length, last = Math.log1p(Math.max(1, at[frames - 1]));
  const box = { left: 44, right: width - 8, top: 8, bottom: height - 34 }, low = -5, high = 1;
  const X = (i) => box.left + (Math.log1p(i) / last) * (box.right - box.left);
  const Y = (v) => box.bottom - ((Math.min(high, Math.max(low, Math.log10(v))) - low) / (high - low)) * (box.bottom - box.top);
  g.font = "11px " + font; g.fillStyle = ink; g.strokeStyle = ink + "33"; g.lineWidth = 1;
  g.textAlign = "right"; g.textBaseline = "middle";
  for (let power = low; power <= high; power++) {
    const y = Y(10 ** power);
    g.beginPath(); g.moveTo(box.left, y); g.lineTo(box.right, y); g.stroke();
    g.fillText(power === low ? "≤10⁻⁵" : `10${["⁻⁵", "⁻⁴", "⁻³", "⁻²", "⁻¹", "⁰", "¹"][power - low]}`, box.left - 6, y);
  }
  g.textAlign = "center"; g.textBaseline = "top";
  for (const i of [0, 1, 3, 10, 30, 100, 300, 1000]) if (i <= at[frames - 1]) g.fillText(i, X(i), box.bottom + 5);
  g.fillText("iteration", (box.left + box.right) / 2, box.bottom + 19);
  for (const [name, net] of Object.entries(decoded.nets)) {
    g.strokeStyle = data.colors[name]; g.lineWidth = 2.5;
    DASHES.forEach((dash, term) => {
      if (term === 2 && !net.p.terms.some((value, i) => i % TERMS === 2 && value > 0)) return; // nobody pays
      g.setLineDash(dash);
      g.beginPath();
      for (let f = 0; f < frames; f++) g.lineTo(X(at[f]), Y(weighted(s, net, f)[term]));
      g.stroke();
    });
  }
  g.setLineDash([]);
  if (s.at !== null) {
    g.strokeStyle = ink; g.lineWidth = 1.5;
    g.beginPath(); g.moveTo(X(at[s.at]), box.top); g.lineTo(X(at[s.at]), box.bottom); g.stroke();
  }
  canvas.setAttribute("aria-label", `Terms of the objective by iteration, both networks: distance to the target's features, weighted distance to the base${s.data.gamma ? ", weighted lack of likelihood" : ""}`);
}

function legends(root, data) {
  const line = (colour, text, dash) => `<span><b class="line ${dash}" style="border-color:${colour}"></b>${text}</span>`;
  const spot = (kind, colour, text) => `<span><b class="${kind}" style="--of:${colour}"></b>${text}</span>`;
  const c = data.colors, points = spot("ring", c.base, "base") + spot("square", c.target, "target") + spot("diamond", c.poison, "poison and its way");
  for (const [name, net] of Object.entries(data.nets))
    root.querySelector(`.plane.${name} .key`).innerHTML =
      points + (net.cut === null ? "" : line(c.clean, "filter removes what is outside", "dash"));
  const ink = "currentColor";
  root.querySelector(".terms .key").innerHTML =
    line(c.lgm, "LGM", "") + line(c.softmax, "softmax", "") + line(ink, "|s(f(x)−f(t))|²", "") + line(ink, "β|x−b|²", "dash") +
    (data.gamma ? line(ink, "γ·max(0, T−log p)", "dot") : "");
}
