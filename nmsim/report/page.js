"use strict";

function draw(name, figure) {
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
