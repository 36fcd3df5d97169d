// ---- tables that sort where they stand in the page

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
  return String(one).localeCompare(String(other), "en", { numeric: true });
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

function makeSortable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    const press = document.createElement("button");
    press.type = "button";
    press.append(...heading.childNodes);
    press.addEventListener("click", () => sortBy(table, heading));
    heading.append(press);
  }
}

// ---- tables of many rows: by column, deflated, drawn as they scroll by (Tabulator)

const GRIDS = {}; // by name: {about, rows, table}
const FEW = 14; // rows that need no box of their own to scroll in
const MOST_PRINTED = 400;

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

async function unfolded(element) {
  const text = element.textContent;
  if (element.dataset.encoding !== "deflate") return JSON.parse(text);
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

// A column is a list of values, {one: value} for all rows alike, or {of: words, at: numbers}.
function valuesOf(column, count) {
  if (Array.isArray(column)) return column;
  if ("one" in column) return Array(count).fill(column.one);
  return column.at.map((at) => (at < 0 ? null : column.of[at]));
}

function shown(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-6) return value.toExponential(3);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en", { minimumFractionDigits: Math.min(digits, 8), maximumFractionDigits: Math.min(digits, 8) });
}

// As the column's unit is written: ratios with two decimals, shares with one.
function written(value, unit) {
  if (typeof value === "number" && unit.endsWith("×") && Math.abs(value) >= 0.1) return value.toFixed(2);
  if (typeof value === "number" && unit.startsWith("%")) return value.toFixed(1);
  return shown(value);
}

function headingOf(column) {
  const box = document.createElement("span");
  box.append(column.title);
  const small = Object.assign(document.createElement("small"), { textContent: column.unit });
  box.append(small);
  return box;
}

function columnOf(column) {
  return {
    title: column.title,
    field: column.name,
    visible: column.shown,
    hozAlign: column.number ? "right" : "left",
    headerHozAlign: column.number ? "right" : "left",
    headerTooltip: column.meaning || false,
    titleFormatter: () => headingOf(column),
    formatter: (cell) => document.createTextNode(written(cell.getValue(), column.unit)),
    tooltip: (event, cell) => {
      const value = cell.getValue();
      return value === null || value === "" ? "" : document.createTextNode(value.toLocaleString("en", { maximumFractionDigits: 12 }));
    },
    sorter: (one, other) => {
      if (one === null || other === null) return (one === null) - (other === null);
      return compare(one, other);
    },
    headerSortStartingDir: column.number ? "desc" : "asc",
    minWidth: 56,
    maxWidth: column.name === "why" ? 420 : 300,
  };
}

async function makeGrid(section) {
  const name = section.dataset.grid;
  const about = await unfolded(document.getElementById("data-" + name));
  const lists = about.columns.map((column) => valuesOf(column.values, about.count));
  const rows = Array.from({ length: about.count }, (none, at) => {
    const row = { _number: about.numbers ? about.numbers[at] : at };
    about.columns.forEach((column, along) => { row[column.name] = lists[along][at]; });
    return row;
  });
  for (const column of about.columns) delete column.values;
  const box = section.querySelector(".rows");
  const grid = { about, rows, section, filters: {}, sought: "", within: null };
  GRIDS[name] = grid;
  grid.table = new Tabulator(box, {
    data: rows,
    index: "_number",
    nestedFieldSeparator: false,
    columns: about.columns.map(columnOf),
    layout: "fitDataFill",
    height: rows.length > FEW ? "min(72vh, 620px)" : undefined,
    selectableRows: 1,
    placeholder: "No row is left.",
    headerSortElement: "<span aria-hidden='true'></span>",
  });
  toolbarOf(grid);
  grid.table.on("tableBuilt", () => {
    roles(grid);
    if (about.linked) linkGrid(grid);
    grid.table.on("dataFiltered", (filters, left) => count(grid, left.length));
    count(grid, rows.length);
    if (name === "points") linkSpace(grid);
    section.dataset.built = "yes";
  });
  return grid;
}

// What Tabulator leaves open for who listens to a page instead of looking at it.
function roles({ section, table, about }) {
  const holder = section.querySelector(".tabulator-tableholder");
  const whole = section.querySelector(".tabulator");
  const header = section.querySelector(".tabulator-header");
  // What scrolls and takes the keys is the grid; its headings stand beside it.
  for (const name of ["role", "aria-owns"]) whole.removeAttribute(name);
  header.id = `headings-${section.dataset.grid}`;
  const said = { role: "grid", "aria-owns": header.id, "aria-label": about.label + ": arrows choose a row" };
  for (const [name, value] of Object.entries(said)) holder.setAttribute(name, value);
  holder.tabIndex = 0;
  for (const heading of section.querySelectorAll(".tabulator-col")) {
    heading.tabIndex = 0;
    heading.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      heading.click();
    });
  }
  holder.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const active = table.getRows("active");
    const at = active.indexOf(table.getSelectedRows()[0]);
    const next = active[Math.max(0, Math.min(active.length - 1, at + step))];
    if (!next) return;
    table.deselectRow();
    next.select();
    next.scrollTo("nearest", false).catch(() => {});
  });
}

function linkGrid({ table }) {
  table.on("rowSelected", (row) => { if (row.getIndex() !== chosen) choose(row.getIndex(), false); });
  table.on("rowDeselected", (row) => { if (row.getIndex() === chosen) choose(null, false); });
}

function showRow(number) {
  const grid = Object.values(GRIDS).find(({ about }) => about.linked);
  if (!grid || number === null) return;
  if (!grid.table.getRows("active").some((row) => row.getIndex() === number)) loosen(grid);
  const row = grid.table.getRow(number);
  if (!row) return;
  grid.table.deselectRow();
  row.select();
  row.scrollTo("center", true).catch(() => {});
  grid.section.scrollIntoView({ block: "nearest" });
}

// ---- what stands above a table: search, filters, columns, copies

function toolbarOf(grid) {
  const { about, section } = grid;
  const bar = section.querySelector(".toolbar");
  const search = Object.assign(document.createElement("input"), { type: "search", placeholder: "Search" });
  search.setAttribute("aria-label", "Search all columns of: " + about.label);
  search.addEventListener("input", () => { grid.sought = search.value.toLowerCase(); filter(grid); });
  bar.append(search);
  for (const name of about.filters) bar.append(...chooserOf(grid, name));
  bar.append(columnsOf(grid));
  bar.append(
    button("Copy", (event) => copy(grid, event.currentTarget), "Copy the rows that are left: " + about.label),
    button("CSV", () => save(`nmsim-${section.dataset.grid}.csv`, csv(linesOf(grid)), "text/csv"), "Save the rows that are left as CSV: " + about.label),
  );
  const status = Object.assign(document.createElement("span"), { className: "status" });
  status.setAttribute("role", "status");
  bar.append(status);
}

function chooserOf(grid, name) {
  const column = grid.about.columns.find((one) => one.name === name);
  const values = [...new Set(grid.rows.map((row) => row[name]))];
  if (values.length < 2 || values.length > 1000) return [];
  const select = document.createElement("select");
  select.setAttribute("aria-label", `Only rows of this ${column.title}: ${grid.about.label}`);
  select.name = name;
  select.append(new Option(`${column.title}: all`, ""));
  values.forEach((value, at) => select.append(new Option(shown(value), String(at))));
  select.addEventListener("change", () => {
    grid.filters[name] = select.value === "" ? undefined : { value: values[Number(select.value)] };
    filter(grid);
  });
  return [select];
}

function columnsOf({ about, section }) {
  const details = document.createElement("details");
  details.className = "columns";
  details.append(Object.assign(document.createElement("summary"), { textContent: `Columns (${about.columns.length})` }));
  const list = document.createElement("div");
  list.tabIndex = 0;
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Columns that are shown");
  for (const column of about.columns) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: column.shown });
    box.addEventListener("change", () => {
      column.shown = box.checked;
      const { table } = GRIDS[section.dataset.grid];
      if (box.checked) table.showColumn(column.name);
      else table.hideColumn(column.name);
    });
    const meaning = Object.assign(document.createElement("small"), { textContent: column.meaning });
    label.append(box, " ", column.title, column.unit ? ` [${column.unit}] ` : " ", meaning);
    list.append(label);
  }
  details.append(list);
  return details;
}

function filter(grid) {
  const chosenOnes = Object.entries(grid.filters).filter(([, one]) => one);
  grid.table.setFilter((row) =>
    chosenOnes.every(([name, { value }]) => row[name] === value) &&
    (!grid.within || grid.within(row)) &&
    (!grid.sought || Object.values(row).some((value) => typeof value === "string" && value.toLowerCase().includes(grid.sought))));
}

function loosen(grid) {
  grid.filters = {};
  grid.sought = "";
  for (const select of grid.section.querySelectorAll(".toolbar select")) select.value = "";
  grid.section.querySelector("input[type=search]").value = "";
  filter(grid);
}

function count({ about, section }, left) {
  const all = about.count.toLocaleString("en");
  section.querySelector(".status").textContent =
    left === about.count ? `${all} rows` : `${left.toLocaleString("en")} of ${all} rows`;
}

function linesOf({ about, table }) {
  const columns = about.columns.filter((column) => column.shown);
  const rows = table.getRows("active").map((row) => row.getData());
  return [columns.map((column) => column.name), ...rows.map((row) => columns.map((column) => row[column.name]))];
}

function copy(grid, pressed) {
  return copied(linesOf(grid).map((line) => line.map((value) => value ?? "").join("\t")).join("\n"), pressed);
}

async function copied(text, pressed) {
  try {
    await navigator.clipboard.writeText(text);
    pressed.textContent = "Copied";
  } catch {
    pressed.textContent = "The browser allows no copy";
  }
  setTimeout(() => { pressed.textContent = "Copy"; }, 1500);
}

// ---- paper: rows as a plain table, of the columns that are shown

function printed(grid) {
  const columns = grid.about.columns.filter((column) => column.shown);
  const rows = grid.table.getRows("active").map((row) => row.getData());
  const table = Object.assign(document.createElement("table"), { className: "printed" });
  const head = table.createTHead().insertRow();
  for (const column of columns) {
    const cell = Object.assign(document.createElement("th"), { className: column.number ? "n" : "" });
    cell.append(headingOf(column));
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows.slice(0, MOST_PRINTED)) {
    const line = body.insertRow();
    for (const column of columns) {
      const cell = line.insertCell();
      cell.textContent = written(row[column.name], column.unit);
      cell.className = column.number ? "n" : "";
    }
  }
  const more = rows.length - MOST_PRINTED;
  const caption = table.createCaption();
  caption.textContent = more > 0
    ? `The first ${MOST_PRINTED} of ${rows.length.toLocaleString("en")} rows; results.csv has all.` : "";
  return table;
}

function ontoPaper() {
  if (paper) return;
  paper = true;
  for (const name of Object.keys(FIGURES)) (pictured(name) ? scaled : redraw)(name);
  for (const grid of Object.values(GRIDS)) grid.section.append(printed(grid));
}

function offPaper() {
  if (!paper) return;
  paper = false;
  for (const table of document.querySelectorAll("table.printed")) table.remove();
  for (const name of Object.keys(FIGURES)) if (pictured(name)) scaled(name);
  redrawAll();
}
