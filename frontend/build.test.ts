import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { bundle } from "./build.ts";

test("dist/ is what the sources build: else run `make frontend`", async () => {
  const dist = `${import.meta.dirname}/dist`;
  const built = await bundle();
  assert.deepEqual(readdirSync(dist).sort(), [...built.keys()].sort());
  for (const [name, text] of built)
    assert.ok(readFileSync(`${dist}/${name}`, "utf8") === text, `dist/${name} is not current`);
});
