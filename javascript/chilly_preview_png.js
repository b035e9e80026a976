// A picture as a file: PNG bytes with the recipe and the parameters inside, to download or to drag out.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});
  const SIGNATURE = 8;

  let table = null;
  function crc(bytes) {
    table ??= Uint32Array.from({ length: 256 }, (_, n) => {
      let value = n;
      for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
      return value >>> 0;
    });
    let sum = 0xffffffff;
    for (const byte of bytes) sum = table[(sum ^ byte) & 255] ^ (sum >>> 8);
    return (sum ^ 0xffffffff) >>> 0;
  }

  /** An iTXt chunk, which holds text of any language, uncompressed. */
  function textChunk(key, text) {
    const body = new TextEncoder().encode(`iTXt${key}\0\0\0\0\0${text}`);
    const chunk = new Uint8Array(body.length + 8);
    const view = new DataView(chunk.buffer);
    view.setUint32(0, body.length - 4);
    chunk.set(body, 4);
    view.setUint32(body.length + 4, crc(body));
    return chunk;
  }

  const bytesOf = (image) => Uint8Array.from(atob(image.slice(image.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));

  /** Whether a PNG has a text chunk of this name; what the engine wrote is not written twice. */
  function has(bytes, key) {
    const view = new DataView(bytes.buffer);
    const letters = (at, count) => String.fromCharCode(...bytes.subarray(at, at + count));
    for (let at = SIGNATURE; at + 8 < bytes.length; at += view.getUint32(at) + 12) {
      if (["tEXt", "iTXt", "zTXt"].includes(letters(at + 4, 4)) && letters(at + 8, key.length + 1) === `${key}\0`) return true;
    }
    return false;
  }

  /** The picture as a Blob; texts go behind the header, where every reader finds them. */
  preview.png = (picture) => {
    const bytes = bytesOf(picture.image);
    const texts = Object.entries({ parameters: picture.infotext, chillymerge_recipe: picture.recipe });
    const chunks = texts.filter(([key, text]) => text && !has(bytes, key)).map(([key, text]) => textChunk(key, text));
    const header = SIGNATURE + 25;
    return new Blob([bytes.subarray(0, header), ...chunks, bytes.subarray(header)], { type: "image/png" });
  };

  /** A file's name from what the picture shows; nothing of it can leave the folder of downloads. */
  preview.fileName = (picture) => {
    const safe = (text) => String(text).replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+|[.-]+$/g, "").slice(0, 60);
    const seed = picture.of?.params?.seed ?? chilly.params?.seed ?? 0;
    return `${safe(picture.of?.step || "merge") || "merge"}-${safe(picture.id) || "picture"}-${seed}.png`;
  };

  /** Saves the picture to the browser's downloads. */
  preview.download = (picture) => {
    const address = URL.createObjectURL(preview.png(picture));
    const link = chilly.el("a", { href: address, download: preview.fileName(picture) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };

  /** Dragged out of the page a picture is its file; onto the page's own fields, its recipe. */
  preview.draggable = (element, pictureOf) => {
    element.addEventListener("dragstart", (event) => {
      const picture = pictureOf();
      if (!picture || picture === preview.live) return event.preventDefault();
      if (typeof picture === "string") return; // a thumbnail: the browser's own drag
      const address = URL.createObjectURL(preview.png(picture));
      event.dataTransfer.setData("DownloadURL", `image/png:${preview.fileName(picture)}:${address}`);
      if (picture.recipe) event.dataTransfer.setData("text/plain", picture.recipe);
      element.addEventListener("dragend", () => setTimeout(() => URL.revokeObjectURL(address), 60_000), { once: true });
    });
  };
})();
