import { find } from "../shared/dom.ts";
import { type Data, LOSSES } from "./data.ts";

/** Captions and keys; colours are Python's constants, so that HTML may be made of them. */
export function showLegends(root: HTMLElement, data: Data): void {
  const { colors } = data;
  const points = spot("ring", colors.base, "base") + spot("square", colors.target, "target");
  const poison = spot("diamond", colors.poison, "poison and its way");
  for (const loss of LOSSES) {
    const network = data.networks[loss];
    if (!network) continue;
    const { seen, cut } = network;
    const plane = find(root, `.plane.${loss}`);
    find(plane, "figcaption").textContent = `${loss === "lgm" ? "LGM" : "Softmax"} features${seen}`;
    const filter = cut === null ? "" : line(colors.clean, "filter removes what is outside", "dash");
    find(plane, ".key").innerHTML = points + poison + filter;
  }
  const ink = "currentColor";
  find(root, ".terms .key").innerHTML = [
    line(colors.lgm, "LGM", ""),
    line(colors.softmax, "softmax", ""),
    line(ink, "|s(f(x)−f(t))|²", ""),
    line(ink, "β|x−b|²", "dash"),
    data.gamma ? line(ink, "γ·max(0, T−log p)", "dot") : "",
  ].join("");
}

const line = (colour: string, text: string, dash: string) =>
  `<span><b class="line ${dash}" style="border-color:${colour}"></b>${text}</span>`;

const spot = (kind: string, colour: string, text: string) =>
  `<span><b class="${kind}" style="--of:${colour}"></b>${text}</span>`;
