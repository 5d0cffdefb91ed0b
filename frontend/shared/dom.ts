/** The element that the component's HTML promises, of the type that it has there, as `querySelector` takes it. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters
export function find<Found extends Element = HTMLElement>(root: ParentNode, selector: string): Found {
  const found = root.querySelector<Found>(selector);
  if (!found) throw new Error(`expected an element ${selector} in the component's HTML, found none`);
  return found;
}

/** Set a text; the same one again would cost a layout. */
export function setText(place: Element, text: string): void {
  if (place.textContent !== text) place.textContent = text;
}

export const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Asks for `draw` in the next frame, once however often it is called before. */
export class NextFrame {
  private readonly draw: (now: number) => void;
  private pending = 0;

  constructor(draw: (now: number) => void) {
    this.draw = draw;
  }

  ask(): void {
    this.pending ||= requestAnimationFrame((now) => {
      this.pending = 0;
      this.draw(now);
    });
  }

  cancel(): void {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
  }
}
