// The visible texts whose contrast with what is behind them is below 4.5, the least that WCAG wants for normal text.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const cache = new Map();
const rgba = (color) => {
  if (!cache.has(color)) {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    cache.set(color, [r, g, b, a / 255]);
  }
  return cache.get(color);
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
const behind = (element) => {
  if (element === null) return rgba("Canvas").slice(0, 3);
  const own = rgba(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own.slice(0, 3) : over(own, behind(element.parentElement));
};
const luminance = (color) => {
  const [r, g, b] = color.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
};
const faint = [];
for (const element of document.querySelectorAll("body *")) {
  if (!element.checkVisibility() || ![...element.childNodes].some((it) => it.nodeType === 3 && it.data.trim() !== "")) continue;
  const below = behind(element);
  const found = contrast(over(rgba(getComputedStyle(element).color), below), below);
  if (found < 4.5) faint.push(`${found.toFixed(1)} ${element.tagName} ${element.className}: ${element.textContent.trim().slice(0, 40)}`);
}
return [...new Set(faint)];
