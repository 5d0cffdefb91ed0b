// shared/dom.ts
function find(root, selector) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`expected an element ${selector} in the component's HTML, found none`);
  return found;
}

// picker/index.ts
var picker = ({ data, parentElement, setTriggerValue }) => {
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
var picker_default = picker;
export {
  picker_default as default
};
