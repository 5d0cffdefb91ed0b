// A grid of images to pick one from: real buttons with images, so that mouse, touch and keyboard all work.

import type { FrontendRenderer } from "@streamlit/component-v2-lib";
import { find } from "../shared/dom.ts";

interface State {
  pick: number;
  [name: string]: unknown;
}

/** What `pick_image` of ui/components/picker.py sends; images are PNG files in base64. */
interface Data {
  title: string;
  images: string[];
  positions: number[];
  picked: number | null;
  color: string;
}

const picker: FrontendRenderer<State, Data> = ({ data, parentElement, setTriggerValue }) => {
  const grid = find(parentElement, ".picker");
  grid.style.setProperty("--picked", data.color);
  grid.setAttribute("aria-label", data.title);
  const buttons = data.images.map((image, i) => {
    const [button, picture] = [document.createElement("button"), document.createElement("img")];
    picture.src = `data:image/png;base64,${image}`;
    picture.alt = `${data.title}: number ${data.positions[i]}`;
    button.type = "button";
    button.setAttribute("aria-pressed", String(data.positions[i] === data.picked));
    button.onclick = () => setTriggerValue("pick", data.positions[i]);
    button.append(picture);
    return button;
  });
  grid.replaceChildren(...buttons);
};

export default picker;
