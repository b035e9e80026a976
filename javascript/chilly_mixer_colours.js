// The mixer's colours. Between model A's colour and model B's lies a straight line in OKLab, so half and half is a neutral grey and
// equal steps of a weight look equal. The ends come from the page's theme; every shade is worked out once for each theme.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const STEPS = 100;
  const clamp = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));

  const linear = (c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const encoded = (c) => 255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055);

  function toLab([r8, g8, b8]) {
    const [r, g, b] = [linear(r8), linear(g8), linear(b8)];
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return [
      0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
      1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
      0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
    ];
  }

  function toText([L, a, b]) {
    const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
    const channels = [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ];
    return `rgb(${channels.map((c) => Math.round(clamp(encoded(c), 0, 255))).join(",")})`;
  }

  const between = (from, to, share) => from.map((c, i) => c + (to[i] - c) * share);

  // A one-pixel canvas understands every way in which a host may write a colour.
  let pen = null;
  function lab(text, fallback) {
    pen = pen || document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    pen.fillStyle = fallback;
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    return toLab([...pen.getImageData(0, 0, 1, 1).data].slice(0, 3));
  }

  let shades = null;

  /** Reads the theme's colours from the page's tokens; to be called again when the theme changes. */
  mixer.readColours = (root) => {
    const style = getComputedStyle(root);
    const token = (name, fallback) => lab(style.getPropertyValue(`--chilly-${name}`).trim() || fallback, fallback);
    const a = token("fa", "#86b6ef");
    const b = token("fb", "#ecbd50");
    const edges = [token("a-edge", "#2a66b3"), token("b-edge", "#8a5a00")];
    const keys = [token("a", "#7fb0ea"), token("b", "#e9b949")];
    const panel = token("panel", "#ffffff");
    const dark = panel[0] < 0.5;
    const heat = [token("heat0", "#f3effb"), token("heat1", "#6b3fb8")];
    const table = (shade) => Array.from({ length: STEPS + 1 }, (_, i) => toText(shade(i / STEPS)));
    shades = {
      fill: table((t) => between(a, b, t)),
      edge: table((t) => between(edges[0], edges[1], t)),
      key: table((t) => between(keys[0], keys[1], t)),
      track: table((t) => between(panel, between(a, b, t), dark ? 0.46 : 0.32)),
      linked: table((t) => between(panel, between(a, b, t), dark ? 0.72 : 0.62)),
      heat: table((t) => between(heat[0], heat[1], t)),
    };
  };

  /** The colour of a weight; which: fill, edge, key, track (behind the fill) or linked (the fill of a lane that follows). */
  mixer.shade = (which, weight) => shades[which][Math.round(clamp(weight) * STEPS)];

  /** The colour for a similarity in per cent: the less alike, the stronger. */
  mixer.heat = (percent) => mixer.shade("heat", chilly.unlike(percent));

  mixer.clamp = clamp;
})();
