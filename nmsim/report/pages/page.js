"use strict";

const WIDTH = 860; // of a figure at least, as the style sheet says

function plain(markup) {
  return new DOMParser().parseFromString(markup || "", "text/html").body.textContent;
}

// A screen narrower than a figure scrolls it: the title must not scroll away, nor be cut.
function titleOutside(room, { data, layout }) {
  const title = document.createElement("div");
  title.className = "figure-title";
  const lines = [plain(layout.title.text), plain((layout.title.subtitle || {}).text)];
  for (const line of [...lines, "Wider than this screen: scroll it sideways."]) {
    title.append(Object.assign(document.createElement("div"), { textContent: line }));
  }
  room.parentElement.before(title);
  const above = layout.legend && data.length > 12 ? 12 : 52; // a long legend wraps here
  layout.title = undefined;
  layout.margin.t -= above;
  layout.height -= above;
  if (layout.legend) layout.legend.y = 1 - 8 / layout.height;
  room.style.height = layout.height + "px";
}

function draw(name, figure) {
  const room = document.getElementById("figure-" + name);
  const seen = room.parentElement.clientWidth;
  if (seen && seen < WIDTH && figure.layout.title) titleOutside(room, figure);
  for (const trace of figure.data) {
    if (trace.hovertext) trace.hovertext = trace.hovertext.map((number) => TEXTS[number]);
  }
  Plotly.newPlot("figure-" + name, figure.data, figure.layout, {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: "nmsim-" + name },
  });
}

function sortKey(row, column) {
  const cell = row.cells[column];
  const key = cell.dataset.key;
  if (key !== undefined) return Number(key);
  const number = Number(cell.textContent.replaceAll(",", ""));
  return cell.classList.contains("n") && !Number.isNaN(number) ? number : cell.textContent;
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  if (typeof one === "number") return -1;
  if (typeof other === "number") return 1;
  return one.localeCompare(other, "en", { numeric: true });
}

function sortBy(table, heading) {
  const column = heading.cellIndex;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = Array.from(table.tBodies[0].rows);
  const keyed = rows.map((row) => [sortKey(row, column), row]);
  keyed.sort((one, other) => (descending ? -1 : 1) * compare(one[0], other[0]));
  table.tBodies[0].append(...keyed.map((pair) => pair[1]));
}

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const heading of table.tHead.rows[0].cells) {
      heading.tabIndex = 0;
      heading.addEventListener("click", () => sortBy(table, heading));
      heading.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          sortBy(table, heading);
        }
      });
    }
  }
});
