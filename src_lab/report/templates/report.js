
"use strict";

const LOOP_MS = 6000; // an animation takes about this long, whatever the number of its frames
const FRAME_MS = [80, 500];

function sortable(table) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const byNumber = header.classList.contains("number");
      body.append(...[...body.rows].sort((a, b) => compare(a.cells[index], b.cells[index], byNumber, ascending)));
    });
  });
}

function compare(a, b, byNumber, ascending) {
  const sign = ascending ? 1 : -1;
  if (!byNumber) return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  const [x, y] = [a, b].map((cell) => ("key" in cell.dataset ? Number(cell.dataset.key) : null));
  if (x === null || y === null) return (x === null) - (y === null); // what is missing stays last
  return sign * (x - y);
}

function animate(figure) {
  const frames = [...figure.querySelectorAll(".frame")];
  const [button, slider, output] = ["button", "input", "output"].map((name) => figure.querySelector(name));
  const title = button.getAttribute("aria-label").replace(/^Play /, "");
  let timer = null;

  const show = (index) => {
    frames.forEach((frame, at) => frame.classList.toggle("current", at === index));
    slider.value = index;
    output.value = frames[index].dataset.step;
    slider.setAttribute("aria-valuetext", `sleep step ${frames[index].dataset.step}`);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
    button.setAttribute("aria-label", `Play ${title}`);
  };
  const step = () => {
    show(Number(slider.value) + 1);
    if (Number(slider.value) === frames.length - 1) stop();
  };
  const play = () => {
    if (frames.length < 2) return;
    if (Number(slider.value) === frames.length - 1) show(0);
    button.textContent = "Pause";
    button.setAttribute("aria-label", `Pause ${title}`);
    timer = setInterval(step, Math.min(FRAME_MS[1], Math.max(FRAME_MS[0], LOOP_MS / frames.length)));
  };

  button.addEventListener("click", () => (timer === null ? play() : stop()));
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  matchMedia("(prefers-reduced-motion: reduce)").addEventListener("change", (query) => query.matches && stop());
  figure.querySelector(".controls").hidden = false;
  show(0);
}

function chooseTheme(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const label = () => (button.textContent = isDark() ? "Light" : "Dark");
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  button.hidden = false;
  label();
}

document.documentElement.classList.add("scripted");
document.querySelectorAll("table").forEach(sortable);
document.querySelectorAll(".animation").forEach(animate);
chooseTheme(document.querySelector(".theme"));
