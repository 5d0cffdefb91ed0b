import type { Theme } from "./canvas.ts";
import { context } from "./canvas.ts";

export function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** A table as a CSV file. */
export function downloadTable(name: string, columns: readonly string[], rows: readonly (readonly unknown[])[]): void {
  const lines = [columns, ...rows].map((row) => `${row.join(",")}\n`);
  download(new Blob([lines.join("")], { type: "text/csv" }), name);
}

/** Canvases side by side, `gap` CSS pixels apart, above lines of text, as a PNG file. */
export function downloadPicture(
  name: string,
  canvases: readonly HTMLCanvasElement[],
  lines: readonly string[],
  theme: Theme,
  gap = 0,
): void {
  const ratio = window.devicePixelRatio || 1;
  const picture = document.createElement("canvas");
  picture.width = canvases.reduce((sum, { width }) => sum + width, gap * ratio * (canvases.length - 1));
  picture.height = Math.max(...canvases.map(({ height }) => height)) + (16 + 20 * lines.length) * ratio;
  const g = context(picture);
  g.fillStyle = theme.background;
  g.fillRect(0, 0, picture.width, picture.height);
  let left = 0;
  for (const canvas of canvases) {
    g.drawImage(canvas, left, 0);
    left += canvas.width + gap * ratio;
  }
  g.fillStyle = theme.text;
  g.font = `${13 * ratio}px ${theme.font}`;
  lines.forEach((line, i) => g.fillText(line, 12 * ratio, picture.height - (20 * (lines.length - i) - 8) * ratio));
  picture.toBlob((blob) => blob && download(blob, name));
}
