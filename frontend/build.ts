// Builds each component into one file of dist/, not minified: what changes there can be read.

import { mkdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const COMPONENTS = ["beta_explorer", "draw", "kept_list", "picker", "threshold", "training_replay"];

/** What dist/ has to hold: the content of each file by its name. */
export async function bundle(): Promise<Map<string, string>> {
  const { outputFiles } = await build({
    absWorkingDir: import.meta.dirname,
    entryPoints: COMPONENTS.map((name) => ({ in: `${name}/index.ts`, out: name })),
    outdir: "dist",
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    write: false,
  });
  return new Map(outputFiles.map((file) => [file.path.replace(/^.*[\\/]/, ""), file.text]));
}

if (import.meta.main) {
  mkdirSync(`${import.meta.dirname}/dist`, { recursive: true });
  for (const [name, text] of await bundle()) writeFileSync(`${import.meta.dirname}/dist/${name}`, text);
}
