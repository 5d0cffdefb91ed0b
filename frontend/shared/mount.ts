import type { FrontendRenderer, FrontendRendererArgs, FrontendState } from "@streamlit/component-v2-lib";
import { find } from "./dom.ts";

export type Args<State extends FrontendState, Data> = FrontendRendererArgs<State, Data>;

/** A component on the page, from its first data to its end. */
export interface View<State extends FrontendState, Data> {
  /** The first data, other data, or a new theme. */
  update(args: Args<State, Data>): void;
  close(): void;
}

/**
 * A component whose view keeps its state: Streamlit calls the renderer again on every change of data or theme, with the
 * same root, and its clean-up when the component is gone or when a newer call has overtaken it.
 *
 * @param open - Makes the view; `update` follows at once, with the same data.
 */
export function mount<State extends FrontendState, Data>(
  selector: string,
  open: (root: HTMLElement, data: Data) => View<State, Data>,
): FrontendRenderer<State, Data> {
  const views = new WeakMap<HTMLElement, View<State, Data>>();
  return (args) => {
    const root = find(args.parentElement, selector);
    const view = views.get(root) ?? open(root, args.data);
    views.set(root, view);
    view.update(args);
    return () => {
      if (root.isConnected) return; // overtaken: the view goes on
      view.close();
      views.delete(root);
    };
  };
}
