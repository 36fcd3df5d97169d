// ---- the page begins

addEventListener("beforeprint", ontoPaper);
addEventListener("afterprint", offPaper);

document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme").addEventListener("click", () => setTheme(dark() ? "light" : "dark"));
  showTheme();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
  const names = Object.keys(FIGURES);
  names.forEach(toolsOf);
  if (names.length) drawWhenNear();
  for (const section of document.querySelectorAll("section[data-grid]")) makeGrid(section);
  for (const box of document.querySelectorAll(".again")) {
    const pressed = box.querySelector("button");
    pressed.addEventListener("click", () => copied(box.querySelector("code").textContent, pressed));
  }
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redrawAll();
    width = innerWidth;
  });
});
