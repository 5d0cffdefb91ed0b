// Arrays as Python sends them: little-endian bytes in base64.

export function bytes(text: string): Uint8Array<ArrayBuffer> {
  const letters = atob(text);
  const found = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) found[i] = letters.charCodeAt(i); // ten times as fast as Uint8Array.from
  return found;
}

export const floats = (text: string) => new Float32Array(bytes(text).buffer);
export const doubles = (text: string) => new Float64Array(bytes(text).buffer);
export const integers = (text: string) => new Uint32Array(bytes(text).buffer);

/** Bytes that were deflated before. */
export async function inflate(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
